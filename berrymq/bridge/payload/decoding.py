"""Decoding the payload of a message."""

from __future__ import annotations

from itertools import islice
from time import thread_time
from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.protocol.frames import TYPE_MARK

from .registry import TYPE_KEY, VALUE_KEY, Foreign, by_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TYPE_MARK", "decode_payload", "decode_values"]

HASHING_SECONDS = 0.05
HASHING_SECONDS_PER_BYTE = 0.25e-6
"""How long the sets and dictionaries of one payload may take to build: processor time, for its size."""
HASHED_AT_ONCE = 16
"""Members that are put into a set before the time is looked at."""


def decode_payload(
    args: list[Any], kwargs: dict[str, Any], size: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The args and kwargs of a message, from the JSON of one that holds a ``"$type"`` somewhere.

    Args:
        args: as JSON has them.
        kwargs: as JSON has them.
        size: the bytes of that JSON; it bounds the time that this may take.

    Raises:
        ValueError: a value of a registered type is malformed.
    """
    try:
        reader = _Reader(size)
        return tuple(reader.items(args)), reader.mapping(kwargs)
    except RecursionError:
        raise ValueError("the payload nests too deep") from None


def decode_values(data: bytes | msgspec.Raw) -> list[Any]:
    """The values of a JSON array.

    Raises:
        ValueError: it is none, or a value of a registered type is malformed.
    """
    raw = bytes(data)
    try:
        values = _decode_list(raw)
        return _Reader(len(raw)).items(values) if TYPE_MARK in raw else values
    except RecursionError:
        raise ValueError("the values nest too deep") from None


_decode_list = msgspec.json.Decoder(list[Any]).decode


class _Reader:
    """Turns JSON back into values.

    Python's hashes of numbers, and of what is made of numbers, can be foreseen. A sender can choose
    members of a set that all collide, and building it takes quadratic time then. So the time that sets and
    dictionaries take is measured, and bounded by the size of the payload.

    Args:
        size: of the payload, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = HASHING_SECONDS + size * HASHING_SECONDS_PER_BYTE

    def value(self, value: Any) -> Any:
        if type(value) is list:
            return self.items(value)
        if type(value) is not dict:
            return value
        name = value.get(TYPE_KEY)
        if name is None:
            return self.mapping(value)
        codec = by_name.get(name) if isinstance(name, str) else None
        if codec is None or VALUE_KEY not in value:
            return Foreign(value)
        content = self.value(value[VALUE_KEY])
        try:
            if codec.decode in _HASHED:
                return self._hashed(codec.decode, content)
            return codec.decode(content)
        except Exception as error:  # a registered decoder may raise anything; the text says which
            raise ValueError(f"a value of type {name!r} is malformed: {error}") from error

    def items(self, values: list[Any]) -> list[Any]:
        return [self.value(value) for value in values]

    def mapping(self, values: dict[str, Any]) -> dict[str, Any]:
        return {key: self.value(value) for key, value in values.items()}

    def _hashed(self, kind: Callable[[Any], Any], content: Any) -> Any:
        members = iter(content)
        building: Any = {} if kind is dict else set()
        while part := list(islice(members, HASHED_AT_ONCE)):
            begun = thread_time()
            building.update(part)
            self._left -= thread_time() - begun
            if self._left < 0:
                raise ValueError("its members collide, and it would take too long to build")
        return kind(building) if kind is frozenset else building


_HASHED: tuple[Callable[[Any], Any], ...] = (set, frozenset, dict)
