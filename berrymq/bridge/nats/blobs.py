"""A message as it is stored: one message of JetStream, or a short one and pieces beside it.

The data is a batch of one message and, behind it, its buffers in a row. What does not fit into one message
of NATS lies in pieces in a stream of their own, from which the oldest are removed when it is full. Then only
the short message is left.
"""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from berrymq.bridge.buffers import MAX_BUFFERS, Own, PoolFullError, end_of
from berrymq.bridge.buffers import Memory as Buffers
from berrymq.bridge.protocol.batches import (
    LargeBatchBytes,
    batch_head,
    check_batch,
    encode_batch,
    large_batch,
    parse_batch,
    parse_messages,
)
from berrymq.bridge.protocol.json_checks import FrameError, encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from berrymq.bridge.buffers import Filling
    from berrymq.bridge.protocol.batches import Batch, Memory

__all__ = ["Blob", "blob_of", "number_of_parts", "parts_of", "read_blob", "read_head"]

HEAD_BYTES = 4 * 1024
"""The limit of subject and headers, in bytes."""

BATCH, SIZES, PARTS, OPAQUE = "bmq-batch", "bmq-sizes", "bmq-parts", "bmq-opaque"
"""Headers: the bytes of the batch; those of the sizes of its buffers, a JSON array; the number of pieces; set
where a batch without its payload takes the place of what the pieces hold."""

MAX_SIZES_BYTES = 20 * MAX_BUFFERS
MAX_DIGITS = 12

_REASON = "it was stored on NATS in pieces, of which some are gone"


class Blob(NamedTuple):
    """The bytes of a stored message, and the headers that describe them."""

    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})

    def fits(self, size: int) -> bool:
        """Return whether it fits into one message of NATS."""
        return len(self.data) + HEAD_BYTES <= size

    def shortened(self, size: int) -> Blob:
        """Return what is stored under the identifier of the message, without what goes into pieces.

        Args:
            size: the limit of a message of NATS, in bytes.
        """
        if self.fits(size):
            return self
        headers = {**self.headers, PARTS: str(-(-len(self.data) // (size - HEAD_BYTES)))}
        batch, sizes = int(self.headers.get(BATCH, len(self.data))), int(self.headers.get(SIZES, 0))
        short = Blob(self.data[: batch + sizes], headers)
        if short.fits(size):
            return short
        return Blob(_without_payload(self.data[:batch]), {**headers, OPAQUE: "1"})


def blob_of(batch: bytes, memory: Memory | None) -> Blob:
    """Return a message as it is stored.

    Args:
        batch: of one message.
        memory: its buffers.
    """
    if memory is None:
        return Blob(batch)
    sizes = encode_json(list(memory.sizes))
    data = memory.read(0, end_of(memory.sizes)) or b""
    return Blob(batch + sizes + data, {BATCH: str(len(batch)), SIZES: str(len(sizes))})


def parts_of(blob: Blob, size: int) -> Iterator[Blob]:
    """Yield the pieces of what does not fit into one message of NATS."""
    if not blob.fits(size):
        for start in range(0, len(blob.data), size - HEAD_BYTES):
            yield Blob(blob.data[start : start + size - HEAD_BYTES])


def number_of_parts(headers: Mapping[str, str]) -> int:
    """Return how many pieces belong to a message."""
    text = headers.get(PARTS, "")
    return int(text) if text.isdecimal() and len(text) < 6 else 0


def read_head(data: bytes, headers: Mapping[str, str]) -> Batch:
    """Return the batch of what is stored under an identifier, without its buffers.

    Raises:
        FrameError: it is malformed.
    """
    is_whole = OPAQUE in headers or BATCH not in headers
    raw = data if is_whole else data[: _number_in(headers, BATCH)]
    batch = parse_batch(raw)
    check_batch(batch, raw)
    if batch.count != 1:
        raise FrameError("several messages that are stored as one")
    return batch


def read_blob(
    data: bytes,
    headers: Mapping[str, str],
    parts: bytes | None,
    open_memory: Callable[[int], Filling | Own] = Own,
) -> bytes:
    """Return a stored message as a batch; with its buffers, or the reason why they are gone.

    Args:
        data: what is stored under its identifier.
        headers: of that.
        parts: its pieces, joined; None if there are none, or not all.
        open_memory: returns memory for the buffers.

    Raises:
        FrameError: it is malformed.
    """
    if parts is not None:
        data = parts
    if BATCH not in headers or (parts is None and OPAQUE in headers):
        return data
    batch = _number_in(headers, BATCH)
    end = batch + _number_in(headers, SIZES)
    try:
        if end - batch > MAX_SIZES_BYTES:
            raise ValueError  # noqa: TRY301
        sizes = msgspec.json.decode(data[batch:end], type=list[int])
    except ValueError:  # those of msgspec as well
        raise FrameError("a stored message whose headers do not match its data") from None
    is_whole = bool(sizes) and min(sizes) >= 0 and len(data) - end == end_of(sizes)
    memory = Buffers(None, sizes, _REASON)
    if is_whole and parts is None:
        memory = Buffers(data[end:], sizes)
    elif is_whole:
        with suppress(PoolFullError, OSError):
            target = open_memory(len(data) - end)
            target.view[: len(data) - end] = memoryview(data)[end:]
            memory = Buffers(target.finish(), sizes)
    large: LargeBatchBytes = large_batch(data[:batch], memory)[1]
    return large


def _number_in(headers: Mapping[str, str], key: str) -> int:
    """Return a number of bytes that a header gives.

    Raises:
        FrameError: it gives none.
    """
    text = headers.get(key, "")
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        raise FrameError("a stored message whose headers do not match its data")
    return int(text)


def _without_payload(data: bytes) -> bytes:
    """Return the batch with an `Opaque` that names the size in place of the payload."""
    batch = parse_batch(data)
    (message,) = parse_messages(batch)
    text = f"a message of {len(data):,} bytes: {_REASON}"
    short = encode_json((message.sent_at, [{"$type": "Opaque", "value": ["message", text]}], {}))
    return encode_batch(batch_head(batch.identifier, batch.origin, batch.source), batch.first, [short], 1)
