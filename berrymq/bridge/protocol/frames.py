"""What travels on a link once it is made: JSON-RPC notifications, each one frame.

===============  ===================================================================  ========
method           means                                                                numbered
===============  ===================================================================  ========
send_messages    a batch of messages, each an array (see `WireMessage`)               yes
announce         nodes that are new or have changed, and those that are gone          yes
dropped          so many messages for you were dropped, since my buffer was full      yes
ack              I have everything up to this number                                  no
heartbeat        I am here                                                            no
===============  ===================================================================  ========

A numbered frame carries ``n``, counting from 1 in each direction of a session.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from .jsonrpc import check_utf8

__all__ = [
    "FRAME_METHODS",
    "HEARTBEAT",
    "LATEST",
    "MAX_AGAIN",
    "MAX_COUNT",
    "MAX_HOPS",
    "SURVEY",
    "SURVEYED",
    "Ack",
    "Announce",
    "Dropped",
    "Frame",
    "Heartbeat",
    "Moment",
    "NodeRecord",
    "SendMessages",
    "WireMessage",
    "ack_frame",
    "announce_frame",
    "counted",
    "decode_frame",
    "dropped_frame",
    "messages_frame",
    "record_size",
    "said_again",
]

MAX_HOPS = 8
"""A message that was handed on this often goes no further."""

MAX_AGAIN = 16
"""How often it is counted that a message was said again."""

SURVEY, SURVEYED = "berrymq:traffic", "berrymq:passed"
"""Question and answer, from node to node: what passes over your links? They do not count themselves."""

Name = Annotated[str, Meta(max_length=255)]
NodeId = Annotated[str, Meta(min_length=1, max_length=64)]
IdentifierText = Annotated[str, Meta(min_length=1, max_length=800)]
MAX_COUNT = 2**53
"""The largest number that every JSON library reads exactly."""
Number = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
LATEST = 253_402_300_799.0
"""The end of the year 9999 in seconds since 1970: what every calendar can show."""
Moment = Annotated[float, Meta(ge=0, le=LATEST)]


class WireMessage(Struct, array_like=True, gc=False):
    """One message on its way; as an array, in this order.

    A node that hands it on reads all but the payload, and changes only ``hops``, or ``again`` where a hub was
    lost.
    """

    identifier: IdentifierText
    """Canonical text: ``name:action`` or ``name@namespace:action``."""
    payload: Raw
    """``[args, kwargs]``, see ``payload.py``."""
    source: Name
    """The name of the node that sent it."""
    sent_at: Moment
    """Seconds since 1970, by the sender's clock."""
    origin: NodeId
    """The id of the node that sent it."""
    sequence: Number
    """Counts the messages of that node."""
    room: Name | None = None
    hops: Count = 0
    callback: IdentifierText | None = None
    """Where followers' return values are to be sent."""
    question: Number | None = None
    """The number of a question: it asks all followers or, where ``to`` is set, brings their answers."""
    to: NodeId | None = None
    """The only node that it is for."""
    again: Annotated[int, Meta(ge=0, le=MAX_AGAIN)] = 0
    """So often it was said again, or more often, since a link was lost over which it may have gone."""


def counted(messages: list[WireMessage]) -> int:
    """How many of these are traffic, and not about it."""
    private = [message for message in messages if message.to is not None]
    return len(messages) - sum(message.identifier in (SURVEY, SURVEYED) for message in private)


def said_again(message: WireMessage) -> int:
    """What its ``again`` becomes when it is said once more."""
    return min(message.again + 1, MAX_AGAIN)


class NodeRecord(Struct, frozen=True, omit_defaults=True):
    """What a node says of itself, and the others hand on."""

    id: NodeId
    name: Name
    version: Count
    """Grows with each change; an older record never replaces a newer one."""
    room: Name | None = None
    hub: bool = False
    """It belongs to every room, since it only hands on."""
    follows: Annotated[tuple[IdentifierText, ...], Meta(max_length=100_000)] = ()
    neighbours: Annotated[tuple[NodeId, ...], Meta(max_length=10_000)] = ()
    """The ids of the nodes that it is linked to."""
    away: Annotated[tuple[NodeId, ...], Meta(max_length=10_000)] = ()
    """Those of them whose connection is cut at present; messages wait for them."""


class _Batch(Struct):
    n: Number
    batch: list[WireMessage]


class _Nodes(Struct, omit_defaults=True):
    n: Number
    nodes: Annotated[list[NodeRecord], Meta(max_length=10_000)]
    more: bool = False
    """Others follow, of those that are known already."""


class _NumberedCount(Struct):
    n: Number
    count: Count


class _Acked(Struct):
    n: Count


class _Nothing(Struct):
    pass


class SendMessages(Struct, tag_field="method", tag="send_messages"):
    """A batch of messages."""

    params: _Batch
    jsonrpc: str = "2.0"


class Announce(Struct, tag_field="method", tag="announce"):
    """Records of nodes that are new or have changed."""

    params: _Nodes
    jsonrpc: str = "2.0"


class Dropped(Struct, tag_field="method", tag="dropped"):
    """How many messages were dropped on this side since the last such frame."""

    params: _NumberedCount
    jsonrpc: str = "2.0"


class Ack(Struct, tag_field="method", tag="ack"):
    """All numbered frames up to ``n`` have come and are taken care of."""

    params: _Acked
    jsonrpc: str = "2.0"


class Heartbeat(Struct, tag_field="method", tag="heartbeat"):
    """Sent on a link that has been silent."""

    params: _Nothing = msgspec.field(default_factory=_Nothing)
    jsonrpc: str = "2.0"


Frame = SendMessages | Announce | Dropped | Ack | Heartbeat

FRAME_METHODS = frozenset({"send_messages", "announce", "dropped", "ack", "heartbeat"})
"""A malformed call of one of these breaks the link, for nothing may be left out of its numbering."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)


def decode_frame(data: bytes | str) -> Frame:
    """Read one frame.

    Raises:
        ValueError: it is not one of those above.
    """
    try:
        check_utf8(data)
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ValueError(f"not a frame of a link: {str(error)[:120]}") from None


def messages_frame(n: int, batch: list[WireMessage]) -> bytes:
    """A numbered frame of messages."""
    return _encoder.encode(SendMessages(_Batch(n, batch)))


def announce_frame(n: int, nodes: list[NodeRecord], *, more: bool = False) -> bytes:
    """A numbered frame of node records; *more* of them follow."""
    return _encoder.encode(Announce(_Nodes(n, nodes, more)))


def record_size(record: NodeRecord) -> int:
    """How many bytes a record takes in a frame."""
    return len(_encoder.encode(record))


def dropped_frame(n: int, count: int) -> bytes:
    """A numbered frame that owns up to a loss."""
    return _encoder.encode(Dropped(_NumberedCount(n, count)))


def ack_frame(n: int) -> bytes:
    """The acknowledgement of everything up to *n*."""
    return _encoder.encode(Ack(_Acked(n)))


HEARTBEAT = _encoder.encode(Heartbeat())
"""The frame of a heartbeat."""
