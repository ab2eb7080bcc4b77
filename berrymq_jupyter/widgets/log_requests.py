"""The requests of a `MessageLog`'s page.

Each function serves one kind of request, which is the ``t`` of a JSON object that a page sends (``wire.ts``
has the types). It is called with the guard of the log held, and returns the answer, a function to be called
without the guard, or None. A page may be of an older version, or an attacker's: numbers are converted and
limited here, and what fails becomes a problem that is shown on the page.

Messages are named by their numbers, which never change; a number whose message was displaced is a
`RequestError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from itertools import chain
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from .base import RequestError, Work
from .detail import details, more_nodes, more_text, payload_of, value_form
from .export import export
from .files import write_csv
from .follow_cell import follow_cell
from .query import QueryError
from .render import error_text
from .series import Track
from .tree import difference

if TYPE_CHECKING:
    from berrymq import Message

    from .message_log import MessageLog

__all__ = ["ANSWERS"]

Request = dict[str, Any]
Answer = Callable[["MessageLog", Request], Request | Work | None]

ROWS: Final = 300
"""The limit of rows in one answer. A page asks again for further ones."""
FASTEST: Final = 1000
"""The highest speed of a replay."""
COPIED: Final = 5000
"""The limit of messages copied to a page's clipboard. More would make a text of many megabytes."""
LOOK: Final = 10_000
"""The limit of characters that are stored of the look of a page. """
LOOK_BACK: Final = 20_000
"""The limit of rows searched for the previous message of an identifier. The search happens while the guard is
held."""


def rows(log: MessageLog, request: Request) -> Request:
    """Return the rows at some places.

    A page asks for rows that it is about to show; the newest are part of each update.
    """
    start, end = int(request["from"]), int(request["to"])
    shown = log.state.shown_by(request.get("page"))
    return {
        "t": "rows",
        "epoch": shown.window.epoch,
        "from": start,
        "rows": shown.page(start, min(end, start + ROWS), log.state.alert.query if log.state.alert else None),
    }


def chosen(log: MessageLog, request: Request) -> list[Message]:
    """Return the messages that a request concerns, oldest first.

    Those at the places ``from`` up to, not including, ``to`` if it has these, else all that pass the filter.

    Raises:
        RequestError: what the page shows has changed since.
    """
    log.state.absorb(monotonic())
    shown = log.state.shown_by(request.get("page"))
    if request.get("from") is None:
        return shown.messages()
    if request.get("epoch") != shown.window.epoch:
        raise RequestError("the rows have changed: select them again")
    return [message for _, _, message in shown.window.page(int(request["from"]), int(request["to"]))]


def detail(log: MessageLog, request: Request) -> Request:
    """Return the details of one message, and its differences from the previous one.

    Beside the payload as a tree it has what has changed since the last message of the same identifier and
    source.
    """
    number = int(request["number"])
    message = wanted(log, request)
    before = previous(log, number, message)
    delay = log.state.rows.latencies.delays.get(number)
    found: Request = {"before": None, "changes": [], "delay": None if delay is None else delay * 1000}
    if before is not None:
        found["before"] = {"time": before.sent_at * 1000}
        found["changes"] = difference(payload_of(before), payload_of(message))
    return {**details(message, number), **found}


def expand(log: MessageLog, request: Request) -> Request:
    """Return the children of one value inside a message."""
    return more_nodes(wanted(log, request), request)


def text(log: MessageLog, request: Request) -> Request:
    """Return more of a long string inside a message."""
    return more_text(wanted(log, request), request)


def form(log: MessageLog, request: Request) -> Request:
    """Return the form of a value beside the tree."""
    return value_form(wanted(log, request), request)


def set_filter(log: MessageLog, request: Request) -> Request:
    """Filter the rows that the page shows.

    Each page has its own filter, and its own pause.

    Raises:
        RequestError: the query can't be read, with the field beside which that is shown.
    """
    selection = log.state.page(str(request.get("page")), monotonic())
    try:
        selection.select(str(request.get("query") or ""))
    except QueryError as error:
        raise RequestError(str(error), field="query") from None
    edit = request.get("edit")
    selection.edit = edit if isinstance(edit, int) else None
    log.touch()
    return {"t": "filtered", "edit": selection.edit}


def pause(log: MessageLog, request: Request) -> None:
    """Pause or resume the page.

    While it is paused messages are still kept and displaced as usual; the page shows those before the pause.
    """
    log.state.absorb(monotonic())
    selection = log.state.page(str(request.get("page")), monotonic())
    if request.get("on"):
        selection.pause()
    else:
        selection.resume()
    log.touch()


def pin(log: MessageLog, request: Request) -> None:
    """Pin a message, or unpin it.

    A pinned message is not displaced.

    Raises:
        RequestError: it is not kept any more, or there are too many.
    """
    if not log.state.pin(int(request["number"]), bool(request.get("on"))):
        raise RequestError("it could not be pinned: it is no longer kept, or too many are pinned")
    log.touch()


def tsv(log: MessageLog, request: Request) -> Request:
    """Return the newest of the chosen messages as tab-separated values.

    For the clipboard: spreadsheets accept it.
    """
    messages = chosen(log, request)
    text = StringIO()
    write_csv(messages[-COPIED:], text, "excel-tab")
    some = "the newest " if len(messages) > COPIED else ""
    return {
        "t": "tsv",
        "text": text.getvalue(),
        "said": f"Copied {some}{counted(min(len(messages), COPIED))}.",
    }


def cell(log: MessageLog, request: Request) -> Request:
    """Return a cell that follows what passes a query, for the clipboard.

    Raises:
        RequestError: the query can't be read.
    """
    try:
        code = follow_cell(str(log.identifier), str(request.get("query") or ""))
    except QueryError as error:
        raise RequestError(str(error), field="alert") from None
    return {
        "t": "tsv",
        "text": code,
        "said": "Copied: paste it into a cell, and edit its body.",
    }


def alert(log: MessageLog, request: Request) -> Request:
    """Raise an alert for messages that pass a query.

    All pages count and mark the same messages; an empty query ends it.

    Raises:
        RequestError: the query can't be read.
    """
    try:
        log.alert(str(request.get("query") or ""))
    except QueryError as error:
        raise RequestError(str(error), field="alert") from None
    return {"t": "alerted"}


def remember(log: MessageLog, request: Request) -> None:
    """Remember how a page looks.

    Such as the widths of columns, so that the log looks the same after a reload of the page.
    """
    look = request.get("look")
    if isinstance(look, dict) and len(json.dumps(look)) <= LOOK:
        log.look = look


def clear(log: MessageLog, _: Request) -> None:
    """Clear the log."""
    log.clear()


def undo(log: MessageLog, _: Request) -> Request:
    """Bring back what was cleared last.

    Raises:
        RequestError: it was too long ago.
    """
    log.state.absorb(monotonic())
    if not log.state.undo():
        raise RequestError("what was cleared can't be brought back any more")
    log.channel.snapshot_due = True
    log.touch()
    return {"t": "done", "text": "Everything is back."}


def replay(log: MessageLog, request: Request) -> Request | None:
    """Send the chosen messages again at a speed; at a speed of 0 stop a running replay.

    Raises:
        RequestError: there is no such message.
    """
    speed = float(request["speed"])
    if not 0 < speed <= FASTEST:
        if log.replaying is not None:
            log.replaying.stop()
        return None
    messages = chosen(log, request)
    if not messages:
        raise RequestError("no message passes the filter", field="replay")
    log.replay(messages, speed)
    return {"t": "exported", "text": f"Sending {counted(len(messages))} again."}


def chart(log: MessageLog, request: Request) -> None:
    """Draw a chart of some fields, or remove it.

    An empty list of fields removes it.
    """
    tracks = [Track(str(name), labels(field)) for name, field in request.get("tracks") or ()]
    x = request.get("x")
    log.state.draw(tracks, labels(x) if x else None)
    log.channel.post(log.chart_data())  # to all pages: they show the same chart


def look(log: MessageLog, request: Request) -> None:
    """Select a part of the chart.

    Args:
        log: the log.
        request: ``window`` is a pair of limits in units of the axis, ``last`` a number of seconds.
    """
    chart = log.state.chart
    if chart is None:
        log.channel.post(log.chart_data())
        return
    window, last = request.get("window"), request.get("last")
    chart.by_time = bool(request.get("byTime"))
    chart.window = (float(window[0]), float(window[1])) if window else None
    if chart.window and not all(map(isfinite, chart.window)):
        chart.window = None
    chart.last = float(last) if last else None
    log.channel.post(log.chart_data())


def labels(field: Request) -> tuple[str, ...]:
    """Return the labels that lead to a field."""
    return tuple(map(str, field))


def resend(log: MessageLog, request: Request) -> Work:
    """Send a message again, with the very same payload.

    Followers run when the guard is released, or those that use the log would wait for it.
    """
    message = wanted(log, request)

    def send() -> Request:
        try:
            log.bus.twitter(message.identifier, *message.args, **message.kwargs)
        except BaseException as error:  # a follower's SystemExit too
            raise RequestError(f"sent, but a follower failed: {error_text(error)}") from error
        return {"t": "done", "text": f"sent {message.id} again"}

    return send


def put_into_variable(log: MessageLog, request: Request) -> Request:
    """Put the chosen messages into a variable of the user.

    The variable is one of the notebook's; ``as`` says whether it is a list or a table.
    """
    messages = chosen(log, request)
    return {"t": "exported", "text": export(messages, str(request.get("name")), str(request.get("as")))}


def counted(number: int) -> str:
    """Return a number of messages in words."""
    return f"{number:,} message{'' if number == 1 else 's'}"


def wanted(log: MessageLog, request: Request) -> Message:
    """Return the message that a request names.

    Raises:
        RequestError: it is not kept any more.
    """
    message = log.state.get(int(request["number"]))
    if message is None:
        raise RequestError("that message is no longer kept")
    return message


def previous(log: MessageLog, number: int, message: Message) -> Message | None:
    """Return the message before `number` that has the same identifier and source."""
    kept = log.state.rows.snapshot()
    near = range(number - 1, max(kept.first, number - LOOK_BACK) - 1, -1)
    for candidate in chain(near, reversed(kept.older.numbers)):
        other = kept.get(candidate) if candidate < number else None
        if other is not None and other.id == message.id and other.source == message.source:
            return other
    return None


ANSWERS: Final[dict[str, Answer]] = {
    "rows": rows,
    "detail": detail,
    "expand": expand,
    "text": text,
    "form": form,
    "filter": set_filter,
    "pause": pause,
    "pin": pin,
    "tsv": tsv,
    "cell": cell,
    "alert": alert,
    "remember": remember,
    "clear": clear,
    "undo": undo,
    "replay": replay,
    "chart": chart,
    "look": look,
    "resend": resend,
    "export": put_into_variable,
}
"""The functions by the ``t`` of the request."""
