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

import math
import re
import sys
import warnings
from importlib import import_module
from io import BytesIO
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

from berrymq.bridge.buffers import Missing

from .arrays import optional
from .binary import Binary
from .hashes import check_labels
from .opaque import Opaque
from .registry import Codec
from .sampled import SampledTable, first_rows

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ZONE", "codecs", "short_text", "table_codec", "zone_name"]

MAX_COLUMNS = 100_000
"""As each takes an object of its own in pandas."""
MAX_LEVELS = 100
"""Of an index."""
MAX_CHECKED = 100
"""Labels of an index whose frequency pandas may check one by one, which is slow."""
MAX_SCHEMA_BYTES = 4 * 1024 * 1024
"""The limit of the types of columns, in bytes."""
MAX_LEAVES = 16
"""The limit of plain values that a missing value of a type takes. Wider types would turn a few received bytes
into much memory, so columns of them arrive with the types that their values have."""
LONGEST_TEXT = 64
"""Characters of a moment, a frequency or a time zone; pandas takes quadratic time for some."""

ZONE = re.compile(r"(?!dateutil)[A-Za-z][\w+-]*(/[\w+-]+)*|UTC[+-]\d\d:\d\d", re.ASCII)
"""Name of a time zone: pandas would open any file that follows ``dateutil/``."""
TYPE = re.compile(
    r"object|str(ing)?(\[(python|pyarrow)\])?|bool(ean)?|(U?Int|u?int|[Ff]loat)\d\d?(\[pyarrow\])?"
    r"|(datetime|timedelta)64\[(s|ms|us|ns)\]|complex(64|128)"
    r"|interval(\[[a-z]+\d*(\[(s|ms|us|ns)\])?, (right|left|both|neither)\])?"
    r"|Sparse\[(u?int|float|bool)\d*(, [\w.]+)?\]|[\w ,:()<>\[\]]{1,60}\[pyarrow\]"
)
"""Types of pandas that items may be converted to; others, such as text of a fixed size, take any memory."""


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


# -- columns -------------------------------------------------------------------------------------------------


def _text_column(values: Any, missing: Any) -> dict[str, Any]:
    """Encode text: all of it in a row, and where each begins.

    Args:
        values: an iterable of text.
        missing: an array of bool, true where the text is nothing; or None.
    """
    numpy = sys.modules["numpy"]
    parts = [
        b"" if gone else text.encode()
        for text, gone in zip(values, repeat(False) if missing is None else missing.tolist(), strict=False)
    ]
    offsets = numpy.zeros(len(parts) + 1, "<i8")
    numpy.cumsum([len(part) for part in parts], out=offsets[1:])
    return {"text": Binary.of(b"".join(parts)), "offsets": offsets, "missing": missing}


def _texts(column: dict[str, Any]) -> list[str | None]:
    """Return the values of a column of text.

    Raises:
        ValueError: offsets or bytes do not fit together, or are no UTF-8.
    """
    data, offsets = bytes(_arrived(column["text"], memoryview)), _arrived(column["offsets"], _array())
    missing = column.get("missing")
    places = offsets.tolist()
    if offsets.dtype.kind != "i" or offsets.ndim != 1 or not places or places[0] != 0:
        raise ValueError("the offsets of a column of text are malformed")
    if places[-1] != len(data) or any(one > other for one, other in pairwise(places)):
        raise ValueError("the offsets of a column of text are out of order")
    texts: list[str | None] = [data[one:other].decode() for one, other in pairwise(places)]
    if missing is not None:
        for place in _array_of_bool(missing, len(texts)).nonzero()[0].tolist():
            texts[place] = None
    return texts


def _array() -> Any:
    """Return the class of numpy's arrays; a table with buffers has imported it."""
    return sys.modules["numpy"].ndarray


def _array_of_bool(value: Any, size: int) -> Any:
    """Return an array that says which values are missing.

    Args:
        value: what came.
        size: the length of its column.

    Raises:
        ValueError: it has another type or length.
    """
    found = _arrived(value, _array())
    if found.dtype != bool or found.shape != (size,):
        raise ValueError("what is missing in a column is said by an array of bool")
    return found


class _LostError(Exception):
    """A buffer of a table did not come."""


def _arrived(value: Any, kind: type) -> Any:
    """Return a part of a column, if it came and is of a type.

    Raises:
        _LostError: its buffer did not come.
        TypeError: it is of another type.
    """
    if isinstance(value, Missing):
        raise _LostError(value.reason)
    if isinstance(value, Opaque):
        raise _LostError(value.text)
    if not isinstance(value, kind):
        raise TypeError(f"a column holds a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _pandas_column(values: Any) -> dict[str, Any]:
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
            "categories": _pandas_column(values.categories.array),
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
        return {**column, **_text_column(values, missing)}
    plain = getattr(dtype, "numpy_dtype", None)  # of Int64 and the like
    if plain is not None and plain.kind in "biuf" and hasattr(values, "_mask"):
        return {**column, "values": values.to_numpy(plain, na_value=plain.type(0)), "missing": missing}
    return {**column, "items": list(values)}


def _to_pandas(pandas: Any, column: Any) -> Any:
    """Decode a column as an array of pandas.

    Raises:
        ValueError: its parts do not fit together.
        _LostError: a buffer did not come.
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
        return _as_type(pandas, numpy.array(_texts(column), object), kind if kind in TEXT else "str")
    if "codes" in column:
        codes, categories = _arrived(column["codes"], _array()), _labels(pandas, column["categories"])
        codes = codes.copy()  # pandas checks them once, and the sender might write to its memory later
        return pandas.Categorical.from_codes(codes, categories, ordered=column["ordered"] is True)
    values = _arrived(column["values"], _array())
    if values.ndim != 1:
        raise ValueError("the values of a column have one dimension")
    if (zone := _zone_of(column)) is not None:
        return pandas.DatetimeIndex(values, tz="UTC").tz_convert(zone).array
    if kind.startswith("period["):
        return pandas.arrays.PeriodArray(
            values, dtype=pandas.PeriodDtype(short_text(kind[len("period[") : -1]))
        )
    if kind in MASKED or missing is not None:
        gone = numpy.zeros(len(values), bool) if missing is None else _array_of_bool(missing, len(values))
        name = "BooleanArray" if values.dtype == bool else "FloatingArray" if values.dtype.kind == "f" else ""
        if values.dtype.kind in "biuf":
            return getattr(pandas.arrays, name or "IntegerArray")(values, gone)
        times = values.copy()
        times[gone] = "NaT"
        return times
    return values


def short_text(text: Any) -> str:
    """Return a text that pandas is to read.

    Raises:
        ValueError: it is none, or a long one.

    Args:
        text: anything.
    """
    if type(text) is not str or len(text) > LONGEST_TEXT:
        raise ValueError("it is no short text")
    return str(text)


def zone_name(text: Any) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: it is none.
    """
    if not ZONE.fullmatch(short_text(text)):
        raise ValueError(f"{text!r} is no time zone")
    return str(text)


TEXT = ("str", "string")
"""Types of pandas for text."""
MASKED = (
    "boolean",
    *(f"{sign}Int{size}" for sign in ("", "U") for size in (8, 16, 32, 64)),
    "Float32",
    "Float64",
)
"""Types of pandas whose missing values are marked beside the values."""


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


# -- pandas --------------------------------------------------------------------------------------------------


def _pandas_index(index: Any) -> dict[str, Any]:
    """Encode an index: a range by its three numbers, any other by its levels."""
    pandas = sys.modules["pandas"]
    if isinstance(index, pandas.RangeIndex):
        return {"names": list(index.names), "range": [index.start, index.stop, index.step]}
    levels = [index.get_level_values(level) for level in range(index.nlevels)]
    form = {"names": list(index.names), "levels": [_pandas_column(level.array) for level in levels]}
    frequency = getattr(index, "freqstr", None)
    return form if frequency is None else {**form, "frequency": frequency}


def _to_index(pandas: Any, form: Any) -> Any:
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
    values = _to_pandas(pandas, column)
    if values.dtype == object:
        check_labels(values)
    return values


def _names(columns: Any) -> Any:
    """Return the names of columns: a list where they are text, as nearly always."""
    if len(columns) and list(columns.names) == [None] and all(type(name) is str for name in columns):
        return list(columns)
    return _pandas_index(columns)


def _encode_frame(frame: Any) -> dict[str, Any]:
    return {
        "library": "pandas",
        "columns": _names(frame.columns),
        "index": _pandas_index(frame.index),
        "data": [_pandas_column(frame.iloc[:, place].array) for place in range(frame.shape[1])],
    }


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
            return _polars_frame(polars, columns, data, form.get("schema"))
        if library == "pyarrow" and (pyarrow := optional("pyarrow")) is not None:
            return _arrow_table(pyarrow, columns, data, form.get("schema"))
        pandas: Any = optional("pandas")
        if pandas is None:
            return dict(zip(columns, map(_plain, data), strict=True)) if isinstance(columns, list) else data
        arrays = [_to_pandas(pandas, column) for column in data]
        index = None if form.get("index") is None else _to_index(pandas, form["index"])
        if len({len(values) for values in ([*arrays] if index is None else [*arrays, index])}) > 1:
            raise ValueError("the columns of a table differ in length")
        frame = pandas.DataFrame(dict(enumerate(arrays)), index=index, copy=False)
        if isinstance(columns, list):
            if not all(type(name) is str for name in columns):
                raise ValueError("the names of columns are text, or an index")
            frame.columns = pandas.Index(columns)
        else:
            frame.columns = _to_index(pandas, columns)
    except _LostError as lost:
        return Opaque(f"{library}.DataFrame", f"<table of {len(data)} columns, {lost}>")
    return frame


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
    return list(_plain(column) if pandas is None else _to_pandas(pandas, column))


def _encode_series(series: Any) -> dict[str, Any]:
    return {
        "library": "pandas",
        "name": series.name,
        "index": _pandas_index(series.index),
        "data": _pandas_column(series.array),
    }


def _decode_series(form: Any) -> Any:
    sampled = _sampled(form, _decode_series, f"{form['library']}.Series")
    if sampled is not None:
        return sampled
    try:
        if form["library"] == "polars" and (polars := optional("polars")) is not None:
            return _polars_frame(polars, [form["name"]], [form["data"]], form.get("schema")).to_series()
        if form["library"] == "pyarrow" and (pyarrow := optional("pyarrow")) is not None:
            table = _arrow_table(pyarrow, [form["name"]], [form["data"]], form.get("schema"))
            return table.column(0).combine_chunks()
        pandas: Any = optional("pandas")
        if pandas is None:
            return _plain(form["data"])
        index = None if form.get("index") is None else _to_index(pandas, form["index"])
        return pandas.Series(_to_pandas(pandas, form["data"]), index=index, name=form["name"], copy=False)
    except _LostError as lost:
        return Opaque(f"{form['library']}.Series", f"<column, {lost}>")


def _decode_index(form: Any) -> Any:
    pandas: Any = optional("pandas")
    if pandas is None:
        return form
    try:
        return _to_index(pandas, form)
    except _LostError as lost:
        return Opaque("pandas.Index", f"<index, {lost}>")


def _decode_column(form: Any) -> Any:
    pandas: Any = optional("pandas")
    if pandas is None:
        return _plain(form)
    try:
        return _to_pandas(pandas, form)
    except _LostError as lost:
        return Opaque("pandas.array", f"<column, {lost}>")


def _plain(column: Any) -> Any:
    """Return a column where there is no library for it."""
    if "items" in column:
        return column["items"]
    if "text" in column and optional("numpy") is not None:
        return _texts(column)
    return column.get("values", column)


# -- polars and Arrow ----------------------------------------------------------------------------------------


def _encode_polars(frame: Any) -> dict[str, Any]:
    return {
        "library": "polars",
        "columns": list(frame.columns),
        "index": None,
        "data": [_polars_column(series) for series in frame.get_columns()],
        "schema": _polars_schema(frame),
    }


def _encode_polars_series(series: Any) -> dict[str, Any]:
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


def _schema_bytes(data: Any) -> memoryview | None:
    """Return an Arrow file with the types of columns, of which only the footer is read; None without one.

    Raises:
        ValueError: it is too large, or no buffer.
    """
    if data is None or isinstance(data, Missing):
        return None
    if not isinstance(data, memoryview) or data.nbytes > MAX_SCHEMA_BYTES:
        raise ValueError("the types of columns are malformed")
    return data


def _polars_column(series: Any) -> dict[str, Any]:
    """Types that numpy has no counterpart for are sent item by item."""
    optional("numpy")
    polars, dtype = sys.modules["polars"], series.dtype
    missing = series.is_null().to_numpy() if series.null_count() else None
    kind = str(dtype)
    if dtype == polars.String or dtype in (polars.Categorical, polars.Enum):
        return {"type": "str", "polars": kind, **_text_column(series.cast(polars.String), missing)}
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
            "type": kind if zone is None else _type_of_moments(dtype.time_unit, zone),
            "polars": kind,
            "values": series.to_numpy(),
        }
    if dtype == polars.Time:
        values = series.to_physical().cast(polars.Duration("ns")).to_numpy()
        return {"type": NANOSECONDS, "polars": kind, "values": values}
    if FINE.search(kind) and not PHYSICAL_IS_ANOTHER.search(kind):
        series = series.to_physical()
    return {"type": "object", "polars": kind, "items": series.to_list()}


NANOSECONDS = "timedelta64[ns]"
"""The type of times of day, as the time since midnight: objects of Python have microseconds only."""
FINE = re.compile(r"'ns'|\bTime\b")
"""Types of polars whose values are sent as numbers for that reason, where lists or structures hold them."""
PHYSICAL_IS_ANOTHER = re.compile(r"Categorical|Enum|Decimal")
"""Types whose numbers polars does not turn into the same values again."""


def _to_polars(polars: Any, name: Any, column: Any, dtype: Any = None) -> Any:
    """Decode a column as a series of polars.

    Args:
        polars: the package.
        name: of the column.
        column: as it was sent.
        dtype: its type, if that is known and a missing value of it takes little.
    """
    if "text" in column:
        return polars.Series(name, _texts(column), dtype=polars.String)
    if "items" in column:
        wide = dtype if "128" in str(dtype) else None  # polars does not find out by itself
        return polars.Series(name, column["items"], wide, strict=False)
    if "values" not in column:
        raise ValueError("a column is malformed")
    values = _arrived(column["values"], _array())
    series = polars.Series(name, values)
    if (zone := _zone_of(column)) is not None:  # its types may not have come
        series = series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    missing = column.get("missing")
    if missing is not None:
        gone = _array_of_bool(missing, len(values))
        series = polars.select(polars.when(polars.Series(gone)).then(None).otherwise(series).alias(name))[
            name
        ]
    return series


def _polars_frame(polars: Any, columns: Any, data: list[Any], schema: Any) -> Any:
    optional("numpy")
    footer = _schema_bytes(schema)
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


def _encode_arrow(table: Any) -> dict[str, Any]:
    return {
        "library": "pyarrow",
        "columns": list(table.column_names),
        "index": None,
        "data": [_arrow_column(column) for column in table.columns],
        "schema": _arrow_schema(table.schema),
    }


def _encode_arrow_series(column: Any) -> dict[str, Any]:
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


def _type_of_moments(unit: str, zone: str) -> str:
    """Return pandas' name for the type of moments in a time zone."""
    return f"datetime64[{unit}, {zone if ZONE.fullmatch(zone) else 'UTC'}]"


def _zone_of(column: dict[str, Any]) -> str | None:
    """Return the time zone of a column of moments, of which the values are those in UTC; None without one."""
    kind = column.get("type")
    if not isinstance(kind, str) or not kind.startswith("datetime64[") or ", " not in kind:
        return None
    return zone_name(kind.partition(", ")[2].rstrip("]"))


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
        return {"type": "str", "arrow": kind, **_text_column(texts, missing)}
    times = ARROW_TIMES.match(kind)
    if times is not None:
        if times[3] is not None:
            column = column.cast(sys.modules["pyarrow"].timestamp(times[2]))
        values = _numpy_of(column)
        named = str(values.dtype) if times[3] is None else _type_of_moments(times[2], times[3])
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


ARROW_NUMBERS = (
    "bool",
    *(f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)),
    "float",
    "double",
)


ARROW_TIMES = re.compile(r"(timestamp|duration)\[(s|ms|us|ns)(?:, tz=(.+))?\]$")


def _arrow_table(pyarrow: Any, columns: Any, data: list[Any], schema: Any) -> Any:
    footer = _schema_bytes(schema)
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
        return pyarrow.array(_texts(column), pyarrow.string())
    if "items" in column:
        return pyarrow.array(column["items"])
    values, missing = _arrived(column["values"], _array()), column.get("missing")
    gone = None if missing is None else _array_of_bool(missing, len(values))
    found = pyarrow.array(values, mask=gone)
    zone = _zone_of(column)
    return found if zone is None else found.cast(pyarrow.timestamp(found.type.unit, zone))


def _encode_stream(value: Any) -> dict[str, Any]:
    """Encode a table of any other library, by one that reads Arrow's streams."""
    if (pyarrow := optional("pyarrow")) is not None:
        return _encode_arrow(pyarrow.table(value))
    if (polars := optional("polars")) is not None:
        return _encode_polars(polars.DataFrame(value))
    raise TypeError("it needs pyarrow or polars")


TABLE = Codec("table", _encode_frame, _decode_table)
SERIES = Codec("table.series", _encode_series, _decode_series)
INDEX = Codec("table.index", _pandas_index, _decode_index)
COLUMN = Codec("table.column", _pandas_column, _decode_column)
POLARS_TABLE = Codec("table", _encode_polars, _decode_table)
POLARS_SERIES = Codec("table.series", _encode_polars_series, _decode_series)
ARROW_TABLE = Codec("table", _encode_arrow, _decode_table)
ARROW_SERIES = Codec("table.series", _encode_arrow_series, _decode_series)
STREAM = Codec("table", _encode_stream, _decode_table)
