"""JSON that is passed on undecoded: checks of its encoding and its nesting depth.

A hub does not decode payloads, yet must not pass on what would harm a receiver: invalid UTF-8, or nesting
that exhausts a decoder's stack. The checks work on the bytes, with functions that run in C.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate

import msgspec

from .limits import MAX_DEPTH

__all__ = [
    "MALFORMED",
    "FrameError",
    "check_depth",
    "check_utf8",
    "encode_json",
    "reason_of",
    "structure_of",
]


MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What a decoder raises for malformed input."""


class FrameError(ValueError):
    """A frame or other input violates the protocol; the connection it arrived on is closed."""


encode_json = msgspec.json.Encoder().encode
"""Return a value as JSON, in UTF-8."""


def check_utf8(data: bytes | str) -> None:
    """Check the encoding of all of it, for parts of it are passed on undecoded.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    if isinstance(data, bytes) and not data.isascii():
        data.decode()


def reason_of(error: Exception) -> str:
    """Return why a decoder refused its input, shortened."""
    return "it nests too deep" if isinstance(error, RecursionError) else str(error)[:200]


_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
"""A string of JSON."""
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"\\'))
"""All bytes but brackets, quotes and backslashes."""
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
"""Maps braces to brackets."""
_UP_AND_DOWN = bytes.maketrans(b"[]", b"\1\xff")
"""1 for a bracket that opens a level and, as a signed byte, -1 for one that closes it."""

USUAL_DEPTH = 4
"""The number of levels that are removed by replacement, which leaves nothing of most payloads."""


def structure_of(data: bytes) -> bytes:
    """Return the brackets of JSON; and a quote or a backslash, if its strings hold brackets or escapes.

    Adjacent pairs of quotes are removed. A string with a bracket in it keeps its quote, since all quotes
    before it are paired.
    """
    return data.translate(None, _NOT_STRUCTURE).replace(b'""', b"")


def check_depth(data: bytes, around: int = 0) -> None:
    """Refuse JSON that could exhaust the stack of whatever decodes it later.

    A hub passes payloads on undecoded, and the stack of a receiver may be shorter than its own; so what nests
    deeper than `MAX_DEPTH` is refused on arrival. Takes a time proportional to the size.

    Args:
        data: valid JSON.
        around: the number of levels around the payload, which do not count.

    Raises:
        FrameError: it nests too deep.
    """
    deepest = MAX_DEPTH + around
    if data.count(b"[") + data.count(b"{") <= deepest:
        return  # too few to nest that deep
    brackets = structure_of(data)
    if b'"' in brackets or b"\\" in brackets:
        brackets = structure_of(_STRINGS.sub(b"", data))
    brackets = brackets.translate(_ONE_KIND)
    for _ in range(USUAL_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # removes the innermost level
    if max(accumulate(array("b", brackets.translate(_UP_AND_DOWN))), default=0) > deepest - USUAL_DEPTH:
        raise FrameError(f"a payload nests deeper than {MAX_DEPTH} levels")
