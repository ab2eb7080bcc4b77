"""The wire methods of what a hub retains; see ``methods.py``."""

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from berrymq.bridge.errors import RpcError
from berrymq.bridge.node.room import Room
from berrymq.bridge.protocol.frames import IdentifierText, Name
from berrymq.bridge.protocol.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, OVERFLOW
from berrymq.bridge.protocol.limits import KEEP_LAST

from .methods import crossing, methods

__all__ = ["methods"]

if TYPE_CHECKING:
    from berrymq.bridge.hub.history import Histories

    from .conversation import Conversation

MAX_LAST = 1_000_000
MAX_ANSWER_BYTES = 4 * 1024 * 1024

Last = Annotated[int, Meta(ge=0, le=MAX_LAST)]
Number = Annotated[int, Meta(ge=0, le=2**53)]


@methods.add
def keep(
    conversation: "Conversation",
    identifier: IdentifierText,
    last: Last = KEEP_LAST,
    room: Name | None = None,
    name: Name = "",
) -> str:
    """Retain the newest messages of each identifier that matches, from now on; for ``last`` = 0, no more.

    Where it is kept already, the larger ``last`` counts. ``name`` is shown as who asked for it.
    """
    histories = _histories(conversation)
    place, known = _room(conversation, room), crossing(identifier)
    router = conversation.server.router
    with router.lock:
        if last:
            by = conversation.peer.name if conversation.peer is not None else name or "a client"
            try:
                histories.keep(place, known, last, by)
            except OverflowError as error:
                raise RpcError(OVERFLOW, str(error)) from None
        elif not histories.drop(place, known):
            raise RpcError(INVALID_PARAMS, f"{known.text} is not kept here")
        router.interest_changed(place, [known])
    router.announce_interests()  # whoever asks over its link knows of it before this is answered
    return "ok"


@methods.add
def kept(conversation: "Conversation", room: Name | None = None) -> dict[str, Any]:
    """What is kept in a room, and what is retained of it: names and numbers."""
    history = _histories(conversation).of(_room(conversation, room))
    if history is None:
        return {"keeps": [], "identifiers": [], "identifiers_more": 0, "dropped": 0}
    return history.status()


@methods.add
def history(
    conversation: "Conversation",
    identifier: IdentifierText,
    last: Last | None = None,
    after: Number = 0,
    room: Name | None = None,
) -> dict[str, Any]:
    """The retained messages of an identifier in order; the newest ``last`` of them, of all that match.

    Where ``more`` is true there are more than one answer takes: ask again with ``after``, the ``n`` of the
    last message that came, instead of ``last``: others may have come since, which would shift its window.
    """
    found = _histories(conversation).of(_room(conversation, room))
    known = crossing(identifier)
    if last is not None and after:
        raise RpcError(INVALID_PARAMS, "last and after: give one of the two")
    if found is None:
        return {"messages": [], "more": False}
    messages, more = found.objects(known, last, after, MAX_ANSWER_BYTES)
    return {"messages": messages, "more": more}


def _histories(conversation: "Conversation") -> "Histories":
    router = conversation.server.router
    histories: Histories | None = getattr(router, "histories", None)
    if histories is None:
        raise RpcError(INVALID_REQUEST, "this node is no hub, and retains nothing")
    return histories


def _room(conversation: "Conversation", name: str | None) -> Room:
    if conversation.peer is not None:
        return conversation.peer.room
    return conversation.server.router.room(name or None)
