"""The roster: a file that lists the nodes linked to the hub, read by its successor if the hub is killed."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from berrymq.bridge.discovery.file_lock import open_regular
from berrymq.bridge.peers_log import peers_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Roster"]

MAX_BYTES = 256 * 1024
"""The most that is read of the file."""

NODE_ID = re.compile("[0-9a-f]{16}")
"""What a line has to be."""


class Roster:
    """The ids of the nodes on a hub, a line each, in a file beside its connection file. They are public.

    A failure to write is logged and does no other harm: a successor then waits for fewer nodes. Not
    thread-safe.

    Args:
        directory: the runtime directory, which is private to the user.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "hub.nodes"
        self._noted: frozenset[str] = frozenset()
        """The ids that the file lists."""
        self._holds_former = True
        """The file may still list nodes of a former hub."""

    def read(self) -> frozenset[str]:
        """Return the ids that a hub left which did not shut down cleanly; an empty set after a clean end."""
        try:
            with open(open_regular(self._path), "rb") as file:  # noqa: PTH123 - pathlib takes no descriptor
                lines = file.read(MAX_BYTES).decode("ascii", "replace").split("\n")
        except OSError:
            return frozenset()
        return frozenset([line for line in lines if NODE_ID.fullmatch(line)])

    def add(self, ids: Iterable[str]) -> None:
        """Add nodes at once: a node that is missing from the roster is not waited for.

        Args:
            ids: of linked nodes; only those that the file lacks are appended.
        """
        new = frozenset(ids) - self._noted
        if new:
            with self._warning():
                self._write(os.O_APPEND, self._path, new)
                self._noted |= new

    def replace(self, ids: Iterable[str]) -> None:
        """Replace the roster by the nodes that are linked now, in one step."""
        present = frozenset(ids)
        if present == self._noted and not self._holds_former:
            return
        temporary = self._path.with_name(f".hub.nodes-{secrets.token_hex(4)}.tmp")
        with self._warning():
            try:
                self._write(os.O_EXCL, temporary, present)
                temporary.replace(self._path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            self._noted, self._holds_former = present, False

    @staticmethod
    def _write(flags: int, path: Path, ids: Iterable[str]) -> None:
        """Write ids to a file that is opened with these flags, beside those to create and write it."""
        with open(open_regular(path, os.O_WRONLY | os.O_CREAT | flags), "wb") as file:  # noqa: PTH123 - as above
            file.write("".join([f"{id}\n" for id in sorted(ids)]).encode())

    @staticmethod
    @contextmanager
    def _warning() -> Iterator[None]:
        """Log an error of the file system in the block, and go on."""
        try:
            yield
        except OSError as error:
            peers_log.warning("can't note who is linked: %s", error)

    def remove(self) -> None:
        """Remove the file: the hub shuts down, and its nodes are not expected to resume."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
