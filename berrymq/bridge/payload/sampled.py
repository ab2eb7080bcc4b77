"""Samples of large values, which stand for them where they are only shown; see `buffers.Sample`."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.buffers import Missing, Rows

from .opaque import Opaque, missing
from .registry import TYPE_KEY, VALUE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SampledArray", "SampledTable", "first_rows", "rows_in", "sampled_array"]

HEAD_ROWS = 20
"""The rows of a table that are shown at most."""
LONGEST_CONTENT = 64 * 1024
"""Bytes of messages in which matrices are looked for."""
ARRAY_MARK = b'"$type":"array"'
NUMBERS = re.compile(r"[<>|][biufc](1|2|4|8|16)")
"""Types of numbers, with the size of one."""
CHANNELS = (3, 4)
"""Of an image."""
WIDEST = 96
"""About as many columns a picture has at most."""
REST = "…".encode()
"""Stands in a cell for what has not come."""


class SampledArray(Opaque):
    """An array of which only a sample was fetched.

    Attributes:
        dtype: of the array.
        shape: of the array.
        sample: items at regular distances, in a row.
        head: the first items.
        picture: a small array with the numbers of a matrix, or the pixels of an image, at regular distances;
            None for others.
    """

    __slots__ = ("dtype", "head", "picture", "sample", "shape")

    def __init__(self, text: str, shape: tuple[int, ...], sample: Any, head: Any, picture: Any) -> None:
        super().__init__("numpy.ndarray", text)
        self.dtype = sample.dtype
        self.shape = shape
        self.sample = sample
        self.head = head
        self.picture = picture

    def __repr__(self) -> str:
        sides = " x ".join(map(str, self.shape))
        return f"<ndarray {self.dtype} {sides}, not fetched: it is only shown here>"


class SampledTable(Opaque):
    """A table, or a column, of which only the first rows were fetched.

    Attributes:
        head: these rows, as a table; of very many columns only the first.
        rows: the number of all.
        columns: the number of all.
    """

    __slots__ = ("columns", "head", "rows")

    def __init__(self, kind: str, head: Any, rows: int, columns: int) -> None:
        super().__init__(kind, f"<table of {rows:,} rows, not fetched: it is only shown here>")
        self.head = head
        self.rows = rows
        self.columns = columns

    def __repr__(self) -> str:
        return self.text


def rows_in(content: bytes) -> dict[int, Rows]:
    """Return how the buffers of matrices and images are laid out, by their numbers.

    Args:
        content: messages, as JSON. Of very long ones nothing is said, nor of what is malformed.
    """
    found: dict[int, Rows] = {}
    if len(content) > LONGEST_CONTENT or ARRAY_MARK not in content:
        return found
    try:
        values = [msgspec.json.decode(content)]
    except (msgspec.DecodeError, RecursionError):
        return found
    while values:
        value = values.pop()
        if isinstance(value, list):
            values += value
        elif isinstance(value, dict):
            values += value.values()
            if value.get(TYPE_KEY) == "array" and isinstance(form := value.get(VALUE_KEY), dict):
                rows, data = layout(form), form.get("data")
                if rows is not None and isinstance(data, dict) and type(number := data.get(VALUE_KEY)) is int:
                    found[number] = rows
    return found


def layout(form: dict[str, Any]) -> Rows | None:
    """Return how a matrix or an image lies in its buffer; None for other arrays.

    Args:
        form: of an array, as it was sent.
    """
    shape, kind = form.get("shape"), NUMBERS.fullmatch(str(form.get("dtype")))
    if kind is None or not isinstance(shape, list) or not all(type(one) is int and one > 0 for one in shape):
        return None
    item = int(kind[1])
    if len(shape) == 2:
        return Rows(shape[1 if form.get("order") == "C" else 0] * item, item)
    if len(shape) == 3 and shape[2] in CHANNELS and form.get("order") == "C":
        return Rows(shape[1] * shape[2] * item, shape[2] * item)
    return None


def picture_of(numpy: Any, parts: Sequence[tuple[int, memoryview]], dtype: Any, form: dict[str, Any]) -> Any:
    """Return a small array with numbers of a matrix, or pixels of an image; None if that can't be made.

    Args:
        numpy: the package.
        parts: what has come, with the offset of each.
        dtype: of the array.
        form: of the array, as it was sent.
    """
    rows = layout(form)
    if rows is None:
        return None
    lines: dict[int, dict[int, Any]] = {}
    for offset, data in parts:
        number, column = divmod(offset, rows.size)
        if column % rows.item or len(data) < rows.item:
            return None
        size = rows.size if column == 0 and len(data) >= rows.size else rows.item
        pixels = numpy.frombuffer(data[:size], dtype).reshape(-1, rows.item // dtype.itemsize)
        lines.setdefault(number, {})[column] = pixels[:: 1 + len(pixels) // WIDEST]
    if len({tuple(line) for line in lines.values()}) != 1:
        return None
    picture = numpy.stack([numpy.concatenate(list(line.values())) for line in lines.values()])
    if len(form["shape"]) == 3:
        return picture
    return picture[:, :, 0] if form.get("order") == "C" else picture[:, :, 0].T


def sampled_array(numpy: Any, buffer: Missing, dtype: Any, form: dict[str, Any], what: str) -> Opaque:
    """Return what stands for an array of which parts of its buffer have come.

    Args:
        numpy: the package.
        buffer: the parts.
        dtype: of the array.
        form: of the array, as it was sent.
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
    picture = picture_of(numpy, buffer.parts, dtype, form)
    return SampledArray(text, tuple(form["shape"]), numpy.concatenate(found), head, picture)


def first_rows(
    form: dict[str, Any], values_of: Callable[[dict[str, Any]], list[Any]]
) -> tuple[dict[str, Any], int, int] | None:
    """Return the first rows of a table whose buffers were sampled.

    Columns of which nothing has come are left out, with those behind them. "…" stands for the rest of a text,
    and for a category that has not come.

    Args:
        form: a table, or a column, as it was sent, with its parts decoded.
        values_of: decodes a column that is whole.

    Returns:
        The form of these rows, the number of all rows, and that of all columns. None if no buffer was
        sampled, or there is nothing to show.
    """
    is_table = isinstance(form["data"], list)
    columns: list[Any] = form["data"] if is_table else [form["data"]]
    index = form.get("index")
    levels = _levels_of(index)
    names: Any = form.get("columns")
    parts = [*columns, *levels, *_levels_of(names)]
    if not all(isinstance(column, dict) for column in parts):
        return None
    if not any(map(_is_sampled, parts)):
        return None
    rows = min([HEAD_ROWS, *map(_rows_of, levels)])
    found: list[Any] = []
    for column in columns[: min([len(columns), *map(_rows_of, _levels_of(names))])]:
        come = _rows_of(column)
        if not come:
            break
        rows = min(rows, come)
        found.append(column)
    if rows < 1 or not found:
        return None
    total = max(map(_length_of, found))
    found = [_first(column, rows, values_of) for column in found]
    index = _first_of_index(index, rows, values_of)
    head = {**form, "data": found if is_table else found[0], "index": index}
    if is_table:
        is_list = isinstance(names, list)
        head["columns"] = names[: len(found)] if is_list else _first_of_index(names, len(found), values_of)
    return head, total, len(columns)


def _levels_of(index: Any) -> list[Any]:
    """Return the columns that an index is made of."""
    levels = index.get("levels", []) if isinstance(index, dict) else []
    return levels if isinstance(levels, list) else []


def _first_of_index(index: Any, rows: int, values_of: Callable[[dict[str, Any]], list[Any]]) -> Any:
    """Return the first rows of an index."""
    if not isinstance(index, dict):
        return index
    if "range" in index:
        start, _, step = index["range"]
        return {**index, "range": [start, start + rows * step, step]}
    levels = [_first(level, rows, values_of) for level in _levels_of(index)]
    return {"names": index["names"], "levels": levels}


def _is_sampled(part: Any) -> bool:
    """Return whether of a part of a column, or of one of its own parts, only a sample has come."""
    if isinstance(part, dict):
        return any(map(_is_sampled, part.values()))
    return isinstance(part, SampledArray) or bool(getattr(part, "parts", ()))


def _is_lost(part: Any) -> bool:
    """Return whether nothing has come of a part of a column."""
    return isinstance(part, (Missing, Opaque)) and not _is_sampled(part)


def _length_of(column: dict[str, Any]) -> int:
    """Return how many rows a column has."""
    if "items" in column:
        return len(column["items"])
    if "text" in column:
        return int(column["offsets"].shape[0]) - 1
    return int(column["values" if "values" in column else "codes"].shape[0])


def _rows_of(column: dict[str, Any]) -> int:
    """Return how many first rows of a column have come."""
    if "items" in column:
        return len(column["items"])
    if "codes" in column and any(map(_is_lost, column["categories"].values())):
        return 0
    names = [name for name in ("values", "codes", "missing") if column.get(name) is not None]
    counts = [_count(column[name]) for name in names]
    if "text" in column:
        counts.append(_count(column["offsets"]) - 1)
    return max(0, min(counts, default=0))


def _count(value: Any) -> int:
    """Return how many first items of an array have come."""
    head = _head_of(value)
    return 0 if head is None else len(head)


def _head_of(value: Any) -> Any:
    """Return the first items of an array, sampled or not; None for anything else."""
    if isinstance(value, SampledArray):
        return value.head
    return value if hasattr(value, "dtype") else None


def _first(
    column: dict[str, Any], rows: int, values_of: Callable[[dict[str, Any]], list[Any]]
) -> dict[str, Any]:
    """Return the first rows of a column."""
    first = dict(column)
    for name in ("values", "codes", "missing"):
        if column.get(name) is not None:
            first[name] = _head_of(column[name])[:rows]
    if "items" in column:
        first["items"] = column["items"][:rows]
    if "text" in column:
        first["text"], first["offsets"] = _first_texts(column, rows)
    if "codes" in column and _is_sampled(column["categories"]):
        categories = column["categories"]
        known = values_of(_first(categories, _rows_of(categories), values_of))
        first = {"type": "object", "items": _first_categories(first["codes"], known)}
    return first


def _first_texts(column: dict[str, Any], rows: int) -> tuple[memoryview, Any]:
    """Return the first texts of a column, those cut that have not come whole, and where each begins."""
    offsets = _head_of(column["offsets"])[: rows + 1]
    text = column["text"]
    parts = [(0, text)] if isinstance(text, memoryview) else getattr(text, "parts", ())
    data = bytes(parts[0][1]) if parts and not parts[0][0] else b""
    texts = []
    for start, end in pairwise(offsets.tolist()):
        whole = data[start:end]
        texts.append(whole if end <= len(data) else whole.decode(errors="ignore").encode() + REST)
    offsets = offsets.copy()
    offsets[1:] = list(accumulate(map(len, texts)))
    return memoryview(b"".join(texts)), offsets


def _first_categories(codes: Any, known: list[Any]) -> list[Any]:
    """Return the values of codes, as far as their categories have come."""
    rest = REST.decode()
    return [None if code < 0 else known[code] if code < len(known) else rest for code in codes.tolist()]
