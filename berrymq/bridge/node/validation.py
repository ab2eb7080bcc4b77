"""Checks of what peers send, by what they may: a member speaks in its own name alone, a hub for all.

A hub has checked what it passes on, so its batches are not checked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berrymq.bridge.protocol.batches import check_batch, parse_batch
from berrymq.bridge.protocol.frames import parse_answer
from berrymq.bridge.protocol.json_checks import FrameError, check_depth, encode_json
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.frames import Buffers

    from .peer import Peer

__all__ = ["MAX_BATCH_BYTES", "read_answer", "read_batch"]

MAX_BATCH_BYTES = MAX_PAYLOAD_BYTES + 8 * 1024
"""The largest batch that is accepted: less than a frame, so that it can be passed on."""


def read_batch(peer: Peer, raw: bytes | memoryview) -> tuple[Batch, bytes]:
    """Read the head of a batch, and check all of it unless a hub has.

    Args:
        peer: the sender.
        raw: the batch.

    Returns:
        The batch and its bytes, a copy: else a buffered batch would hold the whole frame that it came in.

    Raises:
        FrameError: it is malformed, too large, or not in the sender's own name.
    """
    batch = parse_batch(raw)  # type: ignore[arg-type]
    if len(raw) > MAX_BATCH_BYTES:
        raise FrameError(f"a batch of {len(raw):,} bytes; {MAX_BATCH_BYTES:,} is the most")
    if peer.role == "member" and not (
        batch.origin == peer.id and (batch.source == peer.name or batch.source.endswith(f" via {peer.name}"))
    ):
        raise FrameError("a node publishes in its own name alone")
    if peer.role != "hub":
        check_batch(batch, raw)
    return batch, bytes(raw)


def read_answer(peer: Peer, answer: bytes) -> tuple[bytes, Buffers | None]:
    """Check an answer and return it, and what it says of its buffers if it has some.

    Args:
        peer: the sender.
        answer: the answer.

    Raises:
        FrameError: it is too large, nests too deep, or is not in the sender's own name.
    """
    if len(answer) > MAX_BATCH_BYTES:
        raise FrameError("an answer is too large")
    check_depth(answer, around=1)
    try:
        parsed = parse_answer(answer)
    except FrameError:
        if peer.role == "member":
            raise FrameError("a node answers in its own name alone") from None
        return answer, None  # the asker gets an error in its place
    if peer.role == "member" and parsed.source != peer.name:
        raise FrameError("a node answers in its own name alone")
    if parsed.buffers is None:
        return answer, None
    return b"[%b,%b,%b]" % (encode_json(parsed.source), parsed.values, parsed.errors), parsed.buffers
