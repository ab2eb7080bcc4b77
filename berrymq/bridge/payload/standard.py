"""The types of Python's standard library that cross."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from berrymq.bridge.errors import RemoteError
from berrymq.printable import LINES, printable

from .registry import register_type

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


def _remote_error(parts: Any) -> RemoteError:
    kind, text, notes = parts
    error = RemoteError(str(kind), str(text))
    for note in notes:
        error.add_note(printable(str(note), allow=LINES))
    return error
