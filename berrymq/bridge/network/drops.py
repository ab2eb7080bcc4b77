"""Telling of messages that were dropped: soon, and not once for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Drops"]

TELL_SECONDS = 1.0
"""How long losses are summed up before they are told."""


class Drops:
    """Tells how a count has grown.

    Args:
        loop: where it is told.
        tell: is given by how much.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[int], None]) -> None:
        self._loop = loop
        self._tell = tell
        self._total = self._told = 0
        self._planned = False

    def note(self, total: int) -> None:
        """The count is this now."""
        if total != self._total:
            self._total = total
            if not self._planned:
                self._planned = True
                self._loop.call_later(TELL_SECONDS, self._say)

    def _say(self) -> None:
        self._planned = False
        more, self._told = self._total - self._told, self._total
        self._tell(more)
