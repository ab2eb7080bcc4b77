"""Buffers in a row: where each begins, and how they are written there."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import accumulate
from threading import Thread
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .own import Own
    from .pool import Filling

__all__ = ["Buffer", "end_of", "size_of", "starts_of", "write"]

ALIGNMENT = 64
"""Each buffer begins at a multiple of so many bytes."""

MIN_BYTES_FOR_TWO = 8 * 1024 * 1024
"""From this size on two threads write: one core alone gets about half of what the memory can take. Below it,
starting a thread costs more than it gains."""


class Buffer(Protocol):
    """The bytes of a value, which are written when it is known where to."""

    @property
    def size(self) -> int:
        """Their number."""

    @property
    def write(self) -> Callable[[memoryview, int, int], object]:
        """A function that writes one of several parts of them into memory of that size; see `Binary`."""


def starts_of(sizes: Sequence[int]) -> list[int]:
    """Return where each buffer begins."""
    return list(accumulate([-(-size // ALIGNMENT) * ALIGNMENT for size in sizes], initial=0))[:-1]


def end_of(sizes: Sequence[int]) -> int:
    """Return how many bytes all of them take."""
    return starts_of(sizes)[-1] + sizes[-1] if sizes else 0


def size_of(buffers: Sequence[Buffer]) -> int:
    """Return the bytes of memory for these buffers, at least one."""
    return max(1, end_of([one.size for one in buffers]))


def write(buffers: Sequence[Buffer], into: Filling | Own) -> None:
    """Write buffers into memory; on two threads if they are large.

    If this is interrupted, the other thread goes on for some milliseconds. It holds the memory, which is used
    for nothing else before it has ended.
    """
    if size_of(buffers) < MIN_BYTES_FOR_TWO or _cores() < 2:
        _write_part(buffers, into, 0, 1)
        return
    written = []

    def write_other() -> None:
        with suppress(Exception):  # what fails is tried again below, where errors are raised
            _write_part(buffers, into, 1, 2)
            written.append(True)

    other = Thread(target=write_other, name="berryMQ copies", daemon=True)
    with suppress(RuntimeError):  # no more threads, or the end of the process
        other.start()
    _write_part(buffers, into, 0, 2)
    if other.ident is not None:
        other.join()
    if not written:
        _write_part(buffers, into, 1, 2)


def _write_part(buffers: Sequence[Buffer], into: Filling | Own, part: int, parts: int) -> None:
    for one, start in zip(buffers, starts_of([one.size for one in buffers]), strict=True):
        if one.size:
            one.write(into.view[start : start + one.size], part, parts)


def _cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
