"""Batches of messages: consecutive messages of one origin and one identifier, which travel together.

A batch on the wire is ``[identifier, origin, source, first, count, [message, ...]]``. A hub routes it by its
first element and passes its bytes on. A message in it is ``[sent_at, [args], {kwargs}]``, followed by the
callback's identifier if the results of its followers are to be published.

So there are three depths of reading: `parse_batch` decodes the head, `check_batch` also verifies the number
and depth of the messages, `parse_messages` decodes them. Structs are not tracked by the garbage collector
(``gc=False``), since they hold no cycles.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Raw, Struct

from berrymq.identifiers import Identifier

from .fields import IdentifierText, Moment, Name, NodeId, Number, decode_callback
from .json_checks import MALFORMED, FrameError, check_depth, encode_json, reason_of, structure_of
from .limits import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .offers import Offers

__all__ = [
    "Batch",
    "BatchHead",
    "LargeBatch",
    "LargeBatchBytes",
    "Memory",
    "ReadBatch",
    "WireMessage",
    "batch_head",
    "check_batch",
    "encode_batch",
    "large_batch",
    "parse_batch",
    "parse_messages",
    "parse_raws",
    "split_batch",
    "split_batches",
]


class BatchHead(Struct, array_like=True, gc=False):
    """The head of a batch: what its messages have in common.

    Attributes:
        identifier: that of each message, as text.
        count: the number of messages.
    """

    identifier: IdentifierText
    origin: NodeId
    """The id of the node that published them."""
    source: Name
    """The name of that node."""
    first: Number
    """The sequence number of the first; the others follow without a gap."""
    count: Annotated[int, Meta(ge=1, le=100_000)]


class Batch(BatchHead, array_like=True, gc=False):
    """A batch as it is passed on, with its messages undecoded."""

    messages: Raw
    """An array of `WireMessage`; a hub does not read it."""


class WireMessage(Struct, array_like=True, gc=False):
    """One message in a batch.

    Attributes:
        args: its positional arguments, decoded from JSON.
        kwargs: its keywords.
    """

    sent_at: Moment
    """Seconds since 1970, by the sender's clock."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    callback: Identifier | None = None
    """The identifier under which the results of followers are published (`talk`)."""


class Memory(Protocol):
    """The buffers that belong to a message, such as the data of an array; see ``bridge/buffers``."""

    sizes: Sequence[int]
    """Of each buffer in bytes."""
    reason: str
    """Why they are gone."""

    @property
    def size(self) -> int:
        """How many bytes the buffers take in a row."""

    @property
    def held_bytes(self) -> int:
        """The bytes of shared memory."""

    @property
    def data(self) -> bytes:
        """The buffers where they came in a frame and lie in this process; else nothing."""

    @property
    def heap_bytes(self) -> int:
        """The memory of this process that the buffers take, in bytes."""

    def parameter(self, *, to: Offers, beside: int) -> bytes:
        """Return what a frame says of it, as JSON.

        Args:
            to: how the receiver reads them; if it does not pull, they are in base64 where they fit.
            beside: the bytes of the frame without it.
        """

    def views(self, *, limited: bool = False) -> Sequence[Any]:
        """Return the buffers.

        Args:
            limited: copy shared memory if this process has mapped its limit of it.
        """

    def texts(self) -> list[str | None]:
        """Return the buffers in base64, as far as they are there."""

    @property
    def fits_text(self) -> bool:
        """Whether the buffers are small enough to be given in base64."""

    @property
    def starts(self) -> Sequence[int]:
        """Where each buffer begins."""

    def read(self, offset: int, size: int) -> bytes | None:
        """Return a piece of the buffers as they lie in a row; None if they are gone."""


class LargeBatch(Batch, array_like=True, gc=False):
    """A batch of one message with buffers beside it."""

    memory: Any = None
    """The buffers (`Memory`). It is no part of the wire's form of a batch."""


class LargeBatchBytes(bytes):
    """The bytes of a `LargeBatch`, with the buffers, which are held for as long as this object is.

    Attributes:
        memory: the buffers.
        heap_bytes: the memory of this process that the buffers take, in bytes.
    """

    memory: Memory
    heap_bytes: int


class ReadBatch(BatchHead, array_like=True, gc=False):
    """A batch as it is delivered, with its messages decoded.

    Attributes:
        messages: in the order of their numbers.
    """

    messages: list[WireMessage]

    def only(self, numbers: Iterable[int]) -> list[ReadBatch]:
        """Return the messages with the given sequence numbers, each as a batch."""
        return [
            ReadBatch(
                self.identifier, self.origin, self.source, number, 1, [self.messages[number - self.first]]
            )
            for number in numbers
        ]


class _Item(Struct, array_like=True, gc=False):
    """A message of which only the outer array is checked."""


_parse_batch = msgspec.json.Decoder(Batch).decode
_parse_messages = msgspec.json.Decoder(list[WireMessage], dec_hook=decode_callback).decode
_parse_items = msgspec.json.Decoder(list[_Item]).decode
_parse_raws = msgspec.json.Decoder(list[Raw]).decode


def parse_batch(raw: Raw | bytes) -> Batch:
    """Read the head of a batch; its messages stay undecoded.

    Args:
        raw: the JSON of a batch. Elements of later versions behind the known ones are ignored.

    Raises:
        FrameError: it is malformed.
    """
    try:
        return _parse_batch(raw)
    except MALFORMED as error:
        raise FrameError(f"a batch: {reason_of(error)}") from None


def large_batch(data: bytes, memory: Memory) -> tuple[LargeBatch, LargeBatchBytes]:
    """Join a batch of one message and its buffers.

    Args:
        data: the batch.
        memory: the buffers.

    Returns:
        The head, and the bytes with the buffers.

    Raises:
        FrameError: it is no batch, or of several messages.
    """
    batch = parse_batch(data)
    if batch.count != 1:
        raise FrameError("a message with buffers beside it is alone in its batch")
    whole = LargeBatchBytes(data)
    whole.memory = memory
    whole.heap_bytes = memory.heap_bytes
    head = (batch.identifier, batch.origin, batch.source, batch.first, batch.count)
    return LargeBatch(*head, batch.messages, memory), whole


def split_batches(raw: Raw, memory: Memory | None = None) -> list[Batch]:
    """Read the heads of several batches.

    Args:
        raw: a JSON array of batches.
        memory: the buffers of its only message, if that has some.

    Raises:
        FrameError: they are malformed, or several where there are buffers.
    """
    try:
        found = _parse_raws(raw)
    except MALFORMED as error:
        raise FrameError(f"batches: {reason_of(error)}") from None
    if memory is None:
        return [parse_batch(one) for one in found]
    if len(found) != 1:
        raise FrameError("a message with buffers beside it is alone in its frame")
    return [large_batch(bytes(found[0]), memory)[0]]


def parse_messages(batch: Batch) -> list[WireMessage]:
    """Read the messages of a batch.

    Raises:
        FrameError: they are malformed, or not as many as the batch says.
    """
    try:
        messages = _parse_messages(batch.messages)
    except MALFORMED as error:
        raise FrameError(f"messages of {batch.identifier!r}: {reason_of(error)}") from None
    _check_count(batch, len(messages))
    return messages


def parse_raws(array: Raw) -> list[Raw]:
    """Read the elements of an array, such as the messages of a batch, undecoded.

    Raises:
        FrameError: it is malformed.
    """
    try:
        return _parse_raws(array)
    except MALFORMED as error:
        raise FrameError(f"an array: {reason_of(error)}") from None


def split_batch(batch: Batch, numbers: Sequence[int]) -> list[tuple[Batch, bytes]]:
    """Return the messages with the given sequence numbers, as batches without gaps and their bytes.

    Used for a batch of which a part arrived before.

    Args:
        batch: the batch.
        numbers: sequence numbers in it, ascending.

    Returns:
        One batch for each run of consecutive numbers; each with its bytes.

    Raises:
        FrameError: the messages are malformed, or not as many as the batch says.
    """
    if not numbers:
        return []
    try:
        messages = _parse_raws(batch.messages)
    except MALFORMED as error:
        raise FrameError(f"messages of {batch.identifier!r}: {reason_of(error)}") from None
    _check_count(batch, len(messages))
    head = batch_head(batch.identifier, batch.origin, batch.source)
    found = []
    for _, run in groupby(enumerate(numbers), lambda item: item[1] - item[0]):
        group = [number for _, number in run]
        data = encode_batch(head, group[0], [bytes(messages[one - batch.first]) for one in group], len(group))
        found.append((parse_batch(data), data))
    return found


def _check_count(batch: Batch, count: int) -> None:
    """Check that a batch has as many messages as its head says.

    Raises:
        FrameError: it has not.
    """
    if count != batch.count:
        raise FrameError(f"a batch of {count} messages says that it has {batch.count}")


def check_batch(batch: Batch, raw: bytes | memoryview = b"") -> None:
    """Check that a batch, whose messages are passed on undecoded, holds as many as its head says.

    Most messages hold no arrays or objects within ``args`` and ``kwargs``; those are recognised by their
    brackets alone.

    Args:
        batch: its decoded head.
        raw: all of it: later versions may append fields, which are passed on too.

    Raises:
        FrameError: the number of messages differs, or it nests deeper than `MAX_DEPTH`.
    """
    messages = bytes(batch.messages)
    if batch.count > len(messages) // 2:
        raise FrameError(f"a batch of {len(messages)} bytes says that it has {batch.count} messages")
    if structure_of(messages) != b"[%b]" % (b"[[]{}]" * batch.count):
        try:
            count = len(_parse_items(batch.messages))
        except MALFORMED as error:
            raise FrameError(f"messages of {batch.identifier!r}: {reason_of(error)}") from None
        _check_count(batch, count)
        check_depth(messages, around=2)
    if len(raw) - len(messages) > 2 * MAX_DEPTH:  # else it is too short to nest that deep
        check_depth(bytes(raw), around=3)


def batch_head(identifier: str, origin: str, source: str) -> bytes:
    """Return the bytes with which all batches of one node and one identifier begin.

    Args:
        identifier: that of the messages.
        origin: the id of the node.
        source: its name.

    Returns:
        The array's first three elements without the closing bracket, for `encode_batch`; worth caching.
    """
    return encode_json((identifier, origin, source))[:-1]


def encode_batch(head: bytes, first: int, messages: Iterable[bytes], count: int) -> bytes:
    """Return a batch: its head, the number of the first message, and the encoded messages.

    Args:
        head: see `batch_head`.
        first: the sequence number of the first message.
        messages: encoded messages.
        count: the number of messages.
    """
    return b"%b,%d,%d,[%b]]" % (head, first, count, b",".join(messages))
