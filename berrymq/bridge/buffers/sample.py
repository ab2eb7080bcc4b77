"""A sample of the buffers of one message: what is fetched of them for views, which show no more.

Of a large buffer it has blocks at regular distances, the first one included, of a small one everything.
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


class Sample(Own):
    """Memory for a sample, which is filled in the order of its ranges.

    Args:
        buffers: offset and size of each buffer of the message.

    Attributes:
        ranges: offset and size of each part of the message that belongs to it, in order.
    """

    __slots__ = ("_buffers", "ranges")

    def __init__(self, buffers: Sequence[tuple[int, int]]) -> None:
        self._buffers = buffers
        self.ranges = ranges_of(buffers)
        super().__init__(max(1, sum([size for _, size in self.ranges])))

    def parts(self) -> list[list[tuple[int, memoryview]]]:
        """Return the parts of each buffer, with their offsets in it."""
        found: list[list[tuple[int, memoryview]]] = [[] for _ in self._buffers]
        number = position = 0
        for offset, size in self.ranges:
            while offset >= sum(self._buffers[number]):
                number += 1
            found[number].append((offset - self._buffers[number][0], self.view[position : position + size]))
            position += size
        return found


def ranges_of(buffers: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return which parts of the buffers of a message are a sample of them.

    Args:
        buffers: offset and size of each.
    """
    share = max(BLOCK_BYTES, MAX_SAMPLE_BYTES // max(1, len(buffers)))
    ranges: list[tuple[int, int]] = []
    left = MAX_SAMPLE_BYTES
    for start, size in buffers:
        if left < min(size, share):
            break
        if size <= share:
            parts = [(start, size)] if size else []
        else:
            count, last = share // BLOCK_BYTES, size // BLOCK_BYTES - 1
            places = sorted({number * last // max(1, count - 1) for number in range(count)})
            parts = [(start + place * BLOCK_BYTES, BLOCK_BYTES) for place in places]
        ranges += parts
        left -= sum([one for _, one in parts])
    return ranges
