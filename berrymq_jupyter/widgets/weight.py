"""How much memory the payload of a message holds, roughly and quickly.

Only values count that could fill the memory: arrays, tables, long texts. They are searched among the
arguments and one level below; anything small counts as 0.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from berrymq.messages import keywords

from .libraries import HOSTILE, is_array, is_sampled_array, is_sampled_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq import Message

__all__ = ["HEAVY", "weight"]

HEAVY: Final = 50_000
"""The size in bytes from which on a payload counts at all."""
LIGHT: Final = frozenset({int, float, bool, complex, type(None)})
"""Classes whose values count as 0."""
INSIDE: Final = 20
"""Items of a container that are inspected."""


def weight(message: Message) -> int:
    """Return the bytes that the payload of `message` holds, 0 if it is light.

    Logs call it for each message, to bound the memory of those that they keep.
    """
    total = sizes(message.args, 1)
    kwargs = keywords(message)
    if kwargs:
        total += sizes(kwargs.values(), 1)
    return total if total >= HEAVY else 0


def sizes(values: Iterable[Any], depth: int) -> int:
    """Return the bytes of some values together.

    Args:
        values: the values.
        depth: how many levels of containers are inspected.
    """
    total = 0
    for value in values:
        if type(value) not in LIGHT:
            total += size(value, depth)
    return total


def size(value: Any, depth: int) -> int:
    """Return the bytes of one value, as far as it reports them.

    Args:
        value: any object.
        depth: how many levels of containers are inspected; 0 for the value alone.
    """
    kind = type(value)
    if kind in {str, bytes, bytearray}:
        return len(value)
    if kind in {list, tuple, dict, set}:
        own = 60 * len(value)
        if not depth:
            return own
        try:
            return own + sizes(list(islice(value.values() if kind is dict else value, INSIDE)), depth - 1)
        except RuntimeError:  # another thread is changing it
            return own
    if is_sampled_array(value):
        value = value.sample
    elif is_sampled_table(value):
        value = value.head
    if not is_array(value):
        return 0
    try:
        if hasattr(value, "nbytes"):
            return int(value.nbytes)
        if hasattr(value, "estimated_size"):  # of polars
            return int(value.estimated_size())
        return int(value.memory_usage().sum())
    except HOSTILE:  # it does not report them
        return 0
