"""The content of a connection file, and its I/O: private, atomic, locked while its node runs.

A reader trusts a file only if it belongs to this user, is closed to others, and is locked by its writer.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from berrymq.bridge.errors import LinkError

from .endpoint import Endpoint
from .file_lock import FileLock, open_regular, try_lock

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ConnectionInfo", "Kind", "read_info", "write_info"]

Kind = Literal["hub", "node"]
"""The kinds of node: the hub of a user, or any other node that listens."""

_MAX_BYTES = 64 * 1024
_CAN_RENAME_OPEN_FILES = os.name != "nt"


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a connection file. The access token is not in the ``repr``.

    Attributes:
        url: the URL at which the node listens.
        access_token: the secret that its clients need.
        pid: the number of its process.
        name: its readable name.
        kind: the hub, or any other node.
        started_at: when it started to listen, POSIX seconds.
        version: the berryMQ version it runs.
    """

    url: str
    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    pid: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    name: str
    kind: Kind
    started_at: float
    version: str

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint at which the node listens.

        Raises:
            LinkError: the URL is invalid. `read_info` returns none with such a URL.
        """
        return Endpoint.parse(self.url)

    @property
    def no_answer(self) -> str:
        """A sentence for people that the node did not answer in time, with advice.

        A process that is stopped (SIGSTOP) ends by SIGKILL alone.
        """
        advice = f"wait for it, or end it by `kill -9 {self.pid}`"
        if self.kind == "hub":
            advice += ", and the next link starts another"
        return f"the {self.kind} at {self.url} (process {self.pid}) did not answer in time: {advice}"

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} at {self.url!r}, pid {self.pid}>"


def write_info(path: Path, info: ConnectionInfo) -> FileLock:
    """Write a connection file in one step, with its lock held before the file is visible.

    Never follows a symbolic link of that name, and replaces an existing file.

    Args:
        path: the file.
        info: its content.

    Returns:
        The lock, which is held until it is released.

    Raises:
        OSError: it can't be written, or the file system supports no locks.
    """
    if _CAN_RENAME_OPEN_FILES:
        temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.tmp")
    else:  # pragma: no cover - a reader that meets it half written ignores it
        temporary = path
        path.unlink(missing_ok=True)
    lock = FileLock(open_regular(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    try:
        try_lock(lock.descriptor)
        with open(lock.descriptor, "wb", closefd=False) as file:
            file.write(msgspec.json.format(msgspec.json.encode(info)))
        if temporary != path:
            temporary.replace(path)
    except BaseException:
        lock.release()
        temporary.unlink(missing_ok=True)
        raise
    return lock


def read_info(path: Path) -> ConnectionInfo | None:
    """Read the connection file of a live node.

    None for anything else: its process has ended (its lock is free), it is too large or malformed, or it is
    not a file that this user alone can read and write.

    The check of the lock takes a shared lock for the time of the read, so it may make the first attempt of a
    writer to lock the same file fail.
    """
    try:
        with open(open_regular(path), "rb") as file:  # noqa: PTH123 - pathlib takes no descriptor
            if not _is_private(os.fstat(file.fileno())) or try_lock(file.fileno(), shared=True):
                return None
            info = msgspec.json.decode(file.read(_MAX_BYTES), type=ConnectionInfo)
        _ = info.endpoint
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, LinkError):
        return None
    return info


def _is_private(found: os.stat_result) -> bool:
    """Return whether this user alone can read and write a file, and it is not too large."""
    if found.st_size > _MAX_BYTES:
        return False
    return os.name == "nt" or (found.st_uid == os.geteuid() and not found.st_mode & 0o077)
