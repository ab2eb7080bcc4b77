"""Arrays: numpy's, and those of other libraries that lie in the memory of the processor.

An array crosses as ``{"dtype", "shape", "order", "data"}``, where the data is a buffer. Nothing of this is
trusted on receipt: the type is of a closed list, and the shape has to make up the number of bytes that came.
Without numpy, an array arrives as a `memoryview` of its shape, if Python has the type.
"""

from __future__ import annotations

import re
import sys
from array import array
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from berrymq.bridge.buffers import Missing

from .binary import Binary, parts_of
from .opaque import Opaque, missing
from .registry import Codec
from .sampled import sampled_array

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["array_codec", "codecs", "optional"]

MAX_DIMENSIONS = 32
"""As many as numpy 1 has."""
MAX_EMPTY_ITEMS = 1_000_000
"""Of an array whose items have no bytes, so that its size is not limited by what was sent."""
MAX_FIELDS = 1_000
"""Of a structured type. Fields nest to a depth of 8."""

SIMPLE_TYPE = re.compile(r"[<>|](b1|i[1248]|u[1248]|f[248]|f1[026]|c8|c16|c20|c24|c32|[SV]\d{1,9}|U\d{1,8})")
"""What `numpy.dtype.str` is for numbers, text and bytes; ``>`` arrives as it was sent, in the other byte
order."""
TIME_TYPE = re.compile(r"[<>][mM]8(\[\d{0,9}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?")
"""The same for moments and durations, with their unit."""

CPU = 1
"""DLPack's number for memory that the processor reads."""

FORMATS = {"|b1": "?", "|i1": "b", "|u1": "B", "<f4": "f", "<f8": "d"}
"""The types that a `memoryview` can have, by numpy's names, in the byte order of most machines."""
for _letter in "hHiIlLqQ":
    _size = array(_letter).itemsize
    FORMATS[f"<{'i' if _letter.islower() else 'u'}{_size}"] = _letter


def optional(name: str) -> ModuleType | None:
    """Return a module if it is installed, else None."""
    try:
        return __import__(name)
    except ImportError:
        return None


def array_codec(value: Any) -> Codec | None:
    """Return how an array crosses; None for anything else."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.ndarray):
        if isinstance(value, numpy.ma.MaskedArray):
            return MASKED
        return OBJECTS if value.dtype.hasobject else ARRAY
    if hasattr(type(value), "__dlpack__") and hasattr(type(value), "__dlpack_device__"):
        return TENSOR
    return None


def codecs() -> list[Codec]:
    """Return all of them, for decoding."""
    return [ARRAY, MASKED, OBJECTS, PYTHON_ARRAY]


def _encode(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    value = numpy.asarray(value).view()  # whose shape and type nobody can change meanwhile
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    text, shape = _type_text(value.dtype), _read_shape(list(value.shape))
    if not isinstance(text, str):
        _read_type(numpy, text)  # receivers refuse some, and the whole message with it

    def steps(memory: memoryview, count: int) -> list[Callable[[], object]]:
        target = numpy.frombuffer(memory, value.dtype).reshape(value.shape, order=order)
        source = value
        if order == "F":  # then it is cut along the last axis, else the first one, of more than one item
            source, target = source.T, target.T
        source, target = numpy.atleast_1d(source.squeeze(), target.squeeze())
        if value.dtype.names is not None:
            target.view("u1")[...] = 0  # gaps between fields are not copied, and held other data
        return [partial(numpy.copyto, target[part], source[part]) for part in parts_of(len(source), count)]

    return {
        "dtype": text,
        "shape": shape,
        "order": order,
        "data": Binary(value.nbytes, steps),
    }


def _type_text(dtype: Any) -> Any:
    """Return a type as text; a structured one as a list of its fields, gaps included."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"of": _type_text(base), "shape": list(shape)}
    if dtype.names is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        kind, *offset_and_title = dtype.fields[name]
        fields.append([name, _type_text(kind), *offset_and_title])
    return {"fields": fields, "size": dtype.itemsize}


def _read_type(numpy: Any, text: Any, depth: int = 0) -> Any:
    """Return the type that a text names.

    A structured type is read recursively, to a depth of 8. Offsets must lie inside the size, or numpy would
    read beyond the buffer.

    Raises:
        ValueError: it is none that crosses.

    Args:
        numpy: the module.
        text: a name, or the fields of a structured type.
        depth: the number of types around it.
    """
    if isinstance(text, str):
        if not (SIMPLE_TYPE.fullmatch(text) or TIME_TYPE.fullmatch(text)):
            raise ValueError(f"{text[:40]!r} is no type of an array")
        return numpy.dtype(text)
    if not isinstance(text, dict) or depth > 8:
        raise ValueError("that is no type of an array")
    if "of" in text:
        shape = _read_shape(text["shape"])
        if prod(shape) > 2**20:
            raise ValueError("a type of an array is too large")
        return numpy.dtype((_read_type(numpy, text["of"], depth + 1), tuple(shape)))
    fields, size = text["fields"], text["size"]
    if not isinstance(fields, list) or len(fields) > MAX_FIELDS or type(size) is not int:
        raise ValueError("the fields of a type are malformed")
    names, types, offsets, titles = [], [], [], []
    for name, kind, offset, *title in fields:
        if not isinstance(name, str) or type(offset) is not int or not all(type(one) is str for one in title):
            raise ValueError("a field of a type is malformed")
        names.append(name)
        titles.append(title[0] if title else None)
        types.append(_read_type(numpy, kind, depth + 1))
        offsets.append(offset)
    ends = [offset + kind.itemsize for offset, kind in zip(offsets, types, strict=True)]
    if not max(ends, default=0) <= size < 2**31 or min(offsets, default=0) < 0:
        raise ValueError("the fields of a type do not fit into it")
    form = {"names": names, "formats": types, "offsets": offsets, "itemsize": size}
    return numpy.dtype({**form, "titles": titles} if any(titles) else form)


def _read_shape(shape: Any) -> list[int]:
    """Return a shape that a peer has sent, if it is one.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise ValueError("that is no shape of an array")
    if not all(type(side) is int and 0 <= side < 2**62 for side in shape):
        raise ValueError("a side of an array is no number")
    return shape


def _decode(parts: Any) -> Any:
    """Return an array without copying its buffer, so it is read-only where that is.

    Raises:
        ValueError: type, shape and number of bytes do not fit together.
    """
    text, shape, order, data = parts["dtype"], _read_shape(parts["shape"]), parts["order"], parts["data"]
    if order not in ("C", "F"):
        raise ValueError("the order of an array is C or F")
    numpy: Any = None if isinstance(data, Missing) and not data.parts else optional("numpy")
    if isinstance(data, Missing):
        what = f"array of {text!r:.40} {tuple(shape)}"
        if numpy is None:
            return missing(data, "numpy.ndarray", what)
        dtype = _read_type(numpy, text)
        if not dtype.itemsize or prod(shape) * dtype.itemsize != data.size:
            raise ValueError(f"{data.size} bytes do not make up an array of {tuple(shape)}")
        return sampled_array(numpy, data, dtype, parts, what)
    if not isinstance(data, memoryview):
        raise TypeError("it has no buffer")
    if numpy is None:
        return _without_numpy(text, shape, order, data)
    dtype = _read_type(numpy, text)
    if prod(shape) * dtype.itemsize != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes do not make up an array of {tuple(shape)}")
    if not dtype.itemsize and prod(shape) > MAX_EMPTY_ITEMS:
        raise ValueError(f"an array of {tuple(shape)} items without bytes is too large")
    if not data.nbytes:
        return numpy.zeros(shape, dtype, order)
    return numpy.frombuffer(data, dtype).reshape(shape, order=order)


def _without_numpy(text: Any, shape: list[int], order: str, data: memoryview) -> Any:
    """Return a `memoryview` of the shape, or bytes where Python has no such type."""
    kind: Any = FORMATS.get(text) if isinstance(text, str) and sys.byteorder == "little" else None
    if kind is None or order != "C" or not data.nbytes or not shape:
        return bytes(data)
    if prod(shape) * array(kind if kind != "?" else "b").itemsize != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes do not make up an array of {tuple(shape)}")
    return data.cast("B").cast(kind, shape)


def _encode_objects(value: Any) -> Any:
    """Encode an array of objects by its items, each as a value of its own."""
    return {"shape": list(value.shape), "items": value.ravel().tolist()}


def _decode_objects(parts: Any) -> Any:
    shape, items = _read_shape(parts["shape"]), parts["items"]
    if not isinstance(items, list) or prod(shape) != len(items):
        raise ValueError(f"the items of an array do not make up {shape}")
    numpy: Any = optional("numpy")
    if numpy is None:
        return items
    found = numpy.empty(len(items), object)
    found[:] = items
    return found.reshape(shape)


def _decode_masked(parts: Any) -> Any:
    """Without numpy, what comes is the data without its mask.

    If a buffer did not come whole, an `Opaque` stands for both, for which numbers of a sample are masked is
    not known.
    """
    data, mask, fill = parts
    for part in (data, mask):
        if isinstance(part, Opaque):
            return Opaque("numpy.ma.MaskedArray", part.text)
    numpy: Any = optional("numpy")
    if numpy is None or not isinstance(data, numpy.ndarray):
        return data
    if mask is not None and not (
        isinstance(mask, numpy.ndarray) and mask.dtype == numpy.ma.make_mask_descr(data.dtype)
    ):
        raise ValueError("a mask is an array of bool, for each field if there are some")
    masked = numpy.ma.MaskedArray(data, numpy.ma.nomask if mask is None else mask)
    if fill is not None:
        masked.fill_value = fill
    return masked


def _encode_masked(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    mask = None if value.mask is numpy.ma.nomask else numpy.asarray(value.mask)
    return [numpy.asarray(value.data), mask, value.fill_value if value.dtype.names is None else None]


def _encode_tensor(value: Any) -> Any:
    """Encode what numpy can look at without a copy; it arrives as numpy's."""
    numpy = sys.modules["numpy"]
    if value.__dlpack_device__()[0] != CPU:
        raise TypeError("it is not in the processor's memory; send a copy that is, such as tensor.cpu()")
    detach = getattr(value, "detach", None)  # a tensor of torch that takes part in a gradient
    return _encode(numpy.from_dlpack(value if detach is None else detach()))


def _encode_python_array(value: Any) -> Any:
    """Encode an `array.array`, with its byte order."""
    return [value.typecode, sys.byteorder, Binary.of(memoryview(value).cast("B") if value else b"")]


def _decode_python_array(parts: Any) -> Any:
    code, order, data = parts
    if isinstance(data, Missing):
        return missing(data, "array.array", f"array of {code!r:.10}")
    if not isinstance(code, str) or not isinstance(data, memoryview) or code in ("u", "w"):
        raise ValueError("an array is malformed")
    found: Any = array(code)
    found.frombytes(data)
    if order != sys.byteorder:
        found.byteswap()
    return found


ARRAY = Codec("array", _encode, _decode)
OBJECTS = Codec("array.objects", _encode_objects, _decode_objects)
MASKED = Codec("array.masked", _encode_masked, _decode_masked)
TENSOR = Codec("array", _encode_tensor, _decode)
PYTHON_ARRAY = Codec("array.python", _encode_python_array, _decode_python_array)
