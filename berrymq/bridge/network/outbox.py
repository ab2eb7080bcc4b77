"""The way from the threads that say something to the I/O thread that sends it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["Outbox", "Outgoing", "Overflow"]

Overflow = Literal["drop_oldest", "block"]
"""What happens to what is said faster than it can be sent."""


class Outgoing(NamedTuple):
    """A message before it has a number."""

    identifier: str
    payload: bytes
    sent_at: float
    callback: str | None = None
    """Where followers' return values are to be sent."""
    answers: Future[list[Any]] | None = None
    """It is a question, and this gets the answers."""


class Outbox:
    """A bounded queue that many threads fill and one loop empties.

    Args:
        wake: is called, on any thread, when the loop has to look; once until it has looked.
        max_messages: how many messages may wait.
        max_bytes: how large their payloads may be together.
        may_wait: whether the thread that says something may be made to wait; not the one that empties this.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        *,
        max_messages: int,
        max_bytes: int,
        may_wait: Callable[[], bool] = lambda: True,
    ) -> None:
        self.overflow: Overflow = "drop_oldest"
        self.dropped = 0
        """Messages that were dropped to make room."""
        self._wake = wake
        self._may_wait = may_wait
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._items: deque[Outgoing] = deque()
        self._bytes = 0
        self._awake = False
        self._closed = False
        # Reentrant, for a destructor may say something in the middle of a `put`.
        self._room = threading.Condition(threading.RLock())

    def __len__(self) -> int:
        return len(self._items)

    def put(self, outgoing: Outgoing) -> None:
        """Add one; when there is no room, drop the oldest or wait, as `overflow` says."""
        size = len(outgoing.payload)
        with self._room:
            if self.overflow == "block" and self._may_wait():
                self._room.wait_for(lambda: self._closed or not self._is_full(size))
            while self._items and self._is_full(size):
                self._bytes -= len(self._items.popleft().payload)
                self.dropped += 1
            self._items.append(outgoing)
            self._bytes += size
            if self._awake:
                return
            self._awake = True
        self._wake()

    def take(self, most: int, most_bytes: int) -> list[Outgoing]:
        """Take up to *most* with payloads of up to *most_bytes*, in order; from now on `put` wakes again."""
        taken: list[Outgoing] = []
        with self._room:
            self._awake = False
            items = self._items
            if len(items) <= most and self._bytes <= most_bytes:
                taken.extend(items)
                items.clear()
                self._bytes = 0
            while items and len(taken) < most and (most_bytes := most_bytes - len(items[0].payload)) >= 0:
                taken.append(items.popleft())
                self._bytes -= len(taken[-1].payload)
            self._room.notify_all()
        return taken

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def _is_full(self, size: int) -> bool:
        return len(self._items) >= self._max_messages or self._bytes + size > self._max_bytes
