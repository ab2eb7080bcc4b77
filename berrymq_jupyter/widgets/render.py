"""Values for the page: one line of text for any Python object, at a bounded cost.

Messages carry any object: a string of five megabytes, a dictionary of a hundred thousand keys, an
object whose ``repr`` raises. Everything here looks at the first part of a value only, never raises, and gives
text that is safe to show: characters that would move or hide other text are written as escapes.

How the cost is bounded: `describe` gets the number of characters that are still wanted (``room``) and the
number of levels that may be opened (``depth``), and passes on less of both. No container is copied or counted
through; of strings and bytes a slice is taken before anything is written. A class's own ``repr`` is the one
call that can take any time: it is measured, and if it is slow again and again is not called any more.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from math import prod
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from .arrays import is_numeric_array, range_text
from .libraries import HOSTILE, is_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

__all__ = [
    "HOSTILE",
    "Short",
    "argument_parts",
    "arguments",
    "cell",
    "cut",
    "digits",
    "error_text",
    "payload_items",
    "shown",
    "summary",
    "type_name",
]

BREADTH: Final = 60
"""The limit of items of one container that are written."""
DEPTH: Final = 6
"""The limit of levels; deeper containers are written as their size."""
BIG_INTEGER: Final = 4000
"""Bits beyond which an integer is written by its size: the time for its digits grows with the square of their
number."""
SLOW: Final = 0.02
"""Seconds after which the ``repr`` of a class counts as slow."""

# Controls, soft hyphen, bidirectional marks and overrides, invisible operators, tags and lone surrogates. The
# joiners U+200C and U+200D stay: emoji and several scripts are written with them, and they hide nothing.
UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
JOINER: Final = re.compile(r"\\(\\|u200[cd])")
"""A backslash or a joiner, as ``repr`` writes them."""
SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

RANGED: Final = 4096
"""The limit of items of an array whose range is part of its line."""

READABLE: Final = (date, time, timedelta, Decimal, UUID)
"""Types whose `str` says all that their `repr` does."""

PLAIN: Final = 999_999.5
"""Numbers below that are written without an exponent."""

VERY_SLOW: Final = 0.25
"""The seconds from which a single call counts as `STRIKES`."""
STRIKES: Final = 3
"""The number of slow calls in a row after which the class is shown by name. On a busy computer any call is
slow now and then."""

slow_types: dict[type, int] = {}
"""The number of slow calls in a row of the ``repr`` of each class."""


def digits(value: float, count: int) -> str:
    """Return a number with `count` significant digits, and with all before the point up to a million."""
    is_long = 10**count <= abs(value) < PLAIN
    return f"{value:.0f}" if is_long else f"{value:.{count}g}"


class Short(float):
    """A float that is shown with four significant digits, or exactly if that is no longer.

    Below a million no digit before the point is left out.
    """

    def __repr__(self) -> str:
        text, short = float.__repr__(self), digits(float(self), 4)
        return text if len(text) <= len(short) + len(".0") and float(short) == self else short


def summary(value: object, limit: int = 200) -> str:
    """Return `value` as one line of at most `limit` characters, in Python's notation if it has one.

    Args:
        value: anything.
        limit: in characters.
    """
    try:
        text = describe(value, limit, DEPTH)
    except HOSTILE:
        text = f"<{type_name(value)} that cannot be shown>"
    return cut(shown(text), limit)


def cell(value: object, limit: int) -> str:
    """Return `value` as a cell of a table shows it: text, moments and the like as they read, else a summary.

    Args:
        value: anything.
        limit: in characters.
    """
    if type(value) is str:
        return shown(cut(value, limit))
    try:
        if isinstance(value, READABLE) or is_scalar(value):
            return cut(shown(str(value)), limit)
    except HOSTILE:
        pass
    return summary(value, limit)


def is_scalar(value: object) -> bool:
    """Return whether `value` is a single value of numpy or pandas, such as a moment or an interval."""
    package = str(type(value).__module__).partition(".")[0]
    return package in ("numpy", "pandas") and not hasattr(value, "__len__")


def arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any], limit: int = 200) -> str:
    """Return a payload as the argument list that would send it, in at most `limit` characters."""
    return cut(", ".join(argument_parts(args, kwargs, limit)), limit)


def argument_parts(args: tuple[Any, ...], kwargs: Mapping[str, Any], limit: int = 200) -> list[str]:
    """Return the parts of an argument list, one for each argument, in about `limit` characters together.

    Returns:
        One text for each argument, ``name=`` before keywords; "…" last, where some are left out.
    """
    parts: list[str] = []
    room = limit
    for label, value in payload_items(args, kwargs):
        if room <= 0:
            parts.append("…")
            break
        text = f"{shown(label)}={summary(value, room)}" if label else summary(value, room)
        parts.append(text)
        room -= len(text) + 2
    return parts


def error_text(error: BaseException, limit: int = 300) -> str:
    """Return an exception as one line: its class, and its text if it has one."""
    try:
        text = " ".join(str(error).split())
    except HOSTILE:
        text = ""
    return shown(cut(f"{type_name(error)}: {text}" if text else type_name(error), limit))


def payload_items(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield (keyword or "", value) for each argument.

    Positional ones first, in order.
    """
    for value in args:
        yield "", value
    yield from list(kwargs.items())


def shown(text: str) -> str:
    """Return `text` with each character that would move or hide others escaped."""
    return UNSAFE.sub(escape, text)


def escape(match: re.Match[str]) -> str:
    """Write one unsafe character as Python would."""
    character = match[0]
    code = ord(character)
    if character in SHORT_ESCAPES:
        return SHORT_ESCAPES[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cut(text: str, limit: int) -> str:
    """Shorten `text` to `limit` characters, with an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def type_name(value: object) -> str:
    """Return the name of the class of `value`."""
    return cut(shown(str(type.__dict__["__name__"].__get__(type(value)))), 80)


def describe(value: Any, room: int, depth: int) -> str:
    """Write `value` in roughly `room` characters; may raise what the value raises.

    Subclasses of containers are written as those; an Enum, a dataclass or an array by its parts; anything
    else by its ``repr``.

    Args:
        value: anything.
        room: the number of characters that are wanted; the result may be somewhat longer.
        depth: how many levels may be opened.
    """
    kind = type(value)
    simple = SIMPLE.get(kind)
    if simple is not None:
        return simple(value, room)
    if isinstance(value, Enum):
        return f"{type_name(value)}.{value.name}"
    for base, writer in CONTAINERS:
        if isinstance(value, base):
            return writer(value, room, depth)
    if is_dataclass(value):
        pairs = [(field.name, getattr(value, field.name)) for field in fields(value) if field.repr]
        return call_text(type_name(value), pairs, room, depth)
    return foreign(value, room) or guarded_repr(value, room)


def text_literal(value: str, room: int) -> str:
    """Write the first characters of a string as a literal."""
    head = str.__getitem__(value, slice(0, room + 1))
    literal = JOINER.sub(join, repr(head))
    return literal if len(head) <= room else literal[:room] + "…"


def join(match: re.Match[str]) -> str:
    """Write a joiner as it is."""
    return match[0] if match[1] == "\\" else chr(int(match[1][1:], 16))


def bytes_literal(value: bytes | bytearray | memoryview, room: int) -> str:
    """Write the first bytes as a literal, with the size when some are left out."""
    view = memoryview(value)
    if view.nbytes <= max(room // 4, 16):
        return repr(view.tobytes())
    return f"{bytes(view.cast('B')[: max(room // 8, 8)])!r}… ({view.nbytes:,} bytes)"


def integer(value: int, _room: int) -> str:
    """Write an integer; very large ones by size, as their digits would take long to find."""
    bits = int.bit_length(value)
    return int.__repr__(value) if bits <= BIG_INTEGER else f"<int of {bits:,} bits>"


def plain(value: object, _room: int) -> str:
    """Write a value whose ``repr`` is known to be short."""
    return repr(value)


def sequence(opening: str, closing: str) -> Callable[[Any, int, int], str]:
    """Return a writer for a kind of sequence.

    Args:
        opening: the bracket before the items.
        closing: the one after them.
    """

    def write(value: Any, room: int, depth: int) -> str:
        size = len(value)
        if size and depth <= 0:
            return f"{opening}… {size:,}{closing}"
        parts, rest = pieces(list(islice(iter(value), BREADTH)), size, room, depth)
        if opening == "(" and size == 1:
            rest = ","
        return opening + ", ".join(parts) + rest + closing

    return write


def named_or_tuple(value: tuple[Any, ...], room: int, depth: int) -> str:
    """Write a tuple; a named one with its field names."""
    names = getattr(type(value), "_fields", None)
    if isinstance(names, tuple) and len(names) == len(value):
        return call_text(type_name(value), list(zip(map(str, names), value, strict=True)), room, depth)
    return sequence("(", ")")(value, room, depth)


def mapping(value: Mapping[Any, Any], room: int, depth: int) -> str:
    """Write a mapping."""
    size = len(value)
    if size and depth <= 0:
        return f"{{… {size:,}}}"
    parts: list[str] = []
    for key, item in list(islice(value.items(), BREADTH)):
        if room <= 0:
            break
        text = f"{describe_safely(key, min(room, 60), depth - 1)}: {describe_safely(item, room, depth - 1)}"
        parts.append(text)
        room -= len(text) + 2
    return "{" + ", ".join(parts) + left_out(size - len(parts)) + "}"


def set_text(value: AbstractSet[Any], room: int, depth: int) -> str:
    """Write a set; the empty one as Python does."""
    return sequence("{", "}")(value, room, depth) if value else f"{type_name(value)}()"


def pieces(items: list[Any], size: int, room: int, depth: int) -> tuple[list[str], str]:
    """Write items until `room` is used up; return them and the note on those left out."""
    parts: list[str] = []
    for item in items:
        if room <= 0:
            break
        text = describe_safely(item, room, depth - 1)
        parts.append(text)
        room -= len(text) + 2
    return parts, left_out(size - len(parts))


def left_out(count: int) -> str:
    """Return a note on the number of items that are not written."""
    return f", … {count:,} more" if count > 0 else ""


def call_text(name: str, pairs: list[tuple[str, Any]], room: int, depth: int) -> str:
    """Write something with named parts as the call that would make it."""
    if depth <= 0:
        return f"{name}(…)"
    parts, rest = pieces([value for _, value in pairs], len(pairs), room - len(name), depth)
    named = [f"{label}={text}" for (label, _), text in zip(pairs, parts, strict=False)]
    return f"{name}({', '.join(named)}{rest})"


def describe_safely(value: object, room: int, depth: int) -> str:
    """Write a part of a container, so that one bad part does not hide the others."""
    try:
        return cut(describe(value, room, depth), room + 20)
    except HOSTILE:
        return f"<{type_name(value)} that cannot be shown>"


def foreign(value: Any, room: int) -> str:
    """Describe arrays and tables by their own attributes, without importing their libraries.

    Items on a device are not fetched: only few values of one dimension are written.
    """
    if not is_array(value):
        return ""
    name, shape = type_name(value), getattr(value, "shape", None)
    if not isinstance(shape, tuple):
        return ""
    if shape == () and hasattr(value, "item"):
        return describe(value.item(), room, 1)
    columns = getattr(value, "columns", None)
    size = " x ".join(str(side) for side in shape)
    if columns is not None:
        names = ", ".join(summary(str(column), 20)[1:-1] for column in islice(columns, 8))
        return f"<{name} {size}: {names}{left_out(len(columns) - 8)}>"
    few = len(shape) == 1 and shape[0] <= 8 and hasattr(value, "tolist")
    values = f": {describe(value.tolist(), room, 2)}" if few else ""
    if not few and prod(shape) <= RANGED and is_numeric_array(value):
        values = f": {text}" if (text := range_text(value)) else ""
    return f"<{name} {getattr(value, 'dtype', '')} {size}{values}>"


def guarded_repr(value: object, room: int) -> str:
    """Call ``repr``, unless that is slow for this class.

    `slow_types` is limited, so classes that are made by the thousand do not fill it.
    """
    kind = type(value)
    if slow_types.get(kind, 0) >= STRIKES:
        return f"<{type_name(value)}>"
    started = perf_counter()
    try:
        text = repr(value)
    finally:
        took = perf_counter() - started
        if took <= SLOW:
            slow_types.pop(kind, None)
        elif kind in slow_types or len(slow_types) < 1000:
            slow_types[kind] = STRIKES if took > VERY_SLOW else slow_types.get(kind, 0) + 1
    return text[: room + 1]


SIMPLE: Final[dict[type, Callable[[Any, int], str]]] = {
    str: text_literal,
    bytes: bytes_literal,
    bytearray: bytes_literal,
    memoryview: bytes_literal,
    int: integer,
    float: plain,
    Short: plain,
    bool: plain,
    type(None): plain,
    complex: plain,
}

CONTAINERS: Final[list[tuple[type, Callable[[Any, int, int], str]]]] = [
    (dict, mapping),
    (list, sequence("[", "]")),
    (tuple, named_or_tuple),
    (set, set_text),
    (frozenset, set_text),
    (deque, sequence("deque([", "])")),
    (MappingProxyType, mapping),
    (str, lambda value, room, _: text_literal(value, room)),
    (bytes, lambda value, room, _: bytes_literal(value, room)),
]
