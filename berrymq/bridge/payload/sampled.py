"""Samples of large values, which stand for them where they are only shown; see `buffers.Sample`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .opaque import Opaque, missing

if TYPE_CHECKING:
    from berrymq.bridge.buffers import Missing

__all__ = ["SampledArray", "SampledTable", "first_rows", "sampled_array"]

HEAD_ROWS = 20
"""The rows of a table that are shown at most."""


class SampledArray(Opaque):
    """An array of which only a sample was fetched.

    Attributes:
        dtype: of the array.
        shape: of the array.
        sample: items at regular distances, in a row.
        head: the first items.
    """

    __slots__ = ("dtype", "head", "sample", "shape")

    def __init__(self, text: str, shape: tuple[int, ...], sample: Any, head: Any) -> None:
        super().__init__("numpy.ndarray", text)
        self.dtype = sample.dtype
        self.shape = shape
        self.sample = sample
        self.head = head

    def __repr__(self) -> str:
        sides = " x ".join(map(str, self.shape))
        return f"<ndarray {self.dtype} {sides}, not fetched: it is only shown here>"


class SampledTable(Opaque):
    """A table, or a column, of which only the first rows were fetched.

    Attributes:
        head: these rows, as a table.
        rows: the number of all.
    """

    __slots__ = ("head", "rows")

    def __init__(self, kind: str, head: Any, rows: int) -> None:
        super().__init__(kind, f"<table of {rows:,} rows, not fetched: it is only shown here>")
        self.head = head
        self.rows = rows

    def __repr__(self) -> str:
        return self.text


def sampled_array(numpy: Any, buffer: Missing, dtype: Any, shape: list[int], what: str) -> Opaque:
    """Return what stands for an array of which parts of its buffer have come.

    Args:
        numpy: the package.
        buffer: the parts.
        dtype: of the array.
        shape: of the array.
        what: says what it was.
    """
    text = missing(buffer, "", what).text
    size = dtype.itemsize
    found = []
    for offset, data in buffer.parts:
        first, end = -(-offset // size), (offset + len(data)) // size
        if first < end:
            found.append(numpy.frombuffer(data[first * size - offset : end * size - offset], dtype))
    if not found:
        return Opaque("numpy.ndarray", text)
    head = found[0] if not buffer.parts[0][0] else found[0][:0]
    head = head.copy()  # the memory of the sample is not needed any more
    return SampledArray(text, tuple(shape), numpy.concatenate(found), head)


def first_rows(columns: list[Any]) -> tuple[list[Any], int, int] | None:
    """Return the first rows of columns whose buffers were sampled, how many these are, and the number of all.

    None if no column was sampled, or one has no first rows.

    Args:
        columns: as they were sent, with their parts decoded.
    """
    if not all(isinstance(column, dict) for column in columns):
        return None
    parts = [part for column in columns for part in column.values()]
    if not any(isinstance(one, SampledArray) for one in parts):
        return None
    rows = HEAD_ROWS
    for column in columns:
        rows = min(rows, _rows_of(column))
    if rows < 1:
        return None
    total = max(map(_length_of, columns))
    firsts = [{name: _first(name, part, one, rows) for name, part in one.items()} for one in columns]
    return firsts, rows, total


def _length_of(column: dict[str, Any]) -> int:
    """Return how many rows a column has."""
    if "items" in column:
        return len(column["items"])
    if "text" in column:
        return int(column["offsets"].shape[0]) - 1
    return int(column["values" if "values" in column else "codes"].shape[0])


def _rows_of(column: dict[str, Any]) -> int:
    """Return how many first rows of a column are complete."""
    if "items" in column:
        return len(column["items"])
    if "text" in column:
        offsets, text = _head_of(column["offsets"]), column["text"]
        if offsets is None:
            return 0
        end = len(text) if isinstance(text, memoryview) else _begin(text)
        return max(0, int((offsets <= end).sum()) - 1)
    heads = [_head_of(column[name]) for name in ("values", "codes") if name in column]
    return min([0 if head is None else len(head) for head in heads], default=0)


def _begin(text: Any) -> int:
    """Return how many bytes have come of the beginning of a buffer."""
    parts = getattr(text, "parts", ())
    return len(parts[0][1]) if parts and not parts[0][0] else 0


def _head_of(value: Any) -> Any:
    """Return the first items of an array, sampled or not; None for anything else."""
    if isinstance(value, SampledArray):
        return value.head
    return value if hasattr(value, "dtype") else None


def _first(name: str, part: Any, column: dict[str, Any], rows: int) -> Any:
    """Return what a part of a column is for its first rows."""
    if name == "items":
        return part[:rows]
    if name == "text":
        end = int(_head_of(column["offsets"])[rows])
        return part[:end] if isinstance(part, memoryview) else part.parts[0][1][:end]
    if name == "offsets":
        return _head_of(part)[: rows + 1]
    if name in ("values", "codes", "missing") and (head := _head_of(part)) is not None:
        return head[:rows]
    return part
