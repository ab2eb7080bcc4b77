"""The frames of a link: JSON-RPC notifications, numbered so that a cut loses none of them.

=============  ==================================================================
method         params beside ``n`` and ``ack``
=============  ==================================================================
``messages``   ``batches``: each ``[identifier, origin, source, first, count, [message, ...]]``
``buffers``    ``batch`` of one message; ``memory``: its buffers; ``sizes`` of them; ``reason``
``ask``        ``question``: the asker's number; ``batch``: one message
``conclude``   ``question``: answer it now, with the answers so far (to a hub only)
``answer``     ``question``; ``answers``: ``[[source, [values], [errors]], ...]``; ``unanswered``: names
``interest``   ``add``, ``remove``: identifiers; ``reset``: ``add`` is all; ``everything``
``dropped``    ``count`` of messages for the other side that were dropped here
``release``    ``memory``: the numbers of buffers that were pulled, or are not wanted
``replay``     ``query``: the asker's number; ``identifier``; ``last`` or null: requests retained messages
``past``       ``query``; retained ``batches``; ``end`` after the last one; ``memory`` etc. as in ``buffers``
=============  ==================================================================

The frames about shared queues are described in ``group_frames.py``. ``ack`` alone, without ``n``, is the
notification ``ack``; ``pull`` and ``gone``, which have no numbers either, are described in ``offers.py``. The
batches are described in ``batches.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from .batches import Memory, ReadBatch
from .fields import Count, IdentifierText, Name, Number, decode_callback
from .json_checks import MALFORMED, FrameError, check_utf8, reason_of
from .limits import MAX_DEPTH
from .offers import GONE, PULL, GoneParams, PullParams, ReleaseParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "ACK",
    "ANSWER",
    "ASK",
    "BUFFERS",
    "CONCLUDE",
    "CONTROL",
    "DROPPED",
    "INTEREST",
    "MESSAGES",
    "MESSAGES_FRAME",
    "NUMBERED",
    "NUMBERED_FRAME",
    "PAST",
    "PUT",
    "REPLAY",
    "TYPE_MARK",
    "AckParams",
    "Answer",
    "AnswerParams",
    "AskParams",
    "Buffers",
    "BuffersParams",
    "DroppedParams",
    "Envelope",
    "Frame",
    "InterestParams",
    "LargeAnswer",
    "MessagesParams",
    "ReadAnswerParams",
    "ReadAskParams",
    "ReadMessagesParams",
    "ack_frame",
    "as_raw",
    "join",
    "parse",
    "parse_answer",
    "parse_names",
    "parse_params",
    "read_messages",
    "read_question",
    "split_answers",
]

MESSAGES: Final = b"messages"
BUFFERS: Final = b"buffers"
ASK: Final = b"ask"
ANSWER: Final = b"answer"
CONCLUDE: Final = b"conclude"
INTEREST: Final = b"interest"
DROPPED: Final = b"dropped"
PUT: Final = b"put"
REPLAY: Final = b"replay"
PAST: Final = b"past"
ACK: Final = "ack"

NUMBERED_FRAME: Final = b'{"jsonrpc":"2.0","method":"%b","params":{"n":%d,"ack":%d,%b}}'
"""The format of a frame: method, number, acknowledged number, further params."""

MESSAGES_FRAME: Final = b'{"jsonrpc":"2.0","method":"messages","params":{"n":%d,"ack":%d,"batches":[%b]}}'
"""The format of a ``messages`` frame: number, acknowledged number, batches."""


class Envelope(Struct):
    """Any JSON-RPC 2.0 object: a request, a notification (no ``id``), or a response (no ``method``)."""

    jsonrpc: str = ""
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    id: str | int | float | UnsetType | None = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class MessagesParams(Struct):
    """Params of ``messages``."""

    n: Number
    ack: Count
    batches: list[Raw]


class ReadMessagesParams(Struct, forbid_unknown_fields=True):
    """Params of ``messages``, as they are delivered."""

    n: Number
    ack: Count
    batches: list[ReadBatch]


class _ReadFrame(Struct, forbid_unknown_fields=True):
    jsonrpc: str
    method: Literal["messages"]
    params: ReadMessagesParams


Form = tuple[int, int, int, str, int] | str | int | None
"""What a frame says of buffers. Once they are there, a `Memory` takes its place."""


class Buffers(Struct, kw_only=True):
    """The buffers of a message; by default none."""

    memory: Form = None
    """A claim on shared memory, base64, the number by which they are pulled, or gone. Each buffer begins at a
    multiple of 64 bytes."""
    sizes: list[Count] = []
    """Of the buffers in bytes."""
    reason: str = ""
    """Why they are gone."""


class BuffersParams(Buffers):
    """Params of ``buffers``."""

    n: Number
    ack: Count
    batch: Raw
    memory: Form
    sizes: list[Count]


class ReadAskParams(Struct, forbid_unknown_fields=True):
    """Params of ``ask``, decoded in one pass."""

    n: Number
    ack: Count
    question: Number
    batch: ReadBatch


class _ReadAskFrame(Struct, forbid_unknown_fields=True):
    jsonrpc: str
    method: Literal["ask"]
    params: ReadAskParams


class ReadAnswerParams(Struct, forbid_unknown_fields=True):
    """Params of ``answer``, decoded in one pass."""

    n: Number
    ack: Count
    question: Number
    answers: list[tuple[Name, list[Any], list[Any]]]


class _ReadAnswerFrame(Struct, forbid_unknown_fields=True):
    jsonrpc: str
    method: Literal["answer"]
    params: ReadAnswerParams


class Answer(Struct, array_like=True):
    """What one node answers."""

    source: Name
    values: Raw
    errors: Raw
    buffers: Buffers | None = None


class LargeAnswer(bytes):
    """An answer, ``[source, [value, ...], [error, ...]]``, with the buffers beside it.

    Attributes:
        memory: the buffers, which are held for as long as this object is.
    """

    memory: Memory


class AskParams(Buffers):
    """Params of ``ask``; with buffers, if the question has buffers beside it."""

    n: Number
    ack: Count
    question: Number
    batch: Raw


class ConcludeParams(Struct):
    """Params of ``conclude``."""

    n: Number
    ack: Count
    question: Number


class AnswerParams(Struct):
    """Params of ``answer``."""

    n: Number
    ack: Count
    question: Number
    answers: Raw
    """An array of answers, each ``[source, [value, ...], [error, ...]]``."""
    unanswered: Raw = Raw(b"[]")
    """The names of nodes without an answer when the question was concluded; see `parse_names`."""


class InterestParams(Struct):
    """Params of ``interest``."""

    n: Number
    ack: Count
    add: list[IdentifierText] = []
    remove: list[IdentifierText] = []
    reset: bool = False
    """Discard what was followed before; ``add`` is all of it."""
    everything: bool = False
    """Every message is wanted, since the sender passes on to others what it can't list."""
    too_many: bool = False
    """There are more identifiers than are stored; set on receipt, never by the peer."""


class _LargeMessagesParams(Struct):
    """Params of ``messages`` in a large frame: one batch, so no list grows with what is sent."""

    n: Number
    ack: Count
    batches: tuple[Raw]


class _LargeInterestParams(Struct):
    """Params of ``interest`` in a large frame: more identifiers than are processed one by one."""

    n: Number
    ack: Count
    reset: bool = False


class DroppedParams(Struct):
    """Params of ``dropped``."""

    n: Number
    ack: Count
    count: Count


class ReplayParams(Struct):
    """Params of ``replay``."""

    n: Number
    ack: Count
    query: Number
    identifier: IdentifierText
    last: Count | None = None


class PastParams(Buffers):
    """Params of ``past``; with buffers, if the batch is a message with buffers beside it."""

    n: Number
    ack: Count
    query: Number
    batches: Raw = Raw(b"[]")
    """See `split_batches`."""
    end: bool = False
    """Whether the answer ends with this frame."""


class AckParams(Struct):
    """Params of ``ack``."""

    ack: Count


Frame = bytes | tuple[bytes, ...]
"""A frame to be written, in one piece or in several."""

Params = (
    MessagesParams
    | BuffersParams
    | AskParams
    | ConcludeParams
    | AnswerParams
    | InterestParams
    | DroppedParams
    | ReplayParams
    | PastParams
    | ReleaseParams
)
_parse_envelope = msgspec.json.Decoder(Envelope).decode
_parse_one_raw = msgspec.json.Decoder(tuple[Raw]).decode
_parse_read_frame = msgspec.json.Decoder(_ReadFrame, dec_hook=decode_callback).decode
_parse_read_ask = msgspec.json.Decoder(_ReadAskFrame, dec_hook=decode_callback).decode
_parse_read_answer = msgspec.json.Decoder(_ReadAnswerFrame).decode
_parse_raws = msgspec.json.Decoder(list[Raw]).decode
_parse_answer = msgspec.json.Decoder(Answer).decode
_parse_names = msgspec.json.Decoder(list[Name]).decode
CONTROL: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    ACK: msgspec.json.Decoder(AckParams),
    PULL: msgspec.json.Decoder(PullParams),
    GONE: msgspec.json.Decoder(GoneParams),
}
"""The decoders of the params of the methods of a link that carry no number."""
NUMBERED: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "messages": msgspec.json.Decoder(MessagesParams),
    "buffers": msgspec.json.Decoder(BuffersParams),
    "ask": msgspec.json.Decoder(AskParams),
    "conclude": msgspec.json.Decoder(ConcludeParams),
    "answer": msgspec.json.Decoder(AnswerParams),
    "interest": msgspec.json.Decoder(InterestParams),
    "dropped": msgspec.json.Decoder(DroppedParams),
    "replay": msgspec.json.Decoder(ReplayParams),
    "past": msgspec.json.Decoder(PastParams),
    "release": msgspec.json.Decoder(ReleaseParams),
}
"""The decoders of the params of all methods that carry a number."""


TYPE_MARK: Final = b'"$type"'
"""Contained in the JSON of every value whose type JSON lacks."""

_USUAL = b'{"jsonrpc":"2.0","method":"messages","params":'
_USUAL_ASK = b'{"jsonrpc":"2.0","method":"ask","params":'
_USUAL_ANSWER = b'{"jsonrpc":"2.0","method":"answer","params":'

LARGE_FRAME_BYTES = 1024 * 1024
"""A larger frame holds one batch, and its lists are not decoded, which may take fifty times its size."""

_LARGE: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "messages": msgspec.json.Decoder(_LargeMessagesParams),
    "interest": msgspec.json.Decoder(_LargeInterestParams),
}


def parse(data: bytes) -> Envelope:
    """Read one JSON-RPC object of a WebSocket.

    Raises:
        FrameError: it is malformed.
    """
    try:
        check_utf8(data)
        return _parse_envelope(data)
    except MALFORMED as error:
        raise FrameError(reason_of(error)) from None


def parse_params(method: str, params: Raw | UnsetType) -> Params | AckParams | PullParams | GoneParams:
    """Read the params of a frame.

    Args:
        method: the frame's method, one of `NUMBERED` or `CONTROL`.
        params: its undecoded params.

    Raises:
        FrameError: they do not fit the method.
    """
    try:
        if method in CONTROL:
            control: AckParams | PullParams | GoneParams = CONTROL[method].decode(
                b"" if params is UNSET else params
            )
            return control
        if params is not UNSET and len(params) > LARGE_FRAME_BYTES and method in _LARGE:
            return _as_usual(_LARGE[method].decode(params))
        frame: Params = NUMBERED[method].decode(b"" if params is UNSET else params)
    except MALFORMED as error:
        raise FrameError(f"{method}: {reason_of(error)}") from None
    return frame


def _as_usual(params: _LargeMessagesParams | _LargeInterestParams) -> Params:
    if isinstance(params, _LargeMessagesParams):
        return MessagesParams(params.n, params.ack, list(params.batches))
    return InterestParams(params.n, params.ack, reset=params.reset, too_many=True)


def read_messages(data: bytes, *, trusted: bool) -> ReadMessagesParams | None:
    """Read a usual ``messages`` frame, with its messages, in one go.

    Args:
        data: a whole frame.
        trusted: a hub has checked its depth.

    Returns:
        None where it has to be read step by step: it is large, is not written as this library does, holds
            values whose types JSON lacks, or is malformed.
    """
    if not data.startswith(_USUAL) or len(data) > LARGE_FRAME_BYTES or TYPE_MARK in data:
        return None
    try:
        if not data.isascii():
            data.decode()  # parts of it are passed on undecoded
        params = _parse_read_frame(data).params
    except MALFORMED:
        return None
    levels = 0
    for batch in params.batches:
        if len(batch.messages) != batch.count:
            return None
        levels += 2 + 3 * batch.count
    if not trusted and data.count(b"[") + data.count(b"{") - levels > MAX_DEPTH:
        return None
    return params


def read_question(data: bytes) -> ReadAskParams | ReadAnswerParams | None:
    """Decode an ``ask`` or ``answer`` frame in one pass; return None in the cases of `read_messages`."""
    if data.startswith(_USUAL_ASK):
        decode: Callable[[bytes], _ReadAskFrame | _ReadAnswerFrame] = _parse_read_ask
    elif data.startswith(_USUAL_ANSWER):
        decode = _parse_read_answer
    else:
        return None
    is_deep = data.count(b"[") + data.count(b"{") > MAX_DEPTH
    if is_deep or len(data) > LARGE_FRAME_BYTES or TYPE_MARK in data:
        return None
    try:
        check_utf8(data)
        params = decode(data).params
    except MALFORMED:
        return None
    if isinstance(params, ReadAskParams) and not len(params.batch.messages) == params.batch.count == 1:
        return None
    return params


def parse_names(raw: Raw) -> list[str]:
    """Read a list of names of nodes.

    Raises:
        FrameError: it is malformed.
    """
    try:
        return _parse_names(raw)
    except MALFORMED as error:
        raise FrameError(f"names: {reason_of(error)}") from None


def split_answers(answers: Raw, *, one: bool) -> list[Raw]:
    """Split the answers of a peer.

    Args:
        answers: a JSON array.
        one: the peer may answer for itself alone, so there is one or none.

    Raises:
        FrameError: it is no array, or has too many elements.
    """
    try:
        if one and bytes(answers).translate(None, b" \t\r\n") != b"[]":
            return list(_parse_one_raw(answers))
        return _parse_raws(answers)
    except MALFORMED as error:
        raise FrameError(f"answers: {reason_of(error)}") from None


def parse_answer(answer: bytes) -> Answer:
    """Return what one node answers.

    Raises:
        FrameError: it is malformed.
    """
    try:
        return _parse_answer(answer)
    except MALFORMED as error:
        raise FrameError(f"an answer: {reason_of(error)}") from None


def as_raw(answers: Iterable[bytes]) -> Raw:
    """Return answers as one JSON array."""
    return Raw(b"[" + b",".join(answers) + b"]")


def join(frame: Frame) -> bytes:
    """Return a frame in one piece."""
    return frame if isinstance(frame, bytes) else b"".join(frame)


def ack_frame(ack: int) -> bytes:
    """Return the acknowledgement of every frame up to a number."""
    return b'{"jsonrpc":"2.0","method":"ack","params":{"ack":%d}}' % ack
