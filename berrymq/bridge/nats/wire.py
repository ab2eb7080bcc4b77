"""What nodes publish on NATS: subjects, and the first line of each message.

Two subjects for each node in a room: its own, ``bmq.ROOM.%.ID``, and one for all, ``bmq.ROOM.%.all``. What a
node follows is announced over its streams, as on any link, so identifiers are in no subject: they may be as
long and as odd as anywhere, and 10,000 of them need no more subscriptions than one.

A message is one of three:

- a notice, a JSON object: nodes find each other, and open and close streams (`Notice`);
- a part of a frame for one node: ``F SENDER EPOCH NUMBER LAST`` and a line feed, then the part; with ``D``
  for ``F`` a part of a binary message;
- the batches of a ``messages`` frame for several nodes: ``B SENDER EPOCH NUMBER N ACK[,EPOCH NUMBER N ACK]…``
  and a line feed, then the rest of the frame. Each node finds its own by the epoch.

An epoch stands for one connection between two nodes, from ``opened`` to its end; NUMBER counts what was
published in it for that node, for two subscriptions of one client are not read in the order of publishing.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal, NamedTuple

import msgspec

from berrymq.bridge.protocol.json_checks import FrameError

__all__ = [
    "Broadcast",
    "Notice",
    "Part",
    "decode",
    "encode_broadcast",
    "encode_part",
    "room_token",
    "subject_of",
    "token_of",
]

ALL = "all"
"""The last token of the subject of all nodes; no node has that id."""

MAX_TOKEN = 128
"""The longest token of a subject, in characters; longer ones are hashed."""

MAX_TEXT = 255
"""The longest name, reason or epoch in a notice, in characters."""

_PLAIN = re.compile(r"[A-Za-z0-9-]")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_MAX_LINE = 64 * 1024


class Notice(msgspec.Struct, omit_defaults=True):
    """What a node tells others about itself, or about the stream to one of them.

    Attributes:
        kind: ``hello`` to find others; ``open`` and ``opened`` a connection; ``ping``, ``cut`` it; ``bye`` at
            the end of the node.
        id: the sender.
        name: the sender's name, for people.
        epoch: the connection that is meant.
        stream: the epoch at which the stream began that is to be resumed.
        received: the number of the last frame that the sender has of it; None for a new stream.
        lost: messages for the receiver that the sender has dropped since.
        number: of a ``ping``: how much was published for the receiver in this epoch.
        code: of a ``cut``: a close code of WebSocket.
        reason: of a ``cut``, for people.
        answer: of a ``hello``: whether the receiver is to answer.
        members: of the ``hello`` of a hub: the names of the nodes that it has in the room.
        memory: a claim on shared memory of the sender, by which the receiver finds out whether it can open
            that.
        shares: whether the sender can open the receiver's.
    """

    kind: Literal["hello", "open", "opened", "ping", "pong", "cut", "bye"]
    id: str
    name: str = ""
    epoch: str = ""
    stream: str = ""
    received: int | None = None
    lost: int = 0
    number: int = 0
    code: int = 1000
    reason: str = ""
    answer: bool = False
    members: tuple[str, ...] = ()
    memory: tuple[int, int, int, str, int] | None = None
    shares: bool = False


class Part(NamedTuple):
    """A part of a frame for this node, or of a binary message with `is_binary`."""

    sender: str
    epoch: str
    number: int
    is_last: bool
    data: bytes
    is_binary: bool = False


class Broadcast(NamedTuple):
    """The rest of a ``messages`` frame for several nodes; for each epoch: number, frame number, ack."""

    sender: str
    receivers: dict[str, tuple[int, int, int]]
    rest: bytes


_decoder = msgspec.json.Decoder(Notice)
_encoder = msgspec.json.Encoder()


def room_token(room: str | None) -> str:
    """Return the token of a room in a subject."""
    return "_" if room is None else token_of(room)


def token_of(text: str) -> str:
    """Return a text as a token of a subject: percent-encoded, or hashed where that is too long."""
    token = "".join(
        one if _PLAIN.match(one) else "".join(f"%{byte:02X}" for byte in one.encode()) for one in text
    )
    return token if len(token) <= MAX_TOKEN else f"%{hashlib.sha256(text.encode()).hexdigest()}"


def subject_of(token: str, id: str = ALL) -> str:
    """Return the subject of a node in a room, or of all."""
    return f"bmq.{token}.%.{id}"


def encode_notice(notice: Notice) -> bytes:
    """Return a notice as it is published."""
    return _encoder.encode(notice)


def encode_part(
    sender: str, epoch: str, number: int, data: bytes, *, is_last: bool, is_binary: bool = False
) -> bytes:
    """Return a part of a frame, or of a binary message, as it is published."""
    kind = b"D" if is_binary else b"F"
    return b"%b %b %b %d %d\n%b" % (kind, sender.encode(), epoch.encode(), number, is_last, data)


def encode_broadcast(sender: str, receivers: list[tuple[str, int, int, int]], rest: bytes) -> bytes:
    """Return batches for several nodes as they are published.

    Args:
        sender: the id of this node.
        receivers: for each: epoch, number, frame number, ack.
        rest: of the frame, from the batches on.
    """
    listed = b",".join([b"%b %d %d %d" % (one[0].encode(), *one[1:]) for one in receivers])
    return b"B %b %b\n%b" % (sender.encode(), listed, rest)


def decode(data: bytes) -> Notice | Part | Broadcast:
    """Read what was published.

    Raises:
        FrameError: it is malformed.
    """
    try:
        if data[:1] == b"{":
            notice = _decoder.decode(data)
            texts = [notice.name, notice.reason, notice.epoch, notice.stream, *notice.members]
            if not _ID.fullmatch(notice.id) or max(map(len, texts)) > MAX_TEXT:
                raise FrameError("a notice without a proper id and name")
            return notice
        line, feed, rest = data.partition(b"\n")
        if not feed or len(line) > _MAX_LINE:
            raise FrameError("a message without a first line")
        if line[:2] in {b"F ", b"D "}:
            sender, epoch, number, is_last = line[2:].decode("ascii").split(" ")
            return Part(sender, epoch, int(number), is_last == "1", rest, line[:1] == b"D")
        if line[:2] == b"B ":
            sender, _, listed = line[2:].decode("ascii").partition(" ")
            receivers = {}
            for one in listed.split(","):
                epoch, number, n, ack = one.split(" ")
                receivers[epoch] = int(number), int(n), int(ack)
            return Broadcast(sender, receivers, rest)
    except (ValueError, msgspec.MsgspecError) as error:
        raise FrameError(f"it can't be read: {error}") from None
    raise FrameError("it is of no known kind")
