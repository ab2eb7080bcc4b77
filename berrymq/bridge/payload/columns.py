"""The columns of tables on the wire, of whatever library: texts, times and what is missing.

`tables` describes their forms. Nothing that came is trusted: what does not fit is a `ValueError` or
`TypeError`.
"""

from __future__ import annotations

import re
import sys
from itertools import pairwise, repeat
from typing import Any

from berrymq.bridge.buffers import Missing

from .arrays import optional
from .binary import Binary
from .opaque import Opaque

__all__ = [
    "MAX_LEAVES",
    "NANOSECONDS",
    "ZONE",
    "LostError",
    "array_class",
    "array_of_bool",
    "arrived",
    "plain_values",
    "schema_bytes",
    "short_text",
    "text_column",
    "texts_of",
    "type_of_moments",
    "zone_name",
    "zone_of",
]

MAX_SCHEMA_BYTES = 4 * 1024 * 1024
"""The limit of the types of columns, in bytes."""
MAX_LEAVES = 16
"""The limit of plain values that a missing value of a type takes. Wider types would turn a few received bytes
into much memory, so columns of them arrive with the types that their values have."""
LONGEST_TEXT = 64
"""Characters of a moment, a frequency or a time zone; pandas takes quadratic time for some."""
ZONE = re.compile(r"(?!dateutil)[A-Za-z][\w+-]*(/[\w+-]+)*|UTC[+-]\d\d:\d\d", re.ASCII)
"""Name of a time zone: pandas would open any file that follows ``dateutil/``."""
NANOSECONDS = "timedelta64[ns]"
"""The type of times of day, as the time since midnight: objects of Python have microseconds only."""


class LostError(Exception):
    """A buffer of a table did not come."""


def text_column(values: Any, missing: Any) -> dict[str, Any]:
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


def texts_of(column: dict[str, Any]) -> list[str | None]:
    """Return the values of a column of text.

    Raises:
        ValueError: offsets or bytes do not fit together, or are no UTF-8.
    """
    data, offsets = bytes(arrived(column["text"], memoryview)), arrived(column["offsets"], array_class())
    missing = column.get("missing")
    places = offsets.tolist()
    if offsets.dtype.kind != "i" or offsets.ndim != 1 or not places or places[0] != 0:
        raise ValueError("the offsets of a column of text are malformed")
    if places[-1] != len(data) or any(one > other for one, other in pairwise(places)):
        raise ValueError("the offsets of a column of text are out of order")
    texts: list[str | None] = [data[one:other].decode() for one, other in pairwise(places)]
    if missing is not None:
        for place in array_of_bool(missing, len(texts)).nonzero()[0].tolist():
            texts[place] = None
    return texts


def array_class() -> Any:
    """Return the class of numpy's arrays; a table with buffers has imported it."""
    return sys.modules["numpy"].ndarray


def array_of_bool(value: Any, size: int) -> Any:
    """Return an array that says which values are missing.

    Args:
        value: what came.
        size: the length of its column.

    Raises:
        ValueError: it has another type or length.
    """
    found = arrived(value, array_class())
    if found.dtype != bool or found.shape != (size,):
        raise ValueError("what is missing in a column is said by an array of bool")
    return found


def arrived(value: Any, kind: type) -> Any:
    """Return a part of a column, if it came and is of a type.

    Raises:
        LostError: its buffer did not come.
        TypeError: it is of another type.
    """
    if isinstance(value, Missing):
        raise LostError(value.reason)
    if isinstance(value, Opaque):
        raise LostError(value.text)
    if not isinstance(value, kind):
        raise TypeError(f"a column holds a {type(value).__name__} where a {kind.__name__} belongs")
    return value


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


def zone_of(column: dict[str, Any]) -> str | None:
    """Return the time zone of a column of moments, of which the values are those in UTC; None without one."""
    kind = column.get("type")
    if not isinstance(kind, str) or not kind.startswith("datetime64[") or ", " not in kind:
        return None
    return zone_name(kind.partition(", ")[2].rstrip("]"))


def type_of_moments(unit: str, zone: str) -> str:
    """Return pandas' name for the type of moments in a time zone."""
    return f"datetime64[{unit}, {zone if ZONE.fullmatch(zone) else 'UTC'}]"


def plain_values(column: Any) -> Any:
    """Return a column where there is no library for it."""
    if "items" in column:
        return column["items"]
    if "text" in column and optional("numpy") is not None:
        return texts_of(column)
    return column.get("values", column)


def schema_bytes(data: Any) -> memoryview | None:
    """Return an Arrow file with the types of columns, of which only the footer is read; None without one.

    Raises:
        ValueError: it is too large, or no buffer.
    """
    if data is None or isinstance(data, Missing):
        return None
    if not isinstance(data, memoryview) or data.nbytes > MAX_SCHEMA_BYTES:
        raise ValueError("the types of columns are malformed")
    return data
