"""The types that cross links beside those of JSON, and how."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TYPE_KEY", "VALUE_KEY", "Codec", "Foreign", "by_name", "by_type", "register_type"]

TYPE_KEY = "$type"
VALUE_KEY = "value"


class Foreign(dict[str, Any]):
    """A value of a type that is not registered here, as it came; sent again it is what it was."""


class Codec(NamedTuple):
    """How the values of one type cross."""

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


by_type: dict[type, Codec] = {}
"""How the instances of a type are written."""
by_name: dict[str, Codec] = {}
"""How what has a name on the wire is read."""


def register_type(
    cls: type,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
    *,
    name: str | None = None,
) -> type:
    """Let instances of *cls* cross links. Both sides have to register the type.

    A dataclass or an Enum needs nothing more; usable as a decorator on those::

        @register_type
        @dataclass
        class Point:
            x: float
            y: float

    Args:
        cls: the type; its subclasses are registered on their own.
        encode: makes a value of types that cross already.
        decode: makes an instance of that value again; it is given what came over the network, so it must
            check it.
        name: how the type is called on the wire; the class's name by default.

    Raises:
        TypeError: there is no *encode* or *decode* and the type is neither a dataclass nor an Enum.
        ValueError: another type has this name already.
    """
    if encode is None or decode is None:
        if dataclasses.is_dataclass(cls):
            encode, decode = encode or _dataclass_fields, decode or (lambda fields: cls(**fields))
        elif issubclass(cls, enum.Enum):
            encode, decode = encode or (lambda member: member.value), decode or cls
        else:
            raise TypeError(
                f"{cls.__name__} is neither a dataclass nor an Enum: "
                "give register_type an encode and a decode function"
            )
    codec = Codec(name or cls.__name__, encode, decode)
    known = by_name.get(codec.name)
    former = by_type.get(cls)
    if known is not None and known is not former and not _same_definition(codec.name, cls):
        raise ValueError(f"the type name {codec.name!r} is taken: give register_type another name=")
    if former is not None:
        by_name.pop(former.name, None)
    by_type[cls] = by_name[codec.name] = codec
    return cls


def _same_definition(name: str, cls: type) -> bool:
    """Whether *name* belongs to an earlier definition of *cls*, as after a cell or module ran again."""
    for other, codec in by_type.items():
        if codec.name == name:
            return (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__)
    return False


def _dataclass_fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
