"""The requests of a `MessageLog`'s page."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from berrymq.errors import IdentifierError

from .base import RequestError, Work
from .detail import details, more_nodes, more_text, payload_of
from .export import export
from .log_state import row
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
"""The limit of rows in one answer."""
LOOK_BACK: Final = 20_000
"""The limit of rows searched for the previous message of an identifier."""


def rows(log: MessageLog, request: Request) -> Request:
    """Return the rows at some places."""
    start, end = int(request["from"]), int(request["to"])
    window = log.state.window
    end = min(end, start + ROWS, log.state.end)
    return {
        "t": "rows",
        "epoch": window.epoch,
        "from": start,
        "rows": [row(*found) for found in window.page(start, end)],
    }


def detail(log: MessageLog, request: Request) -> Request:
    """Return the details of one message, and its differences from the previous one."""
    number = int(request["number"])
    message = wanted(log, request)
    before = previous(log, number, message)
    found: Request = {"before": None, "changes": []}
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


def set_filter(log: MessageLog, request: Request) -> Request:
    """Filter the rows."""
    try:
        log.filter(str(request.get("id") or "*:*"), str(request.get("text") or ""))
    except IdentifierError as error:
        raise RequestError(str(error), field="id") from None
    return {"t": "filtered"}


def pause(log: MessageLog, request: Request) -> None:
    """Pause or resume."""
    if request.get("on"):
        log.pause()
    else:
        log.resume()


def clear(log: MessageLog, _: Request) -> None:
    """Clear the log."""
    log.clear()


def chart(log: MessageLog, request: Request) -> Request:
    """Draw a chart of some fields, or remove it."""
    tracks = [Track(str(name), labels(field)) for name, field in request.get("tracks") or ()]
    x = request.get("x")
    log.state.draw(tracks, labels(x) if x else None)
    return log.chart_data()


def look(log: MessageLog, request: Request) -> Request:
    """Select a part of the chart."""
    chart = log.state.chart
    if chart is None:
        return log.chart_data()
    window, last = request.get("window"), request.get("last")
    chart.by_time = bool(request.get("byTime"))
    chart.window = (float(window[0]), float(window[1])) if window else None
    chart.last = float(last) if last else None
    return log.chart_data()


def labels(field: Request) -> tuple[str, ...]:
    """Return the labels that lead to a field."""
    return tuple(map(str, field))


def resend(log: MessageLog, request: Request) -> Work:
    """Send a message again, with the very same payload."""
    message = wanted(log, request)

    def send() -> Request:
        try:
            log.bus.twitter(message.identifier, *message.args, **message.kwargs)
        except BaseException as error:  # a follower's SystemExit too
            raise RequestError(f"sent, but a follower failed: {error_text(error)}") from error
        return {"t": "done", "text": f"sent {message.id} again"}

    return send


def put_into_variable(log: MessageLog, request: Request) -> Request:
    """Put the messages that pass the filter into a variable of the user."""
    return {"t": "exported", "text": export(log, str(request.get("name")), str(request.get("as")))}


def wanted(log: MessageLog, request: Request) -> Message:
    """Return the message that a request names."""
    message = log.state.rows.snapshot().get(int(request["number"]))
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
    "filter": set_filter,
    "pause": pause,
    "clear": clear,
    "chart": chart,
    "look": look,
    "resend": resend,
    "export": put_into_variable,
}
"""The functions by the ``t`` of the request."""
