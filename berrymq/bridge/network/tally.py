"""What passed through a node lately, by identifier: for people who look at it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.protocol.frames import WireMessage

__all__ = ["Passed", "Tally"]

Key = tuple[str, str | None]


class Passed:
    """The messages of one identifier in one room."""

    __slots__ = ("at", "count", "source")

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        """When the last one came, in seconds since 1970."""
        self.source = ""
        """The name of the node that sent the last one."""


class Tally:
    """Counts messages by identifier and room, without looking into them.

    This adds about a tenth to what a message costs a hub (measured: 0.4 of 3.9 microseconds), so a node has
    a tally only while somebody looks, and what it costs otherwise is one comparison with None.

    Args:
        size: how many identifiers are remembered at least, those that came last; never more than twice that.
        clock: seconds since 1970.
    """

    def __init__(self, size: int = 2048, clock: Callable[[], float] = time.time) -> None:
        self.since = clock()
        self.total = 0
        """How many messages came, those of forgotten identifiers included."""
        self._size = size
        self._clock = clock
        self._recent: dict[Key, Passed] = {}
        self._older: dict[Key, Passed] = {}

    def count(self, message: WireMessage) -> None:
        """Take note of a message."""
        self.total += 1
        key = message.identifier, message.room
        passed = self._recent.get(key)
        if passed is None:
            passed = self._remember(key)
        passed.count += 1
        passed.at = self._clock()
        passed.source = message.source

    def _remember(self, key: Key) -> Passed:
        """Make room for an identifier; those that have not come since there was room last are forgotten."""
        passed = self._older.pop(key, None) or Passed()
        if len(self._recent) >= self._size:
            self._older = self._recent
            self._recent = {}
        self._recent[key] = passed
        return passed

    def entries(self) -> dict[Key, Passed]:
        """What is remembered."""
        return self._older | self._recent
