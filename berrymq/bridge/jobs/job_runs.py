"""Jobs as a hub holds them: runs of consecutive messages of the batches in which they arrived.

A batch of a thousand jobs is one object until jobs of it go to different members; then it is parsed once, and
each part is encoded as a batch of its own, with its own sequence numbers. So handing all jobs of a batch to
one member, as nearly always when there is one worker, costs nothing for each job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berrymq.bridge.protocol.batches import LargeBatchBytes, batch_head, encode_batch, parse_batch, parse_raws

if TYPE_CHECKING:
    from msgspec import Raw

    from berrymq.bridge.protocol.batches import Batch

__all__ = ["Run", "Source"]

RUN_BYTES = 300
"""The approximate memory for a batch beside its bytes."""
RAW_BYTES = 70
"""The approximate memory for the place of a message in a batch that is handed over in parts."""


class Source:
    """A batch of which jobs are left."""

    __slots__ = ("_batch", "_count", "_head", "_raws", "data", "job_bytes", "left", "own_bytes")

    def __init__(self, data: bytes, count: int, left: int) -> None:
        self.data = data
        self.job_bytes = len(data) // count
        """About how many bytes one job of it takes."""
        self.own_bytes = RUN_BYTES
        """What it takes beside `data`, in this process's own memory."""
        if isinstance(data, LargeBatchBytes):  # its sizes are the sender's word, and count for nothing
            self.job_bytes += data.heap_bytes + data.memory.held_bytes
            self.own_bytes += data.heap_bytes
        self.left = left
        """Jobs of it that were neither taken nor dropped."""
        self._count = count
        self._batch: Batch | None = None
        self._raws: list[Raw] = []
        self._head = b""

    def slice(self, start: int, end: int) -> bytes:
        """Return a part of it as a batch. The first part that is not all of it adds to `own_bytes`.

        Raises:
            FrameError: the batch can't be read.
        """
        if end - start == self._count:
            return self.data
        batch = self._batch
        if batch is None:
            batch = self._batch = parse_batch(self.data)
            self._raws = parse_raws(batch.messages)
            self.own_bytes += RAW_BYTES * len(self._raws)
            self._head = batch_head(batch.identifier, batch.origin, batch.source)
        return encode_batch(self._head, batch.first + start, self._raws[start:end], end - start)


class Run:
    """Consecutive jobs of one batch.

    Jobs of a run have consecutive numbers.
    """

    __slots__ = ("end", "number", "source", "start")

    def __init__(self, number: int, source: Source, start: int, end: int) -> None:
        self.number = number
        """The number of the first in the group."""
        self.source = source
        self.start = start
        """The place of the first in the batch."""
        self.end = end

    def __len__(self) -> int:
        return self.end - self.start

    def split(self, count: int) -> Run:
        """Take so many off the front, and return them.

        Args:
            count: less than there are.
        """
        front = Run(self.number, self.source, self.start, self.start + count)
        self.number += count
        self.start += count
        return front
