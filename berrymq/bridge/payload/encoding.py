"""Writing the payload of a message."""

from __future__ import annotations

import enum
import sys
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES

from .advice import UnsendableError, advice, place
from .registry import TYPE_KEY, VALUE_KEY, Codec, Foreign, by_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MAX_DEPTH", "encode_message", "encode_values"]

MAX_DEPTH = 100
"""How deep lists and dictionaries may nest."""


_write = msgspec.json.Encoder().encode
_PLAIN = frozenset({str, int, bool, type(None)})
"""Types whose values JSON has as they are. A float is among them if it is finite."""


def encode_message(
    sent_at: float, args: Sequence[Any], kwargs: Mapping[str, Any], callback: str | None = None
) -> bytes:
    """A message as it stands in a batch: ``[sent_at, [args], {kwargs}]``, and the callback if there is one.

    Raises:
        PayloadError: names the argument that can't cross, and why.
    """
    try:
        for value in args:
            kind = type(value)
            if kind not in _PLAIN and not (kind is float and isfinite(value)):
                break
        else:
            for value in kwargs.values():
                kind = type(value)
                if kind not in _PLAIN and not (kind is float and isfinite(value)):
                    break
            else:  # flat, as most messages are
                if callback is None and len(data := _write((sent_at, args, kwargs))) <= MAX_PAYLOAD_BYTES:
                    return data
        plain_args = [_to_json(value, 1) for value in args]
        plain_kwargs = {key: _to_json(value, 1) for key, value in kwargs.items()}
        parts: tuple[Any, ...] = (sent_at, plain_args, plain_kwargs)
        data = _write(parts if callback is None else (*parts, callback))
    except (UnsendableError, ValueError, TypeError, OverflowError):
        _explain(args, kwargs)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise _too_large(len(data))
    return data


def encode_values(values: Sequence[Any]) -> bytes:
    """Values as a JSON array, each as it stands in a message.

    Raises:
        PayloadError: names the value that can't cross, and why.
    """
    try:
        data = _write([_to_json(value, 1) for value in values])
    except (UnsendableError, ValueError, TypeError):
        _explain(values, {})
    if len(data) > MAX_PAYLOAD_BYTES:
        raise _too_large(len(data))
    return data


def _too_large(size: int) -> PayloadError:
    return PayloadError(
        "the message", f"it takes {size:,} bytes and the limit is {MAX_PAYLOAD_BYTES:,}; send it in parts"
    )


def _to_json(value: Any, depth: int) -> Any:
    cls = type(value)
    if cls is str or cls is int or cls is bool or value is None:
        return value
    if cls is float:
        return value if isfinite(value) else {TYPE_KEY: "float", VALUE_KEY: repr(value)}
    if depth > MAX_DEPTH:
        raise UnsendableError(f"it nests deeper than {MAX_DEPTH} levels (or contains itself)")
    if cls is list:
        return _items_to_json(value, depth)
    if cls is dict:
        return _dict_to_json(value, depth)
    if cls is Foreign:
        return value
    codec = by_type.get(cls)
    if codec is not None:
        return {TYPE_KEY: codec.name, VALUE_KEY: _to_json(_encoded(codec, value), depth + 1)}
    return _to_json(_base_value(value), depth)


def _encoded(codec: Codec, value: Any) -> Any:
    try:
        return codec.encode(value)
    except Exception as error:  # a registered encoder may raise anything; the text says what
        raise UnsendableError(f"its encode function failed with {type(error).__name__}: {error}") from error


def _items_to_json(values: Any, depth: int) -> list[Any]:
    items: list[Any] = []
    try:
        for value in values:
            items.append(_to_json(value, depth + 1))  # noqa: PERF401 - the length tells where it failed
    except UnsendableError as problem:
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
    except UnsendableError as problem:
        problem.path.append(f"[{key!r}]")
        raise
    return plain


def _pairs_to_json(mapping: dict[Any, Any], depth: int) -> list[list[Any]]:
    pairs: list[list[Any]] = []
    for key, value in mapping.items():
        try:
            key_as_json = _to_json(key, depth)
        except UnsendableError as problem:
            problem.path.clear()
            problem.is_key = True
            raise
        try:
            pairs.append([key_as_json, _to_json(value, depth)])
        except UnsendableError as problem:
            problem.path.append(f"[{key!r}]")
            raise
    return pairs


def _base_value(value: Any) -> Any:
    """The plain value behind an instance of a subclass or a numpy scalar."""
    cls = type(value)
    if isinstance(value, BaseException):
        error = RemoteError(cls.__name__, str(value))
        for note in getattr(value, "__notes__", ()):
            error.add_note(str(note))
        return error
    if isinstance(value, enum.Enum):
        raise UnsendableError(
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
    raise UnsendableError(advice(cls))


def _explain(args: Sequence[Any], kwargs: Mapping[str, Any]) -> NoReturn:
    """Find the argument at fault; only on the way to an error, so it may be slow."""
    named = [(f"args[{index}]", value) for index, value in enumerate(args)] + list(kwargs.items())
    for name, value in named:
        try:
            msgspec.json.encode(_to_json(value, 1))
        except UnsendableError as problem:
            where = ("a key of " if problem.is_key else "") + name + place(problem.path[::-1])
            raise PayloadError(where, problem.reason) from problem.__cause__
        except UnicodeEncodeError:
            raise PayloadError(name, "its text holds a lone surrogate, which is not Unicode text") from None
        except ValueError:
            digits = f"an integer in it has more than {sys.get_int_max_str_digits():,} digits"
            raise PayloadError(name, digits) from None
        except TypeError as error:
            raise PayloadError(name, str(error)) from None
    raise PayloadError("a keyword", "its name holds a lone surrogate, which is not Unicode text")
