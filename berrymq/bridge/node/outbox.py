"""The outbox: messages that were published and are not in the links' buffers yet; filled on any thread.

It exists so that `twitter` need neither take the router's lock nor write to a socket: a thread that publishes
in a loop appends to a deque, and whoever empties that joins consecutive messages of one identifier to a
batch.

Its bound is for a burst that is faster than the loop. What is slow at the other side is buffered behind the
window of the link (``protocol/reliable_stream.py``), and dropped and counted there.
"""

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
"""``"drop_oldest"`` drops and counts, ``"block"`` makes the publisher wait until the links take more."""

MAX_MESSAGES = 100_000
"""As many as the buffer of one link takes; with ``"block"`` publishers wait at half of it, so that several
threads that pass the check at once do not exceed it."""
MAX_BYTES = 64 * 1024 * 1024

POLL_SECONDS = 0.0005
"""The interval of checks whether the outbox is empty, while a flush waits for that."""

Item = tuple[str, bytes]
"""An identifier as text, and a message as it is encoded in a batch."""


class Outbox:
    """Messages between the publishing threads and the links.

    Publishing takes no lock. `deque.append` and `popleft` are atomic, and `take` clears the flag that a
    thread will empty the outbox before its last look into it. So a publisher that finds the flag set has its
    message taken, and one that finds it cleared empties the outbox itself.

    The race that the flag decides: a publisher appends and then reads the flag; the emptying thread clears
    the flag and then looks for items. In whichever order these four steps interleave, at least one of the two
    sees the other's write, so no message is left behind. Both may see it; then the
    outbox is emptied twice, which is harmless.

    Args:
        capacity: returns how many messages the links take before their buffers overflow; used when `overflow`
            is "block".
        may_wait: returns whether the current thread may block.
    """

    def __init__(self, capacity: Callable[[], int], may_wait: Callable[[], bool]) -> None:
        self.blocks = False
        """Whether `put` waits; read on each call without a lock."""
        self.dropped = 0
        """The number of messages that were dropped here. It only grows; `Node._drain` logs it, at most once
        in some seconds."""
        self._capacity = capacity
        self._may_wait = may_wait
        self._changed = threading.Condition(threading.Lock())
        self._items: deque[Item] = deque()
        self._bytes = 0
        """The approximate number of bytes: counted without a lock, corrected whenever all are taken."""
        self._is_scheduled = False
        """A thread has been asked to empty the outbox and has not taken its last look yet."""
        self._closed = False

    @property
    def overflow(self) -> Overflow:
        """The policy for messages that are published faster than they are sent."""
        return "block" if self.blocks else "drop_oldest"

    @overflow.setter
    def overflow(self, overflow: Overflow) -> None:
        self.blocks = overflow == "block"
        self.wake()

    def put(self, identifier: str, message: bytes, *, may_block: bool = True) -> bool:
        """Add a message; return True if the caller has to have the outbox emptied.

        On overflow the oldest messages are dropped, or this blocks: see `overflow`.

        On any thread, without a lock unless it is full.

        Args:
            identifier: the message's identifier, as text.
            message: the message, as it is encoded in a batch.
            may_block: False for a caller that has called `wait_for_capacity`, and holds a lock now.
        """
        if self.blocks and may_block:
            self.wait_for_capacity()
        items = self._items
        items.append((identifier, message))
        self._bytes += len(message)
        if len(items) > MAX_MESSAGES or self._bytes > MAX_BYTES:
            self._drop()
        if self._is_scheduled:
            return False
        self._is_scheduled = True
        return True

    def _drop(self) -> None:
        """Drop the oldest messages until both bounds hold, and count them; the newest one always stays.

        The condition's lock makes two publishers that overflow at once count each message once.
        """
        items = self._items
        with self._changed:
            while len(items) > MAX_MESSAGES or (self._bytes > MAX_BYTES and len(items) > 1):
                try:
                    self._bytes -= len(items.popleft()[1])
                except IndexError:  # it was emptied in between
                    return
                self.dropped += 1

    def wait_for_capacity(self) -> None:
        """Block while the links take nothing more, if `overflow` is "block".

        It returns at once on the I/O thread, which would wait for itself, and after `close`.
        """
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
                self._changed.wait(0.1)  # capacity grows with acknowledgements; `wake` follows most of them

    def wake(self) -> None:
        """Wake publishers that wait for capacity.

        Called after each frame that a link has received, which may have acknowledged something.
        """
        with self._changed:
            self._changed.notify_all()

    def take(self, most_bytes: int) -> list[tuple[str, list[bytes]]]:
        """Take all messages, grouped by runs of one identifier.

        The router's lock is held, so one thread at a time takes. Messages that are appended meanwhile stay
        for the next call: the length is read once, or a thread that publishes fast would keep this one for
        ever.

        Args:
            most_bytes: the approximate size of a group at most.

        Returns:
            The groups; none if there were no messages. Then the next publisher has to have the outbox
                emptied.
        """
        items = self._items
        if not items:
            self._is_scheduled = False
            if not items:
                return []
            self._is_scheduled = (
                True  # a publisher may have been asked for it too; then both do it, without harm
            )
        self._bytes = 0
        taken: list[Item] = []
        pop = items.popleft
        try:
            for _ in range(len(items)):
                taken.append(pop())  # noqa: PERF401 - what was taken must not get lost with the error
        except IndexError:  # a publisher has dropped some in between
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
        return bool(self._items) or self._is_scheduled

    def wait_until_empty(self, deadline: float | None) -> bool:
        """Wait until the links have everything that is in the outbox now; return False at the timeout.

        It polls: publishing must not pay for a wake-up that only `flush` needs.

        Args:
            deadline: by `time.monotonic`; None for none.
        """
        while self:
            if deadline is not None and monotonic() >= deadline:
                return False
            sleep(POLL_SECONDS)
        return True

    def close(self) -> None:
        """Release all waiting publishers."""
        self._closed = True
        with self._changed:
            self._changed.notify_all()


def parts(messages: list[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """Split messages into groups of about that many bytes at most."""
    part: list[bytes] = []
    size = 0
    for message in messages:
        if part and size + len(message) > most_bytes:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message)
    yield part
