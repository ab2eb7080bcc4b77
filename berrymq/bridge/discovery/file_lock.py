"""Files in the runtime directory, and locks on them between processes.

The system releases a lock when its holder ends, however it ends.

On POSIX systems a lock is taken with ``flock`` and belongs to the open file, not to the process: it survives
a rename of the file, is shared with forked children, and excludes other descriptors of the same process.
POSIX record locks (``lockf``) would not do: a process loses those as soon as it closes any descriptor of the
file, even one that was only opened to read. On Windows one byte far beyond the end of the file is locked,
since a locked range can't be read there.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["POLL_SECONDS", "FileLock", "acquire", "close_inherited", "is_locked", "open_regular", "try_lock"]

POLL_SECONDS = 0.003
"""The interval of attempts to take a lock that another process holds; the system's own wait has no timeout.
"""

_FLAGS: int = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
"""Flags to open a file itself, not the target of a symbolic link, and not to block on a pipe."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file as `os.open` does; a new one is private to this user.

    The check follows the opening, on the descriptor, so that the file can't be exchanged in between.

    Args:
        path: the file.
        flags: as for `os.open`; the mode of a new file is 0600.

    Returns:
        The descriptor, which the caller closes.

    Raises:
        OSError: it can't be opened, or is no regular file but a symbolic link, a directory, a pipe.
    """
    try:
        descriptor = os.open(path, flags | _FLAGS, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise OSError(error.errno, "it is not a regular file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    _LOCKED_BYTE = 0x7FFF_FFFF

    def try_lock(descriptor: int, *, shared: bool = False) -> bool:  # noqa: ARG001 - msvcrt has no shared locks
        """Lock an open file without waiting; return False if another descriptor holds a lock on it."""
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)
        return True

else:
    import fcntl

    def try_lock(descriptor: int, *, shared: bool = False) -> bool:
        """Lock an open file without waiting; return False if another descriptor holds a lock on it.

        Args:
            descriptor: the open file.
            shared: allow other shared locks. Two processes that only check whether a file is locked must not
                take each other for its owner.

        Raises:
            OSError: the file system supports no locks.
        """
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class FileLock:
    """An exclusive lock, held by keeping its file open until `release` or the end of the process.

    A context manager, which releases it at the end of the block.

    Args:
        descriptor: the file, open and about to be locked, or locked already.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        """The open file; -1 after `release`."""
        _held.add(self)

    def is_at(self, path: Path) -> bool:
        """Return whether ``path`` still names the locked file, and not a later one."""
        try:
            return self.descriptor >= 0 and os.path.samestat(os.fstat(self.descriptor), path.lstat())
        except OSError:
            return False

    def release(self) -> None:
        """Release the lock, if it was not released before."""
        _held.discard(self)
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            # Closed, not unlocked: an unlock in a forked child would release the parent's lock too.
            with suppress(OSError):
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_held: set[FileLock] = set()
"""The locks of this process, which a forked child closes."""


def acquire(path: Path, timeout: float = 0.0) -> FileLock:
    """Lock the file at ``path``, which is created if it is missing, and never removed.

    Were it removed, two processes could hold locks on two files of that name.

    Args:
        path: the file; anything else of that name is refused.
        timeout: seconds to wait for another holder.

    Returns:
        The lock, held.

    Raises:
        TimeoutError: another process held the lock for all of that time.
        OSError: the file can't be opened, or its file system supports no locks.
    """
    deadline = time.monotonic() + timeout
    while True:
        lock = FileLock(open_regular(path, os.O_RDWR | os.O_CREAT))
        try:
            # A file that was removed between the two calls is not the one that others would try to lock.
            if try_lock(lock.descriptor) and lock.is_at(path):
                return lock
        except BaseException:
            lock.release()
            raise
        lock.release()
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{path} is locked by another process")
        time.sleep(POLL_SECONDS)


def is_locked(path: Path) -> bool:
    """Return whether any process, this one included, holds the lock of the file at ``path``.

    The check takes a shared lock for some microseconds, so the first attempt of `acquire` may fail then.
    False for a missing file, too.
    """
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def close_inherited() -> None:
    """Close the files of the parent's locks in a forked child, which would outlive the parent otherwise.

    With ``flock`` a lock belongs to the open file, which both processes share, so closing it in the child
    leaves it to the parent.
    """
    for lock in list(_held):
        lock.release()
