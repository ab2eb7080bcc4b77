"""Arrays as views show them: shape, dtype, range, and a small picture of a sample.

An array may be mapped memory of gigabytes that another process shares. So of a large one a regular sample is
read, by slices, and what comes from it says so; memory of another device is left alone.
"""

from __future__ import annotations

import sys
from math import isfinite, prod
from typing import Any, Final

from .libraries import HOSTILE, is_array, is_sampled_array
from .thumbnails import LARGE_SIDE, SIDE, Picture, bars, curve, heat_map, pixels

__all__ = [
    "array_facts",
    "array_picture",
    "array_pictures",
    "is_numeric_array",
    "range_text",
]

WHOLE: Final = 65_536
"""Up to so many items all are read."""
SAMPLE: Final = 4096
"""The limit of items that are read of a larger array."""
POINTS: Final = 96
"""The limit of points of a line."""
BINS: Final = 32
LEAST_BINNED: Final = 16
"""Fewer items than that have no histogram."""
LEAST_DRAWN: Final = 2
NARROW: Final = 6
"""So many lines of a picture are kept of the shorter axis, if there are as many."""


def is_numeric_array(value: Any) -> bool:
    """Return whether `value` is an array of numbers with at least one axis, in memory that can be read.

    It may be one of which only a sample was fetched.
    """
    if is_sampled_array(value):
        return value.dtype.kind in "biufc"
    if not is_array(value) or hasattr(value, "columns") or hasattr(value, "iloc") or hasattr(value, "mask"):
        return False
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not shape or sys.modules.get("numpy") is None:
        return False
    return hasattr(value, "__array__") and hasattr(value, "dtype")


def on_this_device(value: Any) -> bool:
    """Return whether the memory of an array is the processor's own."""
    device = str(getattr(value, "device", "cpu")).casefold()
    return "cpu" in device


def array_facts(value: Any) -> str:
    """Return dtype, shape and size of an array in words."""
    shape = " x ".join(f"{int(side):,}" for side in value.shape)
    size = getattr(value, "nbytes", None)
    where = "" if on_this_device(value) else f" on {value.device}"
    if is_sampled_array(value):
        size, where = value.dtype.itemsize * prod(value.shape), " · not fetched"
    return f"{value.dtype} · {shape}{f' · {in_bytes(size)}' if isinstance(size, int) else ''}{where}"


def in_bytes(size: float) -> str:
    """Return a number of bytes in a unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.4g} {unit}"
        size /= 1000
    raise AssertionError


def range_text(value: Any) -> str:
    """Return the range of an array's numbers in words; "" if there is none."""
    try:
        sample, share = sampled(value)
    except HOSTILE:
        return ""
    return "" if sample is None else spread(sample, share)


def spread(sample: Any, share: str) -> str:
    """Return the range of a sample in words."""
    numpy = sys.modules["numpy"]
    finite = sample[numpy.isfinite(sample)]
    if not finite.size:
        return f"no finite number{share}"
    others = int(sample.size - finite.size)
    text = f"{float(finite.min()):.4g} to {float(finite.max()):.4g}"
    return text + (f", {others:,} not finite" if others else "") + share


def sampled(value: Any) -> tuple[Any, str]:
    """Return numbers of an array as float64 in one row, and what share of it they are, "" for all.

    None stands for no numbers: another device, or a dtype that is not one of numbers.
    """
    sample = part(value, WHOLE, SAMPLE)
    if sample is None or not sample.size:
        return None, ""
    size = prod(map(int, value.shape))
    share = "" if sample.size == size else f" (of a sample of {sample.size:,} of {size:,})"
    return sample.ravel(), share


def part(value: Any, whole: int, most: int) -> Any:
    """Return an array as float64, or of more than `whole` items at most `most`, at regular distances."""
    numpy = sys.modules["numpy"]
    if not on_this_device(value):
        return None
    if is_sampled_array(value):
        value = value.sample
    shape = list(map(int, value.shape))
    steps = [1] * len(shape)
    if prod(shape) > whole:
        counts = shape[:]
        while prod(counts) > most:
            axis = counts.index(max(counts))
            steps[axis] *= 2
            counts[axis] = -(-shape[axis] // steps[axis])
    return as_floats(numpy, value[tuple(slice(None, None, step) for step in steps)])


def as_floats(numpy: Any, value: Any) -> Any:
    """Return what was read of an array as float64; of complex numbers the magnitude; None for no numbers."""
    if hasattr(value, "detach"):
        value = value.detach()
    array = numpy.asarray(value)
    if array.dtype.kind not in "biufc":
        return None
    with numpy.errstate(all="ignore"):
        return (numpy.abs(array) if array.dtype.kind == "c" else array).astype(numpy.float64)


def array_pictures(value: Any) -> list[Picture]:
    """Return pictures of an array: a line, a heat map or an image, and a histogram."""
    numpy = sys.modules["numpy"]
    sample, share = sampled(value)
    if sample is None:
        return []
    pictures = [picture for picture in [array_picture(value, LARGE_SIDE)] if picture is not None]
    finite = sample[numpy.isfinite(sample)]
    if finite.size >= LEAST_BINNED and isfinite(float(finite.max()) - float(finite.min())):
        counts, _ = numpy.histogram(finite, BINS)
        pictures.append(bars(counts.tolist(), f"histogram{share}"))
    return pictures


def array_picture(value: Any, side: int = SIDE) -> Picture | None:
    """Return the picture that the axes of an array ask for; None if it has none.

    Args:
        value: an array.
        side: the greatest width or height of an image, in its own pixels.
    """
    numpy = sys.modules["numpy"]
    if not on_this_device(value):
        return None
    of = ""
    if is_sampled_array(value):
        if value.picture is None:
            return line_of(numpy, value.sample, "line through a sample")
        value, of = in_proportion(numpy, value.picture, value.shape), " of a sample"
    axes = len(value.shape)
    if axes == 1:
        return line_of(numpy, value) if value.shape[0] >= LEAST_DRAWN else None
    if 0 in value.shape:
        return None
    if axes == 3:
        colors = image_of(numpy, value, f"image{of}", side)
        if colors is not None:
            return colors
    if axes == 2:
        return heat_of(numpy, value, f"heat map{of}")
    first = (0,) * (axes - 2)
    return heat_of(numpy, value[first], f"heat map of [{', '.join(map(str, first))}]{of}")


def in_proportion(numpy: Any, picture: Any, shape: tuple[int, ...]) -> Any:
    """Return a picture in the proportions of the array of which it is a sample."""
    sides = shape[:2]
    scale = min(1.0, 2 * SIDE / max(sides))
    lengths = [max(round(side * scale), min(side, NARROW)) for side in sides]
    places = [
        numpy.linspace(0, have - 1, length).round().astype(int)
        for have, length in zip(picture.shape[:2], lengths, strict=True)
    ]
    return picture[numpy.ix_(*places)]


def line_of(numpy: Any, value: Any, words: str = "") -> Picture | None:
    """Return numbers in a row as a line."""
    step = -(-int(value.shape[0]) // POINTS)
    numbers = as_floats(numpy, value[::step])
    if numbers is None:
        return None
    points = [number if isfinite(number) else None for number in numbers.tolist()]
    return curve(points, words or ("line" if step == 1 else f"line through every {step:,}th number"))


def heat_of(numpy: Any, value: Any, words: str) -> Picture | None:
    """Return a matrix as a heat map, from its lowest number to its highest."""
    step = -(-max(map(int, value.shape)) // SIDE)  # the same for both axes, unless one is very short
    small = as_floats(
        numpy, value[tuple(slice(None, None, min(step, max(1, int(one) // NARROW))) for one in value.shape)]
    )
    if small is None:
        return None
    good = numpy.isfinite(small)
    finite = small[good]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    span = high / 2 - low / 2
    with numpy.errstate(all="ignore"):
        parts = (small / 2 - low / 2) / span if span > 0 else numpy.full(small.shape, 0.5)
        levels = numpy.where(good, numpy.clip(parts, 0, 1) * 254, 255).astype(numpy.uint8)
    return heat_map([row.tobytes() for row in levels], words)


def image_of(numpy: Any, value: Any, words: str, side: int) -> Picture | None:
    """Return an array with three or four channels as an image; None if it is none.

    The channels are the last axis, or the first. Numbers are bytes, or fractions from 0 to 1.
    """
    last, first = int(value.shape[2]) in (3, 4), int(value.shape[0]) in (3, 4)
    if not last and not first:
        return None
    rows, columns = value.shape[:2] if last else value.shape[1:]
    grid = (thin(max(rows, columns), side),) * 2  # of both axes alike, or it would be distorted
    small = as_floats(numpy, value[(*grid, slice(None)) if last else (slice(None), *grid)])
    if small is None:
        return None
    if not last:
        small = numpy.moveaxis(small, 0, 2)
    good = numpy.isfinite(small)
    low, high = (small[good].min(), small[good].max()) if good.any() else (-1, -1)
    if not (low >= 0 and high <= 255):
        return None
    factor = 1 if "int" in str(value.dtype) else 255
    if factor == 255 and high > 1:
        return None
    data = (numpy.where(good, small, 0) * factor).astype(numpy.uint8)
    return pixels(data.shape[1], data.tobytes(), data.shape[2], words)


def thin(length: int, side: int = SIDE) -> slice:
    """Return the slice that takes at most `side` of so many items."""
    return slice(None, None, max(1, -(-int(length) // side)))
