"""A locked file by which the hub of this machine sees whether the process of a node is running.

A node whose connection is lost may reconnect, so a hub leaves it the jobs that it holds until its link
expires. When the lock is free the process has ended, and its jobs go to others at once.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from berrymq.bridge.discovery.file_lock import FileLock, acquire, is_locked
from berrymq.bridge.discovery.runtime_directory import runtime_directory
from berrymq.bridge.errors import LinkError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["lock_path", "lock_process_file", "remove_stale", "unlock_process_file"]

_log = logging.getLogger("berrymq")


def lock_path(directory: Path, id: str) -> Path:
    """Return the path of the file of the node with that id."""
    return directory / f"node-{id}.lock"


def remove_stale(directory: Path) -> None:
    """Remove the files of processes that ended while no hub was running."""
    for path in directory.glob("node-*.lock"):
        if not is_locked(path):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def lock_process_file(id: str) -> FileLock | None:
    """Lock the file of a node until this process ends; return None where files can't be locked."""
    try:
        return acquire(lock_path(runtime_directory(), id))
    except (LinkError, OSError) as error:
        _log.debug("the hub can't see when this process ends: %s", error)
        return None


def unlock_process_file(id: str, lock: FileLock | None) -> None:
    """Remove the file of a node, and unlock it."""
    if lock is not None:
        with suppress(LinkError, OSError):
            lock_path(runtime_directory(), id).unlink(missing_ok=True)
        lock.release()
