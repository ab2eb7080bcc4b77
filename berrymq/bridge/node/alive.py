"""A locked file that shows to the hub of this machine that the process of a node lives.

A connection that is lost may be made again, so a hub keeps for a while what it has handed over. When the lock
is free the process has ended, however it ended, and there is nothing to wait for.
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

__all__ = ["lock_path", "remove_stale", "show_alive", "stop_showing"]

_log = logging.getLogger("berrymq")


def lock_path(directory: Path, id: str) -> Path:
    """Return the file of the node with that id."""
    return directory / f"node-{id}.lock"


def remove_stale(directory: Path) -> None:
    """Remove the files of processes that have ended while there was no hub to see it."""
    for path in directory.glob("node-*.lock"):
        if not is_locked(path):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def show_alive(id: str) -> FileLock | None:
    """Lock the file of a node for as long as this process lives; None where files can't be locked."""
    try:
        return acquire(lock_path(runtime_directory(), id))
    except (LinkError, OSError) as error:
        _log.debug("can't show that this process lives: %s", error)
        return None


def stop_showing(id: str, lock: FileLock | None) -> None:
    """Remove the file of a node."""
    if lock is not None:
        with suppress(LinkError, OSError):
            lock_path(runtime_directory(), id).unlink(missing_ok=True)
        lock.release()
