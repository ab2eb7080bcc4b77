"""Claims: what a message says of shared memory, and how a receiver opens it.

A claim comes over the network and is not trusted. It could make this process open anything that another one
of its user has open, so only a sealed memfd is opened that has our name and begins with the claim's secret.

A file lock marks memory that is still read. Each receiver opens the memory itself and holds a shared `flock`,
which the kernel releases with the last descriptor or mapping, however the process ends. The owner writes to
the memory again only when it gets an exclusive one.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

try:
    import fcntl
except ImportError:  # Windows, where nothing of this is available
    fcntl = None  # type: ignore[assignment]
if sys.platform != "win32":
    import resource

__all__ = [
    "HEADER_BYTES",
    "NAME",
    "Claim",
    "ClaimError",
    "Held",
    "few_descriptors",
    "header",
    "open_claim",
]

NAME = "berrymq"
"""Of each memfd."""
HEADER_BYTES = mmap.PAGESIZE
"""What precedes the data, which begins on a page of its own."""
MAGIC = b"berryMQ1"
MAX_BYTES = 2**40

SEALS = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0)
"""What can't shrink can't kill a reader with SIGBUS."""


MAX_MAPPED = 64
"""Mappings that one process has at a time: far fewer than a sender has segments, so some are left to it."""

MAX_MAPPED_BYTES = 512 * 1024 * 1024
"""The limit of what one process maps for received messages: half of what a sender may share. Further buffers
are copied."""

_mapped: WeakSet[mmap.mmap] = WeakSet()


def few_descriptors(most: int, part: int = 4) -> int:
    """Return a number of file descriptors, at most one in `part` of those that this process may have."""
    if sys.platform == "win32":
        return most
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most if limit < 0 else min(most, limit // part)


class ClaimError(Exception):
    """The memory is gone, or is not what the claim says."""


class Claim(NamedTuple):
    """How to open shared memory of another process of this user, on this machine."""

    pid: int
    descriptor: int
    inode: int
    secret: str
    """32 hexadecimal digits, which the memory begins with."""
    size: int
    """Bytes of data, without the header."""


def header(secret: str) -> bytes:
    """Return what the memory of a claim begins with."""
    return MAGIC + secret.encode()


class Held:
    """Memory that is open here, and stays as it is while this object or a mapping of it exists.

    Attributes:
        claim: for others to open it from this process.
    """

    __slots__ = ("__weakref__", "_descriptor", "claim")

    def __init__(self, descriptor: int, claim: Claim) -> None:
        self._descriptor = descriptor
        self.claim = claim

    def map(self, *, limited: bool = False) -> memoryview:
        """Return the data: writable, and what is written is seen by this process alone.

        It is mapped, and copied where very many mappings exist already: each has a file descriptor, and keeps
        the sender from using its memory again.

        Args:
            limited: also copy it if `MAX_MAPPED_BYTES` are mapped already.
        """
        if len(_mapped) >= few_descriptors(MAX_MAPPED, part=16):
            return self._copy()
        if limited and sum([len(one) for one in list(_mapped)]) >= MAX_MAPPED_BYTES:
            return self._copy()
        mapped = mmap.mmap(self._descriptor, HEADER_BYTES + self.claim.size, access=mmap.ACCESS_COPY)
        _mapped.add(mapped)
        return memoryview(mapped)[HEADER_BYTES:]

    def _copy(self) -> memoryview:
        data = memoryview(bytearray(self.claim.size))
        done = 0
        while done < len(data):
            count = os.preadv(self._descriptor, [data[done:]], HEADER_BYTES + done)
            if not count:
                raise EOFError("shared memory ends before its data does")
            done += count
        return data

    def read(self, offset: int, size: int) -> bytes:
        """Return a part of the data."""
        return os.pread(self._descriptor, max(0, min(size, self.claim.size - offset)), HEADER_BYTES + offset)

    def __del__(self) -> None:
        os.close(self._descriptor)


def open_claim(claim: Claim) -> Held:
    """Open the memory of a claim.

    Raises:
        ClaimError: there is no such memory, or it is none of ours.
    """
    if not (
        claim.pid > 0
        and claim.descriptor >= 0
        and 0 < claim.size < MAX_BYTES
        and len(claim.secret) == 32
        and claim.secret.isascii()
    ):
        raise ClaimError("it is malformed")
    path = Path(f"/proc/{claim.pid}/fd/{claim.descriptor}")
    try:
        _check_file(path.stat(), claim)  # before it is opened: opening a device may have effects
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ClaimError(f"it can't be opened: {error.strerror}") from None
    try:
        _check_file(os.fstat(descriptor), claim)
        _check_memory(descriptor, claim)
    except BaseException:
        os.close(descriptor)
        raise
    return Held(descriptor, claim._replace(pid=os.getpid(), descriptor=descriptor))


def _check_file(found: os.stat_result, claim: Claim) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_ino != claim.inode:
        raise ClaimError("it is another file")
    if found.st_uid != os.geteuid():
        raise ClaimError("it belongs to another user")
    if found.st_size < HEADER_BYTES + claim.size:
        raise ClaimError("it is smaller than it says")


def _check_memory(descriptor: int, claim: Claim) -> None:
    try:
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()) != f"/memfd:{NAME} (deleted)":
            raise ClaimError("it is no shared memory of berryMQ")
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS != SEALS:
            raise ClaimError("it is not sealed")
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        begins = os.pread(descriptor, len(header(claim.secret)), 0)
    except OSError as error:  # the owner holds the lock: it is writing other data
        raise ClaimError(f"it can't be read: {error.strerror}") from None
    if begins != header(claim.secret):
        raise ClaimError("it holds other data by now")
