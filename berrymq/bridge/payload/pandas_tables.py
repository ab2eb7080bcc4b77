"""Tables, columns and indexes of pandas as forms, which `tables` describes, and back."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

from .columns import (
    ZONE,
    array_class,
    array_of_bool,
    arrived,
    short_text,
    text_column,
    texts_of,
    zone_of,
)
from .hashes import check_labels

__all__ = [
    "encode_frame",
    "encode_series",
    "pandas_column",
    "pandas_frame",
    "pandas_index",
    "to_index",
    "to_pandas",
]

MAX_LEVELS = 100
"""Of an index."""
MAX_CHECKED = 100
"""Labels of an index whose frequency pandas may check one by one, which is slow."""
TYPE = re.compile(
    r"object|str(ing)?(\[(python|pyarrow)\])?|bool(ean)?|(U?Int|u?int|[Ff]loat)\d\d?(\[pyarrow\])?"
    r"|(datetime|timedelta)64\[(s|ms|us|ns)\]|complex(64|128)"
    r"|interval(\[[a-z]+\d*(\[(s|ms|us|ns)\])?, (right|left|both|neither)\])?"
    r"|Sparse\[(u?int|float|bool)\d*(, [\w.]+)?\]|[\w ,:()<>\[\]]{1,60}\[pyarrow\]"
)
"""Types of pandas that items may be converted to; others, such as text of a fixed size, take any memory."""
TEXT = ("str", "string")
"""Types of pandas for text."""
MASKED = (
    "boolean",
    *(f"{sign}Int{size}" for sign in ("", "U") for size in (8, 16, 32, 64)),
    "Float32",
    "Float64",
)
"""Types of pandas whose missing values are marked beside the values."""


def encode_frame(frame: Any) -> dict[str, Any]:
    """Return the form of a table."""
    return {
        "library": "pandas",
        "columns": _names(frame.columns),
        "index": pandas_index(frame.index),
        "data": [pandas_column(frame.iloc[:, place].array) for place in range(frame.shape[1])],
    }


def encode_series(series: Any) -> dict[str, Any]:
    """Return the form of a column with its name and index."""
    return {
        "library": "pandas",
        "name": series.name,
        "index": pandas_index(series.index),
        "data": pandas_column(series.array),
    }


def _names(columns: Any) -> Any:
    """Return the names of columns: a list where they are text, as nearly always."""
    if len(columns) and list(columns.names) == [None] and all(type(name) is str for name in columns):
        return list(columns)
    return pandas_index(columns)


def pandas_column(values: Any) -> dict[str, Any]:
    """Encode an array of pandas, of its own or of numpy.

    A categorical one is sent as codes and categories, a moment with a time zone in UTC with the zone's name,
    a period as its ordinal. Types that are none of these are sent item by item.
    """
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if type(values) is pandas.arrays.NumpyExtensionArray:  # arrays of text derive from it
        values = values.to_numpy()
    dtype = values.dtype
    column: dict[str, Any] = {"type": str(dtype)}
    if isinstance(dtype, numpy.dtype):
        values = numpy.asarray(values)
        return {**column, **({"items": values.tolist()} if dtype.hasobject else {"values": values})}
    if isinstance(dtype, pandas.CategoricalDtype):
        return {
            **column,
            "type": "category",
            "codes": numpy.asarray(values.codes),
            "categories": pandas_column(values.categories.array),
            "ordered": bool(dtype.ordered),
        }
    if isinstance(dtype, pandas.DatetimeTZDtype):
        if not ZONE.fullmatch(str(dtype.tz)):  # such as one that a file defines: the moments stay the same
            column["type"] = f"datetime64[{dtype.unit}, UTC]"
        return {**column, "values": values.tz_convert("UTC").tz_localize(None).to_numpy()}
    if isinstance(dtype, pandas.PeriodDtype):
        return {**column, "values": values.asi8}
    missing = numpy.asarray(values.isna())
    missing = missing if missing.any() else None
    if isinstance(dtype, pandas.StringDtype):
        return {**column, **text_column(values, missing)}
    plain = getattr(dtype, "numpy_dtype", None)  # of Int64 and the like
    if plain is not None and plain.kind in "biuf" and hasattr(values, "_mask"):
        return {**column, "values": values.to_numpy(plain, na_value=plain.type(0)), "missing": missing}
    return {**column, "items": list(values)}


def to_pandas(pandas: Any, column: Any) -> Any:
    """Decode a column as an array of pandas.

    Raises:
        ValueError: its parts do not fit together.
        LostError: a buffer did not come.
    """
    numpy = sys.modules["numpy"]
    kind, missing = column["type"], column.get("missing")
    if not isinstance(kind, str):
        raise TypeError("a column is malformed")
    if "items" in column:
        items = numpy.empty(len(column["items"]), object)
        items[:] = column["items"]
        return items if kind == "object" else _as_type(pandas, items, kind)
    if "text" in column:
        return _as_type(pandas, numpy.array(texts_of(column), object), kind if kind in TEXT else "str")
    if "codes" in column:
        codes, categories = arrived(column["codes"], array_class()), _labels(pandas, column["categories"])
        codes = codes.copy()  # pandas checks them once, and the sender might write to its memory later
        return pandas.Categorical.from_codes(codes, categories, ordered=column["ordered"] is True)
    values = arrived(column["values"], array_class())
    if values.ndim != 1:
        raise ValueError("the values of a column have one dimension")
    if (zone := zone_of(column)) is not None:
        return pandas.DatetimeIndex(values, tz="UTC").tz_convert(zone).array
    if kind.startswith("period["):
        return pandas.arrays.PeriodArray(
            values, dtype=pandas.PeriodDtype(short_text(kind[len("period[") : -1]))
        )
    if kind in MASKED or missing is not None:
        gone = numpy.zeros(len(values), bool) if missing is None else array_of_bool(missing, len(values))
        name = "BooleanArray" if values.dtype == bool else "FloatingArray" if values.dtype.kind == "f" else ""
        if values.dtype.kind in "biuf":
            return getattr(pandas.arrays, name or "IntegerArray")(values, gone)
        times = values.copy()
        times[gone] = "NaT"
        return times
    return values


def _as_type(pandas: Any, items: Any, kind: str) -> Any:
    """Return an array of a type that is named, if it can be one.

    Items of which the library is not installed, or that do not fit the type, stay as they are.
    """
    if not TYPE.fullmatch(kind):
        return items
    try:
        return pandas.array(items, dtype=kind)
    except (TypeError, ValueError, NotImplementedError, ImportError):
        return items


def pandas_frame(pandas: Any, columns: Any, data: list[Any], index_form: Any) -> Any:
    """Decode a table.

    Args:
        pandas: the package.
        columns: the names of the columns, or an index of them.
        data: the columns.
        index_form: the index; None for one that counts.

    Raises:
        ValueError: the columns differ in length, or are malformed.
        LostError: a buffer did not come.
    """
    arrays = [to_pandas(pandas, column) for column in data]
    index = None if index_form is None else to_index(pandas, index_form)
    if len({len(values) for values in ([*arrays] if index is None else [*arrays, index])}) > 1:
        raise ValueError("the columns of a table differ in length")
    frame = pandas.DataFrame(dict(enumerate(arrays)), index=index, copy=False)
    if isinstance(columns, list):
        if not all(type(name) is str for name in columns):
            raise ValueError("the names of columns are text, or an index")
        frame.columns = pandas.Index(columns)
    else:
        frame.columns = to_index(pandas, columns)
    return frame


def pandas_index(index: Any) -> dict[str, Any]:
    """Encode an index: a range by its three numbers, any other by its levels."""
    pandas = sys.modules["pandas"]
    if isinstance(index, pandas.RangeIndex):
        return {"names": list(index.names), "range": [index.start, index.stop, index.step]}
    levels = [index.get_level_values(level) for level in range(index.nlevels)]
    form = {"names": list(index.names), "levels": [pandas_column(level.array) for level in levels]}
    frequency = getattr(index, "freqstr", None)
    return form if frequency is None else {**form, "frequency": frequency}


def to_index(pandas: Any, form: Any) -> Any:
    """Decode an index.

    Raises:
        ValueError: it has too many levels, or its parts do not fit together.
    """
    names = form["names"]
    if "range" in form:
        start, stop, step = form["range"]
        return pandas.RangeIndex(start, stop, step, name=names[0])
    if len(form["levels"]) > MAX_LEVELS:
        raise ValueError("an index has too many levels")
    levels = [_labels(pandas, level) for level in form["levels"]]
    if len(levels) > 1:
        return pandas.MultiIndex.from_arrays(levels, names=names)
    index = pandas.Index(levels[0], name=names[0], copy=False)
    frequency = form.get("frequency")
    if frequency is not None and index.dtype.kind in "mM" and _may_have(index, short_text(frequency)):
        index.freq = frequency
    return index


def _may_have(index: Any, frequency: str) -> bool:
    """Return whether pandas finds out quickly that an index of moments has this frequency, or has it not."""
    if len(index) <= MAX_CHECKED:
        return True
    with warnings.catch_warnings(action="ignore"):
        inferred = index.inferred_freq
    return bool(getattr(inferred, "freqstr", inferred) == frequency)


def _labels(pandas: Any, column: Any) -> Any:
    """Decode a column whose values are looked up by their hashes.

    Raises:
        ValueError: too many have the same one.
    """
    values = to_pandas(pandas, column)
    if values.dtype == object:
        check_labels(values)
    return values
