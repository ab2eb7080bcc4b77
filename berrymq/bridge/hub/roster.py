"""A note of which nodes are linked to the hub, for the hub that takes its place if it is killed."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Roster"]

MAX_BYTES = 256 * 1024

_log = logging.getLogger("berrymq")


class Roster:
    """The ids of the nodes on a hub, in a file beside its connection file. They are public, and no secret.

    Args:
        directory: the runtime directory, which is private to the user.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "hub.nodes"
        self._written: frozenset[str] = frozenset()

    def read(self) -> frozenset[str]:
        """What a hub has left that did not end in good order."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)
        try:
            with open(os.open(self._path, flags), "rb") as file:  # noqa: PTH123 - pathlib can't give these flags
                return frozenset(msgspec.json.decode(file.read(MAX_BYTES), type=list[str]))
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return frozenset()

    def write(self, ids: Iterable[str]) -> None:
        """Note who is there now."""
        present = frozenset(ids)
        if present == self._written:
            return
        temporary = self._path.with_name(f".hub.nodes-{secrets.token_hex(4)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123 - as above
                file.write(msgspec.json.encode(sorted(present)))
            temporary.replace(self._path)
            self._written = present
        except OSError as error:
            _log.warning("can't note who is linked: %s", error)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def remove(self) -> None:
        """The hub ends in good order: nobody is waited for."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
