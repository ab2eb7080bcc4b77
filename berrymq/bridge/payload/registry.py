"""The types that cross links beside those of JSON, and how."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TYPE_KEY", "VALUE_KEY", "Codec", "Foreign", "by_name", "by_type", "codec_of", "register_type"]

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


def codec_of(cls: type) -> Codec | None:
    """Return how instances of a class cross: as it is registered, or the nearest of its base classes.

    A dataclass or an Enum that is not registered is sent as it would be if it were: who has registered it
    gets an instance.
    """
    for base in cls.__mro__:
        codec = by_type.get(base)
        if codec is not None and (base is cls or base not in _PLAIN):
            return codec
        if base in _PLAIN:
            break
    if dataclasses.is_dataclass(cls):
        return Codec(_free_name(cls), _dataclass_fields(cls), _never)
    if issubclass(cls, enum.Enum) and not issubclass(cls, _PLAIN):
        return Codec(_free_name(cls), _enum_value, _never)
    return None


_PLAIN = (str, int, float, list, dict)
"""Types of JSON: an instance of a subclass arrives as one of these."""


def _free_name(cls: type) -> str:
    """Return the name for a class that is not registered; another class's name would be misread."""
    known = by_name.get(cls.__name__)
    return cls.__name__ if known is None else f"{cls.__module__}.{cls.__qualname__}"


def _never(value: Any) -> NoReturn:
    raise ValueError(f"no type is registered for {value!r}")


def register_type(
    cls: type,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
    *,
    name: str | None = None,
) -> type:
    """Let instances of *cls* and of its subclasses cross links, and arrive as instances of *cls*.

    A side that has not registered the type gets a dictionary with its name and value. A dataclass or an Enum
    needs nothing more; usable as a decorator on those::

        @register_type
        @dataclass
        class Point:
            x: float
            y: float

    Args:
        cls: the type. A subclass may be registered as well, and is then itself.
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
            encode, decode = encode or _dataclass_fields(cls), decode or (lambda fields: cls(**fields))
        elif issubclass(cls, enum.Enum):
            encode, decode = encode or _enum_value, decode or cls
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


def _dataclass_fields(cls: Any) -> Callable[[Any], dict[str, Any]]:
    """Return a function that takes the fields of `cls` from an instance, which may be one of a subclass."""
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    return lambda value: {name: getattr(value, name) for name in names}


def _enum_value(member: Any) -> Any:
    return member.value
