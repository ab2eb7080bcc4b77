"""What a `MessageLog` knows, apart from how it is shown: rows, counts, filter and pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from berrymq import Identifier, Message

from .counts import Counts
from .render import arguments
from .rows import Rows
from .search import contains
from .series import Chart, Track
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LogState"]

SUMMARY: Final = 240
"""Characters of a row's payload that a page gets."""
ROUNDED_DEPTH: Final = 4
ROUNDED_ITEMS: Final = 60
SEARCH_SECONDS: Final = 0.03
"""How long a round may look through rows for the filter."""


class LogState:
    """Works off the messages that came."""

    def __init__(self, maxlen: int, max_bytes: int, keep: Mapping[str, int | None] | None = None) -> None:
        self.rows = Rows(maxlen, max_bytes, keep)
        self.window = Window(self.rows)
        self.counts = Counts()
        self.cleared = 0
        """Messages that a `clear` removed."""
        self.identifier: Identifier | None = None
        self.text = ""
        self.partly = 0
        """Payloads that are too large to be searched for the text as a whole."""
        self.paused_at: int | None = None
        """The number of the first row that is held back by a pause."""
        self.absorbed_at = 0.0
        self.chart: Chart | None = None

    def absorb(self, now: float) -> None:
        """Work off what was collected."""
        batch = self.rows.absorb()
        if self.chart is not None and self.paused_at is None:
            self.chart.feed(enumerate(batch, self.rows.end - len(batch)))
        self.counts.update([message.id for message in batch], len(batch), now - self.absorbed_at)
        self.absorbed_at = now
        self.counts.touch(self.rows.reserve.evicted)
        self.rows.reserve.evicted.clear()
        self.window.advance(SEARCH_SECONDS)

    @property
    def total(self) -> int:
        """How many messages came since the beginning, or since the last clear."""
        return self.rows.total - self.cleared

    @property
    def dropped(self) -> int:
        """How many of them are not kept any more."""
        return self.total - len(self.rows)

    def select(self, identifier: str, text: str) -> None:
        """Show only rows whose identifier matches and whose payload contains `text`, in any case."""
        pattern = Identifier.parse(identifier) if identifier and identifier not in ("*", "*:*") else None
        self.identifier, self.text = pattern, text
        self.partly = 0
        self.window.select(self.row_test(pattern, text) if pattern or text else None)

    @property
    def end(self) -> int:
        """The place after the newest row that pages show."""
        return self.window.end if self.paused_at is None else self.window.place_of(self.paused_at)

    @property
    def held_back(self) -> int:
        """How many messages came since the pause."""
        return 0 if self.paused_at is None else self.rows.end - self.paused_at

    def pause(self) -> None:
        """Show nothing newer. Messages are still kept, the newest ones, up to `maxlen`."""
        if self.paused_at is None:
            self.paused_at = self.rows.end

    def resume(self) -> None:
        """Show everything that is kept again, also what came during the pause."""
        if self.chart is not None and self.paused_at is not None:
            self.chart.feed(self.rows.snapshot().between(self.paused_at, self.rows.end))
        self.paused_at = None

    def draw(self, tracks: list[Track], x: tuple[str, ...] | None) -> None:
        """Follow numbers for a chart, from the oldest message that is kept on, up to a pause; [] for none."""
        before = self.chart
        if not tracks:
            self.chart = None
            return
        self.chart = Chart(tracks, x)
        if before is not None:
            self.chart.by_time, self.chart.window, self.chart.last = (
                before.by_time,
                before.window,
                before.last,
            )
        end = self.rows.end if self.paused_at is None else self.paused_at
        self.chart.feed(self.rows.snapshot().between(0, end))

    def row_test(self, pattern: Identifier | None, text: str) -> Callable[[Message], bool]:
        """Return the test of a filter. Whether an identifier matches is worked out once for each."""
        known: dict[str, bool] = {}
        needle = text.casefold()

        def test(message: Message) -> bool:
            if pattern is not None:
                name = message.id
                matches = known.get(name)
                if matches is None:
                    if len(known) > 10_000:
                        known.clear()
                    matches = known[name] = pattern.matches(message.identifier)
                if not matches:
                    return False
            if not needle:
                return True
            found = contains(message, needle)
            if found is None:
                self.partly += 1
            return bool(found)

        return test

    def clear(self) -> None:
        """Forget all rows and counts."""
        self.rows.clear()
        self.cleared = self.rows.total
        self.counts.clear()
        if self.chart is not None:
            self.draw(self.chart.tracks, self.chart.x)
        self.window.select(self.window.test)
        if self.paused_at is not None:
            self.paused_at = self.rows.end


def rounded(value: Any, depth: int = ROUNDED_DEPTH) -> Any:
    """Return `value` with its floats shortened, as rows show them; what holds very many stays as it is."""
    kind = type(value)
    if issubclass(kind, float):
        return Short(value)
    if kind is dict and depth and len(value) <= ROUNDED_ITEMS:
        return {key: rounded(item, depth - 1) for key, item in value.items()}
    if kind in (list, tuple) and depth and len(value) <= ROUNDED_ITEMS:
        return kind([rounded(item, depth - 1) for item in value])
    return value


class Short(float):
    """A float whose text has four significant digits, or fewer if it is that short anyway."""

    def __repr__(self) -> str:
        text, short = float.__repr__(self), f"{float(self):.4g}"
        return text if len(text) <= len(short) + len(".0") and float(short) == self else short


def row(place: int, number: int, message: Message) -> list[Any]:
    """Return a row as a page gets it."""
    return [
        place,
        number,
        round(message.sent_at * 1000, 1),
        message.id,
        message.source,
        arguments(
            rounded(message.args), {key: rounded(item) for key, item in message.kwargs.items()}, SUMMARY
        ),
    ]
