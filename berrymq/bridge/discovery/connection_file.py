"""Connection files: how the nodes of one user on one machine find and trust each other.

A listening node writes its URL and its access token into a file that this user alone can read, and keeps that
file locked as long as it listens. Processes that can read the file may link. A file that is not locked
belongs to a process that has ended, cleanly or not, and is ignored: another user's program may have that port
now.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import berrymq
from berrymq.bridge.errors import LinkError
from berrymq.process import Step, process

from .connection_info import ConnectionInfo, Kind, read_info, write_info
from .file_lock import FileLock, close_inherited, open_regular, try_lock
from .runtime_directory import RuntimeDirectoryError, private_directory, runtime_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["ConnectionFile", "ConnectionInfo", "Kind", "after_fork", "publish", "read_hub", "read_live"]

HUB_FILE = "hub.json"
"""The name of the hub's connection file; there is one hub for each runtime directory."""

RENEWAL_SECONDS = 60.0
"""The interval of `ConnectionFile.keep_renewed`: programs that tidy temporary directories wait longer."""

_NODE_FILE = re.compile(r"node-[0-9]+-[0-9a-f]+\.json")
_TEMPORARY_FILE = re.compile(r"\.(?:hub|node-[0-9]+-[0-9a-f]+)-[0-9a-f]+\.tmp")
_TEMPORARY_SECONDS = 60.0
"""The least age of a temporary file that is removed. One that is being written may have no lock yet."""

_log = logging.getLogger("berrymq")


class ConnectionFile:
    """The connection file of a node of this process, until `remove`, the end of a ``with`` block, or exit.

    May be used on any thread. A forked child inherits the object without its lock, and changes nothing on
    disk.

    Args:
        path: the file.
        info: its content.

    Raises:
        OSError: it can't be written, or the file system supports no locks.

    Attributes:
        path: the file.
        info: its content.
    """

    def __init__(self, path: Path, info: ConnectionInfo) -> None:
        self.path = path
        self.info = info
        self._mutex = threading.Lock()
        self._lock: FileLock | None = write_info(path, info)
        """Held while the node lives; None after `remove`, and in a forked child."""
        _published.add(self)

    def renew(self) -> None:
        """Update the file's time, so that it is not tidied away; write it again if it was.

        Does nothing after `remove`, in a forked child, and where another hub has written the file by now.

        Raises:
            RuntimeDirectoryError: the file can't be written, so others can't find this node.
        """
        if os.getpid() != self.info.pid:
            return
        with self._mutex:
            former = self._lock
            if former is None:
                return
            try:
                if former.is_at(self.path):
                    os.utime(self.path)
                    return
                private_directory(self.path.parent)
                if read_info(self.path) is not None:  # another hub has published in between
                    return
                self._lock = write_info(self.path, self.info)
            except OSError as error:
                raise _cant_write(self.path, error) from error
            former.release()

    def keep_renewed(self, call_later: Callable[..., object]) -> None:
        """Call `renew` every `RENEWAL_SECONDS` until the file is removed; log its failures.

        Args:
            call_later: calls a function after some seconds, as the loop's method of that name.
        """
        call_later(RENEWAL_SECONDS, self._renew_again, call_later)

    def _renew_again(self, call_later: Callable[..., object]) -> None:
        """Renew the file and schedule the next time, until the file is removed."""
        if self._lock is None:
            return
        try:
            self.renew()
        except (OSError, LinkError) as error:
            text = "cannot renew the connection file, so other processes will not find this %s: %s"
            _log.warning(text, self.info.kind, error)
        self.keep_renewed(call_later)

    def remove(self) -> None:
        """Remove the file and release its lock. In a forked child nothing happens: the file is its parent's.

        A file that another node has written in its place stays.
        """
        _published.discard(self)
        if os.getpid() != self.info.pid:
            return
        with self._mutex:
            lock, self._lock = self._lock, None
            if lock is None:
                return
            is_ours = lock.is_at(self.path)
            if os.name == "nt":  # pragma: no cover - an open file can't be removed there
                lock.release()
            if is_ours:
                with suppress(OSError):
                    self.path.unlink()
            lock.release()  # last: no other hub starts while it is locked

    def _abandon(self) -> None:
        """Forget the lock in a forked child; another thread of the parent may have held the mutex."""
        self._mutex = threading.Lock()
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<connection file {self.path.name} of {self.info!r}>"


_published: set[ConnectionFile] = set()
"""The connection files of this process, to be removed at its exit."""


def publish(
    *, url: str, access_token: str, name: str, kind: Kind, directory: Path | None = None
) -> ConnectionFile:
    """Write the connection file of a node of this process, and remove those of ended processes.

    Args:
        url: where the node listens.
        access_token: the secret that its clients need.
        name: its readable name.
        kind: ``"hub"`` only while holding `berrymq.bridge.discovery.starting.hub_lock`.
        directory: the directory; by default the runtime directory.

    Returns:
        The file, which is removed at exit if not before.

    Raises:
        RuntimeDirectoryError: there is no private directory. The text says what to do.
        LinkError: another hub is published there.
    """
    directory = directory or runtime_directory()
    pid = os.getpid()
    path = directory / (HUB_FILE if kind == "hub" else f"node-{pid}-{secrets.token_hex(4)}.json")
    info = ConnectionInfo(
        url=url,
        access_token=access_token,
        pid=pid,
        name=name,
        kind=kind,
        started_at=time.time(),
        version=berrymq.__version__,
    )
    if kind == "hub" and (other := read_hub(directory)) is not None:
        raise LinkError(f"a hub of yours runs already (process {other.pid})")
    _clear(directory)
    try:
        file = ConnectionFile(path, info)
    except OSError as error:
        raise _cant_write(path, error) from error
    process.at_exit(Step.LINKS, _remove_all)
    return file


def read_live(directory: Path | None = None) -> list[ConnectionInfo]:
    """Read the connection files of all live nodes of this user, the newest first.

    Args:
        directory: by default the runtime directory; a missing one is like an empty one.

    Raises:
        RuntimeDirectoryError: the directory can't be read, or others could have put files into it.
    """
    paths = _paths(directory or runtime_directory(create=False))
    found = [
        info
        for path in paths
        if path.suffix == ".json"
        and (info := read_info(path)) is not None
        and (info.kind == "hub") == (path.name == HUB_FILE)  # no other node can pass for the hub
    ]
    return sorted(found, key=lambda info: info.started_at, reverse=True)


def read_hub(directory: Path | None = None) -> ConnectionInfo | None:
    """Read the connection file of the hub; None if no hub lives.

    Args:
        directory: by default the runtime directory.

    Raises:
        RuntimeDirectoryError: others could have put files into the directory.
    """
    info = read_info((directory or runtime_directory(create=False)) / HUB_FILE)
    return info if info is not None and info.kind == "hub" else None


def after_fork() -> None:
    """Close all connection files and locks in a forked child; remove nothing.

    To be called before anything else there: as long as the child holds them open, its parent seems alive.
    """
    for file in _published:
        file._abandon()
    _published.clear()
    close_inherited()


def _remove_all() -> None:
    for file in list(_published):
        file.remove()


def _cant_write(path: Path, error: OSError) -> RuntimeDirectoryError:
    """Return the error for a connection file that can't be written."""
    return RuntimeDirectoryError(
        f"can't write {path}, so others can't find this node: {error.strerror or error}"
    )


def _paths(directory: Path) -> list[Path]:
    """Return the files in a directory; none in a missing one.

    Raises:
        RuntimeDirectoryError: it can't be read.
    """
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RuntimeDirectoryError(f"can't read {directory}: {error.strerror or error}") from error


def _clear(directory: Path) -> None:
    """Remove the files of ended nodes. Their names are random, so no live node has one of them.

    The file of an ended hub stays until the next hub replaces it, which could happen here between the check
    of its lock and its removal.
    """
    for path in _paths(directory):
        if _TEMPORARY_FILE.fullmatch(path.name):
            least_age = _TEMPORARY_SECONDS
        elif _NODE_FILE.fullmatch(path.name):
            least_age = 0.0
        else:
            continue
        with suppress(OSError):
            descriptor = open_regular(path)
            try:
                found = os.fstat(descriptor)
                is_old = not least_age or time.time() - found.st_mtime > least_age
                if is_old and try_lock(descriptor, shared=True):
                    path.unlink()
            finally:
                os.close(descriptor)
