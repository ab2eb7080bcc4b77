"""Writing the payload of a message.

The way of a value: the types of JSON are written as they are; every other one becomes ``{"$type": NAME,
"value": CONTENT}`` by its codec (``registry.py``), where the content is encoded likewise. Large buffers go
beside the message (``binary.py``), and what has no form becomes an `Opaque` or an error, as the `Form` says.

Whatever is written here is accepted by a receiver: it nests less deep than
`berrymq.bridge.protocol.limits.MAX_DEPTH`, takes at most `MAX_PAYLOAD_BYTES`, and is valid UTF-8.

An example:

    >>> encode_message(0.0, [1, "a"], {"rate": float("inf")})
    b'[0.0,[1,"a"],{"rate":{"$type":"float","value":"inf"}}]'
"""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES

from .advice import ApartError, TooDeepError, UnsendableError, advice, place
from .binary import BUFFER, INLINE, Binary, Form
from .opaque import describe, error_text
from .registry import TYPE_KEY, VALUE_KEY, Codec, Foreign, by_type, codec_of
from .scientific import scientific_codec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .binary import Replaced

__all__ = ["MAX_DEPTH", "encode_message", "encode_values"]

MAX_DEPTH = 100
"""How deep lists and dictionaries may nest. In levels of JSON, with those of markers: a dictionary whose keys
are no text takes three for each of its own. It leaves room below the limit of receivers for a marker or two
inside the deepest value."""


_write = msgspec.json.Encoder().encode
_PLAIN = frozenset({str, int, bool, type(None)})
"""Types whose values JSON has as they are. A float is among them if it is finite. By exact type: a subclass
may have an odd `__str__`, and becomes its base first."""


def encode_message(
    sent_at: float,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    callback: str | None = None,
    form: Form = INLINE,
) -> bytes:
    """Encode a message as it stands in a batch: ``[sent_at, [args], {kwargs}]``, and the callback if any.

    A flat message, whose arguments are all of these types, is passed to msgspec without looking further : it
    is the usual one.

    Args:
        sent_at: seconds since 1970.
        args: of the message.
        kwargs: of the message.
        callback: where followers' results are to be sent.
        form: what becomes of large buffers, and of values that can't cross.

    Raises:
        ApartError: there is a large buffer, and the form has no place for it.
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
        if form.replaced is not None:
            return _encode_leniently((sent_at, args, kwargs, callback), form, form.replaced)
        plain_args = [_to_json(value, 1, form) for value in args]
        plain_kwargs = {key: _to_json(value, 1, form) for key, value in kwargs.items()}
        parts: tuple[Any, ...] = (sent_at, plain_args, plain_kwargs)
        data = _write(parts if callback is None else (*parts, callback))
    except (UnsendableError, ValueError, TypeError, OverflowError) as error:
        if type(error) is ApartError and form.min_apart < MAX_PAYLOAD_BYTES:
            raise
        if form.replaced is not None:  # what is flat, and JSON has no form for
            return _encode_leniently((sent_at, args, kwargs, callback), form, form.replaced)
        _explain(args, kwargs, form)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise _too_large(len(data))
    return data


def _encode_leniently(
    message: tuple[float, Sequence[Any], Mapping[str, Any], str | None], form: Form, replaced: Replaced
) -> bytes:
    """Encode a message with an `Opaque` in the place of what can't cross.

    In three steps, each of which may replace a value: what has no form; what JSON can't write; and the
    largest ones, where all together are too large.
    """
    sent_at, args, kwargs, callback = message
    plain_args = [_to_json_or_opaque(value, form, replaced) for value in args]
    plain_kwargs = {key: _to_json_or_opaque(value, form, replaced) for key, value in kwargs.items()}
    plain_args = _replace_unwritable(plain_args, replaced)
    plain_kwargs = _replace_unwritable(plain_kwargs, replaced)
    around = len(_write((sent_at, [], {}, callback))) + sum([len(_write(key)) + 2 for key in plain_kwargs])
    originals = [*args, *kwargs.values()]
    plain = _fit([*plain_args, *plain_kwargs.values()], originals, around, replaced)
    plain_args = plain[: len(plain_args)]
    plain_kwargs = dict(zip(plain_kwargs, plain[len(plain_args) :], strict=True))
    parts: tuple[Any, ...] = (sent_at, plain_args, plain_kwargs)
    data = _write(parts if callback is None else (*parts, callback))
    if len(data) > MAX_PAYLOAD_BYTES:  # of keywords, or of so many values that even opaque ones are too much
        replaced.append(("message", _size_reason(len(data))))
        return _write((sent_at, [_opaque_json(args), _opaque_json(kwargs)], {}))
    return data


def encode_values(values: Sequence[Any], form: Form = INLINE) -> bytes:
    """Encode values as a JSON array, each as it stands in a message.

    Args:
        values: anything.
        form: what becomes of large buffers, and of values that can't cross.

    Raises:
        PayloadError: names the value that can't cross, and why.
    """
    replaced = form.replaced
    if replaced is None:
        try:
            data = _write([_to_json(value, 1, form) for value in values])
        except (UnsendableError, ValueError, TypeError):
            _explain(values, {}, form)
    else:
        plain = [_to_json_or_opaque(value, form, replaced) for value in values]
        data = _write(_fit(_replace_unwritable(plain, replaced), values, 2, replaced))
    if len(data) > MAX_PAYLOAD_BYTES:
        raise _too_large(len(data))
    return data


def _too_large(size: int) -> PayloadError:
    return PayloadError("the message", _size_reason(size))


def _size_reason(size: int) -> str:
    return f"it takes {size:,} bytes and the limit is {MAX_PAYLOAD_BYTES:,}; send it in parts"


def _opaque_json(value: Any) -> dict[str, Any]:
    """Return an opaque value: the type's name and a short text, which is all that crosses."""
    opaque = describe(value)
    return {TYPE_KEY: "Opaque", VALUE_KEY: [opaque.type, opaque.text]}


def _to_json_or_opaque(value: Any, form: Form, replaced: Replaced) -> Any:
    """Return one argument as JSON data; replace it as a whole if replacing a part did not help."""
    try:
        return _to_json(value, 1, form)
    except UnsendableError as problem:
        replaced.append((type(value).__name__, problem.reason))
        return _opaque_json(value)


def _replace_unwritable(plain: Any, replaced: Replaced) -> Any:
    """Return JSON data with opaque values for what JSON has no form for: lone surrogates, huge integers."""
    try:
        _write(plain)
    except (UnicodeEncodeError, ValueError, TypeError):
        pass
    else:
        return plain
    if isinstance(plain, list):
        return [_replace_unwritable(item, replaced) for item in plain]
    if isinstance(plain, dict):
        return {
            key.encode("utf-8", "backslashreplace").decode(): _replace_unwritable(item, replaced)
            for key, item in plain.items()
        }
    replaced.append((type(plain).__name__, _unwritable_reason(plain)))
    return _opaque_json(plain)


def _unwritable_reason(plain: Any) -> str:
    if isinstance(plain, str):
        return "its text holds a lone surrogate, which is not Unicode text"
    return f"an integer in it has more than {sys.get_int_max_str_digits():,} digits"


def _fit(plain: list[Any], originals: Sequence[Any], around: int, replaced: Replaced) -> list[Any]:
    """Return values that fit into one message: the largest are replaced where all together do not.

    Args:
        plain: the values as JSON data.
        originals: the same as they were given.
        around: the bytes of the message beside them.
        replaced: is appended to.
    """
    sizes = [len(_write(value)) + 1 for value in plain]
    plain = list(plain)
    for index in sorted(range(len(plain)), key=sizes.__getitem__, reverse=True):
        if sum(sizes) + around <= MAX_PAYLOAD_BYTES:
            break
        replaced.append((type(originals[index]).__name__, _size_reason(sizes[index])))
        plain[index] = _opaque_json(originals[index])
        sizes[index] = len(_write(plain[index])) + 1
    return plain


def _to_json(value: Any, depth: int, form: Form) -> Any:
    """Return a value as JSON data; what is inside of it and can't cross becomes opaque, if `form` says so.

    Args:
        value: anything.
        depth: the number of levels around it.
        form: what becomes of buffers, and of values that can't cross.

    Raises:
        UnsendableError: it can't cross, with the path to the part at fault.
    """
    cls = type(value)
    if cls is str or cls is int or cls is bool or value is None:
        return value
    if cls is float:
        return value if isfinite(value) else {TYPE_KEY: "float", VALUE_KEY: repr(value)}
    if depth > MAX_DEPTH:
        raise TooDeepError(f"it nests deeper than {MAX_DEPTH} levels (or contains itself)")
    if cls is list:
        return _items_to_json(value, depth, form)
    if cls is dict:
        return _dict_to_json(value, depth, form)
    if cls is Foreign:
        return value
    if cls is Binary:
        where = form.place(value)
        if where is None:
            raise ApartError(f"{value.size:,} bytes are too much for a message")
        return {TYPE_KEY: BUFFER, VALUE_KEY: where}
    codec, content = _content(value)
    if codec is not None:
        return {TYPE_KEY: codec.name, VALUE_KEY: _to_json(content, depth + 1, form)}
    return _to_json(content, depth, form)


def _content(value: Any) -> tuple[Codec | None, Any]:
    """Return what a value is encoded as, and how that is marked: not at all where it is plain.

    Raises:
        UnsendableError: it has no form, or code of its class failed. That may raise anything: a panic in a
            library's Rust code is no `Exception`.
    """
    codec = None
    try:
        codec = by_type.get(type(value)) or scientific_codec(value) or codec_of(type(value))
        return codec, _base_value(value) if codec is None else codec.encode(value)
    except (UnsendableError, KeyboardInterrupt):
        raise
    except BaseException as error:
        what = "encoding it" if codec is None else "its encode function"
        raise UnsendableError(f"{what} failed with {error_text(error)}") from error


def _items_to_json(values: Any, depth: int, form: Form) -> list[Any]:
    """Return a list as JSON data.

    The path of a problem grows by one step at each level that it passes.
    """
    items: list[Any] = []
    for value in values:
        try:
            items.append(_to_json(value, depth + 1, form))
        except UnsendableError as problem:
            items.append(_instead(value, problem, f"[{len(items)}]", form))
    return items


def _dict_to_json(mapping: dict[Any, Any], depth: int, form: Form) -> dict[str, Any]:
    """Return a dictionary as JSON data.

    That is an object if all keys are text and none is ``"$type"``, else a list of pairs with a marker.
    """
    if TYPE_KEY in mapping or not all(type(key) is str for key in mapping):
        return {TYPE_KEY: "dict", VALUE_KEY: _pairs_to_json(mapping, depth + 3, form)}
    plain = {}
    for key, value in mapping.items():
        try:
            plain[key] = _to_json(value, depth + 1, form)
        except UnsendableError as problem:
            plain[key] = _instead(value, problem, f"[{key!r}]", form)
    return plain


def _pairs_to_json(mapping: dict[Any, Any], depth: int, form: Form) -> list[list[Any]]:
    """Return the pairs of a dictionary whose keys are of any type.

    The path of a problem in a key ends at its dictionary.
    """
    pairs: list[list[Any]] = []
    for key, value in mapping.items():
        try:
            key_as_json = _to_json(key, depth, form)
        except UnsendableError as problem:
            problem.path.clear()
            problem.is_key = True
            key_as_json = _instead(key, problem, None, form)
        try:
            pairs.append([key_as_json, _to_json(value, depth, form)])
        except UnsendableError as problem:
            pairs.append([key_as_json, _instead(value, problem, f"[{key!r}]", form)])
    return pairs


def _instead(value: Any, problem: UnsendableError, step: str | None, form: Form) -> Any:
    """Return what stands for a value that can't cross; raise where that is an error.

    What nests too deep is replaced as a whole: from inside out, a list that contains itself twice would be
    written 2**100 times. A buffer is nothing by itself, so the value is replaced that is made of it.
    """
    if form.replaced is None or isinstance(problem, TooDeepError) or type(value) is Binary:
        if step is not None:
            problem.path.append(step)
        try:
            raise problem
        finally:
            del problem  # else its traceback and this frame would hold each other, and the values on the way
    form.replaced.append((type(value).__name__, problem.reason))
    return _opaque_json(value)


def _base_value(value: Any) -> Any:
    """Return the plain value behind an instance of a subclass of a JSON type."""
    cls = type(value)
    if isinstance(value, BaseException):
        error = RemoteError(cls.__name__, str(value))
        for note in getattr(value, "__notes__", ()):
            error.add_note(str(note))
        return error
    base: Any
    for base in (str, int, float, list, dict):
        if isinstance(value, base):
            return base(value)
    raise UnsendableError(advice(cls))


def _explain(args: Sequence[Any], kwargs: Mapping[str, Any], form: Form) -> NoReturn:
    """Find the argument at fault; only on the way to an error, so it may be slow.

    Raises:
        PayloadError: always, with the first argument at fault, the path into it, and the reason.
    """
    named = [(f"args[{index}]", value) for index, value in enumerate(args)] + list(kwargs.items())
    for name, value in named:
        try:
            msgspec.json.encode(_to_json(value, 1, form))
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
