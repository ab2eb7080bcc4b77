"""The wire methods: everything that can be called on a node, and nothing else.

Each function is a method of its own name; the first parameter is the conversation it is called in, the
others are the parameters of the call, checked against their annotations (which are read at import, so they
are not put off here).
"""

import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw, to_builtins

from berrymq.bridge.errors import RpcError
from berrymq.bridge.payload import MAX_PAYLOAD_BYTES
from berrymq.bridge.processes import Process
from berrymq.bridge.protocol.frames import MAX_COUNT, IdentifierText, Name, NodeId, NodeRecord
from berrymq.bridge.protocol.jsonrpc import (
    ALREADY_LINKED,
    BAD_IDENTIFIER,
    INVALID_PARAMS,
    INVALID_REQUEST,
    OVERFLOW,
    TOO_LARGE,
    UNKNOWN_TOKEN,
    Methods,
)
from berrymq.bridge.protocol.session import Session
from berrymq.bridge.tokens import MAX_PARK_SECONDS
from berrymq.bridge.websocket import CloseCode
from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier

if TYPE_CHECKING:
    from .conversation import Conversation

__all__ = ["methods"]

methods: "Methods[Conversation]" = Methods()

_payload_decoder = msgspec.json.Decoder(tuple[list[Raw], dict[str, Raw]])  # its shape; nobody here reads it

MAX_PEERS = 1000
"""Links of one node that others made, those included whose connection is cut at present."""

MAX_FOLLOWS = 10_000
"""Identifiers that one may follow over a link by `follow`; who announces records may have more."""

NO_ARGS = Raw(b"[]")
NO_KWARGS = Raw(b"{}")

Token = Annotated[str, Meta(max_length=255, pattern=r"\A[ -~]*\Z")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


@methods.add
def authenticate(conversation: "Conversation", access_token: Annotated[str, Meta(max_length=1024)]) -> str:
    """Show the access token; on a WebSocket whose upgrade request could not carry it."""
    conversation.check_token(access_token)
    return "ok"


@methods.add
def ping(conversation: "Conversation") -> str:  # noqa: ARG001 - all methods are called alike
    """Whether somebody is there."""
    return "pong"


@methods.add
def nodes(conversation: "Conversation") -> list[Any]:
    """The nodes of the room, and the hubs."""
    peer = conversation.peer
    room = peer.room if peer is not None else conversation.node.room
    found: list[Any] = to_builtins(conversation.node.nodes_of(room))
    return found


@methods.add
def interconnect(  # noqa: PLR0917 - the order is the wire's
    conversation: "Conversation",
    node: Name,
    room: Name | None = None,
    follows: Annotated[list[IdentifierText], Meta(max_length=100_000)] = [],  # noqa: B006  # only read
    id: NodeId | None = None,
    hub: bool = False,
    version: Annotated[int, Meta(ge=0, le=MAX_COUNT // 2)] | None = None,
    session: Token | None = None,
    received: Annotated[int, Meta(ge=0)] = 0,
    ttl: Seconds = 1000.0,
    process: Process | None = None,
) -> dict[str, Any]:
    """Become equals: from now on frames pass both ways over this WebSocket.

    ``session`` and ``received`` resume a session over a new connection. Where ``process`` is seen to have
    ended, nothing is kept for it any longer.
    """
    if conversation.transport is None:
        raise RpcError(INVALID_REQUEST, "interconnect needs a WebSocket: connect to /ws")
    if conversation.peer is not None:
        raise RpcError(INVALID_REQUEST, "this connection is a link already")
    here = conversation.node
    follows = [str(_identifier(text)) for text in follows]
    peer = here.peer_of_session(session) if session is not None else None
    resumed = peer is not None
    if peer is None:
        # One who announces nothing does not count either: what it says now replaces what it said before.
        if version is None:
            version = int(time.time() * 1000)
        record = NodeRecord(
            id or secrets.token_hex(8), node, version, room, hub, tuple(follows), neighbours=(here.id,)
        )
        if record.id == here.id:
            raise RpcError(INVALID_PARAMS, "a node can't be linked to itself")
        there = here.peer(record.id)
        if there is not None and there.connected:
            raise RpcError(ALREADY_LINKED, "there is a link between these two nodes", here.id)
        if there is None and here.peers >= MAX_PEERS:
            raise RpcError(OVERFLOW, f"this node has {MAX_PEERS} links already, those that are cut included")
        session_id = secrets.token_urlsafe(16)
        new = Session(session_id, here.loop.time(), here.limits, to_hub=hub)
        # Hubs are an exception: what a hub may not have handed on is kept for its successor.
        peer = here.add_peer(record, new, ttl, None if hub else process)
        received = 0
    linked = conversation.peer = peer
    conversation.after_reply.append(lambda: _attach(conversation, received))
    return {
        "session": linked.session.id,
        "resumed": resumed,
        "received": linked.session.received,
        "node": to_builtins(here.record),
    }


def _attach(conversation: "Conversation", received: int) -> None:
    assert conversation.peer is not None
    assert conversation.transport is not None
    if conversation.ended:
        return
    try:
        conversation.peer.attach(conversation.transport, received)
    except ValueError:
        conversation.transport.close("protocol error", CloseCode.PROTOCOL_ERROR)


@methods.add
def follow(conversation: "Conversation", identifier: IdentifierText) -> str:
    """Have messages of this identifier sent over this link, for one who does not announce records."""
    _change_follows(conversation, add=str(_identifier(identifier)))
    return "ok"


@methods.add
def unfollow(conversation: "Conversation", identifier: IdentifierText) -> str:
    """Take a follow back."""
    _change_follows(conversation, remove=str(_identifier(identifier)))
    return "ok"


def _change_follows(conversation: "Conversation", add: str | None = None, remove: str | None = None) -> None:
    record = _record(conversation)
    if record is None:
        raise RpcError(INVALID_REQUEST, "call interconnect first")
    follows = conversation.follows
    if follows is None:
        # What is said in one go is taken over in one go, at the end of it.
        follows = set(record.follows)
        conversation.node.loop.call_soon(_take_follows, conversation)
    if add is not None:
        if len(follows) >= MAX_FOLLOWS and add not in follows:
            raise RpcError(OVERFLOW, f"over this link {MAX_FOLLOWS:,} identifiers are followed already")
        follows.add(add)
    if remove is not None:
        follows.discard(remove)
    conversation.follows = follows


def _take_follows(conversation: "Conversation") -> None:
    follows, conversation.follows = conversation.follows, None
    record = _record(conversation)
    if record is not None and follows is not None:
        conversation.node.update_peer_record(record, follows)


def _record(conversation: "Conversation") -> NodeRecord | None:
    peer = conversation.peer
    return conversation.node.record_of(peer.id) if peer is not None else None


def _identifier(text: str) -> Identifier:
    try:
        return Identifier.parse(text)
    except IdentifierError as error:
        raise RpcError(BAD_IDENTIFIER, str(error)) from None


def _that_crosses(text: str) -> Identifier:
    known = _identifier(text)
    if known.is_local:
        raise RpcError(
            BAD_IDENTIFIER, f"{text!r} is local: a name that begins with '_' never leaves its process"
        )
    return known


@methods.add
def connect_oneway(conversation: "Conversation", ttl: Seconds = 1000.0, name: Name = "") -> str:
    """A token to send with. ``name`` is the source of the messages."""
    return conversation.node.tokens.give(name or "a client", ttl)


@methods.add
def connect_via_queue(
    conversation: "Conversation", identifier: IdentifierText, ttl: Seconds = 1000.0, name: Name = ""
) -> str:
    """A token to send with, and a queue here that collects for its holder."""
    return conversation.node.tokens.give(name or "a client", ttl, _that_crosses(identifier))


@methods.add
def send_message(
    conversation: "Conversation",
    token: Token,
    identifier: IdentifierText,
    args: Raw = NO_ARGS,
    kwargs: Raw = NO_KWARGS,
) -> str:
    """Say something, here and to everybody who follows it behind this node."""
    name = conversation.node.tokens.holder(token).name
    known = _that_crosses(identifier)
    payload = b"[%b,%b]" % (args, kwargs)
    try:
        _payload_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise RpcError(INVALID_PARAMS, f"args is an array and kwargs an object: {error}") from None
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RpcError(TOO_LARGE, f"a payload has at most {MAX_PAYLOAD_BYTES:,} bytes")
    conversation.node.traffic.say(str(known), payload, name)
    return "ok"


@methods.add
async def get(
    conversation: "Conversation",
    token: Token,
    block: bool = True,
    timeout: Annotated[float, Meta(ge=0, le=86_400)] | None = None,
    received: Annotated[int, Meta(ge=0)] | None = None,
) -> dict[str, Any]:
    """Take the next message of the queue, waiting at most 25 seconds; after EMPTY one asks again.

    With ``received``, the number ``n`` of the last message that arrived, an answer that was lost is given
    again.
    """
    wait = 0.0 if not block else MAX_PARK_SECONDS if timeout is None else timeout
    return await _take(conversation, token, wait, received)


@methods.add
async def get_nowait(
    conversation: "Conversation", token: Token, received: Annotated[int, Meta(ge=0)] | None = None
) -> dict[str, Any]:
    """Take the next message of the queue, if there is one."""
    return await _take(conversation, token, 0.0, received)


async def _take(
    conversation: "Conversation", token: str, wait: float, received: int | None
) -> dict[str, Any]:
    node = conversation.node
    taken = await node.tokens.holder(token).get(wait, received)
    return taken if taken["source"] is not None else taken | {"source": node.name}


@methods.add
def close_connection(conversation: "Conversation", token: Token) -> str:
    """End a session or a client's stay for good; nothing is kept for it any more."""
    if conversation.node.tokens.close(token):
        return "ok"
    peer = conversation.node.peer_of_session(token)
    if peer is None:
        raise RpcError(UNKNOWN_TOKEN, "unknown or expired token")
    conversation.after_reply.append(lambda: _close(conversation, peer))
    return "ok"


def _close(conversation: "Conversation", peer: Any) -> None:
    conversation.node.remove_peer(peer, "the other side has left")
