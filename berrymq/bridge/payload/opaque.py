"""What stands for a value that has no form on the wire."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

from berrymq.printable import LINES, printable

if TYPE_CHECKING:
    from berrymq.bridge.buffers import Missing

__all__ = ["Opaque", "describe", "error_text", "missing"]

LONGEST_TEXT = 400
"""Characters of a value's `repr` that cross."""
LONGEST_NAME = 120


class Opaque:
    """A value that could not cross a link, as the other side gets it: what it was, and how it looked.

    Two are equal if both say the same. Sent on, it stays what it is.

    Attributes:
        type: the name of the value's class, with its module, such as ``"sklearn.pipeline.Pipeline"``.
        text: its `repr`, shortened.
    """

    __slots__ = ("text", "type")

    def __init__(self, type: str, text: str) -> None:  # noqa: A002 - an attribute's name
        self.type = type
        self.text = text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opaque):
            return NotImplemented
        return (self.type, self.text) == (other.type, other.text)

    def __hash__(self) -> int:
        return hash((self.type, self.text))

    def __repr__(self) -> str:
        return f"<Opaque {printable(self.type)}: {printable(self.text, allow=LINES)}>"


def missing(buffer: Missing, kind: str, what: str) -> Opaque:
    """Return what a value arrives as whose buffer did not come.

    Args:
        buffer: stands for it.
        kind: the name of the value's class.
        what: says what it was.
    """
    return Opaque(kind, f"<{what}, {buffer.reason}>")


def error_text(error: BaseException) -> str:
    """Return the class and the text of an error, whose `str` may fail."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - anything may be raised by a class of the user's
        return type(error).__name__


class _Repr(reprlib.Repr):
    """Shortens as `reprlib` does, and stops early in containers, however often they hold each other."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = LONGEST_TEXT

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > 4 * LONGEST_TEXT:  # decimal digits of a large one take quadratic time
            return f"<integer of {x.bit_length():,} bits>"
        return super().repr_int(x, level)


def describe(value: Any) -> Opaque:
    """Return what stands for `value`; its own `repr` is called, and may fail."""
    cls = type(value)
    name, text = type.__dict__["__name__"].__get__(cls), ""
    try:
        name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
        text = _Repr().repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - anything may be raised by a class of the user's
        text = f"its repr failed with {type(error).__name__}"
    return Opaque(_unicode(name[:LONGEST_NAME]), _unicode(text[:LONGEST_TEXT]))


def _unicode(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 can carry, by escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
