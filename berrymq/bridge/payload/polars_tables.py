"""Tables and columns of polars as forms, which `tables` describes, and back."""

from __future__ import annotations

import re
import sys
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

__all__ = ["encode_polars", "encode_polars_series", "polars_frame"]

FINE = re.compile(r"'ns'|\bTime\b")
"""Types of polars whose values are sent as numbers for that reason, where lists or structures hold them."""
PHYSICAL_IS_ANOTHER = re.compile(r"Categorical|Enum|Decimal")
"""Types whose numbers polars does not turn into the same values again."""


def encode_polars(frame: Any) -> dict[str, Any]:
    """Return the form of a table."""
    return {
        "library": "polars",
        "columns": list(frame.columns),
        "index": None,
        "data": [_polars_column(series) for series in frame.get_columns()],
        "schema": _polars_schema(frame),
    }


def encode_polars_series(series: Any) -> dict[str, Any]:
    """Return the form of a column with its name."""
    return {
        "library": "polars",
        "name": series.name,
        "index": None,
        "data": _polars_column(series),
        "schema": _polars_schema(series.to_frame()),
    }


def _polars_schema(frame: Any) -> Binary:
    """Return an Arrow file of no rows, which says the types of columns."""
    schema = BytesIO()
    frame.clear().write_ipc(schema)
    return Binary.of(schema.getvalue())


def _polars_column(series: Any) -> dict[str, Any]:
    """Types that numpy has no counterpart for are sent item by item."""
    optional("numpy")
    polars, dtype = sys.modules["polars"], series.dtype
    missing = series.is_null().to_numpy() if series.null_count() else None
    kind = str(dtype)
    if dtype == polars.String or dtype in (polars.Categorical, polars.Enum):
        return {"type": "str", "polars": kind, **text_column(series.cast(polars.String), missing)}
    if dtype.is_numeric() and not dtype.is_decimal() and not kind.endswith("128"):
        values = (series if missing is None else series.fill_null(0)).to_numpy()
        return {"type": str(values.dtype), "polars": kind, "values": values, "missing": missing}
    if dtype == polars.Boolean:
        values = (series if missing is None else series.fill_null(value=False)).to_numpy()
        return {"type": "bool", "polars": kind, "values": values, "missing": missing}
    if dtype in (polars.Date, polars.Duration, polars.Datetime):
        zone = getattr(dtype, "time_zone", None)
        if zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return {
            "type": kind if zone is None else type_of_moments(dtype.time_unit, zone),
            "polars": kind,
            "values": series.to_numpy(),
        }
    if dtype == polars.Time:
        values = series.to_physical().cast(polars.Duration("ns")).to_numpy()
        return {"type": NANOSECONDS, "polars": kind, "values": values}
    if FINE.search(kind) and not PHYSICAL_IS_ANOTHER.search(kind):
        series = series.to_physical()
    return {"type": "object", "polars": kind, "items": series.to_list()}


def _to_polars(polars: Any, name: Any, column: Any, dtype: Any = None) -> Any:
    """Decode a column as a series of polars.

    Args:
        polars: the package.
        name: of the column.
        column: as it was sent.
        dtype: its type, if that is known and a missing value of it takes little.
    """
    if "text" in column:
        return polars.Series(name, texts_of(column), dtype=polars.String)
    if "items" in column:
        wide = dtype if "128" in str(dtype) else None  # polars does not find out by itself
        return polars.Series(name, column["items"], wide, strict=False)
    if "values" not in column:
        raise ValueError("a column is malformed")
    values = arrived(column["values"], array_class())
    series = polars.Series(name, values)
    if (zone := zone_of(column)) is not None:  # its types may not have come
        series = series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    missing = column.get("missing")
    if missing is not None:
        gone = array_of_bool(missing, len(values))
        series = polars.select(polars.when(polars.Series(gone)).then(None).otherwise(series).alias(name))[
            name
        ]
    return series


def polars_frame(polars: Any, columns: Any, data: list[Any], schema: Any) -> Any:
    """Decode a table.

    Args:
        polars: the package.
        columns: the names of the columns.
        data: the columns.
        schema: a buffer with their types, or nothing.

    Raises:
        ValueError: the columns are malformed.
        LostError: a buffer did not come.
    """
    optional("numpy")
    footer = schema_bytes(schema)
    types = {} if footer is None else polars.read_ipc_schema(BytesIO(footer))
    types = {name: kind for name, kind in types.items() if _polars_leaves(polars, kind) <= MAX_LEAVES}
    series = [
        _to_polars(polars, name, column, types.get(name)) for name, column in zip(columns, data, strict=True)
    ]
    named = {one.name: one for one in series}  # a list of them would give one without a name another name
    if len(named) < len(series):
        raise ValueError("columns of a table have the same name")
    for name, one in named.items():
        if one.dtype == polars.Duration and types.get(name) == polars.Time:
            named[name] = one.to_physical()
    frame = polars.DataFrame(named)
    return frame.cast(
        {name: types[name] for name, kind in frame.schema.items() if types.get(name, kind) != kind}
    )


def _polars_leaves(polars: Any, kind: Any) -> int:
    """Return how many plain values a missing value of a type takes at most."""
    if isinstance(kind, polars.Struct):
        return sum([_polars_leaves(polars, field.dtype) for field in kind.fields])
    if isinstance(kind, polars.List):
        return _polars_leaves(polars, kind.inner)
    if isinstance(kind, polars.Array):
        return int(kind.size) * _polars_leaves(polars, kind.inner)
    return 1
