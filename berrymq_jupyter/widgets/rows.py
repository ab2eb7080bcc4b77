"""The messages that a log keeps, and the selection of them that its pages show."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import count, islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

from .pump import pump
from .weight import weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from berrymq import Message

    Test = Callable[[Message], bool]

__all__ = ["Rows", "Snapshot", "Window"]

BURST: Final = 100_000
"""Messages that may come between two looks and are still seen, however few are kept."""
SLACK: Final = 64
"""By how much a count of arrivals may differ from what is there, with senders in many threads."""
CHUNK: Final = 1000
"""Rows that are searched between two looks at the clock."""
WEIGHED: Final = 2000
"""Messages of one batch that are weighed at most."""


class Snapshot:
    """The messages of one moment; `first` is the number of the oldest."""

    __slots__ = ("first", "messages")

    def __init__(self, first: int, messages: list[Message]) -> None:
        self.first = first
        self.messages = messages

    def get(self, number: int) -> Message | None:
        """Return the message of that number, or None if it is not kept any more."""
        index = number - self.first
        return self.messages[index] if 0 <= index < len(self.messages) else None

    def between(self, start: int, end: int) -> Iterator[tuple[int, Message]]:
        """Yield (number, message) for those kept from `start` on, before `end`."""
        start = max(start, self.first)
        part = self.messages[start - self.first : max(end - self.first, 0)]
        return zip(range(start, end), part, strict=False)


class Rows:
    """The newest messages, numbered as they came. The number of a message never changes.

    Senders append to `kept` themselves. Handing over through a second deque would cost them more than
    everything else here: messages would pile up between two looks and be freed together, and the garbage
    collector runs by that difference. So `kept` changes at any moment, and where it stands is told by the
    last message that `absorb` has seen. Whatever needs numbers takes a `snapshot` first, and does not hold it
    for long.
    """

    def __init__(self, maxlen: int, max_bytes: int) -> None:
        self.maxlen = maxlen
        self.max_bytes = max_bytes
        self.kept: deque[Message] = deque(maxlen=max(maxlen, BURST))
        self.collect, self.collected = collector(self.kept)
        self.last: Message | None = None
        """The newest message that was absorbed."""
        self.seen = 0
        """What `collected` said when that was."""
        self.first = 0
        """The number of the oldest message that is kept."""
        self.end = 0
        """The number that the next message gets."""
        self.missed = 0
        """Messages that were pushed out before anybody looked."""
        self.heavy: deque[tuple[int, int]] = deque()
        """Numbers and bytes of the payloads that count."""
        self.bytes = 0
        """What they hold together."""

    def __len__(self) -> int:
        return self.end - self.first

    def waiting(self) -> bool:
        """Tell whether messages came that are not absorbed yet."""
        return len(self.kept) > 0 and self.kept[-1] is not self.last

    def absorb(self) -> list[Message]:
        """Number the messages that came since the last call, and return those that are still there."""
        if not self.waiting():
            return []
        collected = self.collected()
        came = collected - self.seen
        newest = self.copy(came + SLACK)
        fresh = self.position(newest, came)
        if fresh is None:  # the first messages, or so many that the last one seen has been pushed out
            collected, newest = self.copy_counted()
            came, fresh = collected - self.seen, len(newest)
            self.missed += came - fresh
            self.end += came - fresh
        batch = newest[:fresh]
        batch.reverse()
        self.end += fresh
        self.seen = collected
        self.last = batch[-1]
        self.weigh(batch)
        self.trim()
        return batch

    def weigh(self, batch: list[Message]) -> None:
        """Take note of heavy payloads among the newest messages; of very many messages, of a sample."""
        stride = 1 + len(batch) // WEIGHED
        start = self.end - len(batch)
        for index in range(0, len(batch), stride):
            heavy = weight(batch[index])
            if heavy:
                self.heavy.append((start + index, heavy * stride))
                self.bytes += heavy * stride

    def copy_counted(self) -> tuple[int, list[Message]]:
        """Return how many messages came so far, and those of them that are kept, the newest first."""
        for _ in range(20):
            before = self.collected()
            newest = self.copy(len(self.kept) + SLACK)
            if self.collected() == before:  # no sender came between
                break
        return max(before, self.seen + len(newest)), newest

    def copy(self, most: int) -> list[Message]:
        """Return up to `most` of the newest messages, the newest first."""
        while True:
            try:
                return list(islice(reversed(self.kept), most))
            except RuntimeError:  # a sender was quicker; not with a global interpreter lock
                continue

    def position(self, newest: list[Message], expected: int) -> int | None:
        """Return how many of `newest` came after `last`, probably `expected`; None if `last` is gone."""
        if self.last is None:
            return None
        for index in range(min(expected + SLACK, len(newest)) - 1, -1, -1):
            if newest[index] is self.last:
                return index
        return None

    def trim(self) -> None:
        """Let go of what is more than `maxlen` and `max_bytes`, but for the newest message."""
        first = max(self.first, self.end - len(self.kept), self.end - self.maxlen)
        while self.heavy and (self.heavy[0][0] < first or self.bytes > self.max_bytes):
            number, held = self.heavy.popleft()
            self.bytes -= held
            first = max(first, min(number + 1, self.end - 1))
        self.first = first
        for _ in range(len(self.kept) - (self.end - first)):
            self.kept.popleft()

    def snapshot(self) -> Snapshot:
        """Return what is kept and absorbed."""
        newest = self.copy(self.kept.maxlen or 0)
        fresh = self.position(newest, self.collected() - self.seen)
        if fresh is None:  # everything that was absorbed has been pushed out, or nothing ever came
            return Snapshot(self.end, [])
        absorbed = newest[fresh : fresh + len(self)]
        absorbed.reverse()
        return Snapshot(self.end - len(absorbed), absorbed)

    def clear(self) -> None:
        """Forget what was absorbed, not the numbering."""
        self.first = self.end
        self.heavy.clear()
        self.bytes = 0
        while self.kept and self.kept[0] is not self.last:
            self.kept.popleft()


def collector(kept: deque[Message]) -> tuple[Callable[[Message], None], Callable[[], int]]:
    """Return the follower that puts messages down, and a function that tells how many it got so far.

    The follower runs in the sender's thread, so it is as short as can be: an append, a count
    (`itertools.count` is atomic, `+= 1` is not), and a look whether the pump sleeps.
    """
    ticket = count().__next__
    append = kept.append
    feeder = pump
    reads = 0

    def collect(message: Message) -> None:
        append(message)
        ticket()
        if feeder.asleep:
            feeder.wake()

    collect.__qualname__ = "MessageLog"  # as lists of followers show it

    def collected() -> int:
        nonlocal reads
        reads += 1
        return ticket() - reads + 1

    return collect, collected


class Window:
    """The rows that pass a test, each with a place: an integer that stays the same while the test does.

    Without a test the place of a row is its number. With one, rows are looked at in both directions from
    where the newest was when the test was set: new ones as they come, old ones as time allows, so that the
    newest matches are there at once however many rows there are. Places of older matches are therefore
    negative.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.test: Test | None = None
        self.epoch = 0
        """Counts the tests; places of different epochs have nothing to do with each other."""
        self.matches: deque[int] = deque()
        self.start = 0
        self.low = self.high = 0
        """The rows with numbers from `low` on and before `high` have been looked at."""

    @property
    def end(self) -> int:
        """The place that the next row gets."""
        return self.rows.end if self.test is None else self.start + len(self.matches)

    @property
    def begin(self) -> int:
        """The place of the oldest row."""
        return self.rows.first if self.test is None else self.start

    def place_of(self, number: int) -> int:
        """Return the place after the last row with a lower number."""
        number = min(max(number, self.rows.first), self.rows.end)
        return number if self.test is None else self.start + bisect_left(self.matches, number)

    @property
    def unsearched(self) -> int:
        """How many kept rows have not been looked at yet."""
        if self.test is None:
            return 0
        return self.rows.end - self.high + max(0, self.low - self.rows.first)

    def select(self, test: Test | None) -> None:
        """Show the rows that pass `test`; all with None."""
        self.test = test
        self.epoch += 1
        self.matches.clear()
        self.start = 0
        self.low = self.high = self.rows.end

    def advance(self, seconds: float) -> None:
        """Drop matches that are not kept any more, and look at further rows for at most `seconds`."""
        if self.test is None:
            return
        first = self.rows.first
        while self.matches and self.matches[0] < first:
            self.matches.popleft()
            self.start += 1
        self.high = max(self.high, first)
        self.low = min(max(self.low, first), self.high)
        if not self.unsearched:
            return
        kept = self.rows.snapshot()
        deadline = perf_counter() + seconds
        self.look_forward(self.test, kept, deadline)
        self.look_back(self.test, kept, deadline)

    def look_forward(self, test: Test, kept: Snapshot, deadline: float) -> None:
        """Look at new rows, oldest first."""
        while self.high < self.rows.end and perf_counter() < deadline:
            upper = min(self.high + CHUNK, self.rows.end)
            self.matches.extend(passing(test, kept.between(self.high, upper)))
            self.high = upper

    def look_back(self, test: Test, kept: Snapshot, deadline: float) -> None:
        """Look at old rows, newest first."""
        while self.low > self.rows.first and perf_counter() < deadline:
            lower = max(self.rows.first, self.low - CHUNK)
            found = passing(test, kept.between(lower, self.low))
            self.matches.extendleft(reversed(found))
            self.start -= len(found)
            self.low = lower

    def page(self, start: int, end: int) -> list[tuple[int, int, Message]]:
        """Return (place, number, message) of the rows from place `start` on, before `end`."""
        start, end = max(start, self.begin), min(end, self.end)
        if start >= end:
            return []
        kept = self.rows.snapshot()
        if self.test is None:
            return [(number, number, message) for number, message in kept.between(start, end)]
        numbers = islice(self.matches, start - self.start, end - self.start)
        found = []
        for place, number in enumerate(numbers, start):
            message = kept.get(number)
            if message is not None:
                found.append((place, number, message))
        return found


def passing(test: Test, numbered: Iterable[tuple[int, Message]]) -> list[int]:
    """Return the numbers of the messages that pass a test."""
    return [number for number, message in numbered if test(message)]
