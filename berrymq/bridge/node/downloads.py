"""Large buffers for clients without a link, which download them over HTTP by a path that is hard to guess."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from berrymq.bridge.protocol.batches import Memory
    from berrymq.bridge.transport.budget import Budget
    from berrymq.bridge.transport.loop import IoLoop

__all__ = ["PATH", "Download", "Downloads"]

PATH = "/buffers/"
"""What the paths of downloads begin with."""

KEPT_SECONDS = 60.0
"""The time for which a message's buffers can be downloaded after they were named, or downloaded."""
MAX_KEPT = 1_000


class Download(NamedTuple):
    """A buffer that a client may download.

    Attributes:
        memory: of its message.
        offset: where it begins.
        size: in bytes.
    """

    memory: Memory
    offset: int
    size: int


class _Kept(NamedTuple):
    memory: Memory
    until: float


class Downloads:
    """Holds the buffers of messages that were given to clients without a link, for a while.

    Used with the router's lock held, or on the loop.

    Args:
        loop: its clock and timers.
        budget: counts what lies in this process's own memory.
    """

    def __init__(self, loop: IoLoop, budget: Budget) -> None:
        self._loop = loop
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        """By a random id, the latest last."""
        self._account = budget.open(self._shed)
        self._is_checking = False

    def forms(self, memory: Memory) -> list[Any]:
        """Return what a client is given for each buffer: base64, path and size, or None where it is gone."""
        if memory.fits_text or memory.read(0, 1) is None:
            return memory.texts()
        id = secrets.token_urlsafe(16)
        self._keep(id, memory)
        return [{"path": f"{PATH}{id}/{place}", "size": size} for place, size in enumerate(memory.sizes)]

    def find(self, path: str) -> Download | None:
        """Return a buffer by its path, and hold it for another while; None if it is gone."""
        id, _, place = path.removeprefix(PATH).partition("/")
        kept = self._kept.pop(id, None)
        if kept is None:
            return None
        self._account.grow(-kept.memory.heap_bytes)
        if kept.until < self._loop.time():
            return None
        self._keep(id, kept.memory)
        if not (place.isascii() and place.isdecimal()) or int(place) >= len(kept.memory.sizes):
            return None
        number = int(place)
        return Download(kept.memory, kept.memory.starts[number], kept.memory.sizes[number])

    def _keep(self, id: str, memory: Memory) -> None:
        self._kept[id] = _Kept(memory, self._loop.time() + KEPT_SECONDS)
        self._account.grow(memory.heap_bytes)
        while len(self._kept) > MAX_KEPT:
            self._drop_oldest()
        if not self._is_checking:
            self._is_checking = True
            self._loop.call_later(KEPT_SECONDS, self._check)

    def _drop_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._account.grow(-kept.memory.heap_bytes)

    def _check(self) -> None:
        """Release what was not downloaded for a while."""
        now = self._loop.time()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop_oldest()
        self._is_checking = bool(self._kept)
        if self._is_checking:
            self._loop.call_later(KEPT_SECONDS, self._check)

    def _shed(self, target: int) -> None:
        while self._kept and self._account.held > target:
            self._drop_oldest()
