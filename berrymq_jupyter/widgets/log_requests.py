"""What the page of a `MessageLog` can ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import tree
from .base import RequestError
from .export import export
from .log_state import row
from .render import shown
from .twitter_code import twitter_code

if TYPE_CHECKING:
    from berrymq import Message

    from .message_log import MessageLog

__all__ = ["ANSWERS"]

Request = dict[str, Any]
Answer = Callable[["MessageLog", Request], Request | None]

ROWS: Final = 300
"""Rows that one answer brings at most."""
LOOK_BACK: Final = 20_000
"""Rows among which the previous message of an identifier is looked for."""


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
    """Return everything about one message."""
    number = int(request["number"])
    message = wanted(log, number)
    payload = tree.Payload(message.args, message.kwargs)
    before = previous(log, number, message)
    code, remark = twitter_code(message)
    return {
        "t": "detail",
        "number": number,
        "id": message.id,
        "source": message.source,
        "time": message.sent_at * 1000,
        "tree": tree.node(payload, depth=2),
        "code": code,
        "remark": remark,
        "before": None if before is None else {"number": before[0], "time": before[1].sent_at * 1000},
        "changes": []
        if before is None
        else tree.difference(tree.Payload(before[1].args, before[1].kwargs), payload),
        "fields": chart_fields(payload),
    }


def expand(log: MessageLog, request: Request) -> Request:
    """Return the children of one value inside a message, from some position on."""
    number, path, start = int(request["number"]), list(map(int, request["path"])), int(request.get("from", 0))
    value = inside(wanted(log, number), path)
    return {"t": "node", "number": number, "path": path, "node": tree.node(value, depth=1, start=start)}


def text(log: MessageLog, request: Request) -> Request:
    """Return more of a long string inside a message."""
    number, path = int(request["number"]), list(map(int, request["path"]))
    return {
        "t": "text",
        "number": number,
        "path": path,
        "text": tree.long_text(inside(wanted(log, number), path)),
    }


def set_filter(log: MessageLog, request: Request) -> None:
    """Filter the rows."""
    log.filter(str(request.get("id") or "*:*"), str(request.get("text") or ""))


def pause(log: MessageLog, request: Request) -> None:
    """Pause or resume."""
    if request.get("on"):
        log.pause()
    else:
        log.resume()


def clear(log: MessageLog, _: Request) -> None:
    """Clear the log."""
    log.clear()


def resend(log: MessageLog, request: Request) -> Request:
    """Send a message again, with the very same payload."""
    message = wanted(log, int(request["number"]))
    try:
        log.bus.twitter(message.identifier, *message.args, **message.kwargs)
    except Exception as error:
        raise RequestError(
            f"sent, but a follower failed: {type(error).__name__}: {shown(str(error))[:300]}"
        ) from error
    return {"t": "done", "text": f"sent {message.id} again"}


def put_into_variable(log: MessageLog, request: Request) -> Request:
    """Put the messages that pass the filter into a variable of the user."""
    return {"t": "done", "text": export(log, str(request.get("name")), str(request.get("as")))}


def wanted(log: MessageLog, number: int) -> Message:
    """Return the message of that number."""
    message = log.state.rows.get(number)
    if message is None:
        raise RequestError("that message is no longer kept")
    return message


def inside(message: Message, path: list[int]) -> Any:
    """Return a value inside the payload of a message."""
    try:
        return tree.resolve(tree.Payload(message.args, message.kwargs), path)
    except Exception:  # noqa: BLE001 - whatever the value raises when it is looked at
        raise RequestError("that part of the payload has changed since") from None


def previous(log: MessageLog, number: int, message: Message) -> tuple[int, Message] | None:
    """Return the message before `number` that has the same identifier and source."""
    kept = log.state.rows
    for candidate in range(number - 1, max(kept.first, number - LOOK_BACK) - 1, -1):
        other = kept.get(candidate)
        if other is not None and other.id == message.id and other.source == message.source:
            return candidate, other
    return None


def chart_fields(payload: tree.Payload) -> list[str]:
    """Return the names of the numeric arguments."""
    return [
        label
        for label, value in payload.items
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]


ANSWERS: Final[dict[str, Answer]] = {
    "rows": rows,
    "detail": detail,
    "expand": expand,
    "text": text,
    "filter": set_filter,
    "pause": pause,
    "clear": clear,
    "resend": resend,
    "export": put_into_variable,
}
"""By the ``t`` of the request."""
