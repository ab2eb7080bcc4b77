"""Memory of this process alone, for buffers that come over a network."""

from __future__ import annotations

import mmap
from contextlib import suppress

__all__ = ["Own"]

HUGE_BYTES = 4 * 1024 * 1024
"""The size from which memory is taken in large pages, where the system has some."""


class Own:
    """Memory for the buffers of one message; the values that are made of it hold it.

    Its pages are taken from the system as they are written, so a size that a peer claims costs nothing.

    Args:
        size: in bytes.

    Attributes:
        view: the memory.
    """

    __slots__ = ("size", "view")

    def __init__(self, size: int) -> None:
        self.size = size
        if hasattr(mmap, "MAP_PRIVATE"):
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            memory = mmap.mmap(-1, size)
        if size >= HUGE_BYTES and hasattr(
            mmap, "MADV_HUGEPAGE"
        ):  # the first write to a page costs most of the time
            with suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        self.view = memoryview(memory)

    def finish(self) -> Own:
        """Return this, which is all that there is to do."""
        return self

    def read(self, offset: int, size: int) -> bytes:
        """Return a part of it."""
        return bytes(self.view[offset : offset + size])
