"""The state of a `MessageLog`, without its display: rows, counts, a chart, and the selection of each page.

The guard of the view is held for every call. Pages differ in what they show: one that has filtered, paused or
was restored has a `Selection` of its own; all others share `LogState.own`, which cells set by the methods of
the log. The alert is a selection too, which no page shows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from berrymq.messages import source_of

from .counts import Counts
from .query import QueryError
from .render import arguments
from .rows import Cleared, Rows
from .selection import Alarming, Selection
from .series import Chart, Track

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berrymq import Message

__all__ = ["LogState"]

SEARCH_SECONDS: Final = 0.03
"""Seconds for which one round may search rows for queries. Shared by all queries; what is left is searched in
the next rounds."""
UNDO_SECONDS: Final = 120.0
"""How long what was cleared can be brought back, and takes memory."""
UNDOS: Final = 2
"""The number of clears that can be undone: the button may be clicked twice."""
MOST_PINS: Final = 100
"""Each holds its payload."""
MOST_PAGES: Final = 8
"""The limit of pages with a selection of their own; one more replaces the one silent for longest."""
SILENT: Final = 600.0
"""Seconds after which a silent page loses its selection. If it is still open, it requests it again."""


@dataclass
class Removed:
    """What a clear has removed."""

    rows: Cleared
    counts: tuple[dict[str, int], int]
    sources: tuple[dict[str, int], int]
    chart: Chart | None
    total: int
    cleared: int
    """`LogState.cleared` before."""
    end: int
    """The number of the next message at that time."""
    until: float
    """When it is discarded, by the pump's clock."""


class LogState:
    """Processes the collected messages.

    Args:
        maxlen: see `Rows`.
        max_bytes: see `Rows`.
        keep: see `Rows`.
    """

    def __init__(self, maxlen: int, max_bytes: int, keep: Mapping[str, int | None] | None = None) -> None:
        self.rows = Rows(maxlen, max_bytes, keep)
        self.counts = Counts()
        self.sources = Counts()
        """By source; "" is this process."""
        self.cleared = 0
        """Messages removed by `clear`."""
        self.removed: list[Removed] = []
        """What can be brought back, the latest last."""
        self.own = Selection(self.rows)
        """The selection of pages without one of their own."""
        self.pages: dict[str, Selection] = {}
        """The selections of other pages, by page name."""
        self.generation = 0
        """Counts the changes of `own`: each makes all pages show that."""
        self.pins: dict[int, Message] = {}
        """Pinned messages by number, kept whatever else is evicted."""
        self.alert: Selection | None = None
        """The messages that raise an alert."""
        self.absorbed_at = 0.0
        """By the pump's clock, for the rates."""
        self.chart: Chart | None = None
        """None while no chart is shown."""

    def absorb(self, now: float) -> None:
        """Process what was collected.

        Args:
            now: by `time.monotonic`.
        """
        before = self.rows.total
        batch = self.rows.absorb()
        total = self.rows.total - before
        if self.chart is not None:
            self.chart.feed(enumerate(batch, self.rows.end - len(batch)))
        self.counts.update(self.rows.absorbed, total, now - self.absorbed_at)
        sources: Counter[str] = Counter()
        for source, came in Counter(map(source_of, batch)).items():
            sources[source or ""] += came
        self.sources.update(sources, total, now - self.absorbed_at)
        self.absorbed_at = now
        self.removed = [removed for removed in self.removed if now < removed.until]
        self.counts.touch(self.rows.reserve.evicted)
        self.rows.reserve.evicted.clear()
        for page, selection in list(self.pages.items()):
            if now - selection.heard_at > SILENT:
                del self.pages[page]
        windows = [selection.window for selection in self.selections if selection.window.test is not None]
        searching = sum(window.unsearched > 0 for window in windows)
        for window in windows:
            window.advance(SEARCH_SECONDS / max(1, searching))

    @property
    def selections(self) -> list[Selection]:
        """All selections."""
        return [self.own, *self.pages.values(), *([self.alert] if self.alert else [])]

    @property
    def unsearched(self) -> int:
        """The number of rows still to be searched."""
        return sum(selection.window.unsearched for selection in self.selections)

    @property
    def total(self) -> int:
        """The number of messages since the beginning or the last clear.

        Those that a burst has displaced before they were processed count as well.
        """
        return self.rows.total - self.cleared

    @property
    def dropped(self) -> int:
        """The number of those that are not kept any more."""
        return self.total - len(self.rows)

    def select(self, query: str) -> None:
        """Have all pages show the rows that pass `query`; raise `QueryError` if that is none."""
        self.own.select(query)
        self.reset_pages()

    def pause(self, on: bool) -> None:
        """Pause or resume all pages."""
        if on:
            self.own.pause()
        else:
            self.own.resume()
        self.reset_pages()

    def reset_pages(self) -> None:
        """Have all pages show `own`."""
        self.pages.clear()
        self.generation += 1

    def shown_by(self, page: object) -> Selection:
        """Return what a page shows."""
        return self.pages.get(str(page), self.own)

    def page(self, page: str, now: float) -> Selection:
        """Return the selection of a page's own, made if there is none.

        Args:
            page: the name that a page has given itself.
            now: by `time.monotonic`; a page counts as silent from then on.
        """
        selection = self.pages.get(page)
        if selection is None:
            if len(self.pages) >= MOST_PAGES:
                del self.pages[min(self.pages, key=lambda name: self.pages[name].heard_at)]
            selection = Selection(self.rows, self.own.query.text, self.own.paused_at)
            self.pages[page] = selection
        selection.heard_at = now
        return selection

    def restore(self, page: str, generation: object, query: object, paused_at: object, now: float) -> None:
        """Give a page that opened, or came back, the selection that it had.

        Args:
            page: the name of the page.
            generation: `generation` when it had the selection; another one means that a cell has set what all
                show.
            query: the text of its query.
            paused_at: the number of the first row that it held back; None if it was not paused.
            now: by `time.monotonic`.
        """
        if generation != self.generation or not isinstance(query, str):
            self.pages.pop(page, None)
            return
        selection = self.page(page, now)
        try:
            if selection.query.text != query:
                selection.select(query)
        except QueryError:  # made by a page of another version
            del self.pages[page]
            return
        selection.paused_at = min(paused_at, self.rows.end) if isinstance(paused_at, int) else None

    def alert_when(self, query: str) -> None:
        """Raise an alert for further messages that pass `query`, or one of several with OR between; "": none.

        Raises:
            QueryError: it is no query.
        """
        self.alert = Alarming(self.rows, query) if query.strip() else None

    def alerts(self) -> dict[str, Any] | None:
        """Return the query of the alert, the count of its messages, and number and text of the latest."""
        alert = self.alert
        if alert is None:
            return None
        window = alert.window
        latest = window.page(window.end - 1, window.end)
        number, message = latest[0][1:] if latest and window.end > 0 else (None, None)
        text = f"{message.id} {arguments(message.args, message.kwargs)}" if message is not None else ""
        return {"query": alert.query.text, "count": max(0, window.end), "number": number, "latest": text}

    def get(self, number: int) -> Message | None:
        """Return the message of that number, or None if it is not kept.

        A pinned message is found here after it was displaced.
        """
        return self.pins.get(number) or self.rows.snapshot().get(number)

    def pin(self, number: int, on: bool) -> bool:
        """Pin a message, or unpin it. Return whether there is such a message, and room for it."""
        if not on:
            return self.pins.pop(number, None) is not None
        message = self.get(number)
        if message is None or len(self.pins) >= MOST_PINS:
            return False
        self.pins[number] = message
        return True

    def draw(self, tracks: list[Track], x: tuple[str, ...] | None) -> None:
        """Track numbers for a chart, from the oldest kept message on; [] for none.

        Args:
            tracks: the fields.
            x: the labels of the field with the x values; None for time.
        """
        if not tracks:
            self.chart = None
            return
        self.chart = Chart(tracks, x, self.chart)
        self.chart.feed(self.rows.snapshot().all())

    def clear(self, now: float) -> None:
        """Remove all rows and counts; for some time `undo` brings them back.

        Pins stay. Numbers continue, so no number ever names two messages.

        Args:
            now: by `time.monotonic`.
        """
        total, cleared = self.total, self.cleared
        removed = Removed(
            self.rows.clear(),
            self.counts.clear(),
            self.sources.clear(),
            self.chart,
            total,
            cleared,
            self.rows.end,
            now + UNDO_SECONDS,
        )
        if total:
            self.removed = [*self.removed, removed][-UNDOS:]
        self.cleared = self.rows.total
        if self.chart is not None:
            self.draw(self.chart.tracks, self.chart.x)
        for selection in self.selections:
            selection.begin_again()

    def undo(self) -> bool:
        """Bring back what was cleared last, before what came since; return whether there was something."""
        if not self.removed:
            return False
        removed = self.removed.pop()
        self.rows.restore(removed.rows)
        self.counts.restore(*removed.counts)
        self.sources.restore(*removed.sources)
        self.cleared = removed.cleared
        before, chart = removed.chart, self.chart
        if before is not None and chart is not None and (before.tracks, before.x) == (chart.tracks, chart.x):
            before.feed(self.rows.snapshot().between(removed.end, self.rows.end))
            before.by_time, before.window, before.last = chart.by_time, chart.window, chart.last
            before.unsent = True
            self.chart = before
        elif chart is not None:
            self.draw(chart.tracks, chart.x)
        for selection in self.selections:
            selection.select(selection.query.text)  # a paused selection stays paused
        return True
