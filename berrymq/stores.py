"""The buffers behind queues: unbounded and bounded stores, and priorities.

The unbounded store takes no lock: `deque.append` and `popleft` are atomic, so a signal handler or a
destructor may publish in the middle of a `get`. A thread or task that has to wait appends a function that
wakes it to `Waiters`.

Two rules prevent lost wake-ups. A consumer registers as a waiter first, and then checks again for a message;
a producer stores the message first, and then checks for waiters: so at least one of the two sees the other.
And a consumer that stops waiting, because it was interrupted, timed out or found a message without its
wake-up, passes the wake-up on to the next waiter if there still is a message.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import ref

from .process import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .messages import Message

__all__ = ["BoundedStore", "Overflow", "PriorityItems", "Store", "Waiters"]

Overflow = Literal["drop_oldest", "drop_newest", "raise", "block"]


_attaching = ForkSafeLock()
"""Held while a queue is attached to a store or detached: for a few dictionary operations."""


class Items(Protocol):
    """What holds the messages of a store."""

    def append(self, message: Message, /) -> None:
        """Add one message."""

    def popleft(self) -> Message:
        """Remove and return the next message; `IndexError` when there is none."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Message]: ...


class Waiters(deque[Callable[[], object]]):
    """Threads and tasks that wait, each as the function that wakes it, the longest waiter first."""

    def wake(self) -> None:
        """Wake the longest waiter."""
        try:
            wake = self.popleft()
        except IndexError:
            return  # another thread has woken it, or it has stopped waiting
        wake()

    def wake_all(self) -> None:
        """Wake all that wait at present; those that find no message wait again."""
        for _ in range(len(self)):
            self.wake()

    def discard(self, wake: Callable[[], object]) -> None:
        """Remove a waiter that was not woken."""
        with suppress(ValueError):
            self.remove(wake)


class Store:
    """An unbounded buffer of messages, and the consumers that wait for some.

    Args:
        items: what holds the messages, if not a deque.
    """

    def __init__(self, items: Items | None = None) -> None:
        self.items: Items = deque() if items is None else items
        self.waiters = Waiters()
        self.closed = False
        self.received = 0
        """Messages received, including dropped ones."""
        self.dropped = 0
        self.deepest = 0
        """The largest number of messages so far."""
        self.on_close: Callable[[], object] = lambda: None
        """Ends the subscription that fills this."""
        self._fronts: dict[int, ref[Any]] = {}
        self._ended = False

    def put(self, message: Message) -> None:
        """Add one message, and wake a waiter."""
        # Not exact when two threads put at once: that would cost a lock for each message.
        self.received += 1
        items = self.items
        items.append(message)
        self.deepest = max(self.deepest, len(items))
        if self.waiters:
            self.waiters.wake()

    def stop_waiting(self, wake: Callable[[], object]) -> None:
        """Remove a waiter, and pass its wake-up on to the next if there is a message."""
        self.waiters.discard(wake)
        if self.items and self.waiters:
            self.waiters.wake()

    def took(self) -> None:
        """Handle that a message was removed."""

    def wait_begins(self, wake: Callable[[], object]) -> None:
        """Handle that a waiter has found no message, and is about to block."""

    def fetch(self, count: int) -> bool:  # noqa: ARG002
        """Have up to `count` messages come here that wait elsewhere; return whether some have come."""
        return False

    def depth(self) -> int:
        """Return the number of messages that wait."""
        return len(self.items)

    def first(self, limit: int | None) -> list[Message]:
        """Return the messages that wait, the next one first, at most `limit`."""
        while True:
            try:
                return list(islice(self.items, limit))
            except RuntimeError:  # another thread changed the deque during the iteration
                continue

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return how many messages wait, were received, were dropped, consumers wait, and waited at most."""
        return len(self.items), self.received, self.dropped, len(self.waiters), self.deepest

    def members(self) -> list[tuple[str, int, int, int]]:
        """Return the members, where processes share the messages: name, taken, held, waiting consumers."""
        return []

    def attach(self, front: object) -> bool:
        """Stay open for the queue `front`, which is held weakly; return False when this is closed already."""
        key = id(front)
        with _attaching:
            if not self.closed:
                self._fronts[key] = ref(front, lambda _: self.detach(key))
        return not self.closed

    def detach(self, key: int) -> None:
        """Handle that a queue was closed or collected; the last one closes the store."""
        with _attaching:
            left = self._fronts.pop(key, None)
            last = left is not None and not self._fronts
            self.closed |= last
        if last:
            self.close()

    def close(self) -> None:
        """Add nothing more, and wake all waiters. What is in the buffer can still be taken."""
        self.closed = True
        if self._ended:
            return  # `on_close` cancels the subscription, whose cancellation closes the store
        self._ended = True
        self.on_close()
        self.waiters.wake_all()


class BoundedStore(Store):
    """A buffer with the capacity `maxsize`, and a rule for overflow; see `Queue`."""

    def __init__(self, maxsize: int, overflow: Overflow, items: Items | None = None) -> None:
        super().__init__(items)
        self.maxsize = maxsize
        self.overflow = overflow
        self._senders = Waiters()
        self._lock = ForkSafeLock()

    def put(self, message: Message) -> None:
        """Add one message, or apply the rule for overflow; `queue.Full` where that is ``"raise"``."""
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
            if not self._wait_for_capacity():
                return
        if self.waiters:
            self.waiters.wake()
        del oldest  # only now, without the lock: that may run the destructor of a payload
        if full and self.overflow == "raise":
            from queue import Full

            raise Full(f"the queue is full (maxsize={self.maxsize}) and did not take in {message.id!r}")

    def _drop_oldest(self) -> Message | None:
        """Remove and return the oldest message, or None when there is none left to drop."""
        items = self.items
        try:
            drop = getattr(items, "drop_oldest", items.popleft)  # where the next is not always the oldest
            oldest: Message | None = drop()
        except IndexError:
            return None  # a consumer has just taken it: there is capacity again
        self.dropped += 1
        return oldest

    def _wait_for_capacity(self) -> bool:
        """Block the publisher until a message was taken; return False when the store was closed instead."""
        gate = threading.Lock()
        gate.acquire()
        wake = gate.release
        self._senders.append(wake)
        try:
            # Checked after the append: a consumer removes a message first and then checks for senders, so one
            # of the two sees the other. `close` sets `closed` before it wakes all.
            if len(self.items) >= self.maxsize and not self.closed:
                gate.acquire()
        finally:
            self._senders.discard(wake)
            # It may have been woken and interrupted, or not have needed its wake-up: the next one gets it.
            if len(self.items) < self.maxsize and self._senders:
                self._senders.wake()
        return not self.closed

    def took(self) -> None:
        """Wake a blocked publisher: a message was removed."""
        if self._senders:
            self._senders.wake()

    def close(self) -> None:
        """Add nothing more, and wake blocked publishers too."""
        super().close()
        self._senders.wake_all()


class PriorityItems:
    """A heap with the interface of the deque of a store: messages with the lowest `priority` come first.

    A running number orders messages of equal priority by their arrival.
    """

    def __init__(self, priority: Callable[[Message], float]) -> None:
        self._priority = priority
        self._heap: list[tuple[float, int, Message]] = []
        self._arrivals = count()
        self._lock = ForkSafeLock()
        import heapq  # few queues need it

        self._heapq = heapq

    def append(self, message: Message) -> None:
        """Add one message."""
        self.insert(self.urgency(message), message)

    def urgency(self, message: Message) -> float:
        """Return what orders a message: the lowest comes out first."""
        return float(self._priority(message))

    def insert(self, urgency: float, message: Message) -> None:
        """Add one message whose `urgency` is known."""
        with self._lock:
            self._heapq.heappush(self._heap, (urgency, next(self._arrivals), message))

    def take_all(self) -> list[tuple[float, Message]]:
        """Remove and return all messages in their order, each with its `urgency`."""
        with self._lock:
            taken, self._heap = sorted(self._heap), []
        return [(urgency, message) for urgency, _, message in taken]

    def popleft(self) -> Message:
        """Remove and return the message with the lowest priority; `IndexError` when there is none."""
        with self._lock:
            return self._heapq.heappop(self._heap)[2]

    def drop_oldest(self) -> Message:
        """Remove and return the message that came first, of any priority; `IndexError` when there is none."""
        with self._lock:
            if not self._heap:
                raise IndexError("the store is empty")
            dropped = min(self._heap, key=itemgetter(1))
            self._heap.remove(dropped)
            self._heapq.heapify(self._heap)
        return dropped[2]

    def __len__(self) -> int:
        return len(self._heap)

    def __getitem__(self, index: int) -> Message:
        return self._heap[index][2]  # the index is always 0: a heap is sorted only there

    def __iter__(self) -> Iterator[Message]:
        with self._lock:
            waiting = sorted(self._heap)
        return (message for _, _, message in waiting)
