"""A sample of the buffers of one message: what is fetched of them for views, which show no more.

Of a large buffer it has blocks at regular distances, the first one included, of a small one everything. If it
is known to be a matrix or an image, the blocks are rows of it, or parts of rows in columns, so that a small
picture can be made. Where there are too many buffers for that, it has the beginning of each; where there are
more still, of the first ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .own import Own

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MAX_SAMPLE_BYTES", "Rows", "Sample"]

MAX_SAMPLE_BYTES = 256 * 1024
"""The size of a sample at most; smaller messages are fetched whole."""
BLOCK_BYTES = 4096
"""The size of a block, and a divisor of where it begins."""
LEAST_BYTES = 256
"""What is fetched at least of a buffer of which anything is: the first twenty rows of most columns."""
CLOSE_BYTES = 64
"""Buffers with fewer bytes between them are fetched as one range."""

MANY_ROWS, FEW_ROWS = 48, 32
"""The places at which rows are fetched, and the fewest: where whole rows are too large, parts of them are."""
COLUMNS = 32
"""The parts of such rows, of all matrices of a message together."""
MOST_MATRICES = 8
"""The limit of buffers of which rows are fetched."""


class Rows(NamedTuple):
    """How the numbers of a matrix, or the pixels of an image, lie in a buffer.

    Attributes:
        size: of a row, in bytes.
        item: the size of a number, or of a pixel, in bytes.
    """

    size: int
    item: int


class Sample(Own):
    """Memory for a sample, which is filled in the order of its ranges.

    Args:
        buffers: offset and size of each buffer of the message.
        rows: of those that have some, by number.

    Attributes:
        ranges: offset and size of each range of the message that is fetched, in order; at most 1,024.
    """

    __slots__ = ("_buffers", "_parts", "ranges")

    def __init__(self, buffers: Sequence[tuple[int, int]], rows: Mapping[int, Rows]) -> None:
        self._buffers = buffers
        self._parts = parts_of(buffers, rows)
        self.ranges = joined(self._parts)
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


def parts_of(buffers: Sequence[tuple[int, int]], rows: Mapping[int, Rows]) -> list[tuple[int, int, int]]:
    """Return which parts of the buffers of a message are a sample of them.

    Args:
        buffers: offset and size of each.
        rows: see `Sample`.

    Returns:
        Of each part the number of its buffer, its offset in the message and its size.
    """
    share = MAX_SAMPLE_BYTES // max(1, len(buffers)) // CLOSE_BYTES * CLOSE_BYTES - CLOSE_BYTES
    share = max(LEAST_BYTES, share)
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
            layout = rows.get(number)
            if layout is not None and layout.size <= size and len(buffers) <= MOST_MATRICES:
                found = parts_of_rows(size, share, layout, COLUMNS // len(buffers))
            else:
                found = blocks(size, BLOCK_BYTES, share)
            wanted = [(start + offset, length) for offset, length in found]
        left -= sum([one for _, one in wanted]) + CLOSE_BYTES - 1  # and what is between it and the next one
        if left < 0:
            break
        parts += [(number, *one) for one in wanted]
    return parts


def blocks(size: int, block: int, share: int, most: int | None = None) -> list[tuple[int, int]]:
    """Return offset and size of blocks of a buffer at regular distances.

    Args:
        size: of the buffer in bytes.
        block: their size in bytes; where they begin is a multiple of it.
        share: what they may take together.
        most: the limit of places; what is left of the share makes the blocks longer.
    """
    count, all_blocks = share // block, size // block
    length = 1
    if most is not None and count > most:
        count, length = most, count // most
    last = all_blocks - length
    places = sorted({number * last // max(1, count - 1) for number in range(count)})
    return [(place * block, length * block) for place in places]


def parts_of_rows(size: int, share: int, rows: Rows, columns: int) -> list[tuple[int, int]]:
    """Return offset and size of rows of a buffer at regular distances, or of parts of them in columns.

    Args:
        size: of the buffer in bytes.
        share: what they may take together.
        rows: how it is laid out.
        columns: the parts of a row, where they are taken.
    """
    count = size // rows.size
    if rows.size * min(count, FEW_ROWS) <= share:
        return blocks(size, rows.size, share, MANY_ROWS)
    chosen = blocks(size, rows.size, rows.size * FEW_ROWS)
    return [
        (start + offset, length)
        for start, _ in chosen
        for offset, length in blocks(rows.size, rows.item, share // len(chosen), columns)
    ]


def joined(parts: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Return ranges that hold parts: as many as there are gaps worth leaving out.

    Args:
        parts: see `parts_of`.
    """
    ranges: list[tuple[int, int]] = []
    last = -1
    for number, start, size in parts:
        close, last = (1 if number == last else CLOSE_BYTES), number
        if ranges and start - sum(ranges[-1]) < close:
            first = ranges[-1][0]
            ranges[-1] = (first, start + size - first)
        else:
            ranges.append((start, size))
    return ranges
