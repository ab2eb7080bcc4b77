"""The shared memory of this process that holds what it sends.

Memory is recycled, for the first write to new pages takes ten times as long as the next. A segment goes
back to the pool when its last `Lease` is gone, and is used again once no receiver holds it.

How reuse is made safe: a reader opens a segment by its claim (``claims.py``) and holds a shared lock on it
for as long as it has it mapped; the writer takes an exclusive lock before it writes to it again, and tries
another segment if it can't have it. The locks belong to open files, so they end with a process, however it
ends. A reader that opens it after it was reused is found out by the secret in its header, which is new each
time.
"""

from __future__ import annotations

import mmap
import os
import secrets
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from .claims import HEADER_BYTES, NAME, SEALS, Claim, few_descriptors, header

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MIN_SHARED_BYTES", "Filling", "Lease", "Pool", "PoolFullError", "is_available"]

MIN_SHARED_BYTES = 64 * 1024
"""Smaller values travel in the message. Below it, copying is cheaper than opening a file of another
process."""

MAX_BYTES = 1024 * 1024 * 1024
"""Of one process, unless told otherwise. Reached only if receivers hold what they got; then arrays cross as
copies."""
MAX_SEGMENTS = 4_096
"""Each takes two file descriptors, of which at most half are used."""
MAX_TRIED = 32
"""Segments at either end of the idle ones that are tried before another one is made."""
IDLE_SECONDS = 10.0
"""Memory that was not used for so long is returned to the system. Longer than the pauses of a loop that sends
arrays."""

F_SEAL_SEAL, F_SEAL_FUTURE_WRITE = 0x0001, 0x0010


@cache
def is_available() -> bool:
    """Return whether this system has what it takes: Linux, with ``/proc``."""
    return sys.platform == "linux" and hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


class PoolFullError(Exception):
    """Receivers still hold as much as this process may share."""


class _Segment:
    """One piece of shared memory; written by this process alone.

    Made in a size class (`_capacity`), so that another value of about the same size fits.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, HEADER_BYTES + capacity)
            self.memory = mmap.mmap(self.descriptor, HEADER_BYTES + capacity)
            self._seal()
            self.inode = os.fstat(self.descriptor).st_ino
        except BaseException:
            os.close(self.descriptor)
            raise
        self.idle_since = 0.0
        self.pid = os.getpid()
        """Of the process that writes it; a forked child must not."""

    def _seal(self) -> None:
        """Fix its size and, since Linux 5.1, keep processes that open it from writing to it."""
        try:  # from now on nobody else can map it for writing; since Linux 5.1
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
        except OSError:
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS | F_SEAL_SEAL)

    def lock(self) -> bool:
        """Keep readers out; False while there are some."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Return the memory to the system, once its last reader has let go of it."""
        with suppress(BufferError):  # the traceback of an error refers to it; it is released with that
            self.memory.close()
        os.close(self.descriptor)


class _Use:
    """A segment in use: it is not recycled while this object exists.

    Ends by garbage collection, once, however a process is interrupted; `release` takes no lock, for that may
    happen on any thread and while any lock is held.
    """

    __slots__ = ("_release", "segment")

    def __init__(self, segment: _Segment, release: Callable[[_Segment], object]) -> None:
        self.segment = segment
        self._release = release

    def __del__(self) -> None:
        self._release(self.segment)


class Filling:
    """A segment that is being written, from which no other process reads yet.

    Attributes:
        view: the memory for the value.
    """

    __slots__ = ("_size", "_use", "view")

    def __init__(self, use: _Use, size: int) -> None:
        self._use = use
        self._size = size
        self.view = memoryview(use.segment.memory)[HEADER_BYTES : HEADER_BYTES + size]

    def finish(self) -> Lease:
        """Share what was written."""
        segment = self._use.segment
        self.view.release()
        secret = secrets.token_hex(16)
        segment.memory[: len(header(secret))] = header(secret)
        fcntl.flock(segment.descriptor, fcntl.LOCK_UN)
        return Lease(self._use, Claim(os.getpid(), segment.descriptor, segment.inode, secret, self._size))


class Lease:
    """A segment that others may read, for as long as this object exists.

    Attributes:
        claim: for others to open it.
    """

    __slots__ = ("_use", "claim")

    def __init__(self, use: _Use, claim: Claim) -> None:
        self._use = use
        self.claim = claim

    def read(self, offset: int, size: int) -> bytes:
        """Return a part of the data.

        For receivers that can't open shared memory.

        Args:
            offset: of the first byte.
            size: the most bytes.
        """
        return self._use.segment.memory[
            HEADER_BYTES + offset : HEADER_BYTES + min(offset + size, self.claim.size)
        ]


_pools: WeakSet[Pool] = WeakSet()


def _begin_in_child() -> None:
    """Leave the segments to the parent process: both would write to them, and no lock keeps them apart."""
    for pool in list(_pools):
        for segment in (*pool._idle, *pool._returned):
            segment.close()
        pool._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


class Pool:
    """Shares values of this process; on any thread.

    Args:
        max_bytes: the most memory that is shared at a time.
        leaves_to_readers: do not count memory that is no longer shared but still read by others; it is
        theirs.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, *, leaves_to_readers: bool = False) -> None:
        self.max_bytes = max_bytes
        self._leaves_to_readers = leaves_to_readers
        self._closed = False
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Segment] = []
        """What may be used again, if nobody reads it; the one used last at the end."""
        self._returned: list[_Segment] = []
        """Whose lease has ended. It takes no lock, so that the garbage collector may end one anywhere."""
        self._bytes = 0
        """Of all segments, idle ones included."""
        self._count = 0
        """Of all segments."""

    def probe(self) -> Lease:
        """Share a byte, whose claim tells other processes whether they can open what this one shares."""
        return self.share(1, lambda _: None)

    @property
    def held_bytes(self) -> int:
        """The memory that is shared or ready to be used again, in bytes."""
        return self._bytes

    def share(self, size: int, write: Callable[[memoryview], object]) -> Lease:
        """Put a value into shared memory.

        The claim is valid for as long as the lease is held.

        Args:
            size: of the value in bytes.
            write: fills the memory that it is given.

        Raises:
            PoolFullError: there is no room until receivers have let go of more.
        """
        filling = self.open(size)
        write(filling.view)
        return filling.finish()

    def open(self, size: int) -> Filling:
        """Return memory that is shared once it is filled.

        Args:
            size: in bytes.

        Raises:
            PoolFullError: there is no room until receivers have let go of more.
        """
        return Filling(_Use(self._take(_capacity(size)), self._give_back), size)

    def _give_back(self, segment: _Segment) -> None:
        """Take back a segment whose lease has ended. It takes no lock: the garbage collector may call it."""
        if segment.pid != os.getpid():
            segment.close()
            return
        self._returned.append(segment)
        if self._closed:
            self._close_returned()

    def _close_returned(self) -> None:
        with suppress(IndexError):  # another thread may do the same
            while True:
                self._returned.pop().close()

    def _take(self, capacity: int) -> _Segment:
        """Return a segment, locked against readers.

        Args:
            capacity: the exact size.

        Raises:
            PoolFullError: there is no segment to be had, and no memory or descriptor for another one.
        """
        with self._lock:
            self._collect()
            for segment in (*self._idle[: -MAX_TRIED - 1 : -1], *self._idle[:-MAX_TRIED][:MAX_TRIED]):
                if segment.capacity == capacity and segment.lock():
                    self._idle.remove(segment)
                    return segment
            if self._bytes + capacity > self.max_bytes or self._count >= few_descriptors(MAX_SEGMENTS):
                for segment in self._idle[:]:  # of another size, or still read: then its memory stays theirs
                    if segment.lock() or self._leaves_to_readers:
                        self._drop(segment)
            if self._bytes + capacity > self.max_bytes or self._count >= few_descriptors(MAX_SEGMENTS):
                raise PoolFullError(
                    f"others still hold {self._bytes:,} bytes of what was sent before, and the limit is "
                    f"{self.max_bytes:,}"
                )
            segment = _Segment(capacity)
            segment.lock()
            self._bytes += capacity
            self._count += 1
            return segment

    def _collect(self) -> None:
        """Make returned segments available. The lock is held."""
        now = monotonic()
        while self._returned:
            segment = self._returned.pop()
            segment.idle_since = now
            self._idle.append(segment)

    def _drop(self, segment: _Segment) -> None:
        self._idle.remove(segment)
        self._discard(segment)

    def _discard(self, segment: _Segment) -> None:
        """Return a segment to the system; readers keep what they have mapped."""
        segment.close()
        self._bytes -= segment.capacity
        self._count -= 1

    def trim(self) -> None:
        """Return to the system what was not used for a while."""
        with self._lock:
            self._collect()
            before = monotonic() - IDLE_SECONDS
            for segment in [one for one in self._idle if one.idle_since < before or self._closed]:
                if segment.lock():
                    self._drop(segment)

    def close(self) -> None:
        """Share nothing more. What others hold stays with them."""
        self._closed = True
        with self._lock:
            self._collect()
            for segment in self._idle[:]:
                self._drop(segment)

    def __del__(self) -> None:
        self._closed = True
        self._close_returned()
        for segment in self._idle:
            segment.close()


def _capacity(size: int) -> int:
    """Return the size of the segment for a value: one of eight for each power of two, in whole pages."""
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step
