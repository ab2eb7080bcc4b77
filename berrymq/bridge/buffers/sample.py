"""A sample of the buffers of one message: what is fetched of them for views, which show no more.

Of a large buffer it has blocks at regular distances, the first one included, of a small one everything.
Where there are too many buffers for that, it has the beginning of each; where there are more still, of the
first ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .own import Own

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_SAMPLE_BYTES", "Sample"]

MAX_SAMPLE_BYTES = 256 * 1024
"""The size of a sample at most; smaller messages are fetched whole."""
BLOCK_BYTES = 4096
"""The size of a block, and a divisor of where it begins."""
LEAST_BYTES = 256
"""What is fetched at least of a buffer of which anything is: the first twenty rows of most columns."""
CLOSE_BYTES = 64
"""Parts with fewer bytes between them are fetched as one."""


class Sample(Own):
    """Memory for a sample, which is filled in the order of its ranges.

    Args:
        buffers: offset and size of each buffer of the message.

    Attributes:
        ranges: offset and size of each range of the message that is fetched, in order; at most 1,024.
    """

    __slots__ = ("_buffers", "_parts", "ranges")

    def __init__(self, buffers: Sequence[tuple[int, int]]) -> None:
        self._buffers = buffers
        self._parts = parts_of(buffers)
        self.ranges = joined([(offset, size) for _, offset, size in self._parts])
        super().__init__(max(1, sum([size for _, size in self.ranges])))

    def parts(self) -> list[list[tuple[int, memoryview]]]:
        """Return the parts of each buffer, with their offsets in it."""
        found: list[list[tuple[int, memoryview]]] = [[] for _ in self._buffers]
        ranges, position = iter(self.ranges), 0
        start = length = 0
        for number, offset, size in self._parts:
            while offset >= start + length:
                position += length
                start, length = next(ranges)
            at = position + offset - start
            found[number].append((offset - self._buffers[number][0], self.view[at : at + size]))
        return found


def parts_of(buffers: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return which parts of the buffers of a message are a sample of them.

    Args:
        buffers: offset and size of each.

    Returns:
        Of each part the number of its buffer, its offset in the message and its size.
    """
    share = max(LEAST_BYTES, MAX_SAMPLE_BYTES // max(1, len(buffers)))
    parts: list[tuple[int, int, int]] = []
    left = MAX_SAMPLE_BYTES
    for number, (start, size) in enumerate(buffers):
        if not size:
            continue
        if size <= share:
            wanted = [(start, size)]
        elif share < BLOCK_BYTES:
            wanted = [(start, share)]
        else:
            count, last = share // BLOCK_BYTES, size // BLOCK_BYTES - 1
            places = sorted({block * last // max(1, count - 1) for block in range(count)})
            wanted = [(start + place * BLOCK_BYTES, BLOCK_BYTES) for place in places]
        left -= sum([-(-one // CLOSE_BYTES) * CLOSE_BYTES for _, one in wanted])
        if left < 0:
            break
        parts += [(number, *one) for one in wanted]
    return parts


def joined(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges that hold parts: as many as there are gaps worth leaving out.

    Args:
        parts: offset and size of each, in order.
    """
    ranges: list[tuple[int, int]] = []
    for start, size in parts:
        if ranges and start - sum(ranges[-1]) < CLOSE_BYTES:
            first = ranges[-1][0]
            ranges[-1] = (first, start + size - first)
        else:
            ranges.append((start, size))
    return ranges
