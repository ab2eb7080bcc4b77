"""The types of Python's standard library that cross."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

from berrymq.bridge.errors import RemoteError
from berrymq.printable import LINES, printable

from .opaque import Opaque
from .registry import Codec, by_name, by_type, register_type
from .scientific import codecs

__all__ = ["register"]


def register() -> None:
    """Register them."""
    for codec_type, encode_value, decode_value in (
        (tuple, list, tuple),
        (set, list, set),
        (frozenset, list, frozenset),
        (dict, lambda mapping: [list(pair) for pair in mapping.items()], dict),
        (float, repr, float),
        (complex, lambda number: [number.real, number.imag], lambda parts: complex(*parts)),
        (Decimal, str, Decimal),
        (UUID, str, UUID),
        (bytes, _to_base64, _from_base64),
        (bytearray, _to_base64, lambda text: bytearray(_from_base64(text))),
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
    by_type[memoryview] = Codec("bytes", _to_base64, _from_base64)
    by_name.update({codec.name: codec for codec in codecs()})


def _to_base64(data: bytes | bytearray | memoryview) -> str:
    return b64encode(bytes(data)).decode()  # a view may have gaps


def _from_base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError("it is no text")
    return b64decode(text, validate=True)


def _opaque(parts: Any) -> Opaque:
    kind, text = parts
    return Opaque(str(kind), str(text))


def _remote_error(parts: Any) -> RemoteError:
    kind, text, notes = parts
    error = RemoteError(str(kind), str(text))
    for note in notes:
        error.add_note(printable(str(note), allow=LINES))
    return error
