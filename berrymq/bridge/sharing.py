"""Values that are shared by name: one copy on the machine, however many processes take it.

What is shared as ``prices`` answers questions for ``prices@berrymq:take``, which `take` asks; what it is, to
``prices@berrymq:describe``. It is announced by a message ``prices@berrymq:shared``.
"""

from __future__ import annotations

import logging
import threading
from operator import itemgetter
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import berrymq
from berrymq.errors import BerryMQError, IdentifierError
from berrymq.identifiers import Identifier
from berrymq.printable import printable
from berrymq.scopes import Scope

from .buffers import MIN_SHARED_BYTES, Memory, Pool, PoolFullError, is_available
from .buffers import share as share_memory
from .errors import LinkError, PayloadError
from .node.values import Prepared
from .payload import Form, decode_values, encode_values
from .runtime import runtime

if TYPE_CHECKING:
    from berrymq.bus import Bus
    from berrymq.messages import Message
    from berrymq.subscriptions import Subscription

    from .payload import Binary

__all__ = ["NotSharedError", "ShareInfo", "share", "shares", "take", "unshare"]

MAX_BYTES = 1024 * 1024 * 1024
"""What one process shares at most; the oldest goes first."""

_log = logging.getLogger("berrymq")


class NotSharedError(BerryMQError, LookupError):
    """No process shares a value of that name."""


class ShareInfo(NamedTuple):
    """What is known of a shared value without taking it.

    Attributes:
        name: what it is taken by.
        type: the name of its type.
        shape: of an array or table; empty for other values.
        bytes: its size.
        node: the name of the node that shares it; None for a process that is not linked.
        shared_at: when it was shared, in seconds since 1970.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int
    node: str | None
    shared_at: float


class _Share(NamedTuple):
    info: ShareInfo
    subscriptions: tuple[Subscription, ...]


class _Shares:
    """The values that one bus shares."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.pool = Pool(MAX_BYTES, leaves_to_readers=True)
        self.lock = threading.RLock()
        self.by_name: dict[str, _Share] = {}

    def add(self, name: str, value: Any) -> ShareInfo:
        binaries: list[Binary] | None = [] if is_available() else None
        at = time()
        encoded = encode_values(
            [[at, value]], Form(None, binaries, MIN_SHARED_BYTES if is_available() else 0)
        )
        # Without the lock, for it may wait for another thread.
        memory = self._copy(name, binaries) if binaries else None
        with self.lock:
            size = len(encoded) + (sum(memory.sizes) if memory is not None else 0)
            info = ShareInfo(name, type(value).__name__, _shape(value), size, None, at)
            share = _Share(info, self._follow(Prepared(encoded, memory), info))
            self.remove(name)  # only now, so that there is always one to take
            self.by_name[name] = share
        self.bus.twitter(f"{name}@berrymq:shared", info.type, list(info.shape), info.bytes)
        return info

    def _copy(self, name: str, binaries: list[Binary]) -> Memory:
        while True:
            try:
                return share_memory(self.pool, binaries)
            except PoolFullError as error:
                if self.remove(name):
                    continue
                oldest = next(iter(self.by_name), None)
                if oldest is None:
                    size = sum(binary.size for binary in binaries)
                    raise PayloadError(name, f"it takes {size:,} bytes; {error}") from None
                self.remove(oldest)
                _log.warning(
                    "%r is not shared any more: %r needs its memory, and one process shares %d bytes at most",
                    oldest,
                    name,
                    MAX_BYTES,
                )

    def _follow(self, prepared: Prepared, info: ShareInfo) -> tuple[Subscription, ...]:
        def describe(_: Message) -> list[Any]:
            return [info.name, info.type, list(info.shape), info.bytes, _node_name(self.bus), info.shared_at]

        with Scope("shared values").collecting():  # it outlives the cell that shares it
            return (
                self.bus.follow(f"{info.name}@berrymq:take", lambda _: prepared),
                self.bus.follow(f"{info.name}@berrymq:describe", describe),
            )

    def remove(self, name: str) -> bool:
        with self.lock:
            share = self.by_name.pop(name, None)
        if share is None:
            return False
        for subscription in share.subscriptions:
            subscription.cancel()
        return True


_of_bus: WeakKeyDictionary[Bus, _Shares] = WeakKeyDictionary()
_making = threading.Lock()


def _shares_of(bus: Bus | None) -> _Shares:
    bus = berrymq.default_bus if bus is None else bus
    with _making:
        found = _of_bus.get(bus)
        if found is None:
            found = _of_bus[bus] = _Shares(bus)
        return found


def share(name: str, value: Any, *, bus: Bus | None = None) -> ShareInfo:
    """Share a value by name: any linked process gets it by ``take(name)``.

    It is copied now, large buffers into shared memory, so later changes of `value` are not seen by others. It
    is shared until `unshare`, until another value is shared by this name, or until the process ends; those
    that have taken it keep it. One process shares 1 GiB at most: beyond that the oldest is not shared any
    more, with a warning.

    Args:
        name: without ``:``, ``@`` and ``*``, as a part of an identifier.
        value: anything that crosses a link.
        bus: the bus; by default the default bus.

    Raises:
        IdentifierError: it is no such name.
        PayloadError: the value can't cross, or is larger than what one process may share.
    """
    _check(name)
    return _shares_of(bus).add(name, value)


def unshare(name: str, *, bus: Bus | None = None) -> None:
    """Share a value no more. Those who have taken it keep it.

    Raises:
        NotSharedError: this process does not share it.
    """
    if not _shares_of(bus).remove(name):
        raise NotSharedError(f"this process shares nothing as {printable(name)!r}")


def take(name: str, *, timeout: float = 30.0, bus: Bus | None = None) -> Any:
    """Return the value that is shared by a name, the newest one where several processes share it.

    Arrays and tables are mapped from shared memory, not copied: they may be written to, and no other process
    sees that.

    Args:
        name: as it was shared.
        timeout: seconds to wait for the node that shares it.
        bus: the bus; by default the default bus.

    Raises:
        NotSharedError: no linked process shares it; names those that are shared.
        AskTimeout: the node that shares it has not answered in time.
    """
    _check(name)
    bus = berrymq.default_bus if bus is None else bus
    found = [_decode(answer) for answer in _ask(bus, f"{name}@berrymq:take", timeout)]
    if not found:
        names = ", ".join(repr(printable(info.name)) for info in shares(timeout=timeout, bus=bus)[:20])
        known = f"shared are {names}" if names else "no linked process shares anything"
        raise NotSharedError(f"nothing is shared as {printable(name)!r}: {known}")
    return max(found, key=itemgetter(0))[1]


def _ask(bus: Bus, identifier: str, timeout: float) -> list[Any]:
    """Return the answers of the nodes that share; one that ends before it answers shares nothing any more."""
    try:
        return bus.ask(identifier, timeout=timeout)
    except LinkError as error:
        return list(getattr(error, "answers", ()))


def _decode(answer: Any) -> tuple[float, Any]:
    """Return when a value was shared, and the value; an answer of this process is still encoded."""
    if isinstance(answer, Prepared):
        buffers = () if answer.memory is None else answer.memory.views()
        (answer,) = decode_values(answer.encoded, buffers)
    shared_at, value = answer
    return float(shared_at), value


def shares(*, timeout: float = 10.0, bus: Bus | None = None) -> list[ShareInfo]:
    """Return what this process and those linked to it share, in order of the name.

    Args:
        timeout: seconds to wait for other nodes.
        bus: the bus; by default the default bus.
    """
    bus = berrymq.default_bus if bus is None else bus
    found = []
    for name, kind, shape, size, node, at in _ask(bus, "*@berrymq:describe", timeout):
        where = None if node is None else str(node)
        found.append(ShareInfo(str(name), str(kind), tuple(shape), int(size), where, float(at)))
    return sorted(found, key=lambda info: (info.name, info.shared_at))


def _shape(value: Any) -> tuple[int, ...]:
    """Return the shape of an array or table; an empty one for anything else."""
    shape = getattr(value, "shape", ())
    return tuple(map(int, shape)) if isinstance(shape, tuple) else ()


def _node_name(bus: Bus) -> str | None:
    """Return the name under which a bus is known to others; None if it is not linked."""
    return next((node.name for (its_bus, _), node in list(runtime().nodes.items()) if its_bus is bus), None)


def _check(name: str) -> None:
    try:
        identifier = Identifier.parse(f"{name}@berrymq:take")
    except IdentifierError as error:
        raise IdentifierError(f"a name to share by is a part of an identifier: {error}") from None
    if identifier.name == "*" or identifier.is_local or identifier.name == "berrymq":
        raise IdentifierError(
            f"{printable(name)!r} is no name to share by: it begins with '_' or is a wildcard"
        )
