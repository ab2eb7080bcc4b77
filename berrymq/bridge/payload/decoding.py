"""Decoding the payload of a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.buffers import Missing
from berrymq.bridge.protocol.frames import TYPE_MARK

from .binary import BUFFER, from_base64
from .hashes import COLLIDE, count_hashes
from .opaque import Opaque
from .registry import TYPE_KEY, VALUE_KEY, Foreign, by_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TYPE_MARK", "decode_payload", "decode_values"]

Buffers = Sequence[memoryview | Missing]


def decode_payload(
    args: list[Any], kwargs: dict[str, Any], buffers: Buffers = ()
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The args and kwargs of a message, from the JSON of one that holds a ``"$type"`` somewhere.

    Args:
        args: as JSON has them.
        kwargs: as JSON has them.
        buffers: what came beside the message.

    Raises:
        ValueError: a value of a registered type is malformed.
    """
    try:
        reader = _Reader(buffers)
        return tuple(reader.items(args)), reader.mapping(kwargs)
    except RecursionError:
        raise ValueError("the payload nests too deep") from None


def decode_values(data: bytes | msgspec.Raw, buffers: Buffers = ()) -> list[Any]:
    """The values of a JSON array.

    Args:
        data: the array.
        buffers: what came beside it.

    Raises:
        ValueError: it is none, or a value of a registered type is malformed.
    """
    raw = bytes(data)
    try:
        values = _decode_list(raw)
        return _Reader(buffers).items(values) if TYPE_MARK in raw else values
    except RecursionError:
        raise ValueError("the values nest too deep") from None


_decode_list = msgspec.json.Decoder(list[Any]).decode


class _Reader:
    """Turns JSON back into values.

    Python's hashes of numbers, and of what is made of numbers, can be foreseen. A sender can choose
    members of a set that all have the same one, and building it takes quadratic time then. So what has too
    many of those is refused: each member is compared with a few others at most. Comparing two members that
    contain such sets themselves would multiply that at each level, so those may not have the same hash.
    """

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._used: set[int] = set()
        """The places of the buffers that a value has. A second value of the same one would be a copy that the
        sender did not send: many of them fill the memory."""
        self._missing: list[str] = []
        """Why buffers did not come, one for each so far."""
        self._collisions = 0
        """The number of sets and dictionaries so far in which some members have the same hash."""

    def value(self, value: Any) -> Any:
        if type(value) is list:
            return self.items(value)
        if type(value) is not dict:
            return value
        name = value.get(TYPE_KEY)
        if name is None:
            return self.mapping(value)
        if name == BUFFER:
            return self._buffer(value.get(VALUE_KEY))
        codec = by_name.get(name) if isinstance(name, str) else None
        if codec is None or VALUE_KEY not in value:
            return Foreign(value)
        content, missing = value[VALUE_KEY], len(self._missing)
        try:
            if codec.decode in _HASHED:
                return self._hashed(codec.decode, content)
            return codec.decode(self.value(content))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a registered decoder may raise anything, and so does code in Rust
            if len(self._missing) > missing:  # its decoder can't know that what it is made of did not come
                return Opaque(name, f"<{self._missing[-1]}>")
            raise ValueError(f"a value of type {name!r} is malformed: {error}") from error

    def _buffer(self, where: Any) -> memoryview | Missing:
        if type(where) is int:
            if not 0 <= where < len(self._buffers):
                raise ValueError(f"a message with {len(self._buffers)} buffers has none with number {where}")
            if where in self._used:
                raise ValueError(f"two values are made of buffer {where}")
            self._used.add(where)
            buffer = self._buffers[where]
            if isinstance(buffer, Missing):
                self._missing.append(buffer.reason)
            return buffer
        try:
            return memoryview(bytearray(from_base64(where)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"a buffer is malformed: {error}") from None

    def items(self, values: list[Any]) -> list[Any]:
        return [self.value(value) for value in values]

    def mapping(self, values: dict[str, Any]) -> dict[str, Any]:
        return {key: self.value(value) for key, value in values.items()}

    def _hashed(self, kind: Callable[[Any], Any], content: Any) -> Any:
        if type(content) is not list:
            raise TypeError("its members are not in an array")
        members, collides_within = [], set()
        for item in content:
            before = self._collisions
            member = self.value(item[0] if kind is dict else item)
            if self._collisions > before:
                collides_within.add(hash(member))
            members.append(member)
        same = count_hashes(members)
        if len(same) < len(members):
            self._collisions += 1
            if any(same[one] > 1 for one in collides_within):
                raise ValueError(COLLIDE)
        if kind is dict:
            return {key: self.value(value) for key, (_, value) in zip(members, content, strict=True)}
        return kind(members)


_HASHED: tuple[Callable[[Any], Any], ...] = (set, frozenset, dict)
