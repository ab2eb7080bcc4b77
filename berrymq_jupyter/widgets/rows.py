"""The messages that a log keeps, and the selection of them that its pages show."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from time import perf_counter

from berrymq import Message

__all__ = ["Rows", "Window"]

Test = Callable[[Message], bool]


class Rows:
    """The newest messages, numbered as they came. The number of a message never changes."""

    def __init__(self, maxlen: int) -> None:
        self.kept: deque[Message] = deque(maxlen=maxlen)
        self.end = 0
        """The number that the next message gets."""

    @property
    def first(self) -> int:
        """The number of the oldest message that is kept."""
        return self.end - len(self.kept)

    def extend(self, batch: list[Message]) -> None:
        """Add messages; the oldest ones make room."""
        self.kept.extend(batch)
        self.end += len(batch)

    def clear(self) -> None:
        """Forget the messages, not the numbering."""
        self.kept.clear()

    def get(self, number: int) -> Message | None:
        """Return the message of that number, or None if it is not kept any more."""
        return self.kept[number - self.first] if self.first <= number < self.end else None

    def between(self, start: int, end: int) -> Iterator[tuple[int, Message]]:
        """Yield (number, message) for those kept from `start` on, before `end`."""
        start = max(start, self.first)
        return zip(
            range(start, end), islice(self.kept, start - self.first, max(end - self.first, 0)), strict=False
        )


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
        deadline = perf_counter() + seconds
        self.look_forward(self.test, deadline)
        self.look_back(self.test, deadline)

    def look_forward(self, test: Test, deadline: float) -> None:
        """Look at new rows, oldest first."""
        for number, message in self.rows.between(self.high, self.rows.end):
            if test(message):
                self.matches.append(number)
            self.high = number + 1
            if not number % 64 and perf_counter() > deadline:
                return

    def look_back(self, test: Test, deadline: float) -> None:
        """Look at old rows, newest first."""
        while self.low > self.rows.first and perf_counter() < deadline:
            lower = max(self.rows.first, self.low - 64)
            for number, message in reversed(list(self.rows.between(lower, self.low))):
                if test(message):
                    self.matches.appendleft(number)
                    self.start -= 1
            self.low = lower

    def page(self, start: int, end: int) -> list[tuple[int, int, Message]]:
        """Return (place, number, message) of the rows from place `start` on, before `end`."""
        start, end = max(start, self.begin), min(end, self.end)
        if self.test is None:
            return [(number, number, message) for number, message in self.rows.between(start, end)]
        found = []
        for place, number in zip(
            range(start, end),
            islice(self.matches, start - self.start, max(end - self.start, 0)),
            strict=False,
        ):
            message = self.rows.get(number)
            if message is not None:
                found.append((place, number, message))
        return found
