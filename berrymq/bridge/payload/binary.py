"""Bytes in a payload: as text in the JSON where they are few, beside it where they are many."""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUFFER", "INLINE", "Binary", "Form", "Replaced", "from_base64", "parts_of"]

BUFFER = "buffer"
"""The type on the wire."""

LEAST_APART, MOST_APART = 512, 50_000
"""Smaller buffers, and more of them, are always in the message, unless they are large."""

Replaced = list[tuple[str, str]]
"""The type's name and the reason, for each value in whose place an `Opaque` crosses."""


class Binary(NamedTuple):
    """Bytes that a value is made of, which are copied when it is known where to.

    Attributes:
        size: their number.
        steps: ``steps(memory, count)`` returns at most so many functions that together write them into memory
            of that size, in any order and on any thread. Calling them makes no objects. Not for 0 bytes.
    """

    size: int
    steps: Callable[[memoryview, int], list[Callable[[], object]]]

    def write(self, memory: memoryview) -> None:
        """Write them into memory of that size."""
        if self.size:
            for step in self.steps(memory, 1):
                step()

    def base64(self) -> str:
        """Return them as text."""
        data = bytearray(self.size)
        self.write(memoryview(data))
        return b64encode(data).decode()

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Binary:
        """Return the bytes of an object that has them in a row, or of any view."""
        view = memoryview(data)
        if not view.c_contiguous:
            view = memoryview(view.tobytes())
        flat = view.cast("B") if view.nbytes else memoryview(b"")

        def steps(memory: memoryview, count: int) -> list[Callable[[], object]]:
            return [partial(memory.__setitem__, part, flat[part]) for part in parts_of(len(flat), count)]

        return cls(view.nbytes, steps)


def parts_of(length: int, count: int) -> list[slice]:
    """Return so many slices of about the same size that make up a length; no empty ones."""
    limits = [length * number // count for number in range(count + 1)]
    return [slice(begin, end) for begin, end in pairwise(limits) if begin < end]


class Form:
    """How values are encoded.

    Attributes:
        replaced: gets what an `Opaque` was put in the place of; None where that is an error.
        binaries: gets the large buffers, which the message names by their place in this list; None where all
            are to be in the message itself.
        min_apart: bytes from which a buffer is large. Where there are many smaller ones, as the columns of
            a wide table, those beyond as many bytes count as large too.
    """

    __slots__ = ("_inline", "binaries", "min_apart", "replaced")

    def __init__(
        self, replaced: Replaced | None = None, binaries: list[Binary] | None = None, min_apart: int = 0
    ) -> None:
        self.replaced = replaced
        self.binaries = binaries
        self.min_apart = min_apart or MAX_PAYLOAD_BYTES
        self._inline = 0
        """The bytes of the buffers in the message itself."""

    def place(self, binary: Binary) -> str | int | None:
        """Return the value of a buffer on the wire; None where it is large and must not be."""
        if self.binaries is None:
            return binary.base64() if binary.size < self.min_apart else None
        is_small = binary.size < LEAST_APART or len(self.binaries) >= MOST_APART
        if binary.size < self.min_apart and (is_small or self._inline + binary.size < self.min_apart):
            self._inline += binary.size
            return binary.base64()
        self.binaries.append(binary)
        return len(self.binaries) - 1


INLINE = Form()
"""All in the message, and nothing replaced."""


def from_base64(text: Any) -> bytes:
    """Decode base64.

    Raises:
        TypeError: it is no text.
        ValueError: it is no base64.
    """
    if not isinstance(text, str):
        raise TypeError("it is no text")
    return b64decode(text, validate=True)
