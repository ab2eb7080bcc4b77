"""What a queue keeps its messages in. Queues that take turns (``shared=True``) have one store in common.

The unbounded store takes no lock: `deque.append` and `popleft` are atomic, so a message may be put by a
signal handler or a destructor in the middle of a `get`. Whoever has to wait leaves a function in a `Row`.

The rule that keeps a wake-up from getting lost: a waiter first enters the row and then looks again; the
other side first makes its change and then looks into the row; and whoever leaves the row, for whatever
reason, wakes the next one when there still is something to be had.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import Full
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

from . import forking

if TYPE_CHECKING:
    from .messages import Message
    from .priorities import PriorityItems

__all__ = ["BoundedStore", "Overflow", "Row", "Store"]

Overflow = Literal["drop_oldest", "drop_newest", "raise", "block"]


_attaching = forking.SafeLock()
"""Held while a queue joins or leaves a store: for a few dictionary operations, nothing else."""


class Row(deque[Callable[[], object]]):
    """Those who wait, each as the function that wakes it."""

    def wake(self) -> None:
        """Wake the one who has waited longest."""
        try:
            wake = self.popleft()
        except IndexError:
            return  # it has left meanwhile
        wake()

    def wake_all(self) -> None:
        """Have everyone look again."""
        for _ in range(len(self)):
            self.wake()

    def leave(self, wake: Callable[[], object]) -> None:
        """Go out of the row, if nobody woke this one."""
        with contextlib.suppress(ValueError):
            self.remove(wake)


class Store:
    """Messages that wait, and those who wait for messages."""

    def __init__(self, items: deque[Message] | PriorityItems | None = None) -> None:
        self.items: deque[Message] | PriorityItems = deque() if items is None else items
        self.waiters = Row()
        self.closed = False
        self.received = 0
        """Messages that came, those that were dropped included."""
        self.dropped = 0
        self.deepest = 0
        """The most messages that waited at once."""
        self.on_close: Callable[[], object] = lambda: None
        """Ends the subscription that fills this."""
        self._fronts: dict[int, ref[Any]] = {}

    def put(self, message: Message) -> None:
        """Take in one message."""
        self.received += 1
        items = self.items
        items.append(message)
        self.deepest = max(self.deepest, len(items))
        if self.waiters:
            self.waiters.wake()

    def leave(self, wake: Callable[[], object]) -> None:
        """Wait no more; what woke this one, or would have, goes on to the next."""
        self.waiters.leave(wake)
        if self.items and self.waiters:
            self.waiters.wake()

    def took(self) -> None:
        """Be told that a message was taken out."""

    def attach(self, front: object) -> bool:
        """Stay open for `front`, which is held weakly; false when this is closed already."""
        key = id(front)
        with _attaching:
            if not self.closed:
                self._fronts[key] = ref(front, lambda _: self.detach(key))
        return not self.closed

    def detach(self, key: int) -> None:
        """Be told that a queue was closed or is gone; with the last one, this closes."""
        with _attaching:
            left = self._fronts.pop(key, None)
            last = left is not None and not self._fronts
            self.closed |= last
        if last:
            self.close()

    def close(self) -> None:
        """Take in nothing more. What waits can still be taken."""
        self.closed = True
        self.on_close()
        self.waiters.wake_all()


class BoundedStore(Store):
    """A store with room for `maxsize` messages, and a rule for those beyond."""

    def __init__(
        self, maxsize: int, overflow: Overflow, items: deque[Message] | PriorityItems | None = None
    ) -> None:
        super().__init__(items)
        self.maxsize = maxsize
        self.overflow = overflow
        self._senders = Row()
        self._lock = threading.RLock()
        forking.track(self)

    def after_fork(self) -> None:
        """Start with an unheld lock in a forked child."""
        self._lock = threading.RLock()

    def put(self, message: Message) -> None:
        """Take in one message, or do what the rule for a full queue says."""
        oldest = None
        self.received += 1
        while True:
            with self._lock:
                full = len(self.items) >= self.maxsize
                if full and self.overflow == "drop_oldest":
                    oldest = self._drop_oldest()
                    full = False
                elif full and self.overflow != "block":
                    self.dropped += 1
                    break
                if not full:
                    self.items.append(message)
                    self.deepest = max(self.deepest, len(self.items))
                    break
            if not self._wait_for_room():
                return
        if self.waiters:
            self.waiters.wake()
        del oldest  # only now: its last reference may run a destructor, which must not find the lock held
        if full and self.overflow == "raise":
            raise Full(f"the queue is full (maxsize={self.maxsize}) and did not take in {message.id!r}")

    def _drop_oldest(self) -> Message | None:
        items = self.items
        try:
            oldest = items.popleft() if isinstance(items, deque) else items.drop_oldest()
        except IndexError:
            return None  # somebody has just taken it: there is room
        self.dropped += 1
        return oldest

    def _wait_for_room(self) -> bool:
        """Hold up the sender until a message was taken; False when the queue was closed meanwhile."""
        gate = threading.Lock()
        gate.acquire()
        wake = gate.release
        self._senders.append(wake)
        try:
            if len(self.items) >= self.maxsize and not self.closed:
                gate.acquire()
        finally:
            self._senders.leave(wake)
            if len(self.items) < self.maxsize and self._senders:
                self._senders.wake()
        return not self.closed

    def took(self) -> None:
        """Be told that a message was taken out."""
        if self._senders:
            self._senders.wake()

    def close(self) -> None:
        """Take in nothing more. What waits can still be taken."""
        super().close()
        self._senders.wake_all()
