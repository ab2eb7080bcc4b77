"""A limit on guesses at the access token. Nothing here does I/O."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AttemptLimiter"]


class AttemptLimiter:
    """Counts the wrong access tokens of each peer and says how long it has to wait with the next one.

    A token of 256 bits needs no such protection; it keeps the log, the processor and a token that somebody
    chose from a flood. After ``free`` wrong ones each further one doubles the wait, up to ``longest``
    seconds; after ``longest`` quiet seconds all is forgotten. At most ``size`` peers are remembered, those
    with the latest attempts. An IPv6 peer is its /64 network.

    On loopback all users of the machine share one address: let a right token in from there without asking
    :meth:`wait` first, so that nobody's guesses shut others out.
    """

    def __init__(
        self, clock: Callable[[], float], *, free: int = 10, longest: float = 60.0, size: int = 1024
    ) -> None:
        self._clock = clock
        self._free = free
        self._longest = longest
        self._size = size
        self._peers: OrderedDict[str, tuple[int, float]] = OrderedDict()  # wrong ones, and free again at

    def __len__(self) -> int:
        return len(self._peers)

    def wait(self, peer: str) -> float:
        """Seconds until this peer may try again; 0 when it may now."""
        _, until = self._peers.get(_network(peer), (0, 0.0))
        return max(0.0, until - self._clock()) if until else 0.0

    def failed(self, peer: str) -> float:
        """Note a wrong token; gives the seconds until the next try."""
        key, now = _network(peer), self._clock()
        wrong, until = self._peers.pop(key, (0, now))
        wrong = wrong + 1 if now - until <= self._longest else 1
        wait = min(self._longest, 2.0 ** min(wrong - self._free - 1, 30)) if wrong > self._free else 0.0
        self._peers[key] = (wrong, now + wait)
        if len(self._peers) > self._size:
            self._peers.popitem(last=False)
        return wait

    def succeeded(self, peer: str) -> None:
        """Forget what this peer got wrong."""
        self._peers.pop(_network(peer), None)


def _network(peer: str) -> str:
    """What counts as one peer."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address.packed, 64), strict=False))
    return str(address)
