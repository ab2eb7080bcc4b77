"""Untrusted text made safe to print: what could move a cursor, reorder a line or hide becomes an escape.

Names, keywords and sources come from any sender. A terminal interprets control sequences in them, reorders
text after a directional mark, and shows nothing at all of zero-width characters. Commands, logs and views
pass such text through `printable` before they show it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LINES", "printable"]

LINES: Final = "\n\t"
"""What to allow in text that may have several lines, such as that of an exception."""

_INVISIBLE: Final = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xE0100, 0xE01EF),  # variation selectors supplement
)
"""What `str.isprintable` accepts although it is invisible: first and last code point of each range.

They are Default_Ignorable_Code_Point of Unicode, without those of the categories Cc, Cf and Cn.
"""


def printable(text: str, *, allow: str = "") -> str:
    r"""Return `text` with every invisible character as an escape: ``\x1b``, ``\u202e``, ``\n``.

    That is control characters (C0, C1), format characters (directional marks, zero-width ones), separators
    other than the space, surrogates, private and unassigned characters. Backslashes stay as they are, so the
    result is not to be decoded again.

    Args:
        text: anything.
        allow: characters to leave as they are, such as `LINES`.

    Returns:
        The text itself when there is nothing to escape.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join([letter if letter in allow or _is_visible(letter) else _escape(letter) for letter in text])


def _is_visible(letter: str) -> bool:
    """Return whether a character is plainly visible."""
    return letter.isprintable() and not any(first <= ord(letter) <= last for first, last in _INVISIBLE)


def _escape(letter: str) -> str:
    r"""Return a character as an escape, such as ``\x1b``."""
    return letter.encode("unicode_escape").decode("ascii")
