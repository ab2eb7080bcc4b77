"""Messages that wait by priority instead of by arrival."""

from __future__ import annotations

import threading
from heapq import heapify, heappop, heappush
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING

from . import forking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .messages import Message

__all__ = ["PriorityItems"]


class PriorityItems:
    """Stands in for the deque of a store: what `priority` gives the lowest number comes first.

    Equal ones come in order of arrival.
    """

    def __init__(self, priority: Callable[[Message], float]) -> None:
        self._priority = priority
        self._heap: list[tuple[float, int, Message]] = []
        self._arrivals = count()
        self._lock = threading.RLock()
        forking.track(self)

    def after_fork(self) -> None:
        """Start with an unheld lock in a forked child."""
        self._lock = threading.RLock()

    def append(self, message: Message) -> None:
        """Put in one message."""
        urgency = float(self._priority(message))
        with self._lock:
            heappush(self._heap, (urgency, next(self._arrivals), message))

    def popleft(self) -> Message:
        """Take out the most urgent message; `IndexError` when there is none."""
        with self._lock:
            return heappop(self._heap)[2]

    def drop_oldest(self) -> Message:
        """Take out the message that came first, however urgent; `IndexError` when there is none."""
        with self._lock:
            if not self._heap:
                raise IndexError("nothing waits")
            dropped = min(self._heap, key=itemgetter(1))
            self._heap.remove(dropped)
            heapify(self._heap)
        return dropped[2]

    def __len__(self) -> int:
        return len(self._heap)

    def __getitem__(self, place: int) -> Message:
        return self._heap[place][2]  # the first is the most urgent; nobody asks for another

    def __iter__(self) -> Iterator[Message]:
        with self._lock:
            waiting = sorted(self._heap)
        return (message for _, _, message in waiting)
