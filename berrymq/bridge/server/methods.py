"""The wire methods: everything that can be called on a node, and nothing else.

Each function is a method of its own name. The first parameter is the conversation in which it is called; the
others are the parameters of the call, checked against their annotations (which are read at import, so they
are not postponed here).

A call with an unknown method or parameter, or with a value that does not fit, is answered with an error by
``jsonrpc.Methods``; so these functions get what their annotations say. They run on the loop and never block:
what has to be waited for is a `Later`.

``bridge/WIRE.md`` lists them for those who write clients; a change here is a change there.
"""

from base64 import b64encode
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.protocol import fields, json_checks
from berrymq.bridge.protocol.fields import IdentifierText, Name, NodeKey, crossing_identifier
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.jsonrpc import (
    BAD_IDENTIFIER,
    INVALID_PARAMS,
    INVALID_REQUEST,
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
    from berrymq.bridge.node.status import NodeInfo

    from .conversation import Conversation

__all__ = ["OPEN_METHODS", "crossing", "methods"]

methods: "Methods[Conversation]" = Methods()

OPEN_METHODS = frozenset({"hello", "authenticate"})
"""The methods that an unauthenticated client may call."""

NO_ARGS = Raw(b"[]")
NO_KWARGS = Raw(b"{}")

MAX_ASK_SECONDS = 600.0
"""Each open question takes memory at its followers."""

MAX_PART_BYTES = 4 * 1024 * 1024
"""The limit of a part of a buffer that is given in base64."""

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
    """Authenticate with a proof of the access token, after ``hello``, or with the token itself."""
    if not conversation.admit(proof, access_token):
        raise RpcError(NOT_ALLOWED, "wrong access token")
    return "ok"


@methods.add
def ping(conversation: "Conversation") -> str:  # noqa: ARG001 - all methods are called alike
    """Return at once: the node is alive."""
    return "pong"


@methods.add
def nodes(conversation: "Conversation", room: Name | None = None) -> "list[NodeInfo]":
    """Return the nodes of a room, this one first; on a link, of its own room."""
    if conversation.peer is not None:
        room = conversation.peer.room.name
    return conversation.server.router.nodes(room)


@methods.add
def status(conversation: "Conversation") -> dict[str, Any]:
    """Return the names and counters of this node and its peers; no payload, no secret."""
    return conversation.server.status()


class Resume(msgspec.Struct):
    """A link to be resumed: the id of its node, and the number of the last frame received from there.

    If this node does not know that link, or the number does not fit, the call is answered with
    INVALID_PARAMS; the caller then starts a new stream.
    """

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
    memory: tuple[int, int, int, str, int] | None = None,
    pull: bool = False,
) -> dict[str, Any]:
    """Make this connection a link: from now on it carries frames both ways.

    ``key`` is a secret of the node's own, from which its id is made; with ``id`` it is one for this link
    alone. ``resume`` resumes a link that was cut. ``memory`` is a claim on shared memory of the node; the
    answer says whether it could be opened here. ``pull`` says that the node pulls buffers.
    """
    return conversation.interconnect(
        name,
        key,
        id,
        room or None,
        ttl,
        None if resume is None else (resume.id, resume.received),
        memory,
        pull,
    )


@methods.add
def connect_oneway(
    conversation: "Conversation", ttl: Seconds = 1000.0, name: Name = "", room: Name | None = None
) -> str:
    """Return a token to send with. ``name`` is the source of the messages.

    It is valid for ``ttl`` seconds after the last call with it.
    """
    return conversation.server.sessions.open(name or "a client", room or None, ttl)


@methods.add
def connect_via_queue(  # noqa: PLR0917 - the order is the wire's
    conversation: "Conversation",
    identifier: IdentifierText,
    ttl: Seconds = 1000.0,
    name: Name = "",
    room: Name | None = None,
    past: Annotated[int, Meta(ge=0, le=1_000_000)] = 0,
    shared: bool = False,
) -> str | Later:
    """Return a token to send with, and add a queue here that collects messages for its holder.

    It begins with the newest ``past`` messages that are retained. With ``shared``, at a hub, the holder takes
    turns with all other shared queues of the identifier.

    It is valid, and the queue kept, for ``ttl`` seconds after the last call.
    """
    known, sessions = crossing(identifier), conversation.server.sessions
    router = conversation.server.router
    stored = router.stored_history(router.room(room or None)) if past and not shared else None
    begins = 0 if stored is not None else past
    token = sessions.open(name or "a client", room or None, ttl, known, past=begins, shared=shared)
    if stored is None:
        return token
    later = Later()

    def done(found: Any) -> None:
        if isinstance(found, LinkError):
            sessions.close(token)
            later.resolve(RpcError(INVALID_REQUEST, str(found)))
        else:
            sessions.begin_with(token, found)
            later.resolve(token)

    stored.past(known, past, done)
    return conversation.wait_for(later)


@methods.add
def send_message(
    conversation: "Conversation",
    token: Token,
    identifier: IdentifierText,
    args: Raw = NO_ARGS,
    kwargs: Raw = NO_KWARGS,
) -> str:
    """Publish a message here and at all nodes behind this one that follow it.

    The answer says that it was published here, and not that a follower has it.
    """
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
    """Ask all who follow an identifier: ``[[source, [values], [errors]], ...]``.

    The answers that arrive after ``timeout`` seconds are left out.
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
    """Return the next message of the queue; wait for it at most 25 seconds, then answer with EMPTY.

    With ``received``, the number ``n`` of the last message that arrived, a lost answer is sent again.

    A client that repeats the call until it gets something else than EMPTY waits for as long as it likes, and
    no proxy cuts a silent connection.
    """
    wait = 0.0 if not block else MAX_WAIT_SECONDS if timeout is None else timeout
    taken = conversation.server.sessions.find(token).get(wait, received)
    return conversation.wait_for(taken) if isinstance(taken, Later) else taken


@methods.add
def get_nowait(
    conversation: "Conversation", token: Token, received: Annotated[int, Meta(ge=0)] | None = None
) -> dict[str, Any] | Later:
    """Return the next message of the queue, if there is one."""
    return conversation.server.sessions.find(token).get(0.0, received)


@methods.add
def buffer(
    conversation: "Conversation",
    path: Annotated[str, Meta(max_length=255)],
    offset: Annotated[int, Meta(ge=0, le=2**53)] = 0,
    size: Annotated[int, Meta(ge=1, le=MAX_PART_BYTES)] = MAX_PART_BYTES,
) -> str:
    """Return a part of a buffer in base64, which is shorter than ``size`` at the end of the buffer."""
    found = conversation.server.router.downloads.find(path)
    size = 0 if found is None else min(size, found.size - offset)
    data = found.memory.read(found.offset + offset, size) if found is not None and size >= 0 else None
    if data is None:
        raise RpcError(INVALID_PARAMS, "this buffer is gone, or smaller")
    return b64encode(data).decode()


@methods.add
def close_connection(
    conversation: "Conversation", token: Token, received: Annotated[int, Meta(ge=0)] | None = None
) -> str:
    """Close a client's session and its queue.

    A job of a shared queue that the client has not ``received`` is given to another member.

    Messages that are left in the queue are dropped.
    """
    if not conversation.server.sessions.close(token, received):
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
    """Return a message as it is encoded in a batch, sent now.

    Raises:
        RpcError: args or kwargs have another type, nest too deep, or are too large.
    """
    if len(args) + len(kwargs) > MAX_PAYLOAD_BYTES:
        raise RpcError(TOO_LARGE, f"a payload has at most {MAX_PAYLOAD_BYTES:,} bytes")
    payload = b"[%b,%b]" % (args, kwargs)
    if bytes(memoryview(args)[:1]) != b"[" or bytes(memoryview(kwargs)[:1]) != b"{":
        raise RpcError(INVALID_PARAMS, "args is an array and kwargs an object")
    try:
        json_checks.check_depth(payload, around=1)
    except FrameError as error:
        raise RpcError(INVALID_PARAMS, str(error)) from None
    now = min(max(0.0, time()), fields.LATEST)  # others refuse the time of a clock that is wrong
    return b"[%b,%b,%b]" % (json_checks.encode_json(now), args, kwargs)
