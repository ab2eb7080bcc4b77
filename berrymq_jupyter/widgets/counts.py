"""Counts and rates of messages by identifier, or by source.

A page gets only what has changed, and at most some hundred identifiers with each update: with ten thousand of
them, those whose counts are oldest there come first, and all in turn.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Counts", "Rate"]

SMOOTHING: Final = 1.5
"""Seconds over which a rate is averaged."""
MOST: Final = 10_000
"""Identifiers counted one by one; all further ones are counted together."""
HEAD_START: Final = 10
"""The number of turns for which a falling rate gives way to new counts."""


class Rate:
    """A smoothed number of events a second.

    Exponentially averaged over `SMOOTHING` seconds, so that a burst shows, and fades.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, events: int, seconds: float) -> bool:
        """Record that `events` happened in the last `seconds`; return whether the shown value changed.

        Args:
            events: since the last call.
            seconds: since the last call.
        """
        before = self.value
        if seconds > 0:
            keep = exp(-seconds / SMOOTHING)
            self.value = before * keep + (1 - keep) * events / seconds
            if not events and self.value < 0.05:
                self.value = 0.0
        return self.value != before


class Count:
    """The count and rate of one identifier."""

    __slots__ = ("changed", "counted", "rate", "taken", "total")

    def __init__(self) -> None:
        self.total = 0
        """Messages since the beginning, or since `Counts.clear`."""
        self.rate = Rate()
        self.changed = True
        """Whether the page lacks something of it."""
        self.counted = True
        """True when more than the rate has changed."""
        self.taken = 0
        """The turn in which it was last returned."""


class Counts:
    """Counts by identifier, in a bounded table, and which of them a page does not have yet."""

    def __init__(self) -> None:
        self.table: dict[str, Count] = {}
        self.others = 0
        """Messages of identifiers that are not in the table."""
        self.turn = 0
        """The number of calls of `take`."""
        self.rate = Rate()
        self.more = False
        """True when the last `take` may have left some."""
        self.moving = False
        """True while some rate is not zero."""

    def update(self, batch: Mapping[str, int], total: int, seconds: float) -> None:
        """Count the `total` messages that came in the last `seconds`.

        Args:
            batch: how many of those that were numbered each identifier has.
            total: all messages, those displaced before they were numbered included.
            seconds: since the last call.
        """
        for identifier, came in batch.items():
            if identifier not in self.table:
                if len(self.table) < MOST:
                    self.table[identifier] = Count()
                else:
                    self.others += came
        self.moving = self.rate.update(total, seconds) or self.rate.value > 0
        for identifier, count in self.table.items():
            came = batch.get(identifier, 0)
            if came or count.rate.value:
                count.total += came
                count.changed |= count.rate.update(came, seconds) or came > 0
                count.counted |= came > 0
                self.moving |= count.rate.value > 0

    def touch(self, identifiers: Iterable[str]) -> None:
        """Have these taken next time, for something else than their counts has changed."""
        for identifier in identifiers:
            count = self.table.get(identifier)
            if count is not None:
                count.changed = True

    def clear(self) -> tuple[dict[str, int], int]:
        """Remove all counts, and return those by identifier, and that of the others."""
        removed = {identifier: count.total for identifier, count in self.table.items()}, self.others
        self.table.clear()
        self.others = 0
        return removed

    def restore(self, totals: dict[str, int], others: int) -> None:
        """Add what a `clear` has removed."""
        self.others += others
        for identifier, total in totals.items():
            if identifier not in self.table and len(self.table) >= MOST:
                self.others += total
                continue
            count = self.table.setdefault(identifier, Count())
            count.total += total
            count.changed = count.counted = True

    def take(self, limit: int, everything: bool) -> list[list[str | int | float]]:
        """Return [identifier, count, rate] of those changed since their last return, or of `everything`.

        Of more than `limit` those are returned that have waited longest.

        Args:
            limit: the most identifiers.
            everything: for a page that has nothing yet: all are returned, however many.
        """
        due = [(name, count) for name, count in self.table.items() if count.changed or everything]
        self.more = len(due) > limit and not everything
        if self.more:
            due.sort(key=lambda entry: entry[1].taken + (0 if entry[1].counted else HEAD_START))
            del due[limit:]
        self.turn += 1
        taken: list[list[str | int | float]] = []
        for name, count in due:
            count.changed = count.counted = False
            count.taken = self.turn
            taken.append([name, count.total, round(count.rate.value, 2)])
        return taken
