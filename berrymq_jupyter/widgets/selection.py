"""The rows of a log that one page shows: those that pass its query, up to its pause.

A page shows rows by places (``window.py``). This file adds the page's pause, what of the rows it has been
sent already, and the form in which a row is sent: a list ``[place, number, milliseconds, identifier, source,
payload, changes, alert, past, delay]``, which ``wire.ts`` reads.
"""

from __future__ import annotations

from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .query import AnyQuery, Query
from .render import Short, argument_parts, arguments, cut, digits, payload_items
from .window import Window

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from berrymq import Message

    from .rows import Rows, Snapshot

__all__ = ["Alarming", "Selection", "rounded", "row", "short_arguments"]

SUMMARY: Final = 240
"""Characters of a row's payload that are sent to a page."""
TAIL: Final = 60
"""The number of newest rows that are part of every update. As many as a page shows at once, about; it asks
for others when it is scrolled."""
LOOK_BACK: Final = 3000
"""The limit of messages searched for the previous ones of a page's rows."""
ROUNDED_DEPTH: Final = 4
"""Levels of a payload in which floats are shortened."""
ROUNDED_ITEMS: Final = 60
"""Larger containers are not copied for it."""


class Selection:
    """A query and a pause, with the rows that pass them.

    Args:
        rows: of the log.
        query: "" for all.
        paused_at: the number of the first row that is held back.
    """

    reads: ClassVar[type[Query | AnyQuery]] = Query
    """What makes a test of a query."""

    def __init__(self, rows: Rows, query: str = "", paused_at: int | None = None) -> None:
        self.rows = rows
        self.window = Window(rows)
        self.query = self.reads("")
        self.paused_at = paused_at
        """The number of the first row that a pause holds back."""
        self.edit: int | None = None
        """The number of the page's edit that made the query, by which the page knows what answers it."""
        self.sent_epoch = self.sent_end = -1
        """The epoch and the end of the rows that were sent."""
        self.heard_at = 0.0
        """When its page sent something last."""
        if query:
            self.select(query)

    def select(self, query: str) -> None:
        """Show only rows that pass `query`; raise `QueryError` if that is none."""
        self.query = self.reads(query)
        self.window.select(self.query if self.query else None)

    def begin_again(self) -> None:
        """Search all rows again, for some were removed that are not the oldest."""
        self.select(self.query.text)
        if self.paused_at is not None:
            self.paused_at = self.rows.end

    @property
    def end(self) -> int:
        """The place after the newest row that is shown."""
        return self.window.end if self.paused_at is None else self.window.place_of(self.paused_at)

    def pause(self) -> None:
        """Show nothing newer. Messages are still kept, the newest ones."""
        if self.paused_at is None:
            self.paused_at = self.rows.end

    def resume(self) -> None:
        """Show all kept messages again, those of the pause included."""
        self.paused_at = None

    def messages(self) -> list[Message]:
        """Return the kept messages that pass the query, oldest first, those of a pause included."""
        test = self.query
        return [message for _, message in self.rows.snapshot().all() if test(message)]

    def page(self, start: int, end: int, alarming: Query | AnyQuery | None = None) -> list[list[Any]]:
        """Return the rows at some places as they are sent to a page, marked if they pass `alarming`."""
        found = self.window.page(start, min(end, self.end))
        before = predecessors(found, self.rows.snapshot(), self.rows.reserve.newest)
        delays = self.rows.latencies.delays
        return [
            row(
                *entry,
                before.get(entry[1]),
                alert=alarming is not None and alarming(entry[2]),
                delay=delays.get(entry[1]),
            )
            for entry in found
        ]

    def update(self, everything: bool, alarming: Query | AnyQuery | None = None) -> dict[str, Any]:
        """Return the newest rows, and the state.

        Args:
            everything: send rows again that were sent before.
            alarming: marks the rows that pass it.
        """
        window, end = self.window, self.end
        known = 0 if everything or self.sent_epoch != window.epoch else self.sent_end
        self.sent_epoch, self.sent_end = window.epoch, end
        return {
            "epoch": window.epoch,
            "range": [window.begin, end],
            "older": [window.older, self.rows.reserve.removed],
            "unsearched": window.unsearched,
            "partly": self.query.partly,
            "query": self.query.text,
            "edit": self.edit,
            "pausedAt": self.paused_at,
            "heldBack": None if self.paused_at is None else self.rows.end - self.paused_at,
            "rows": self.page(max(end - TAIL, known), end, alarming),
        }


class Alarming(Selection):
    """The messages that raise an alert, for which there may be several queries."""

    reads = AnyQuery


def row(
    place: int,
    number: int,
    message: Message,
    before: Message | None = None,
    *,
    alert: bool = False,
    delay: float | None = None,
) -> list[Any]:
    """Return a row as it is sent to a page.

    Args:
        place: of the row.
        number: of the message.
        message: it.
        before: the previous message of its identifier and source, if that is known.
        alert: whether it is marked.
        delay: its latency in seconds; None if that is not known.
    """
    kwargs = {key: rounded(item) for key, item in message.kwargs.items()}
    parts = argument_parts(rounded(message.args), kwargs, SUMMARY)
    return [
        place,
        number,
        round(message.sent_at * 1000, 1),
        message.id,
        message.source,
        cut(", ".join(parts), SUMMARY),
        [] if before is None else steps(message, before, parts),
        int(alert),
        int(message.past),
        None if delay is None or not isfinite(delay) else round(delay * 1000, 1),
    ]


def predecessors(
    found: list[tuple[int, int, Message]],
    kept: Snapshot,
    newest: Mapping[str, deque[tuple[int, Message]]],
) -> dict[int, Message]:
    """Return the previous message of the same identifier and source, where it is found soon.

    Args:
        found: place, number and message of each row, in order.
        kept: where to look for those of rows that are not among the newest of their identifier.
        newest: the newest messages of each identifier with their numbers, in order.

    Returns:
        By the number of the row.
    """
    before: dict[int, Message] = {}
    rows: dict[str, set[int]] = {}
    for _, number, message in found:
        rows.setdefault(message.id, set()).add(number)
    for name, numbers in rows.items():
        before |= _previous(islice(reversed(newest.get(name, ())), LOOK_BACK), numbers)
    rest = {number for _, number, _ in found} - before.keys()
    if rest:
        last = max(rest)
        older = range(last, max(kept.first, last - LOOK_BACK) - 1, -1)
        before |= _previous(((number, kept.get(number)) for number in older), rest)
    return before


def _previous(messages: Iterable[tuple[int, Message | None]], rows: AbstractSet[int]) -> dict[int, Message]:
    """Return the previous message of the same identifier and source of each row.

    Args:
        messages: with their numbers, the newest first; None for those that are gone.
        rows: the numbers of rows.
    """
    before: dict[int, Message] = {}
    waiting: dict[tuple[str, str | None], int] = {}
    first = min(rows)
    for number, message in messages:
        if message is None:
            continue
        key = (message.id, message.source)
        if key in waiting:
            before[waiting.pop(key)] = message
        if number in rows:
            waiting[key] = number
        elif number < first and not waiting:
            break
    return before


def steps(message: Message, before: Message, parts: list[str]) -> list[list[Any]]:
    """Return where in a row's payload a number ends that has changed since the message before, and by what.

    The places count UTF-16 units, as pages do. Counters, which go on by one, are left out.

    Returns:
        Pairs of a place and a text such as "▲0.02".
    """
    values = [*before.args[: len(message.args)], *(before.kwargs.get(key) for key in message.kwargs)]
    found = []
    end = 0
    same_shape = len(before.args) == len(message.args)
    for part, old, (label, new) in zip(
        parts, values, payload_items(message.args, message.kwargs), strict=False
    ):
        end += len(part.encode("utf-16-le", "replace")) // 2
        if end > SUMMARY:
            break
        # A position that goes up is mostly a number of steps.
        is_counter = not label and type(new) is int
        text = "" if is_counter or not (same_shape or label) else step(old, new)
        if text:
            found.append([end, text])
        end += len(", ")
    return found


def step(old: object, new: object) -> str:
    """Return by what a number has changed, "" if it has not or is none."""
    if type(old) not in (int, float) or type(new) not in (int, float):
        return ""
    try:
        difference = new - old  # type: ignore[operator]  # both are numbers
        size = float(abs(difference))
    except OverflowError:
        return ""
    if not size or not isfinite(size) or (difference == 1 and type(new) is int):
        return ""
    text = f"{size:.0f}" if type(difference) is int and size < 1_000_000 else digits(size, 3)
    return ("▲" if difference > 0 else "▼") + text


def short_arguments(message: Message, limit: int = 200) -> str:
    """Return a payload with floats shortened, in at most `limit` characters."""
    kwargs = {key: rounded(item) for key, item in message.kwargs.items()}
    return arguments(rounded(message.args), kwargs, limit)


def rounded(value: Any, depth: int = ROUNDED_DEPTH) -> Any:
    """Return `value` with its floats shortened, as rows show them; very large values are unchanged."""
    kind = type(value)
    if issubclass(kind, float):
        return Short(value)
    if kind is dict and depth and len(value) <= ROUNDED_ITEMS:
        return {key: rounded(item, depth - 1) for key, item in value.items()}
    if kind in (list, tuple) and depth and len(value) <= ROUNDED_ITEMS:
        return kind([rounded(item, depth - 1) for item in value])
    return value
