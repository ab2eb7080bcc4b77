"""Connection files: how the nodes of one user on one machine find and trust each other with nothing typed.

A listening node writes its URL and access token into a file that this user alone can read. Who can
read it may link.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from berrymq.bridge.processes import is_running, start_mark

from .runtime_directory import RuntimeDirectoryError, private_directory, runtime_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["ConnectionFile", "ConnectionInfo", "publish", "read_all"]

Kind = Literal["hub", "jupyter", "node"]

RENEWAL_SECONDS = 60.0
"""How often a connection file is shown to be in use; those who tidy temporary directories wait longer."""

_MAX_BYTES = 64 * 1024
_PRIVATE = 0o600
_log = logging.getLogger("berrymq")
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection file says of its node. The access token is not in the ``repr``.

    Attributes:
        url: where it listens.
        access_token: what lets a node in there.
        pid: its process.
        name: its readable name.
        kind: a hub of its own, a Jupyter server, or any other node.
        started_at: when it began to listen, POSIX seconds.
        version: the berryMQ version it runs.
        mark: what tells its process from a later one of the same number, where the system can tell.
    """

    url: str
    access_token: str
    pid: int
    name: str
    kind: Kind
    started_at: float
    version: str
    mark: str | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} at {self.url}, pid {self.pid}>"

    @property
    def is_live(self) -> bool:
        """Whether its process still runs. That it answers is for the caller to try."""
        return is_running(self.pid, self.mark)


class ConnectionFile:
    """The file of a node of this process, until :meth:`remove`, the end of a ``with`` block, or exit."""

    def __init__(self, path: Path, info: ConnectionInfo) -> None:
        self.path = path
        self.info = info
        _present.add(self)

    def __repr__(self) -> str:
        return f"<connection file {self.path.name} of {self.info!r}>"

    def renew(self) -> None:
        """Keep it from those who tidy temporary files, and write it again where they were quicker."""
        if os.getpid() == self.info.pid:
            try:
                os.utime(self.path)
            except FileNotFoundError:
                private_directory(self.path.parent)
                _write(self.path, self.info)

    async def keep(self) -> None:
        """Renew it, as a task, until that is cancelled."""
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            try:
                self.renew()
            except (OSError, RuntimeDirectoryError) as error:
                _log.warning("%s can't be kept, so nobody finds this node: %s", self.path, error)

    def remove(self) -> None:
        """Remove it. In a forked child this does nothing: the file is its parent's."""
        _present.discard(self)
        if os.getpid() == self.info.pid:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


_present: set[ConnectionFile] = set()


@atexit.register
def _remove_all() -> None:
    for file in list(_present):
        file.remove()


def publish(
    *, url: str, access_token: str, name: str, kind: Kind, directory: Path | None = None
) -> ConnectionFile:
    """Write the connection file of a node of this process; files of processes that are gone are cleared away.

    Raises:
        RuntimeDirectoryError: there is no private place for it. The text says what to do.
    """
    directory = directory or runtime_directory()
    _clear(directory)
    pid = os.getpid()
    info = ConnectionInfo(
        url=url,
        access_token=access_token,
        pid=pid,
        name=name,
        kind=kind,
        started_at=time.time(),
        version=_version(),
        mark=start_mark(pid),
    )
    path = directory / f"{kind}-{pid}-{secrets.token_hex(4)}.json"
    try:
        _write(path, info)
    except OSError as error:
        raise RuntimeDirectoryError(f"can't write {path}: {error.strerror or error}") from error
    return ConnectionFile(path, info)


def read_all(directory: Path | None = None) -> list[ConnectionInfo]:
    """What the files of all live nodes of this user say, the newest first.

    Raises:
        RuntimeDirectoryError: the directory is there, but others could have put files into it.
    """
    directory = directory or runtime_directory(create=False)
    found = [info for path in _files(directory, ".json") if (info := _read(path)) and info.is_live]
    return sorted(found, key=lambda info: info.started_at, reverse=True)


def _files(directory: Path, suffix: str) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from (path for path in directory.iterdir() if path.name.endswith(suffix))


def _write(path: Path, info: ConnectionInfo) -> None:
    """Write it whole or not at all, never readable by others, never through a link that was laid there."""
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW
    try:
        with open(os.open(temporary, flags, _PRIVATE), "wb") as file:  # noqa: PTH123 - pathlib can't give these flags
            file.write(msgspec.json.format(msgspec.json.encode(info)))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> ConnectionInfo | None:
    """What it says, or None when it is not a file that this user alone wrote, or not one of ours."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NO_FOLLOW
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - pathlib can't give these flags
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
                return None
            if os.name != "nt" and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
                return None
            return msgspec.json.decode(file.read(_MAX_BYTES), type=ConnectionInfo)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _clear(directory: Path) -> None:
    """Remove what processes left that were killed."""
    for path in _files(directory, ".json"):
        info = _read(path)
        if info is not None and not info.is_live:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    for path in _files(directory, ".tmp"):
        pid = path.name.split("-")[1:2]
        if pid and pid[0].isdecimal() and not is_running(int(pid[0])):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("berrymq")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that was not installed
