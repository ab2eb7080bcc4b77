"""One memory budget for all that a node holds for others, shared fairly: who holds most gives up first."""

from __future__ import annotations

import logging
from typing import Protocol

from berrymq.bridge.protocol.stream import Account

__all__ = ["MAX_HELD_BYTES", "Budget", "Holder"]

MAX_HELD_BYTES = 256 * 1024 * 1024

WARN_SECONDS = 10.0
"""Nobody is told more often than this."""

_log = logging.getLogger("berrymq")


class Holder(Protocol):
    """Holds bytes for a peer or a client, and can give some of them up."""

    @property
    def held_bytes(self) -> int:
        """How many bytes it holds."""

    def shed(self, target: int) -> None:
        """Hold no more than that, or end."""


class Budget(Account):
    """Adds up what is held, and has the largest holders shed when it is too much.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self.limit = limit
        self.holders: dict[Holder, None] = {}
        self._relieving = False
        self._warned_at = float("-inf")

    def grow(self, size: int) -> None:
        """So many bytes more are held; fewer, if negative."""
        self.held += size

    def relieve(self, now: float) -> bool:
        """Have the largest holders shed until nine tenths of the budget are held; False if it was not needed.

        Call it where little is locked.
        """
        if self.held <= self.limit or self._relieving:
            return False
        self._relieving = True
        try:
            if now - self._warned_at > WARN_SECONDS:
                self._warned_at = now
                _log.warning("%d MiB wait for slow peers: the largest backlogs are dropped", self.held >> 20)
            share = fair_share([holder.held_bytes for holder in self.holders], self.limit * 9 // 10)
            for holder in sorted(self.holders, key=lambda holder: holder.held_bytes, reverse=True):
                if holder.held_bytes <= share:
                    break
                holder.shed(share)
        finally:
            self._relieving = False
        return True


def fair_share(sizes: list[int], limit: int) -> int:
    """The size to which the largest have to be cut down, so that all together are no more than the limit."""
    left, share = limit, limit
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            break
        left -= size
    return share
