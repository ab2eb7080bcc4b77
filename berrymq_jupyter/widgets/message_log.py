"""`MessageLog`: every message that an identifier matches, as it arrives."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import berrymq
from berrymq import Identifier, Message

from . import assets
from .base import Reply, RequestError, View, Work
from .kinds import picture_of
from .log_requests import ANSWERS, counted
from .log_state import LogState
from .picture import picture
from .pump import pump
from .replaying import Replaying
from .selection import row, short_arguments
from .series import Chart, Track, number_fields
from .static import Form, clock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

__all__ = ["MessageLog"]

COUNTS: Final = 300
"""The limit of identifiers with counts in one update."""
LEAF: Final = 60
"""Characters of an identifier's last payload that are sent to a page."""
FIELDS: Final = 30
"""The limit of fields that a page offers for the horizontal axis of a chart."""
CHART_PERIOD: Final = 0.25
LOOK_PERIOD: Final = 2.0
"""The interval of checks whether the log still follows, while a page shows it."""
SAVED: Final = 20
"""Rows of the static form."""
LOOKED_AT: Final = 10
"""Arguments of a row that may have a picture there."""
PICTURE_HEIGHT: Final = 32
"""Of a picture there, in pixels."""

Field = str | int | tuple[str | int, ...]
"""A key or path that leads to a number in a payload."""


class MessageLog(View):
    """A live log of the messages that `identifier` matches.

    ::

        log = MessageLog("train:*")
        log                                 # the value of a cell: shows it
        log.filter("train:epoch loss<0.3")  # what its page can do, this can do too
        log.to_dataframe()

    It keeps the newest `maxlen` messages themselves, as long as their payloads hold no more than about
    `max_bytes`, and beside them the newest 1,000 of each identifier, or as many as `keep` says for a pattern:
    ``{"error:*": None}`` keeps all of them, whatever they hold. With many identifiers each has fewer, so that
    these are no more than `maxlen` in all; of large payloads, which may take half of `max_bytes`, each
    identifier has the same share. A payload that is changed after sending is shown changed. The sender's
    thread only appends; all other work is done on the pump's thread.

    It begins with what the hub retains (`berrymq.keep`), or with the last `past` messages of that; with none
    for ``past=False``.
    """

    title = "MessageLog"
    _esm = assets.module("message_log")
    _css = assets.style("message_log")

    def __init__(
        self,
        identifier: str | Identifier = "*:*",
        *,
        bus: berrymq.Bus | None = None,
        maxlen: int = 100_000,
        max_bytes: int = 256_000_000,
        keep: Mapping[str, int | None] | None = None,
        past: bool | int | None = None,
    ) -> None:
        if maxlen < 1:
            raise ValueError(f"maxlen is the number of messages to keep, from 1 on, not {maxlen}")
        self.identifier = Identifier.parse(identifier)
        super().__init__()
        self.bus = berrymq.default_bus if bus is None else bus
        self.state = LogState(maxlen, max_bytes, keep)
        self.settled = False
        """False while an update is to be sent to the page."""
        self.look: dict[str, Any] | None = None
        """The look of the page that was changed last: another one that opens looks the same."""
        self.sent_pins: list[int] = []
        self.replaying: Replaying | None = None
        """The replay of messages that began last."""
        self.charted_at = 0.0
        self.charted = False
        """True if the last update to the page had a chart."""
        self.subscription = self.bus.follow(
            self.identifier,
            self.state.rows.collect,
            direct=True,
            preview=True,
            past=True if past is None else past,
        )
        self.following = True
        """False once its subscription has ended."""
        self.start()

    # -- for its user ----------------------------------------------------------------------------------------

    def messages(self) -> list[Message]:
        """Return the kept messages that pass the filter, oldest first, those of a pause included."""
        with self.guard:
            self.state.absorb(monotonic())
            return self.state.own.messages()

    def to_dataframe(self) -> Any:
        """Return `messages` as a pandas DataFrame: a row each, a column for each argument.

        The times in ``sent_at`` are in UTC; ``table.sent_at.dt.tz_convert("Europe/Berlin")`` are those there.
        """
        from .export import dataframe

        return dataframe(self.messages())

    def to_file(self, path: str | PathLike[str]) -> None:
        """Write `messages` to a file: CSV, JSON lines or Parquet, by its ending .csv, .jsonl or .parquet.

        In a CSV file, text that a spreadsheet would take for a formula gets an apostrophe before it.
        """
        from .files import write

        write(self.messages(), Path(path))

    def filter(self, query: str | Identifier = "") -> None:
        """Show only messages that pass a query, in all pages; "" shows all.

        ::

            log.filter('train:epoch|run:* from:worker* loss<0.3 -daq:* /regex/ "some text"')

        All terms of the query must hold; one that begins with ``-`` must not.

        - ``train:epoch`` or ``train:*``: the identifier; ``id:train`` if there is no colon in it.
        - ``from:worker*``: the source; ``from:here`` for what this process sent.
        - ``loss<0.3``, ``opts.lr>=1e-3``, ``0=5``, ``name!=x``: a field of the payload;
          ``version="5"`` for the text alone, not the number.
        - ``/regex/``: a regular expression for the payload, in any case.
        - anything else: text in identifier, source or payload, in any case. Quotation marks join words.

        ``|`` stands between alternatives. What a page filters by itself, it filters for itself alone.

        Raises:
            QueryError: it is no query.
        """
        with self.guard:
            self.state.select(str(query))
            self.touch()

    def pause(self) -> None:
        """Show nothing newer for now, in all pages; messages are still collected, for `resume`."""
        with self.guard:
            self.state.absorb(monotonic())
            self.state.pause(True)
            self.touch()

    def resume(self) -> None:
        """Show everything again, in all pages, the messages of the pause included."""
        with self.guard:
            self.state.pause(False)
            self.touch()

    @property
    def paused(self) -> bool:
        """True after `pause`."""
        return self.state.own.paused_at is not None

    def alert(self, query: str = "") -> None:
        """Mark and count the messages that pass a query (see `filter`), from now on; "" ends that.

        One of several suffices, with the word ``OR`` between them::

            log.alert("loss>1 OR *:error")

        A page may show a notification for them, or make a sound, if its user has chosen so there.

        Raises:
            QueryError: it is no query.
        """
        with self.guard:
            self.state.absorb(monotonic())
            self.state.alert_when(query)
            self.channel.snapshot_due = True
            self.touch()

    def chart(self, identifier: str | Identifier, *fields: Field, x: Field | None = None) -> None:
        """Draw numbers of the messages of `identifier` below the rows, beside those that are drawn already.

        ::

            log.chart("train:epoch", "loss", "metrics.val.loss", x=0)
            log.chart("train:epoch")    # these no more

        Args:
            identifier: one that messages carry, without a wildcard.
            fields: a keyword, the position of an argument, or names and positions joined by dots that lead to
                a number inside one; a tuple of them where a name has a dot. Without any, the chart loses its
                lines of `identifier`.
            x: the field that says where a point stands. Without it the axis stays as it was; a new chart has
                time or order. The page offers each of these.
        """
        name = str(Identifier.parse(identifier))
        with self.guard:
            before = self.state.chart
            tracks = [] if before is None else before.tracks
            new = [Track(name, labels(field)) for field in fields]
            if not new:
                tracks = [track for track in tracks if track.identifier != name]
            where = labels(x) if x is not None else before.x if before is not None else None
            self.state.absorb(monotonic())
            self.state.draw([*tracks, *new], where)
            self.static.changed(monotonic())
            self.channel.snapshot_due = True
            self.touch()

    def clear(self) -> None:
        """Remove the messages and counts; for two minutes the page offers to bring them back."""
        with self.guard:
            now = monotonic()
            self.state.absorb(now)
            self.state.clear(now)
            self.channel.snapshot_due = True
            self.touch()

    def __len__(self) -> int:
        return len(self.state.rows)

    def __repr__(self) -> str:
        return f"<MessageLog {self.identifier}, {counted(len(self))}{', closed' if self.closed else ''}>"

    # -- for the base ----------------------------------------------------------------------------------------

    def touch(self) -> None:
        """Send an update soon though no message arrived."""
        self.settled = False
        pump.wake()

    def pending(self) -> bool:
        """Return whether messages are to be absorbed."""
        return self.state.rows.waiting() or not self.settled

    def absorb(self, now: float) -> float | None:
        """Process what was collected."""
        state = self.state
        moved = state.rows.waiting()
        removed = len(state.removed)
        searching = state.unsearched > 0  # the slice that ends a search has news, too
        state.absorb(now)
        if moved:
            self.static.changed(now)
        unsearched = state.unsearched
        if moved or state.counts.moving or searching:
            self.settled = False
        if unsearched:
            return 0.0
        if self.following and not self.subscription.active:
            self.following = self.settled = False
        busy = state.counts.moving or (state.chart is not None and state.chart.unsent)
        if len(state.removed) != removed:  # it can't be brought back any more
            self.settled = False
        if busy:
            return CHART_PERIOD
        if self.displayed and self.following:
            return LOOK_PERIOD
        return min((removed.until - now for removed in state.removed), default=None)

    def update(self, everything: bool) -> dict[str, Any] | None:
        """Return the newest rows, the changed counts, and the state."""
        if self.settled and not everything:
            return None
        state = self.state
        counts = [[*entry, *self.leaf(str(entry[0]))] for entry in state.counts.take(COUNTS, everything)]
        sources = state.sources.take(COUNTS, everything)
        self.settled = not (state.counts.more or state.sources.more)
        alarming = None if state.alert is None else state.alert.query
        pins = None
        if everything or self.sent_pins != list(state.pins):
            self.sent_pins = list(state.pins)
            delays = state.rows.latencies.delays
            pins = [
                row(-1, number, message, delay=delays.get(number))
                for number, message in sorted(state.pins.items())
            ]
        return {
            "full": everything,
            "follows": str(self.identifier),
            "total": state.total,
            "kept": len(state.rows),
            "maxlen": state.rows.maxlen,
            "maxBytes": state.rows.max_bytes,
            "cleared": state.cleared > 0,
            "missed": state.rows.missed,
            "ended": not self.following,
            "rate": round(state.counts.rate.value, 2),
            "counts": counts,
            "sources": sources,
            "undo": [state.removed[-1].end, state.removed[-1].total] if state.removed else None,
            "replay": None if self.replaying is None else self.replaying.progress(),
            "others": state.counts.others,
            "generation": state.generation,
            "look": self.look if everything else None,
            "pins": pins,
            "alert": state.alerts(),
            **state.own.update(everything, alarming),
            "pages": {
                page: selection.update(everything, alarming) for page, selection in list(state.pages.items())
            },
        }

    def leaf(self, name: str) -> tuple[int, int, str]:
        """Return how many messages of an identifier are kept, and number and payload of the latest."""
        rows = self.state.rows
        latest = rows.latest(name)
        if latest is None:
            return rows.retained(name), -1, ""
        number, message = latest
        return rows.retained(name), number, short_arguments(message, LEAF)

    def send_update(self, now: float) -> int:
        """Send an update if there is one, and the news of the chart."""
        everything = self.channel.snapshot_due
        sent = super().send_update(now)
        chart = self.state.chart
        due = chart is not None and chart.unsent and now >= self.charted_at + CHART_PERIOD
        if due or (everything and (chart is not None or self.charted)):
            self.charted_at = now
            sent += self.channel.post(self.chart_data())
        return sent

    def chart_data(self) -> dict[str, Any]:
        """Return the chart as it is sent to a page."""
        chart = self.state.chart
        self.charted = chart is not None
        if chart is None:
            return {**Chart([]).data(), "fields": []}
        chart.unsent = False
        latest = [self.state.rows.latest(name) for name in chart.by_identifier]
        fields = [field for entry in latest if entry is not None for field in number_fields(entry[1])]
        return {**chart.data(), "fields": list(dict.fromkeys(fields))[:FIELDS]}

    def _greeted(self, request: dict[str, Any], now: float) -> bool:
        """Record pages, and restore what they showed."""
        page, kind = request.get("page"), request.get("t")
        if isinstance(page, str):
            if kind == "bye":
                self.state.pages.pop(page, None)
            elif kind == "hello" and "query" in request:
                self.state.restore(
                    page, request.get("generation"), request.get("query"), request.get("pausedAt"), now
                )
            elif page in self.state.pages:
                self.state.pages[page].heard_at = now
        return super()._greeted(request, now)

    def answer(self, request: dict[str, Any]) -> Reply | Work | None:
        """Serve a request of the page."""
        answer = ANSWERS.get(str(request.get("t")))
        if answer is None:
            raise RequestError(
                "the page asked for something unknown; it may be of another version: reload it"
            )
        return answer(self, request)

    def form(self) -> Form:
        """Return the static form, for the saved notebook."""
        state = self.state
        state.absorb(monotonic())
        shown = state.own
        messages = [page[2] for page in reversed(shown.window.page(shown.end - SAVED, shown.end))]
        rows: list[tuple[str, ...]] = [
            (
                f"{clock(message.sent_at)}{' past' if message.past else ''}",
                message.id,
                message.source or "",
                short_arguments(message),
            )
            for message in messages
        ]
        facts = counted(state.total)
        if len(rows) < state.total:
            facts += f", the newest {len(rows)} of them"
        columns = ("time", "identifier", "from", "payload")
        drawing = picture(state.chart) if state.chart is not None else ""
        pictures = [first_picture(message) for message in messages]
        return Form(self.title, str(self.identifier), facts, columns, rows, drawing, pictures)

    def release(self) -> None:
        """Stop following, and replaying."""
        self.subscription.cancel()
        if self.replaying is not None:
            self.replaying.stop()

    def replay(self, messages: list[Message], speed: float) -> None:
        """Send messages again, with the pauses between them that they had, divided by `speed`.

        One replay at a time: an earlier one stops.

        Args:
            messages: oldest first.
            speed: 1 for the original pauses, 10 for a tenth of them.
        """
        if self.replaying is not None:
            self.replaying.stop()
        self.replaying = Replaying(self.bus, messages, speed, self.touch)
        self.replaying.start()
        self.touch()

    def forget(self) -> None:
        """Remove the messages."""
        with self.guard:
            self.state.rows.kept.clear()  # which the cancelled subscription still refers to
            self.state = LogState(self.state.rows.maxlen, self.state.rows.max_bytes)


def first_picture(message: Message) -> str:
    """Return the picture of the first argument that has one, small, as HTML; "" if none has."""
    values = [*message.args, *message.kwargs.values()][:LOOKED_AT]
    found = next((picture for value in values if (picture := picture_of(value)) is not None), None)
    return "" if found is None else found.html(PICTURE_HEIGHT)


def labels(field: Field) -> tuple[str, ...]:
    """Return the labels that lead to a field."""
    parts = field.split(".") if isinstance(field, str) else field if isinstance(field, tuple) else (field,)
    return tuple(map(str, parts))
