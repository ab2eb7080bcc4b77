"""The types of Python's standard library that cross.

Each is registered as a user would register a type (`register_type`): a function that returns the content, of
types that cross themselves, and one that makes the value from what came. Decoders get anything that JSON can
hold; that they raise for what does not fit is enough, since any error of theirs is turned into a `ValueError`
of the message.
"""

from __future__ import annotations

from array import array
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

from berrymq.bridge.buffers import Missing
from berrymq.bridge.errors import RemoteError
from berrymq.printable import LINES, printable

from . import arrays, images, scientific, tables
from .binary import Binary
from .opaque import Opaque, missing
from .registry import by_name, by_type, register_type

__all__ = ["register"]


def register() -> None:
    """Register them.

    Called once, when `berrymq.bridge.payload` is imported.
    """
    for codec_type, encode_value, decode_value in (
        (tuple, list, tuple),
        (set, list, set),
        (frozenset, list, frozenset),
        (dict, lambda mapping: [list(pair) for pair in mapping.items()], dict),
        (float, repr, float),
        (complex, lambda number: [number.real, number.imag], lambda parts: complex(*parts)),
        (Decimal, str, Decimal),
        (UUID, str, UUID),
        (bytes, Binary.of, lambda data: _bytes(bytes, data)),
        (bytearray, Binary.of, lambda data: _bytes(bytearray, data)),
        (Path, str, Path),
        (PurePosixPath, str, PurePosixPath),
        (PureWindowsPath, str, PureWindowsPath),
        (Opaque, lambda opaque: [opaque.type, opaque.text], _opaque),
        (datetime, datetime.isoformat, datetime.fromisoformat),
        (date, date.isoformat, date.fromisoformat),
        (time, time.isoformat, time.fromisoformat),
        (
            RemoteError,
            lambda error: [error.kind, error.text, getattr(error, "__notes__", [])],
            _remote_error,
        ),
        (
            timedelta,
            lambda span: [span.days, span.seconds, span.microseconds],
            lambda parts: timedelta(*parts),
        ),
    ):
        register_type(codec_type, encode_value, decode_value)
    by_type[memoryview] = by_type[bytes]
    by_type[array] = arrays.PYTHON_ARRAY
    by_name.update(
        {
            codec.name: codec
            for codec in (*scientific.codecs(), *arrays.codecs(), *tables.codecs(), *images.codecs())
        }
    )


def _bytes(kind: type[bytes | bytearray], data: Any) -> Any:
    """Return bytes from the buffer that came, or an `Opaque` if it did not."""
    if isinstance(data, Missing):
        return missing(data, kind.__name__, "bytes")
    if not isinstance(data, memoryview):
        raise TypeError("it has no buffer")
    return kind(data)


def _opaque(parts: Any) -> Opaque:
    kind, text = parts
    return Opaque(str(kind), str(text))


def _remote_error(parts: Any) -> RemoteError:
    """Control characters in notes are escaped: they are printed with a traceback."""
    kind, text, notes = parts
    error = RemoteError(str(kind), str(text))
    for note in notes:
        error.add_note(printable(str(note), allow=LINES))
    return error
