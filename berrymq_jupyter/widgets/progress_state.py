"""The state of the progress bars that messages describe.

The messages are those of `berrymq.adapters.progress.Progress`, or of any program that sends the same keywords
(``n`` or the first argument, ``total``, ``elapsed``, ``rate``, ``description``, ``done``, ``stopped``,
``failed``). All values are checked, since any node may have sent them.
"""

from __future__ import annotations

from collections import Counter
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from berrymq import Message

__all__ = ["Bar", "Bars"]

MOST: Final = 200
"""The limit of bars kept; those that have ended are removed first, then those silent for longest."""
ENDS: Final = ("done", "stopped", "failed")
"""How a bar can end; the keyword of its last message that says so."""

Key = tuple[str | None, str, str]
"""Source, identifier and description: what distinguishes one bar from another."""


class Bar:
    """One progress bar: its node, and its progress.

    Args:
        number: see the attribute.
        message: its first message.
    """

    __slots__ = (
        "description",
        "elapsed",
        "end",
        "id",
        "n",
        "number",
        "rate",
        "reason",
        "received_at",
        "source",
        "total",
    )

    def __init__(self, number: int, message: Message) -> None:
        self.number = number
        """Stays the same while the bar exists: pages know it by that."""
        self.id = message.id
        """The identifier of its messages."""
        self.source = message.source
        """The name of its node; None for this process."""
        self.take(message)

    def take(self, message: Message) -> None:
        """Update its progress from a message."""
        kwargs = message.kwargs
        self.n = number_of(message.args[0] if message.args else kwargs.get("n")) or 0.0
        """How many are done."""
        self.total = number_of(kwargs.get("total"))
        """How many there are; None if unknown."""
        self.elapsed = number_of(kwargs.get("elapsed"))
        """Seconds since it began; None if unknown."""
        self.rate = number_of(kwargs.get("rate"))
        """How many are done per second; None if unknown."""
        self.description = text_of(kwargs.get("description"))
        self.end = end_of(kwargs)
        """How it ended, one of `ENDS`; "" while it runs."""
        self.reason = text_of(kwargs.get("failed"))
        """The reason of a failure, if it is known."""
        self.received_at = message.sent_at
        """The time of the last message, in seconds since 1970."""

    @property
    def remaining(self) -> float | None:
        """The estimated remaining seconds; None if unknown."""
        if self.end or not self.total or not self.rate or self.rate < 0:
            return None
        return max(0.0, (self.total - self.n) / self.rate)

    @property
    def share(self) -> float | None:
        """The fraction that is done, from 0 to 1; None without a total."""
        return min(max(self.n / self.total, 0.0), 1.0) if self.total else None


class Bars:
    """All bars, by node and name. Not thread-safe."""

    def __init__(self) -> None:
        self.table: dict[Key, Bar] = {}
        """The bars, the newest last."""
        self.numbers = 0
        """How many there were so far."""
        self.present: AbstractSet[str] = frozenset()
        """The names of the nodes that were connected when `look` was called last."""

    def look(self, present: AbstractSet[str]) -> bool:
        """Stop the bars of nodes that have disconnected.

        Args:
            present: the names of the nodes that are connected.

        Returns:
            Whether there were any.
        """
        gone, self.present = self.present - present, present
        stopped = [bar for bar in self.table.values() if not bar.end and bar.source in gone]
        for bar in stopped:
            bar.end = "stopped"
        return bool(stopped)

    def take(self, message: Message) -> None:
        """Process one message."""
        if message.action == "*":  # a wildcard describes no progress
            return
        key = (message.source, message.id, text_of(message.kwargs.get("description")))
        bar = self.table.get(key)
        # A message of a bar that has ended begins a new one of the same name.
        if bar is None or (bar.end and not end_of(message.kwargs)):
            self.table.pop(key, None)
            self.make_room()
            self.numbers += 1
            self.table[key] = Bar(self.numbers, message)
        else:
            bar.take(message)

    def make_room(self) -> None:
        """Remove a bar if there are too many."""
        if len(self.table) >= MOST:
            del self.table[min(self.table, key=self.worth)]

    def worth(self, key: Key) -> tuple[bool, float]:
        """Return the sort key by which bars are kept: those that run, then those with the latest message."""
        bar = self.table[key]
        return not bar.end, bar.received_at

    def clear_ended(self) -> None:
        """Remove the bars that have ended."""
        self.table = {key: bar for key, bar in self.table.items() if not bar.end}

    def summary(self) -> str:
        """Return a summary: how many run, and how the others ended."""
        ends = Counter(bar.end for bar in self.table.values())
        counts = [f"{ends[end]} {end or 'running'}" for end in ("", *ENDS) if ends[end]]
        return ", ".join(counts) or "no progress yet"

    def __len__(self) -> int:
        return len(self.table)


def end_of(kwargs: Mapping[str, Any]) -> str:
    """Return how a bar ended according to its message, "" if it runs."""
    if text_of(kwargs.get("failed")):
        return "failed"
    return next((end for end in reversed(ENDS) if kwargs.get(end) is True), "")


def number_of(value: Any) -> float | None:
    """Return a number that can be shown, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def text_of(value: Any) -> str:
    """Return a description that can be shown."""
    return str.__getitem__(value, slice(0, 200)) if isinstance(value, str) else ""
