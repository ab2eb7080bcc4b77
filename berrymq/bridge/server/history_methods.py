"""The wire methods of a hub's history; see ``methods.py``.

A caller with a link speaks of the room of that link; another one names the room in the call.
"""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.node.room import Room
from berrymq.bridge.protocol.fields import IdentifierText, Name
from berrymq.bridge.protocol.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, OVERFLOW, Later
from berrymq.bridge.protocol.limits import KEEP_LAST, MAX_KEEP_LAST

from .methods import crossing, methods

__all__ = ["methods"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conversation import Conversation

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""The approximate size at which an answer of ``history`` ends, with ``more``; the caller then asks again."""

Last = Annotated[int, Meta(ge=0, le=MAX_KEEP_LAST)]
Number = Annotated[int, Meta(ge=0, le=2**53)]


@methods.add
def keep(
    conversation: "Conversation",
    identifier: IdentifierText,
    last: Last = KEEP_LAST,
    room: Name | None = None,
    name: Name = "",
) -> "str | Later":
    """Retain the newest messages of each identifier that matches, from now on; 0 as ``last`` ends that.

    If they are retained already, the larger ``last`` counts. ``name`` is listed as the requester.
    The result is ``"stored"`` where that outlives the hub, else ``"ok"``.
    """
    histories = _histories(conversation)
    the_room, known = _room(conversation, room), crossing(identifier)
    router = conversation.server.router
    by = conversation.peer.name if conversation.peer is not None else name or "a client"
    stored = router.stored_history(the_room)
    if stored is not None:
        return _later(conversation, partial(stored.keep, known, last, by))
    with router.lock:
        if last:
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
def kept(conversation: "Conversation", room: Name | None = None) -> "dict[str, Any] | Later":
    """Return what is retained in a room, in identifiers and numbers.

    It decodes no payload but the times of the first and last messages.
    """
    the_room = _room(conversation, room)
    stored = conversation.server.router.stored_history(the_room)
    if stored is not None:
        return _later(conversation, stored.kept)
    history = _histories(conversation).of(the_room)
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
) -> "dict[str, Any] | Later":
    """Return the retained messages that an identifier matches, in order, or the newest ``last`` of them.

    If ``more`` is true, the answer does not hold all of them: call again with ``after``, the ``n`` of the
    last message received, instead of ``last``, which new messages would shift.
    """
    the_room, known = _room(conversation, room), crossing(identifier)
    if last is not None and after:
        raise RpcError(INVALID_PARAMS, "last and after: give one of the two")
    to = None if conversation.peer is None else conversation.peer.stream.offers
    downloads = conversation.server.router.downloads
    stored = conversation.server.router.stored_history(the_room)
    if stored is not None:
        read = partial(stored.history, known, last, after, to=to, downloads=downloads)
        return _later(conversation, read)
    found = _histories(conversation).of(the_room)
    if found is None:
        return {"messages": [], "more": False}
    messages, more = found.objects(
        known,
        last,
        after,
        MAX_ANSWER_BYTES,
        to=to,
        downloads=downloads,
    )
    return {"messages": messages, "more": more}


def _later(conversation: "Conversation", call: "Callable[..., object]") -> Later:
    """Call a method of a `StoredHistory`, and return its later result.

    Args:
        conversation: of the caller.
        call: the method, which takes ``done``.
    """
    later = Later()

    def done(outcome: Any) -> None:
        later.resolve(RpcError(INVALID_REQUEST, str(outcome)) if isinstance(outcome, LinkError) else outcome)

    call(done=done)
    return conversation.wait_for(later)


def _histories(conversation: "Conversation") -> Any:
    """Return the `Histories` of the hub; the server knows a hub only as a router that has some.

    Raises:
        RpcError: this node is no hub.
    """
    histories = getattr(conversation.server.router, "histories", None)
    if histories is None:
        raise RpcError(INVALID_REQUEST, "this node is no hub, and retains nothing")
    return histories


def _room(conversation: "Conversation", name: str | None) -> Room:
    """Return the room of a call; "" and None are the same one."""
    if conversation.peer is not None:
        return conversation.peer.room
    return conversation.server.router.room(name or None)
