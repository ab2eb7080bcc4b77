"""What a message carries, as JSON: ``[args, kwargs]``.

JSON values cross as they are. Everything else becomes an object with the key ``$type``, which the type
registry turns back into a value on the other side; a dictionary that has such a key of its own, or keys
that are not strings, crosses as a list of pairs. Nothing on the wire ever names a class to import: a type
crosses only if both sides registered it.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from time import thread_time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec

from .errors import PayloadError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["MAX_DEPTH", "MAX_PAYLOAD_BYTES", "decode", "encode", "register_type"]

MAX_DEPTH = 100
"""How deep lists and dictionaries may nest."""

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
"""The largest payload of one message, encoded."""

HASHING_SECONDS = 0.05
HASHING_SECONDS_PER_BYTE = 0.25e-6
"""How long the sets and dictionaries of one payload may take to build: processor time, for its size."""
HASHED_AT_ONCE = 16
"""Members that are put into a set before the time is looked at."""

LONGEST_PLACE = 12
"""Steps into an argument that an error names one by one."""
LONGEST_STEP = 80
"""Characters of one of them."""

TYPE_KEY = "$type"
VALUE_KEY = "value"


class _Codec(NamedTuple):
    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_by_type: dict[type, _Codec] = {}
_by_name: dict[str, _Codec] = {}


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
        name: how the type is called on the wire; the class's name unless told.

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
    codec = _Codec(name or cls.__name__, encode, decode)
    known = _by_name.get(codec.name)
    former = _by_type.get(cls)
    if known is not None and known is not former and not _same_definition(codec.name, cls):
        raise ValueError(f"the type name {codec.name!r} is taken: give register_type another name=")
    if former is not None:
        _by_name.pop(former.name, None)
    _by_type[cls] = _by_name[codec.name] = codec
    return cls


def encode(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The payload of a message, as JSON.

    Raises:
        PayloadError: names the argument that can't cross, and why.
    """
    try:
        plain = [
            [_to_json(value, 1) for value in args],
            {key: _to_json(value, 1) for key, value in kwargs.items()},
        ]
        data = msgspec.json.encode(plain)
    except (_UnsendableError, ValueError, TypeError):
        _explain(args, kwargs)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise PayloadError(
            "the message",
            f"it takes {len(data):,} bytes and the limit is {MAX_PAYLOAD_BYTES:,}; send it in parts",
        )
    return data


def decode(data: bytes | msgspec.Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The args and kwargs of a payload.

    Raises:
        ValueError: it is not a payload, or a value of a registered type is malformed.
    """
    raw = bytes(data)
    try:
        args, kwargs = _decoder.decode(raw)
        if b'"$type"' in raw:
            reader = _Reader(len(raw))
            return tuple(reader.items(args)), reader.mapping(kwargs)
    except RecursionError:
        raise ValueError("the payload nests too deep") from None
    return tuple(args), kwargs


_decoder = msgspec.json.Decoder(tuple[list[Any], dict[str, Any]])


class _Foreign(dict[str, Any]):
    """A value of a type that is not registered here, as it came; sent again it is what it was."""


class _UnsendableError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []
        self.is_key = False


def _to_json(value: Any, depth: int) -> Any:
    cls = type(value)
    if cls is str or cls is int or cls is bool or value is None:
        return value
    if cls is float:
        return value if math.isfinite(value) else {TYPE_KEY: "float", VALUE_KEY: repr(value)}
    if depth > MAX_DEPTH:
        raise _UnsendableError(f"it nests deeper than {MAX_DEPTH} levels (or contains itself)")
    if cls is list:
        return _items_to_json(value, depth)
    if cls is dict:
        return _dict_to_json(value, depth)
    if cls is _Foreign:
        return value
    codec = _by_type.get(cls)
    if codec is not None:
        return {TYPE_KEY: codec.name, VALUE_KEY: _to_json(_encoded(codec, value), depth + 1)}
    return _to_json(_base_value(value), depth)


def _encoded(codec: _Codec, value: Any) -> Any:
    try:
        return codec.encode(value)
    except Exception as error:  # a registered encoder may raise anything; the text says what
        raise _UnsendableError(f"its encode function failed with {type(error).__name__}: {error}") from error


def _items_to_json(values: Any, depth: int) -> list[Any]:
    items: list[Any] = []
    try:
        for value in values:
            items.append(_to_json(value, depth + 1))  # noqa: PERF401 - the length tells where it failed
    except _UnsendableError as problem:
        problem.path.append(f"[{len(items)}]")
        raise
    return items


def _dict_to_json(mapping: dict[Any, Any], depth: int) -> dict[str, Any]:
    if TYPE_KEY in mapping or not all(type(key) is str for key in mapping):
        return {TYPE_KEY: "dict", VALUE_KEY: _pairs_to_json(mapping, depth + 2)}
    plain = {}
    key = None
    try:
        for key, value in mapping.items():
            plain[key] = _to_json(value, depth + 1)
    except _UnsendableError as problem:
        problem.path.append(f"[{key!r}]")
        raise
    return plain


def _pairs_to_json(mapping: dict[Any, Any], depth: int) -> list[list[Any]]:
    pairs: list[list[Any]] = []
    for key, value in mapping.items():
        try:
            key_as_json = _to_json(key, depth)
        except _UnsendableError as problem:
            problem.path.clear()
            problem.is_key = True
            raise
        try:
            pairs.append([key_as_json, _to_json(value, depth)])
        except _UnsendableError as problem:
            problem.path.append(f"[{key!r}]")
            raise
    return pairs


def _base_value(value: Any) -> Any:
    """The plain value behind an instance of a subclass or a numpy scalar."""
    cls = type(value)
    if isinstance(value, BaseException):
        return RemoteError(cls.__name__, str(value))
    if isinstance(value, enum.Enum):
        raise _UnsendableError(
            f"{cls.__name__} is an Enum that is not registered; call register_type({cls.__name__})"
        )
    base: Any
    for base in (str, int, float, tuple, list, dict):
        if isinstance(value, base):
            return base(value)
    if cls.__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        plain = value.item()
        if type(plain) is not cls and not (isinstance(plain, int) and value.dtype.kind in "mM"):
            return plain
    raise _UnsendableError(_advice(cls))


def _advice(cls: type) -> str:
    name = cls.__name__
    if cls.__module__ == "numpy" and name == "ndarray":
        return "arrays can't yet; send array.tolist()"
    if cls.__module__ == "numpy" and name in ("datetime64", "timedelta64"):
        return f"a {name} of this unit has no Python form; use .astype('{name}[us]')"
    if cls.__module__ == "numpy" and name.endswith("longdouble"):
        return f"JSON has no {name}; convert it with float() or complex()"
    if cls.__module__.partition(".")[0] == "pandas":
        return f"a {name} can't yet; send .to_dict()"
    if cls in (bytes, bytearray, memoryview):
        return f"{name} can't yet; send text, or a list of numbers"
    if dataclasses.is_dataclass(cls):
        return f"{name} is a dataclass that is not registered; call register_type({name}) on both sides"
    return (
        f"no JSON form is known of {name}; send its plain values, "
        f"or call register_type({name}, encode, decode)"
    )


def _explain(args: Sequence[Any], kwargs: Mapping[str, Any]) -> NoReturn:
    """Find the argument at fault; only on the way to an error, so it may be slow."""
    named = [(f"args[{index}]", value) for index, value in enumerate(args)] + list(kwargs.items())
    for name, value in named:
        try:
            msgspec.json.encode(_to_json(value, 1))
        except _UnsendableError as problem:
            where = ("a key of " if problem.is_key else "") + name + _place(problem.path[::-1])
            raise PayloadError(where, problem.reason) from problem.__cause__
        except UnicodeEncodeError:
            raise PayloadError(name, "its text holds a lone surrogate, which is not Unicode text") from None
        except ValueError:
            digits = f"an integer in it has more than {sys.get_int_max_str_digits():,} digits"
            raise PayloadError(name, digits) from None
        except TypeError as error:
            raise PayloadError(name, str(error)) from None
    raise PayloadError("a keyword", "its name holds a lone surrogate, which is not Unicode text")


def _place(path: list[str]) -> str:
    """Where a value stands inside of an argument; the middle of a long way is left out."""
    steps = path if len(path) <= LONGEST_PLACE else [*path[:4], "[…]", *path[-2:]]
    return "".join(step if len(step) <= LONGEST_STEP else f"{step[: LONGEST_STEP - 2]}…]" for step in steps)


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
        codec = _by_name.get(name) if isinstance(name, str) else None
        if codec is None or VALUE_KEY not in value:
            return _Foreign(value)
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


def _same_definition(name: str, cls: type) -> bool:
    """Whether *name* belongs to an earlier definition of *cls*, as after a cell or module ran again."""
    for other, codec in _by_type.items():
        if codec.name == name:
            return (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__)
    return False


def _dataclass_fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}


def _register_builtin_types() -> None:
    for codec_type, encode_value, decode_value in (
        (tuple, list, tuple),
        (set, list, set),
        (frozenset, list, frozenset),
        (dict, lambda mapping: [list(pair) for pair in mapping.items()], dict),
        (float, repr, float),
        (complex, lambda number: [number.real, number.imag], lambda parts: complex(*parts)),
        (Decimal, str, Decimal),
        (UUID, str, UUID),
        (datetime, datetime.isoformat, datetime.fromisoformat),
        (date, date.isoformat, date.fromisoformat),
        (time, time.isoformat, time.fromisoformat),
        (RemoteError, lambda error: [error.kind, error.text], lambda parts: RemoteError(*map(str, parts))),
        (
            timedelta,
            lambda span: [span.days, span.seconds, span.microseconds],
            lambda parts: timedelta(*parts),
        ),
    ):
        register_type(codec_type, encode_value, decode_value)


_register_builtin_types()
