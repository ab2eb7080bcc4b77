"""What travels on a link: JSON-RPC notifications, numbered so that a cut loses none of them.

=============  ==================================================================
method         params beside ``n`` and ``ack``
=============  ==================================================================
``messages``   ``batches``: each ``[identifier, origin, source, first, count, [message, ...]]``
``ask``        ``question``: the asker's number; ``batch``: one message
``conclude``   ``question``: answer it now, with the answers that have come (to a hub only)
``answer``     ``question``; ``answers``: ``[[source, [values], [errors]], ...]``; ``unanswered``: names
``interest``   ``add``, ``remove``: identifiers; ``reset``: this is all of it; ``everything``
``dropped``    ``count`` of messages for the other side that were dropped here
``replay``     ``query``: the asker's number; ``identifier``; ``last`` or null: what a hub has retained of it
``past``       ``query``; ``batches`` that were retained; ``end``: these are the last ones
=============  ==================================================================

``ack`` alone, without ``n``, is the notification ``ack``. A batch holds consecutive messages of one
identifier, so a hub routes it by its first element and passes on its bytes; a message in it is
``[sent_at, [args], {kwargs}]`` and, if followers' results are to be sent on, the callback's identifier.
"""

from __future__ import annotations

import re
from array import array
from functools import lru_cache
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier

from .limits import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "ACK",
    "ANSWER",
    "ASK",
    "CONCLUDE",
    "DROPPED",
    "INTEREST",
    "MESSAGES",
    "MESSAGES_FRAME",
    "NUMBERED",
    "NUMBERED_FRAME",
    "PAST",
    "REPLAY",
    "TYPE_MARK",
    "AckParams",
    "AnswerParams",
    "AskParams",
    "Batch",
    "DroppedParams",
    "Envelope",
    "Frame",
    "FrameError",
    "IdentifierText",
    "InterestParams",
    "MessagesParams",
    "Moment",
    "Name",
    "NodeKey",
    "PastParams",
    "ReadBatch",
    "ReadMessagesParams",
    "ReplayParams",
    "WireMessage",
    "ack_frame",
    "as_raw",
    "batch_head",
    "check_batch",
    "check_depth",
    "check_utf8",
    "crossing_identifier",
    "encode_batch",
    "encode_json",
    "join",
    "parse",
    "parse_answer",
    "parse_batch",
    "parse_messages",
    "parse_names",
    "parse_params",
    "read_messages",
    "split_answers",
    "split_batch",
    "split_batches",
]

MESSAGES: Final = b"messages"
ASK: Final = b"ask"
ANSWER: Final = b"answer"
CONCLUDE: Final = b"conclude"
INTEREST: Final = b"interest"
DROPPED: Final = b"dropped"
REPLAY: Final = b"replay"
PAST: Final = b"past"
ACK: Final = "ack"

NUMBERED_FRAME: Final = b'{"jsonrpc":"2.0","method":"%b","params":{"n":%d,"ack":%d,%b}}'
"""A frame; to be filled with its method, its number, what it acknowledges, and the rest of its params."""

MESSAGES_FRAME: Final = b'{"jsonrpc":"2.0","method":"messages","params":{"n":%d,"ack":%d,"batches":[%b]}}'
"""The same for messages; to be filled with its number, what it acknowledges, and the batches."""

MAX_COUNT = 2**53
"""The largest number that every JSON library reads exactly."""

LATEST = 253_402_300_799.0
"""The end of the year 9999 in seconds since 1970: the last moment that every calendar can show."""

Name = Annotated[str, Meta(max_length=255)]
NodeId = Annotated[str, Meta(min_length=1, max_length=64)]
NodeKey = Annotated[str, Meta(min_length=16, max_length=128, pattern=r"\A[ -~]*\Z")]
IdentifierText = Annotated[str, Meta(min_length=1, max_length=800)]
Number = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Moment = Annotated[float, Meta(ge=0, le=LATEST)]


MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What a decoder raises where it is given what is not its JSON."""


class FrameError(ValueError):
    """What came is not a frame of this protocol; the connection that brought it is closed."""


class Envelope(Struct):
    """Any JSON-RPC 2.0 object: a request, a notification (no ``id``), or a response (no ``method``)."""

    jsonrpc: str = ""
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    id: str | int | float | UnsetType | None = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class BatchHead(Struct, array_like=True, gc=False):
    """What consecutive messages of one origin and one identifier have in common."""

    identifier: IdentifierText
    origin: NodeId
    """The id of the node that published them."""
    source: Name
    """The name of that node."""
    first: Number
    """The sequence number of the first; the others follow without a gap."""
    count: Annotated[int, Meta(ge=1, le=100_000)]


class Batch(BatchHead, array_like=True, gc=False):
    """A batch as it is passed on."""

    messages: Raw
    """An array of `WireMessage`; a hub does not read it."""


class WireMessage(Struct, array_like=True, gc=False):
    """One message inside of a batch."""

    sent_at: Moment
    """Seconds since 1970, by the sender's clock."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    callback: Identifier | None = None
    """Where followers' results are to be sent (`talk`)."""


class ReadBatch(BatchHead, array_like=True, gc=False):
    """A batch as it is delivered."""

    messages: list[WireMessage]

    def only(self, numbers: Iterable[int]) -> list[ReadBatch]:
        """Return the messages that have certain sequence numbers, each as a batch."""
        return [
            ReadBatch(
                self.identifier, self.origin, self.source, number, 1, [self.messages[number - self.first]]
            )
            for number in numbers
        ]


class _Item(Struct, array_like=True, gc=False):
    """A message that is not looked at, but is an array."""


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


class AskParams(Struct):
    """Params of ``ask``."""

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
    """The names of nodes that had not answered when the question was concluded; see `parse_names`."""


class InterestParams(Struct):
    """Params of ``interest``."""

    n: Number
    ack: Count
    add: list[IdentifierText] = []
    remove: list[IdentifierText] = []
    reset: bool = False
    """What was followed before counts no more; ``add`` is all of it."""
    everything: bool = False
    """Every message is wanted, since the side passes on to others what it can't list."""
    too_many: bool = False
    """There are more identifiers than are remembered; it is set here, whatever came."""


class _LargeMessagesParams(Struct):
    """Params of ``messages`` in a large frame: one batch, so no list grows with what is sent."""

    n: Number
    ack: Count
    batches: tuple[Raw]


class _LargeInterestParams(Struct):
    """Params of ``interest`` in a large frame: more identifiers than are looked at one by one."""

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


class PastParams(Struct):
    """Params of ``past``."""

    n: Number
    ack: Count
    query: Number
    batches: Raw = Raw(b"[]")
    """See `split_batches`."""
    end: bool = False


class AckParams(Struct):
    """Params of ``ack``."""

    ack: Count


Frame = bytes | tuple[bytes, ...]
"""A frame to be written, in one piece or in several."""

Params = (
    MessagesParams
    | AskParams
    | ConcludeParams
    | AnswerParams
    | InterestParams
    | DroppedParams
    | ReplayParams
    | PastParams
)


@lru_cache(maxsize=4096)
def crossing_identifier(text: str) -> Identifier:
    """Parse an identifier that came over the network.

    Raises:
        FrameError: it is none, or one that never leaves its process.
    """
    try:
        identifier = Identifier.parse(text)
    except IdentifierError as error:
        raise FrameError(str(error)) from None
    if identifier.is_local or identifier.name == "berrymq":
        raise FrameError(f"{identifier.text!r} never leaves its process")
    return identifier


def _decode_callback(_: type, text: Any) -> Identifier:
    if not isinstance(text, str):
        raise FrameError("a callback's identifier is text")
    return crossing_identifier(text)


encode_json = msgspec.json.Encoder().encode
_parse_envelope = msgspec.json.Decoder(Envelope).decode
_parse_batch = msgspec.json.Decoder(Batch).decode
_parse_messages = msgspec.json.Decoder(list[WireMessage], dec_hook=_decode_callback).decode
_parse_one_raw = msgspec.json.Decoder(tuple[Raw]).decode
_parse_read_frame = msgspec.json.Decoder(_ReadFrame, dec_hook=_decode_callback).decode
_parse_items = msgspec.json.Decoder(list[_Item]).decode
_parse_raws = msgspec.json.Decoder(list[Raw]).decode
_parse_answer = msgspec.json.Decoder(tuple[Name, Raw, Raw]).decode
_parse_names = msgspec.json.Decoder(list[Name]).decode
_parse_ack = msgspec.json.Decoder(AckParams).decode
NUMBERED: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "messages": msgspec.json.Decoder(MessagesParams),
    "ask": msgspec.json.Decoder(AskParams),
    "conclude": msgspec.json.Decoder(ConcludeParams),
    "answer": msgspec.json.Decoder(AnswerParams),
    "interest": msgspec.json.Decoder(InterestParams),
    "dropped": msgspec.json.Decoder(DroppedParams),
    "replay": msgspec.json.Decoder(ReplayParams),
    "past": msgspec.json.Decoder(PastParams),
}
"""The methods that carry a number, with what reads their params."""


TYPE_MARK: Final = b'"$type"'
"""What is in the JSON of every value of another type than JSON's."""

_USUAL = b'{"jsonrpc":"2.0","method":"messages","params":'

LARGE_FRAME_BYTES = 1024 * 1024
"""A larger frame holds one batch; its lists are not taken apart, which may take fifty times its size."""

_LARGE: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "messages": msgspec.json.Decoder(_LargeMessagesParams),
    "interest": msgspec.json.Decoder(_LargeInterestParams),
}


def check_utf8(data: bytes) -> None:
    """Look at the parts as well that are passed on undecoded.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    if not data.isascii():
        data.decode()


def parse(data: bytes) -> Envelope:
    """Read one JSON-RPC object of a WebSocket.

    Raises:
        FrameError: it is not one.
    """
    try:
        check_utf8(data)
        return _parse_envelope(data)
    except MALFORMED as error:
        raise FrameError(_reason(error)) from None


def parse_params(method: str, params: Raw | UnsetType) -> Params | AckParams:
    """Read the params of a frame.

    Raises:
        FrameError: they are not what that method takes.
    """
    try:
        if method == ACK:
            return _parse_ack(b"" if params is UNSET else params)
        if params is not UNSET and len(params) > LARGE_FRAME_BYTES and method in _LARGE:
            return _as_usual(_LARGE[method].decode(params))
        frame: Params = NUMBERED[method].decode(b"" if params is UNSET else params)
    except MALFORMED as error:
        raise FrameError(f"{method}: {_reason(error)}") from None
    return frame


def _as_usual(params: _LargeMessagesParams | _LargeInterestParams) -> Params:
    if isinstance(params, _LargeMessagesParams):
        return MessagesParams(params.n, params.ack, list(params.batches))
    return InterestParams(params.n, params.ack, reset=params.reset, too_many=True)


def read_messages(data: bytes, *, trusted: bool) -> ReadMessagesParams | None:
    """Read a usual ``messages`` frame, with the messages in it, in one go.

    Args:
        data: a whole frame.
        trusted: a hub has looked at the depth of it already.

    Returns:
        None where it has to be read step by step: it is large, or not as this library writes it, or values of
        other types than JSON's are in it, or it is malformed.
    """
    if not data.startswith(_USUAL) or len(data) > LARGE_FRAME_BYTES or TYPE_MARK in data:
        return None
    try:
        if not data.isascii():
            data.decode()  # the parts as well that are not looked at
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


def parse_batch(raw: Raw | bytes) -> Batch:
    """Read the head of a batch.

    Raises:
        FrameError: it is not one.
    """
    try:
        return _parse_batch(raw)
    except MALFORMED as error:
        raise FrameError(f"a batch: {_reason(error)}") from None


def split_batches(raw: Raw) -> list[Batch]:
    """Read the heads of several batches.

    Raises:
        FrameError: they are none.
    """
    try:
        return [parse_batch(one) for one in _parse_raws(raw)]
    except MALFORMED as error:
        raise FrameError(f"batches: {_reason(error)}") from None


def parse_names(raw: Raw) -> list[str]:
    """Read a list of names of nodes.

    Raises:
        FrameError: it is not one.
    """
    try:
        return _parse_names(raw)
    except MALFORMED as error:
        raise FrameError(f"names: {_reason(error)}") from None


def parse_messages(batch: Batch) -> list[WireMessage]:
    """Read the messages of a batch.

    Raises:
        FrameError: they are malformed, or not as many as the batch says.
    """
    try:
        messages = _parse_messages(batch.messages)
    except MALFORMED as error:
        raise FrameError(f"messages of {batch.identifier!r}: {_reason(error)}") from None
    _check_count(batch, len(messages))
    return messages


def split_batch(batch: Batch, numbers: Sequence[int]) -> list[tuple[Batch, bytes]]:
    """Those messages of a batch that have certain sequence numbers, as batches without gaps.

    Raises:
        FrameError: its messages are not what it says.
    """
    if not numbers:
        return []
    try:
        messages = _parse_raws(batch.messages)
    except MALFORMED as error:
        raise FrameError(f"messages of {batch.identifier!r}: {_reason(error)}") from None
    _check_count(batch, len(messages))
    head = batch_head(batch.identifier, batch.origin, batch.source)
    found = []
    for _, run in groupby(enumerate(numbers), lambda item: item[1] - item[0]):
        group = [number for _, number in run]
        data = encode_batch(head, group[0], [bytes(messages[one - batch.first]) for one in group], len(group))
        found.append((parse_batch(data), data))
    return found


def _check_count(batch: Batch, count: int) -> None:
    if count != batch.count:
        raise FrameError(f"a batch of {count} messages says that it has {batch.count}")


def check_batch(batch: Batch, raw: bytes | memoryview = b"") -> None:
    """See to it that a batch, which is passed on undecoded, is what it says.

    Most messages hold no arrays or objects within ``args`` and ``kwargs``; those are told by their brackets
    alone.

    Args:
        batch: what was read of it.
        raw: the whole of it: a later version may add to it, and that is passed on as well.

    Raises:
        FrameError: it has not as many messages as it says, or nests deeper than `MAX_DEPTH`.
    """
    messages = bytes(batch.messages)
    if batch.count > len(messages) // 2:
        raise FrameError(f"a batch of {len(messages)} bytes says that it has {batch.count} messages")
    if _structure(messages) != b"[%b]" % (b"[[]{}]" * batch.count):
        try:
            count = len(_parse_items(batch.messages))
        except MALFORMED as error:
            raise FrameError(f"messages of {batch.identifier!r}: {_reason(error)}") from None
        _check_count(batch, count)
        check_depth(messages, around=2)
    if len(raw) - len(messages) > 2 * MAX_DEPTH:  # else there is no room to nest that deep
        check_depth(bytes(raw), around=3)


def split_answers(answers: Raw, *, one: bool) -> list[Raw]:
    """Take apart what a peer has answered.

    Args:
        answers: as they came.
        one: it may answer for itself alone, so there is one or none.

    Raises:
        FrameError: they are no array, or more than may be.
    """
    try:
        if one and bytes(answers).translate(None, b" \t\r\n") != b"[]":
            return list(_parse_one_raw(answers))
        return _parse_raws(answers)
    except MALFORMED as error:
        raise FrameError(f"answers: {_reason(error)}") from None


def parse_answer(answer: bytes) -> tuple[str, Raw, Raw]:
    """Who gave an answer, the values, and the errors.

    Raises:
        FrameError: it is none.
    """
    try:
        return _parse_answer(answer)
    except MALFORMED as error:
        raise FrameError(f"an answer: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return "it nests too deep" if isinstance(error, RecursionError) else str(error)[:200]


_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"\\'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_UP_AND_DOWN = bytes.maketrans(b"[]", b"\1\xff")
"""1 for what opens a level and, as a signed byte, -1 for what closes it."""

USUAL_DEPTH = 4
"""So many levels are taken off all at once; what remains of most payloads is nothing."""


def _structure(data: bytes) -> bytes:
    """The brackets of JSON; and a quote or a backslash, if there are brackets or escapes in its strings.

    Quotes go in pairs side by side: a string with a bracket in it keeps one, since before it all quotes are
    paired.
    """
    return data.translate(None, _NOT_STRUCTURE).replace(b'""', b"")


def check_depth(data: bytes, around: int = 0) -> None:
    """See to it that whoever decodes this JSON later does not run out of stack.

    A hub passes on what it has not decoded, and the stack of a receiver may be shorter than its own; so
    what nests deeper than `MAX_DEPTH` is refused where it enters. Takes a time proportional to the size.

    Args:
        data: valid JSON.
        around: so many levels around the payload do not count.

    Raises:
        FrameError: it nests too deep.
    """
    deepest = MAX_DEPTH + around
    if data.count(b"[") + data.count(b"{") <= deepest:
        return  # too few to nest that deep
    brackets = _structure(data)
    if b'"' in brackets or b"\\" in brackets:
        brackets = _structure(_STRINGS.sub(b"", data))
    brackets = brackets.translate(_ONE_KIND)
    for _ in range(USUAL_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # takes off the innermost level
    if max(accumulate(array("b", brackets.translate(_UP_AND_DOWN))), default=0) > deepest - USUAL_DEPTH:
        raise FrameError(f"a payload nests deeper than {MAX_DEPTH} levels")


def batch_head(identifier: str, origin: str, source: str) -> bytes:
    """What all batches of one node and one identifier begin with."""
    return encode_json((identifier, origin, source))[:-1]


def encode_batch(head: bytes, first: int, messages: Iterable[bytes], count: int) -> bytes:
    """Join encoded messages behind what they have in common."""
    return b"%b,%d,%d,[%b]]" % (head, first, count, b",".join(messages))


def as_raw(answers: Iterable[bytes]) -> Raw:
    """Answers as the JSON array that they make."""
    return Raw(b"[" + b",".join(answers) + b"]")


def join(frame: Frame) -> bytes:
    """Return a frame in one piece."""
    return frame if isinstance(frame, bytes) else b"".join(frame)


def ack_frame(ack: int) -> bytes:
    """The acknowledgement of every frame up to a number."""
    return b'{"jsonrpc":"2.0","method":"ack","params":{"ack":%d}}' % ack
