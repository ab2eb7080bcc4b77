"""Tables and columns of Arrow as forms, which `tables` describes, and back."""

from __future__ import annotations

import math
import re
import sys
from importlib import import_module
from io import BytesIO
from typing import Any

from .arrays import optional
from .binary import Binary
from .columns import (
    MAX_LEAVES,
    NANOSECONDS,
    array_class,
    array_of_bool,
    arrived,
    schema_bytes,
    text_column,
    texts_of,
    type_of_moments,
    zone_of,
)

__all__ = ["arrow_table", "encode_arrow", "encode_arrow_series"]

ARROW_NUMBERS = (
    "bool",
    *(f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)),
    "float",
    "double",
)
ARROW_TIMES = re.compile(r"(timestamp|duration)\[(s|ms|us|ns)(?:, tz=(.+))?\]$")


def encode_arrow(table: Any) -> dict[str, Any]:
    """Return the form of a table."""
    return {
        "library": "pyarrow",
        "columns": list(table.column_names),
        "index": None,
        "data": [_arrow_column(column) for column in table.columns],
        "schema": _arrow_schema(table.schema),
    }


def encode_arrow_series(column: Any) -> dict[str, Any]:
    """Return the form of a column, which has no name."""
    schema = sys.modules["pyarrow"].schema([("", column.type)])
    return {
        "library": "pyarrow",
        "name": "",
        "index": None,
        "data": _arrow_column(column),
        "schema": _arrow_schema(schema),
    }


def _arrow_schema(schema: Any) -> Binary:
    """Return an Arrow file of no rows, which says the types of columns."""
    file = BytesIO()
    _arrow_files().new_file(file, schema.remove_metadata()).close()
    return Binary.of(file.getvalue())


def _arrow_files() -> Any:
    return import_module("pyarrow.ipc")


def _arrow_column(column: Any) -> dict[str, Any]:
    """As for polars, by the name of the type."""
    optional("numpy")
    kind = str(column.type)
    missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    if kind in ("string", "large_string") or kind.startswith("dictionary<values=string,"):
        texts = column.to_pylist()
        if kind.startswith("dictionary"):  # a value of the dictionary may be nothing as well
            missing = sys.modules["numpy"].array([text is None for text in texts], bool)
            missing = missing if missing.any() else None
        return {"type": "str", "arrow": kind, **text_column(texts, missing)}
    times = ARROW_TIMES.match(kind)
    if times is not None:
        if times[3] is not None:
            column = column.cast(sys.modules["pyarrow"].timestamp(times[2]))
        values = _numpy_of(column)
        named = str(values.dtype) if times[3] is None else type_of_moments(times[2], times[3])
        return {"type": named, "arrow": kind, "values": values, "missing": missing}
    if kind in ARROW_NUMBERS:
        filled = column if missing is None else column.fill_null(False if kind == "bool" else 0)
        values = _numpy_of(filled)
        return {"type": str(values.dtype), "arrow": kind, "values": values, "missing": missing}
    if "time64[ns]" in kind:
        pyarrow = sys.modules["pyarrow"]
        column = column.cast(_with_numbers(pyarrow, column.type))
        if kind == "time64[ns]":
            return {
                "type": NANOSECONDS,
                "arrow": kind,
                "values": _numpy_of(column.cast(pyarrow.duration("ns"))),
            }
    if "union<" in kind:
        raise TypeError(f"a column of the type {kind[:80]} has no form")
    return {"type": "object", "arrow": kind, "items": column.to_pylist()}


def _numpy_of(column: Any) -> Any:
    """Return a column of Arrow, in chunks or not, as an array of numpy."""
    return column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)


def _with_numbers(pyarrow: Any, kind: Any) -> Any:
    """Return a type with numbers for the times of day that objects of Python can't be."""
    types = pyarrow.types
    if types.is_time64(kind):
        return pyarrow.int64()
    if types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        return pyarrow.struct([one.with_type(_with_numbers(pyarrow, one.type)) for one in fields])
    if types.is_list(kind) or types.is_large_list(kind):
        make = pyarrow.list_ if types.is_list(kind) else pyarrow.large_list
        return make(kind.value_field.with_type(_with_numbers(pyarrow, kind.value_type)))
    return kind


def arrow_table(pyarrow: Any, columns: Any, data: list[Any], schema: Any) -> Any:
    """Decode a table; parameters and errors are those of `polars_tables.polars_frame`."""
    footer = schema_bytes(schema)
    if footer is None:
        return pyarrow.table([_to_arrow(pyarrow, column) for column in data], names=columns)
    types = _arrow_files().open_file(pyarrow.py_buffer(footer)).schema
    if types.names != columns:
        raise ValueError("the types are those of other columns")
    typed = [_as_arrow(pyarrow, *pair) for pair in zip(data, types.types, strict=True)]
    as_sent = [values.type for values in typed] == types.types
    return pyarrow.table(typed, schema=types) if as_sent else pyarrow.table(typed, names=columns)


def _arrow_leaves(types: Any, kind: Any) -> float:
    """Return how many plain values a missing value of a type takes at most."""
    if types.is_fixed_size_list(kind):
        return float(kind.list_size) * _arrow_leaves(types, kind.value_type)
    if types.is_fixed_size_binary(kind):
        return float(kind.byte_width)
    if types.is_union(kind) or types.is_run_end_encoded(kind):
        return math.inf
    if hasattr(kind, "storage_type"):  # of an extension
        return _arrow_leaves(types, kind.storage_type)
    if types.is_dictionary(kind):
        return _arrow_leaves(types, kind.value_type)
    return max(1.0, sum([_arrow_leaves(types, kind.field(at).type) for at in range(kind.num_fields)]))


def _as_arrow(pyarrow: Any, column: Any, kind: Any) -> Any:
    """Decode a column as an array of a type, unless its missing values would take too much memory."""
    if _arrow_leaves(pyarrow.types, kind) > MAX_LEAVES:
        return _to_arrow(pyarrow, column)
    if "items" in column:
        is_dictionary = pyarrow.types.is_dictionary(kind)
        try:
            values = pyarrow.array(column["items"], kind.value_type if is_dictionary else kind)
            return values.dictionary_encode().cast(kind) if is_dictionary else values
        except (TypeError, ValueError, NotImplementedError):  # Arrow makes not every type of objects
            return _to_arrow(pyarrow, column)
    values = _to_arrow(pyarrow, column)
    if values.type == kind:
        return values
    if pyarrow.types.is_dictionary(kind):
        return values.dictionary_encode().cast(kind)
    if pyarrow.types.is_time64(kind) and pyarrow.types.is_duration(values.type):
        values = values.cast(pyarrow.int64())
    return values.cast(kind)


def _to_arrow(pyarrow: Any, column: Any) -> Any:
    """Decode a column as an array of Arrow."""
    optional("numpy")
    if "text" in column:
        return pyarrow.array(texts_of(column), pyarrow.string())
    if "items" in column:
        return pyarrow.array(column["items"])
    values, missing = arrived(column["values"], array_class()), column.get("missing")
    gone = None if missing is None else array_of_bool(missing, len(values))
    found = pyarrow.array(values, mask=gone)
    zone = zone_of(column)
    return found if zone is None else found.cast(pyarrow.timestamp(found.type.unit, zone))
