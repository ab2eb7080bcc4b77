"""The wire methods: everything that can be called on a node, and nothing else.

Each function is a method of its own name; the first parameter is the conversation it is called in, the
others are the parameters of the call, checked against their annotations (which are read at import, so they
are not put off here).
"""

from time import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw

from berrymq.bridge.errors import RpcError
from berrymq.bridge.protocol import frames
from berrymq.bridge.protocol.frames import FrameError, IdentifierText, Name, NodeKey, crossing_identifier
from berrymq.bridge.protocol.jsonrpc import (
    BAD_IDENTIFIER,
    INVALID_PARAMS,
    NOT_ALLOWED,
    TOO_LARGE,
    UNKNOWN_TOKEN,
    Later,
    Methods,
)
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES
from berrymq.identifiers import Identifier

from .sessions import MAX_WAIT_SECONDS

if TYPE_CHECKING:
    from .conversation import Conversation

__all__ = ["OPEN_METHODS", "crossing", "methods"]

methods: "Methods[Conversation]" = Methods()

OPEN_METHODS = frozenset({"hello", "authenticate"})
"""What a stranger may call."""

NO_ARGS = Raw(b"[]")
NO_KWARGS = Raw(b"{}")

MAX_ASK_SECONDS = 600.0

Token = Annotated[str, Meta(max_length=255, pattern=r"\A[ -~]*\Z")]
NodeId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
Nonce = Annotated[str, Meta(min_length=16, max_length=128, pattern=r"\A[ -~]*\Z")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


@methods.add
def hello(conversation: "Conversation", nonce: Nonce) -> dict[str, Any]:
    """Have this node prove that it knows the access token; see ``protocol/handshake.py``."""
    return conversation.greet(nonce)


@methods.add
def authenticate(
    conversation: "Conversation",
    proof: Annotated[str, Meta(max_length=128)] | None = None,
    access_token: Annotated[str, Meta(max_length=1024)] | None = None,
) -> str:
    """Prove to know the access token, after ``hello``; or show it, for who trusts this node anyhow."""
    if not conversation.admit(proof, access_token):
        raise RpcError(NOT_ALLOWED, "wrong access token")
    return "ok"


@methods.add
def ping(conversation: "Conversation") -> str:  # noqa: ARG001 - all methods are called alike
    """Whether somebody is there."""
    return "pong"


@methods.add
def nodes(conversation: "Conversation", room: Name | None = None) -> list[Any]:
    """The nodes of a room, this one first; on a link, of its own room."""
    if conversation.peer is not None:
        room = conversation.peer.room.name
    return [info._asdict() for info in conversation.server.router.nodes(room)]


@methods.add
def status(conversation: "Conversation") -> dict[str, Any]:
    """What there is and what has passed: names and numbers; no payload, no secret."""
    return conversation.server.status()


class Resume(msgspec.Struct):
    """A link to be carried on: the id of the node it was with, and the last frame that came from it."""

    id: Annotated[str, Meta(max_length=64)]
    received: Annotated[int, Meta(ge=0)]


@methods.add
def interconnect(  # noqa: PLR0917 - the order is the wire's
    conversation: "Conversation",
    name: Name,
    key: NodeKey,
    room: Name | None = None,
    ttl: Seconds = 1000.0,
    resume: Resume | None = None,
    id: NodeId | None = None,
) -> dict[str, Any]:
    """Make this connection a link: from now on frames pass both ways.

    ``key`` is a secret of the node's own, from which its id is made; with ``id`` it is one for this link
    alone. ``resume`` carries on a link that was cut.
    """
    return conversation.interconnect(
        name, key, id, room or None, ttl, None if resume is None else (resume.id, resume.received)
    )


@methods.add
def connect_oneway(
    conversation: "Conversation", ttl: Seconds = 1000.0, name: Name = "", room: Name | None = None
) -> str:
    """A token to send with. ``name`` is the source of the messages."""
    return conversation.server.sessions.open(name or "a client", room or None, ttl)


@methods.add
def connect_via_queue(  # noqa: PLR0917 - the order is the wire's
    conversation: "Conversation",
    identifier: IdentifierText,
    ttl: Seconds = 1000.0,
    name: Name = "",
    room: Name | None = None,
    past: Annotated[int, Meta(ge=0, le=1_000_000)] = 0,
) -> str:
    """A token to send with, and a queue here that collects for its holder.

    It begins with the newest ``past`` messages that are retained.
    """
    known = crossing(identifier)
    return conversation.server.sessions.open(name or "a client", room or None, ttl, known, past)


@methods.add
def send_message(
    conversation: "Conversation",
    token: Token,
    identifier: IdentifierText,
    args: Raw = NO_ARGS,
    kwargs: Raw = NO_KWARGS,
) -> str:
    """Publish a message here and to everybody who follows it behind this node."""
    session = conversation.server.sessions.find(token)
    known = crossing(identifier)
    conversation.server.publish(session, known.text, _message(args, kwargs))
    return "ok"


@methods.add
def ask(  # noqa: PLR0917 - the order is the wire's
    conversation: "Conversation",
    token: Token,
    identifier: IdentifierText,
    args: Raw = NO_ARGS,
    kwargs: Raw = NO_KWARGS,
    timeout: Annotated[float, Meta(gt=0, le=MAX_ASK_SECONDS)] = MAX_WAIT_SECONDS,
) -> Later:
    """Ask everybody who follows an identifier: ``[[source, [values], [errors]], ...]``.

    Who has not answered after ``timeout`` seconds is left out.
    """
    session = conversation.server.sessions.find(token)
    known = crossing(identifier)
    return conversation.wait_for(
        conversation.server.ask(session, known.text, _message(args, kwargs), timeout)
    )


@methods.add
def get(
    conversation: "Conversation",
    token: Token,
    block: bool = True,
    timeout: Annotated[float, Meta(ge=0, le=86_400)] | None = None,
    received: Annotated[int, Meta(ge=0)] | None = None,
) -> dict[str, Any] | Later:
    """Take the next message of the queue, waiting at most 25 seconds; after EMPTY one asks again.

    With ``received``, the number ``n`` of the last message that arrived, an answer that was lost is given
    again.
    """
    wait = 0.0 if not block else MAX_WAIT_SECONDS if timeout is None else timeout
    taken = conversation.server.sessions.find(token).get(wait, received)
    return conversation.wait_for(taken) if isinstance(taken, Later) else taken


@methods.add
def get_nowait(
    conversation: "Conversation", token: Token, received: Annotated[int, Meta(ge=0)] | None = None
) -> dict[str, Any] | Later:
    """Take the next message of the queue, if there is one."""
    return conversation.server.sessions.find(token).get(0.0, received)


@methods.add
def close_connection(conversation: "Conversation", token: Token) -> str:
    """End a client's stay for good; nothing is kept for it any more."""
    if not conversation.server.sessions.close(token):
        raise RpcError(UNKNOWN_TOKEN, "unknown or expired token")
    return "ok"


def crossing(text: str) -> Identifier:
    """Parse an identifier of a call.

    Raises:
        RpcError: BAD_IDENTIFIER.
    """
    try:
        return crossing_identifier(text)
    except FrameError as error:
        raise RpcError(BAD_IDENTIFIER, str(error)) from None


def _message(args: Raw, kwargs: Raw) -> bytes:
    """A message as it stands in a batch, sent now."""
    if len(args) + len(kwargs) > MAX_PAYLOAD_BYTES:
        raise RpcError(TOO_LARGE, f"a payload has at most {MAX_PAYLOAD_BYTES:,} bytes")
    payload = b"[%b,%b]" % (args, kwargs)
    if bytes(memoryview(args)[:1]) != b"[" or bytes(memoryview(kwargs)[:1]) != b"{":
        raise RpcError(INVALID_PARAMS, "args is an array and kwargs an object")
    try:
        frames.check_depth(payload, around=1)
    except FrameError as error:
        raise RpcError(INVALID_PARAMS, str(error)) from None
    now = min(max(0.0, time()), frames.LATEST)  # others refuse what a broken clock says
    return b"[%b,%b,%b]" % (frames.encode_json(now), args, kwargs)
