"""What one side of a link has sent and the other has not confirmed yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .accounts import Limits
    from .frames import WireMessage

__all__ = ["Sent", "Window"]


class Sent(NamedTuple):
    """A numbered frame, and the messages in it."""

    n: int
    data: bytes
    messages: list[WireMessage]


class Window:
    """The numbered frames that are on their way, kept until they are confirmed.

    Args:
        limits: how much may be under way.
    """

    def __init__(self, limits: Limits) -> None:
        self.last = 0
        """The number of the last frame."""
        self.count = 0
        """Messages that are under way."""
        self.size = 0
        """Bytes of the frames that are."""
        self._limits = limits
        self._frames: deque[Sent] = deque()

    def __bool__(self) -> bool:
        return bool(self._frames)

    @property
    def next(self) -> int:
        """The number that the next frame gets."""
        return self.last + 1

    @property
    def is_open(self) -> bool:
        """Whether messages may go. One always may when there are none, however large."""
        return not self.count or (
            self.count < self._limits.window_messages and self.size < self._limits.window_bytes
        )

    @property
    def takes_control(self) -> bool:
        """Whether announcements and reports may go: beside a full window, but not without end."""
        return self.size < 2 * self._limits.window_bytes

    @property
    def room(self) -> int:
        """How many messages one more frame may hold."""
        return min(self._limits.frame_messages, self._limits.window_messages - self.count)

    def add(self, data: bytes, messages: list[WireMessage]) -> bytes:
        """Keep the frame that has the next number."""
        self.last += 1
        self._frames.append(Sent(self.last, data, messages))
        self.count += len(messages)
        self.size += len(data)
        return data

    def confirm(self, n: int) -> list[Sent]:
        """The other side has everything up to *n*; the frames for which that is news."""
        frames = self._frames
        confirmed = []
        while frames and frames[0].n <= n:
            sent = frames.popleft()
            self.count -= len(sent.messages)
            self.size -= len(sent.data)
            confirmed.append(sent)
        return confirmed

    def frames(self) -> list[bytes]:
        """All that is kept, to be sent again."""
        return [sent.data for sent in self._frames]

    def messages(self) -> list[WireMessage]:
        """The messages in them, in order."""
        return [message for sent in self._frames for message in sent.messages]

    def clear(self) -> None:
        """Wait for no confirmation any more."""
        self._frames.clear()
        self.count = self.size = 0
