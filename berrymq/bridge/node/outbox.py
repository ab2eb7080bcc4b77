"""What this process publishes and the links have not taken yet; filled on any thread."""

from __future__ import annotations

import threading
from collections import deque
from itertools import groupby
from operator import itemgetter
from time import monotonic, sleep
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Outbox", "Overflow"]

Overflow = Literal["drop_oldest", "block"]

MAX_MESSAGES = 100_000
MAX_BYTES = 64 * 1024 * 1024

POLL_SECONDS = 0.0005
"""How often it is looked whether the outbox is empty, while somebody waits for that."""

Item = tuple[str, bytes]
"""An identifier as text, and a message as it stands in a batch."""


class Outbox:
    """Messages on their way from the publishing threads to the links.

    Publishing takes no lock. `deque.append` and `popleft` are atomic, and `take` notes that the outbox is not
    taken care of before it looks for the last time: so a publisher that finds it taken care of has its
    message seen, and one that does not sees to it.

    Args:
        capacity: how many messages the links take before their buffers overflow; asked when `overflow` is
            "block".
        may_wait: whether this thread may be made to wait.
    """

    def __init__(self, capacity: Callable[[], int], may_wait: Callable[[], bool]) -> None:
        self.blocks = False
        self.dropped = 0
        """Messages that were dropped here."""
        self._capacity = capacity
        self._may_wait = may_wait
        self._changed = threading.Condition(threading.Lock())
        self._items: deque[Item] = deque()
        self._bytes = 0
        """About how many bytes wait: it is counted without a lock, and set right whenever all is taken."""
        self._is_taken_care_of = False
        self._closed = False

    @property
    def overflow(self) -> Overflow:
        """What happens to what is published faster than it can be sent."""
        return "block" if self.blocks else "drop_oldest"

    @overflow.setter
    def overflow(self, overflow: Overflow) -> None:
        self.blocks = overflow == "block"
        self.wake()

    def put(self, identifier: str, message: bytes) -> bool:
        """Add a message; True if the caller has to see to it that the outbox is emptied."""
        if self.blocks:
            self.wait_for_capacity()
        return self.put_now(identifier, message)

    def put_now(self, identifier: str, message: bytes) -> bool:
        """Add a message without waiting; see `put`."""
        items = self._items
        items.append((identifier, message))
        self._bytes += len(message)
        if len(items) > MAX_MESSAGES or self._bytes > MAX_BYTES:
            self._drop()
        if self._is_taken_care_of:
            return False
        self._is_taken_care_of = True
        return True

    def _drop(self) -> None:
        items = self._items
        with self._changed:
            while len(items) > MAX_MESSAGES or (self._bytes > MAX_BYTES and len(items) > 1):
                try:
                    self._bytes -= len(items.popleft()[1])
                except IndexError:  # it was emptied meanwhile
                    return
                self.dropped += 1

    def wait_for_capacity(self) -> None:
        """Wait while the links take nothing more, if that is what `overflow` says."""
        if not self._may_wait():
            return
        with self._changed:
            while (
                self.blocks
                and not self._closed
                and (
                    len(self._items) >= MAX_MESSAGES // 2
                    or self._bytes >= MAX_BYTES // 2
                    or self._capacity() <= len(self._items)
                )
            ):
                self._changed.wait(0.1)  # room comes with acknowledgements; `wake` tells of most of them

    def wake(self) -> None:
        """Wake publishers that wait for capacity."""
        with self._changed:
            self._changed.notify_all()

    def take(self, most_bytes: int) -> list[tuple[str, list[bytes]]]:
        """Take out what is in it now, grouped by what was published in a row under one identifier.

        Args:
            most_bytes: about so many bytes are in one group at most.

        Returns:
            Nothing where nothing came since the last time; then the next who adds something has to see to it
            that the outbox is emptied.
        """
        items = self._items
        if not items:
            self._is_taken_care_of = False
            if not items:
                return []
            self._is_taken_care_of = True  # a publisher may have seen to it too; then both do, without harm
        self._bytes = 0
        taken: list[Item] = []
        pop = items.popleft
        try:
            for _ in range(len(items)):
                taken.append(pop())  # noqa: PERF401 - what was taken must not get lost with the error
        except IndexError:  # a publisher has dropped some meanwhile
            pass
        if self.blocks:
            self.wake()
        if len(taken) == 1:
            return [(taken[0][0], [taken[0][1]])]
        groups = []
        for identifier, group in groupby(taken, itemgetter(0)):
            messages = [message for _, message in group]
            if sum(map(len, messages)) <= most_bytes:
                groups.append((identifier, messages))
            else:
                groups += [(identifier, part) for part in parts(messages, most_bytes)]
        return groups

    def __bool__(self) -> bool:
        return bool(self._items) or self._is_taken_care_of

    def wait_until_empty(self, deadline: float | None) -> bool:
        """Wait until the links have everything that is in here now; False if that took too long."""
        while self:
            if deadline is not None and monotonic() >= deadline:
                return False
            sleep(POLL_SECONDS)
        return True

    def close(self) -> None:
        """Let those go who wait."""
        self._closed = True
        with self._changed:
            self._changed.notify_all()


def parts(messages: list[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """Split messages into parts of about so many bytes at most."""
    part: list[bytes] = []
    size = 0
    for message in messages:
        if part and size + len(message) > most_bytes:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message)
    yield part
