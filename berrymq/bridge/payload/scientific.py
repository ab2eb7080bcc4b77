"""The scalars of numpy and pandas: each crosses with its type, and arrives as a plain value without them.

Neither package is imported before a value of it is at hand: where one is sent, it is there already; where one
arrives, it is imported if it is installed.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .arrays import array_codec
from .binary import from_base64
from .columns import ZONE, short_text, zone_name
from .images import image_codec
from .registry import Codec
from .tables import table_codec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["codecs", "scientific_codec"]

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic")
"""Of numpy's moments and durations."""


def scientific_codec(value: Any) -> Codec | None:
    """Return how a value of numpy, pandas or a library like them crosses; None for anything else.

    The name of the module is looked at first, so that nothing is imported, and no attribute is read of
    objects of other libraries.
    """
    root = type(value).__module__.partition(".")[0]
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        kind, size = value.dtype.kind, value.dtype.itemsize
        if size > _LONGEST.get(kind, size):
            return _NUMPY["longdouble" if kind == "f" else "clongdouble"]
        return _NUMPY.get(_KINDS.get(kind) or value.dtype.name)
    if root == "pandas":
        found = _PANDAS.get(type(value).__name__)
        if found is not None:
            return found
    return table_codec(value) or array_codec(value) or image_codec(value)


def codecs() -> list[Codec]:
    """Return all of them, for decoding.

    Their names on the wire begin with ``numpy.`` or ``pandas.``.
    """
    return [*_NUMPY.values(), *_PANDAS.values()]


def _optional(name: str) -> Any:
    """Return a module if it is installed, else None."""
    try:
        return import_module(name)
    except ImportError:
        return None


def _need(value: Any, *kinds: type) -> Any:
    """Return `value`, which came over the network, if it is of one of these types exactly.

    Raises:
        TypeError: it is of another type. Subclasses are refused, too: a bool is no integer here.
    """
    if type(value) not in kinds:
        raise TypeError(f"{type(value).__name__} where {kinds[0].__name__} is needed")
    return value


# -- numpy ---------------------------------------------------------------------------------------------------


def _number(name: str, *kinds: type) -> Callable[[Any], Any]:
    """Return a decoder for numbers of one type.

    Args:
        name: numpy's name.
        kinds: the types that JSON may have for it.
    """

    def decode(value: Any) -> Any:
        _need(value, *kinds)
        numpy = _optional("numpy")
        if numpy is None:
            return value
        if kinds[0] is int:
            limits = numpy.iinfo(name)
            if not limits.min <= value <= limits.max:
                raise ValueError(f"{value} is no {name}")
        with numpy.errstate(over="ignore"):
            return numpy.dtype(name).type(value)

    return decode


def _complex(name: str) -> Callable[[Any], Any]:
    """Return a decoder for complex numbers, sent as two floats."""

    def decode(parts: Any) -> Any:
        real, imaginary = (float(_need(part, float, int)) for part in parts)
        numpy = _optional("numpy")
        if numpy is None:
            return complex(real, imaginary)
        return numpy.dtype(name).type(complex(real, imaginary))

    return decode


def _long(name: str, plain: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a decoder for long doubles, sent as text: a double would lose digits."""

    def decode(text: Any) -> Any:
        if len(_need(text, str)) > 100:
            raise ValueError("it has too many digits")
        numpy = _optional("numpy")
        return plain(text) if numpy is None else getattr(numpy, name)(text)

    return decode


def _time(name: str) -> Callable[[Any], Any]:
    """Return a decoder for moments or durations: a number, how many units it counts in, and the unit."""

    def decode(parts: Any) -> Any:
        number, count, unit = parts
        if _need(unit, str) not in UNITS or not 0 < _need(count, int) < 2**31:
            raise ValueError(f"{count!r} {unit!r} is no unit of time")
        if number is not None and not -(2**63) < _need(number, int) < 2**63:
            raise ValueError("the number is too large")
        numpy = _optional("numpy")
        if numpy is None:
            return number
        amount = "NaT" if number is None else number
        return getattr(numpy, name)(amount, *(() if unit == "generic" else ((unit, count),)))

    return decode


def _time_parts(value: Any) -> list[Any]:
    """Encode a moment or a duration; NaT has None as its number."""
    numpy = sys.modules["numpy"]
    unit, count = numpy.datetime_data(value.dtype)
    return [None if numpy.isnat(value) else int(value.astype("int64")), count, unit]


def _text(value: Any) -> Any:
    numpy = _optional("numpy")
    return _need(value, str) if numpy is None else numpy.str_(_need(value, str))


def _bytes(value: Any) -> Any:
    numpy = _optional("numpy")
    data = from_base64(value)
    return data if numpy is None else numpy.bytes_(data)


def _long_complex(parts: Any) -> Any:
    real, imaginary = map(_long("longdouble", float), parts)
    numpy = _optional("numpy")
    return complex(real, imaginary) if numpy is None else numpy.clongdouble(real) + 1j * imaginary


def _as_array(record: Any) -> Any:
    return sys.modules["numpy"].asarray(record)


def _record(array: Any) -> Any:
    """Return the only item of an array as a scalar; anything else, as without numpy, is returned as it is."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(array, numpy.ndarray):
        return array
    return array.reshape(())[()]


_KINDS = {"M": "datetime64", "m": "timedelta64", "U": "str", "S": "bytes", "V": "void"}
"""Kinds of types that have a unit or length in their name."""
_LONGEST = {"f": 8, "c": 16}
"""Bytes of the longest floating-point numbers that every platform has."""

_NUMPY = {
    codec.name.removeprefix("numpy."): codec
    for codec in (
        Codec("numpy.bool", bool, _number("bool", bool)),
        *(Codec(f"numpy.{name}", int, _number(name, int)) for name in INTEGERS),
        *(Codec(f"numpy.{name}", float, _number(name, float, int)) for name in FLOATS),
        *(
            Codec(f"numpy.{name}", lambda one: [float(one.real), float(one.imag)], _complex(name))
            for name in COMPLEX
        ),
        Codec("numpy.datetime64", _time_parts, _time("datetime64")),
        Codec("numpy.timedelta64", _time_parts, _time("timedelta64")),
        Codec("numpy.str", str, _text),
        Codec("numpy.bytes", lambda data: b64encode(data).decode(), _bytes),
        Codec("numpy.void", _as_array, _record),
        Codec("numpy.longdouble", str, _long("longdouble", float)),
        Codec("numpy.clongdouble", lambda one: [str(one.real), str(one.imag)], _long_complex),
    )
}


# -- pandas --------------------------------------------------------------------------------------------------


def _of_pandas(decode: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Give a decoder pandas; without it a value arrives as its parts."""

    def with_pandas(value: Any) -> Any:
        pandas = _optional("pandas")
        return value if pandas is None else decode(pandas, value)

    return with_pandas


def _timestamp(pandas: Any, parts: Any) -> Any:
    text, unit, zone = parts
    moment = pandas.Timestamp(short_text(text)).as_unit(short_text(unit))
    return moment if zone is None else moment.tz_convert(zone_name(zone))


def _timedelta(pandas: Any, parts: Any) -> Any:
    numpy = import_module("numpy")
    number, unit = parts
    return pandas.Timedelta(numpy.timedelta64(_need(number, int), _need(unit, str))).as_unit(unit)


def _period(pandas: Any, parts: Any) -> Any:
    _, frequency, ordinal = parts
    return pandas.Period(ordinal=_need(ordinal, int), freq=short_text(frequency))


def _interval(pandas: Any, parts: Any) -> Any:
    left, right, closed = parts
    return pandas.Interval(left, right, _need(closed, str))


def _zone(moment: Any) -> str | None:
    """Return the name of a moment's time zone, where it has one that names more than an offset."""
    name = str(moment.tz)
    return name if moment.tz is not None and ZONE.fullmatch(name) else None


_PANDAS = {
    "Timestamp": Codec(
        "pandas.Timestamp", lambda one: [one.isoformat(), one.unit, _zone(one)], _of_pandas(_timestamp)
    ),
    "Timedelta": Codec(
        "pandas.Timedelta", lambda one: [int(one.asm8.astype("int64")), one.unit], _of_pandas(_timedelta)
    ),
    "NaTType": Codec("pandas.NaT", lambda _: None, _of_pandas(lambda pandas, _: pandas.NaT)),
    "NAType": Codec("pandas.NA", lambda _: None, _of_pandas(lambda pandas, _: pandas.NA)),
    "Period": Codec("pandas.Period", lambda one: [str(one), one.freqstr, one.ordinal], _of_pandas(_period)),
    "Interval": Codec(
        "pandas.Interval", lambda one: [one.left, one.right, one.closed], _of_pandas(_interval)
    ),
}
