"""The details of one message on a page: its payload as a tree, and the code that sends it again.

A page names a value inside a payload by its path, the positions from the root (``tree.py``). It may have
changed since the page saw it, for payloads are not copied: then the answer is an error that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import tree
from .base import RequestError
from .kinds import form_of
from .render import HOSTILE, error_text
from .twitter_code import twitter_code

if TYPE_CHECKING:
    from berrymq import Message

__all__ = ["details", "more_nodes", "more_text", "payload_of", "value_form"]

Request = dict[str, Any]


def details(message: Message, number: int) -> Request:
    """Return the details of `message`, which the page knows by `number`."""
    payload = payload_of(message)
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
    }


def more_nodes(message: Message, request: Request) -> Request:
    """Return the children of one value inside a message, from some position on.

    Raises:
        RequestError: there is no such value any more.
    """
    path, start = list(map(int, request["path"])), int(request.get("from", 0))
    node = tree.node(inside(message, path), depth=1, start=start)
    return {"t": "node", "number": request["number"], "path": path, "node": node}


def more_text(message: Message, request: Request) -> Request:
    """Return more of a long string inside a message.

    Raises:
        RequestError: there is no such value any more.
    """
    path = list(map(int, request["path"]))
    text = tree.long_text(inside(message, path))
    return {"t": "text", "number": request["number"], "path": path, "text": text}


def value_form(message: Message, request: Request) -> Request:
    """Return the form that a value inside a message has beside the tree.

    Raises:
        RequestError: there is no such value any more, or looking at it raises.
    """
    path = list(map(int, request["path"]))
    try:
        form = form_of(inside(message, path))
    except HOSTILE as error:
        raise RequestError(error_text(error)) from None
    return {"t": "form", "number": request["number"], "path": path, "form": form}


def payload_of(message: Message) -> tree.Payload:
    """Return the arguments of `message` as one value."""
    return tree.Payload(message.args, message.kwargs)


def inside(message: Message, path: list[int]) -> Any:
    """Return a value inside the payload of a message.

    Raises:
        RequestError: the path leads nowhere.
    """
    try:
        return tree.resolve(payload_of(message), path)
    except HOSTILE:
        raise RequestError("that part of the payload has changed since") from None
