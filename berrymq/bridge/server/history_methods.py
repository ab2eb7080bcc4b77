"""The wire methods of a hub's history; see ``methods.py``."""

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from berrymq.bridge.errors import RpcError
from berrymq.bridge.node.room import Room
from berrymq.bridge.protocol.fields import IdentifierText, Name
from berrymq.bridge.protocol.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, OVERFLOW
from berrymq.bridge.protocol.limits import KEEP_LAST, MAX_KEEP_LAST

from .methods import crossing, methods

__all__ = ["methods"]

if TYPE_CHECKING:
    from .conversation import Conversation

MAX_ANSWER_BYTES = 4 * 1024 * 1024

Last = Annotated[int, Meta(ge=0, le=MAX_KEEP_LAST)]
Number = Annotated[int, Meta(ge=0, le=2**53)]


@methods.add
def keep(
    conversation: "Conversation",
    identifier: IdentifierText,
    last: Last = KEEP_LAST,
    room: Name | None = None,
    name: Name = "",
) -> str:
    """Retain the newest messages of each identifier that matches, from now on; 0 as ``last`` ends that.

    If they are retained already, the larger ``last`` counts. ``name`` is listed as the requester.
    """
    histories = _histories(conversation)
    the_room, known = _room(conversation, room), crossing(identifier)
    router = conversation.server.router
    with router.lock:
        if last:
            by = conversation.peer.name if conversation.peer is not None else name or "a client"
            try:
                histories.keep(the_room, known, last, by)
            except OverflowError as error:
                raise RpcError(OVERFLOW, str(error)) from None
        elif not histories.drop(the_room, known):
            raise RpcError(INVALID_PARAMS, f"{known.text} is not kept here")
        router.announcements.schedule(the_room, [known])
    router.announcements.send()  # a caller with a link receives it before the answer
    return "ok"


@methods.add
def kept(conversation: "Conversation", room: Name | None = None) -> dict[str, Any]:
    """Return what is retained in a room, in identifiers and numbers."""
    history = _histories(conversation).of(_room(conversation, room))
    if history is None:
        return {"keeps": [], "identifiers": [], "identifiers_more": 0, "dropped": 0}
    status: dict[str, Any] = history.status()
    return status


@methods.add
def history(
    conversation: "Conversation",
    identifier: IdentifierText,
    last: Last | None = None,
    after: Number = 0,
    room: Name | None = None,
) -> dict[str, Any]:
    """Return the retained messages that an identifier matches, in order, or the newest ``last`` of them.

    If ``more`` is true, the answer does not hold all of them: call again with ``after``, the ``n`` of the
    last message received, instead of ``last``, which new messages would shift.
    """
    found = _histories(conversation).of(_room(conversation, room))
    known = crossing(identifier)
    if last is not None and after:
        raise RpcError(INVALID_PARAMS, "last and after: give one of the two")
    if found is None:
        return {"messages": [], "more": False}
    messages, more = found.objects(
        known,
        last,
        after,
        MAX_ANSWER_BYTES,
        to=None if conversation.peer is None else conversation.peer.stream.offers,
        downloads=conversation.server.router.downloads,
    )
    return {"messages": messages, "more": more}


def _histories(conversation: "Conversation") -> Any:
    """Return the `Histories` of the hub; the server knows a hub only as a router that has some."""
    histories = getattr(conversation.server.router, "histories", None)
    if histories is None:
        raise RpcError(INVALID_REQUEST, "this node is no hub, and retains nothing")
    return histories


def _room(conversation: "Conversation", name: str | None) -> Room:
    if conversation.peer is not None:
        return conversation.peer.room
    return conversation.server.router.room(name or None)
