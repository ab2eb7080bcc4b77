"""Tables: those of pandas, polars and Arrow, as plain columns that every language reads.

A table crosses as ``{"library", "columns", "index", "data"}``, with one column for each name::

    {"values": ARRAY}                                        numbers, truth values, times
    {"values": ARRAY, "missing": ARRAY of bool}              the same, some of them missing
    {"text": BUFFER, "offsets": ARRAY, "missing": ARRAY}     text: UTF-8, and where each begins
    {"codes": ARRAY, "categories": COLUMN, "ordered": BOOL}  one of a few values; code -1 is missing
    {"items": [VALUE, ...]}                                  anything else

and ``type``, the name of its library for it. A table of polars or Arrow has ``schema`` too, an Arrow file
of no rows, by which its columns get their exact types again. Where that library is not installed, a table
arrives as one of pandas, else as a dictionary of its columns.

Numbers, times and text are buffers, so they go beside the message and are not copied by a hub; what Python
has to look at, a value at a time, are the items of columns of objects.

On receipt nothing is trusted. Lengths, offsets and codes are compared with each other before a library sees
them, the names of types with `TYPE`, and texts that a library parses are short. What does not fit is a
`ValueError` or `TypeError`; a buffer that did not come makes the whole table an `Opaque`, since a table with
a column less would be a different one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .arrays import optional
from .arrow_tables import arrow_table, encode_arrow, encode_arrow_series
from .columns import LostError, plain_values
from .opaque import Opaque
from .pandas_tables import (
    encode_frame,
    encode_series,
    pandas_column,
    pandas_frame,
    pandas_index,
    to_index,
    to_pandas,
)
from .polars_tables import encode_polars, encode_polars_series, polars_frame
from .registry import Codec
from .sampled import SampledTable, first_rows

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["codecs", "table_codec"]

MAX_COLUMNS = 100_000
"""As each takes an object of its own in pandas."""


def table_codec(value: Any) -> Codec | None:
    """Return how a table, or a part of one, crosses; None for anything else.

    No library is imported for a value of another one. A stream that can be read only once is not consumed.
    """
    cls = type(value)
    if _is_a(value, "pandas", "DataFrame"):
        return TABLE
    if _is_a(value, "pandas", "Series"):
        return SERIES
    if _is_a(value, "pandas", "Index"):
        return INDEX
    if cls.__module__.partition(".")[0] == "pandas" and _is_a(
        value, "pandas.api.extensions", "ExtensionArray"
    ):
        return COLUMN
    if _is_a(value, "polars", "DataFrame"):
        return POLARS_TABLE
    if _is_a(value, "polars", "Series"):
        return POLARS_SERIES
    if _is_a(value, "pyarrow", "Table") or _is_a(value, "pyarrow", "RecordBatch"):
        return ARROW_TABLE
    if _is_a(value, "pyarrow", "Array") or _is_a(value, "pyarrow", "ChunkedArray"):
        return ARROW_SERIES
    if hasattr(cls, "__arrow_c_stream__") and not (hasattr(cls, "__next__") or hasattr(cls, "read_all")):
        return STREAM
    return None


def _is_a(value: Any, module: str, name: str) -> bool:
    """Return whether a value is an instance of a class, or of a subclass, if its module is loaded."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(value, cls)


def codecs() -> list[Codec]:
    """Return all of them, for decoding."""
    return [TABLE, SERIES, INDEX, COLUMN]


def _decode_table(form: Any) -> Any:
    """Decode a table.

    Its columns are decoded for the library that sent them, if it is installed; else for pandas; else they
    come as a dictionary.

    Raises:
        ValueError: the columns differ in length, or are malformed.
    """
    library, columns, data = form["library"], form["columns"], form["data"]
    if not isinstance(data, list) or len(data) > MAX_COLUMNS:
        raise ValueError("the columns of a table are malformed")
    if (sampled := _sampled(form, _decode_table, f"{library}.DataFrame")) is not None:
        return sampled
    try:
        if library == "polars" and (polars := optional("polars")) is not None:
            return polars_frame(polars, columns, data, form.get("schema"))
        if library == "pyarrow" and (pyarrow := optional("pyarrow")) is not None:
            return arrow_table(pyarrow, columns, data, form.get("schema"))
        pandas: Any = optional("pandas")
        if pandas is None:
            named = isinstance(columns, list)
            return dict(zip(columns, map(plain_values, data), strict=True)) if named else data
        return pandas_frame(pandas, columns, data, form.get("index"))
    except LostError as lost:
        return Opaque(f"{library}.DataFrame", f"<table of {len(data)} columns, {lost}>")


def _sampled(form: Any, decode: Callable[[Any], Any], kind: str) -> Opaque | None:
    """Return what stands for a table or a column of whose buffers a sample was fetched; None for a whole one.

    Args:
        form: as it was sent.
        decode: decodes a form that is whole.
        kind: the name of its class.
    """
    found = first_rows(form, _values_of)
    if found is None:
        return None
    head, rows, columns = found
    try:
        return SampledTable(kind, decode(head), rows, columns)
    except Exception as error:  # noqa: BLE001 - a library may refuse "…" where it expects one of its categories
        return Opaque(
            kind, f"<table of {rows:,} rows, not fetched, and its first can't be shown: {error}>"[:400]
        )


def _values_of(column: dict[str, Any]) -> list[Any]:
    """Return the values of a column, with the types that they have in pandas if that is installed."""
    pandas = optional("pandas")
    return list(plain_values(column) if pandas is None else to_pandas(pandas, column))


def _decode_series(form: Any) -> Any:
    sampled = _sampled(form, _decode_series, f"{form['library']}.Series")
    if sampled is not None:
        return sampled
    try:
        if form["library"] == "polars" and (polars := optional("polars")) is not None:
            return polars_frame(polars, [form["name"]], [form["data"]], form.get("schema")).to_series()
        if form["library"] == "pyarrow" and (pyarrow := optional("pyarrow")) is not None:
            table = arrow_table(pyarrow, [form["name"]], [form["data"]], form.get("schema"))
            return table.column(0).combine_chunks()
        pandas: Any = optional("pandas")
        if pandas is None:
            return plain_values(form["data"])
        index = None if form.get("index") is None else to_index(pandas, form["index"])
        return pandas.Series(to_pandas(pandas, form["data"]), index=index, name=form["name"], copy=False)
    except LostError as lost:
        return Opaque(f"{form['library']}.Series", f"<column, {lost}>")


def _decode_index(form: Any) -> Any:
    pandas: Any = optional("pandas")
    if pandas is None:
        return form
    try:
        return to_index(pandas, form)
    except LostError as lost:
        return Opaque("pandas.Index", f"<index, {lost}>")


def _decode_column(form: Any) -> Any:
    pandas: Any = optional("pandas")
    if pandas is None:
        return plain_values(form)
    try:
        return to_pandas(pandas, form)
    except LostError as lost:
        return Opaque("pandas.array", f"<column, {lost}>")


def _encode_stream(value: Any) -> dict[str, Any]:
    """Encode a table of any other library, by one that reads Arrow's streams."""
    if (pyarrow := optional("pyarrow")) is not None:
        return encode_arrow(pyarrow.table(value))
    if (polars := optional("polars")) is not None:
        return encode_polars(polars.DataFrame(value))
    raise TypeError("it needs pyarrow or polars")


TABLE = Codec("table", encode_frame, _decode_table)
SERIES = Codec("table.series", encode_series, _decode_series)
INDEX = Codec("table.index", pandas_index, _decode_index)
COLUMN = Codec("table.column", pandas_column, _decode_column)
POLARS_TABLE = Codec("table", encode_polars, _decode_table)
POLARS_SERIES = Codec("table.series", encode_polars_series, _decode_series)
ARROW_TABLE = Codec("table", encode_arrow, _decode_table)
ARROW_SERIES = Codec("table.series", encode_arrow_series, _decode_series)
STREAM = Codec("table", _encode_stream, _decode_table)
