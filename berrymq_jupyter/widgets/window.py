"""The selection of a log's rows that its pages show.

A page that shows the newest matches of a million rows must not wait for a search of all of them, and must not
jump when older ones are found. Hence the places: what is found later gets places outside of those that are
known, at either end.

Invariant, with a test: `matches` has the numbers of all rows in ``[low, high)`` that pass and are kept,
ascending, and the place of ``matches[i]`` is ``start + i``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import count, islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq import Message

    from .rows import Rows, Snapshot

    Test = Callable[[Message], bool]

__all__ = ["Window"]

EPOCHS: Final = count(1)
"""Numbers for all windows of the process."""
CHUNK: Final = 200
"""Rows that are searched between two checks of the clock. A test of a row takes some microseconds, so this is
about a millisecond."""


class Window:
    """The rows that pass a test, each with a place: an integer that stays the same while the test does.

    Without a test the place of a row is its number. With one, rows are searched in both directions from the
    newest one when the test was set: new ones as they arrive, old ones as time allows, so that the newest
    matches are found first, however many rows there are. Places of older matches are therefore negative.

    Of the rows before `Rows.first` only some are kept (`Rows.older`). Their places move up when rows beside
    them are removed: `begin` moves as far.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.test: Test | None = None
        """None if all rows are shown."""
        self.epoch = next(EPOCHS)
        """Identifies the test; places of different epochs are unrelated."""
        self.matches: deque[int] = deque()
        """Numbers of the rows that pass, ascending."""
        self.start = 0
        """The place of the first match."""
        self.low = self.high = 0
        """Rows with numbers from `low` to before `high` have been searched."""

    @property
    def end(self) -> int:
        """The place of the next row."""
        return self.rows.end if self.test is None else self.start + len(self.matches)

    @property
    def begin(self) -> int:
        """The place of the oldest row."""
        return self.rows.first - len(self.rows.older) if self.test is None else self.start

    @property
    def older(self) -> int:
        """The number of older rows."""
        return self.place_of(self.rows.first) - self.begin

    def place_of(self, number: int) -> int:
        """Return the place after the last row with a lower number."""
        number = min(max(number, self.rows.first), self.rows.end)
        return number if self.test is None else self.start + bisect_left(self.matches, number)

    @property
    def unsearched(self) -> int:
        """The number of kept rows that have not been searched."""
        if self.test is None:
            return 0
        left = self.low - self.rows.first
        if left >= 0:
            return self.rows.end - self.high + left + len(self.rows.older)
        return self.rows.end - self.high + bisect_left(self.rows.older.numbers, self.low)

    def select(self, test: Test | None) -> None:
        """Show the rows that pass `test`; all with None."""
        self.test = test
        self.epoch = next(EPOCHS)
        self.matches.clear()
        self.start = 0
        self.low = self.high = self.rows.end

    def advance(self, seconds: float) -> None:
        """Remove matches that are not kept any more, and search further rows for at most `seconds`.

        Called in each round of the pump. New rows come first, for the user watches those.
        """
        if self.test is None:
            return
        first = self.rows.first
        if self.matches and self.matches[0] < first:
            self.drop(first)
        self.high = max(self.high, first)
        self.low = min(self.low, self.high)
        if not self.unsearched:
            return
        kept = self.rows.snapshot()
        deadline = perf_counter() + seconds
        self.look_forward(self.test, kept, deadline)
        self.look_back(self.test, kept, deadline)

    def drop(self, first: int) -> None:
        """Remove the matches before `first` that are not kept any more.

        Matches among `Rows.older` stay; so what is removed may be in the middle, and the places of those
        before it move up by one.
        """
        older = self.rows.older.messages
        before = []
        while self.matches and self.matches[0] < first:
            number = self.matches.popleft()
            if number in older:
                before.append(number)
            else:
                self.start += 1
        self.matches.extendleft(reversed(before))

    def look_forward(self, test: Test, kept: Snapshot, deadline: float) -> None:
        """Search new rows, oldest first."""
        while self.high < self.rows.end and perf_counter() < deadline:
            upper = min(self.high + CHUNK, self.rows.end)
            self.matches.extend(passing(test, kept.between(self.high, upper)))
            self.high = upper

    def look_back(self, test: Test, kept: Snapshot, deadline: float) -> None:
        """Search old rows, newest first."""
        numbers = kept.older.numbers
        while perf_counter() < deadline:
            if self.low > kept.first:
                lower = max(kept.first, self.low - CHUNK)
            else:
                at = bisect_left(numbers, self.low)
                if not at:
                    break
                lower = numbers[max(0, at - CHUNK)]
            found = passing(test, kept.between(lower, self.low))
            self.matches.extendleft(reversed(found))
            self.start -= len(found)
            self.low = lower

    def page(self, start: int, end: int) -> list[tuple[int, int, Message]]:
        """Return (place, number, message) of the rows from place `start` to before `end`.

        A place whose message was removed since is left out.
        """
        start, end = max(start, self.begin), min(end, self.end)
        if start >= end:
            return []
        kept = self.rows.snapshot()
        if self.test is None:
            first, older = self.rows.first, kept.older.numbers
            begin = first - len(older)
            early = older[start - begin : end - begin] if start < first else []
            rows = [
                (start + index, number, kept.older.messages[number]) for index, number in enumerate(early)
            ]
            later = kept.between(max(start, first), end)
            return rows + [(number, number, message) for number, message in later]
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
