"""What one side of a link has got, and of what the other side has been told so."""

from __future__ import annotations

__all__ = ["Receipts"]


class Receipts:
    """Takes numbered frames in turn, and knows when an acknowledgement is due.

    Args:
        delay: seconds after which a frame is acknowledged at the latest.
        many: so many messages are acknowledged at once.
    """

    def __init__(self, delay: float, many: int) -> None:
        self.received = 0
        """The number of the last frame that came."""
        self.due: float | None = None
        """When an acknowledgement has to go at the latest, if something is to be acknowledged."""
        self._delay = delay
        self._many = many
        self._acknowledged = 0
        self._messages = 0

    def take(self, n: int, now: float) -> bool:
        """Whether frame *n* is the next one; otherwise it is here already.

        Raises:
            ValueError: one before it is missing.
        """
        if n > self.received + 1:
            raise ValueError(f"frame {n} came where {self.received + 1} was due")
        is_news = n > self.received
        if is_news:
            self.received = n
        else:
            self._acknowledged = min(self._acknowledged, n - 1)  # its sender has to be told again
        if self.due is None:
            self.due = now + self._delay
        return is_news

    def count(self, messages: int) -> None:
        """So many messages were in the frame that came last."""
        self._messages += messages

    def are_due(self, now: float) -> bool:
        """Whether an acknowledgement has to go now."""
        if self.received == self._acknowledged:
            return False
        return self._messages >= self._many or (self.due is not None and now >= self.due)

    def acknowledge(self) -> int:
        """The number that is told to the other side."""
        self._acknowledged = self.received
        self._messages = 0
        self.due = None
        return self.received
