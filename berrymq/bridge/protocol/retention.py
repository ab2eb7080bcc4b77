"""What was confirmed last, kept a little longer for the successor of a hub that may not have handed it on."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .frames import WireMessage

__all__ = ["RETAIN_SECONDS", "Retention"]

RETAIN_SECONDS = 2.0
"""How long messages are kept."""


class _Confirmed(NamedTuple):
    until: float
    size: int
    messages: list[WireMessage]


class Retention:
    """The latest confirmed messages: not older than `RETAIN_SECONDS`, and within bounds.

    Args:
        max_messages: how many are kept.
        max_bytes: how large the frames may be together in which they were sent.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._batches: deque[_Confirmed] = deque()
        self._messages = 0
        self._bytes = 0

    def add(self, messages: list[WireMessage], size: int, now: float) -> None:
        """Keep what was sent in one frame and is confirmed now."""
        self._batches.append(_Confirmed(now + RETAIN_SECONDS, size, messages))
        self._messages += len(messages)
        self._bytes += size
        self.trim(now)

    def trim(self, now: float) -> None:
        """Let go of what is too old or too much."""
        batches = self._batches
        while batches and (
            batches[0].until <= now or self._messages > self._max_messages or self._bytes > self._max_bytes
        ):
            oldest = batches.popleft()
            self._messages -= len(oldest.messages)
            self._bytes -= oldest.size

    def messages(self) -> list[WireMessage]:
        """All that is kept, in order."""
        return [message for batch in self._batches for message in batch.messages]

    def clear(self) -> None:
        """Keep nothing of it."""
        self._batches.clear()
        self._messages = self._bytes = 0
