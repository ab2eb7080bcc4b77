"""Search in the payload of a message for a text, at any depth and position.

The values are the user's, of any class and size, and may change during the search; so the search is bounded
in values and characters, and an error in foreign code ends it without a result.
"""

from __future__ import annotations

from collections import deque
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from .render import HOSTILE, arguments, summary

if TYPE_CHECKING:
    from berrymq import Message

__all__ = ["contains"]

SHOWN: Final = 2000
"""Characters of the one-line form that are searched first."""
MOST_VALUES: Final = 20_000
"""The limit of values searched in one payload."""
MOST_CHARACTERS: Final = 20_000_000
"""The limit of characters searched in its strings."""


def contains(message: Message, needle: str) -> bool | None:
    """Return whether the payload of a message contains a text.

    Args:
        message: the message.
        needle: the text, casefolded; case does not matter.

    Returns:
        None if it is not in the part that was searched, and the payload is larger than that.
    """
    line = arguments(message.args, message.kwargs, SHOWN)
    if needle in line.casefold():
        return True
    if len(line) < SHOWN and "…" not in line:
        return False
    try:
        return inside([*message.args, message.kwargs], needle)
    except HOSTILE:
        return None


def inside(waiting: list[Any], needle: str) -> bool | None:
    """Return whether one of the values, or what they hold, contains `needle`.

    Args:
        waiting: the values to search; it grows and shrinks.
        needle: the text, casefolded.

    Returns:
        None if it was not found within the limits.
    """
    values, characters = MOST_VALUES, MOST_CHARACTERS
    cut_short = False
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        values -= 1
        if values < 0 or characters < 0:
            return None
        if isinstance(value, str):
            characters -= len(value)
            if needle in value.casefold():
                return True
        elif isinstance(value, (bytes, bytearray)):
            characters -= len(value)
            if needle.encode() in bytes(value).lower():
                return True
        elif isinstance(value, CONTAINERS):
            if id(value) not in seen:
                seen.add(id(value))
                cut_short |= len(value) > MOST_VALUES
                waiting.extend(parts(value))
        elif is_dataclass(value) and not isinstance(value, type):
            waiting.extend(getattr(value, field.name) for field in fields(value) if field.repr)
        else:
            text = summary(value, SHOWN)
            cut_short |= "…" in text
            if needle in text.casefold():
                return True
    return None if cut_short else False


CONTAINERS: Final = (dict, MappingProxyType, list, tuple, set, frozenset, deque)


def parts(value: Any) -> list[Any]:
    """Return the elements of a container, as far as it is searched."""
    items = [*value.keys(), *value.values()] if isinstance(value, (dict, MappingProxyType)) else list(value)
    return items[: 2 * MOST_VALUES]
