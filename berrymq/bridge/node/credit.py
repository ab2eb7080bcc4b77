"""How much of a peer's buffers is asked for at a time.

What is in flight delays every message behind it. So no more is asked for than arrives within
`QUEUE_SECONDS`, beside the time that a piece takes on an idle link.
"""

from __future__ import annotations

__all__ = ["Credit"]

QUEUE_SECONDS = 0.025
"""The time for which pieces may delay other messages."""
FIRST_BYTES, LEAST_BYTES, MOST_BYTES = 16 * 1024, 8 * 1024, 8 * 1024 * 1024
"""What is asked for at first, at least and at most."""
PIECES = 8
"""The credit is divided into so many pieces, as far as they are neither too small nor too large."""
LEAST_PIECE_BYTES, MOST_PIECE_BYTES = 4 * 1024, 1024 * 1024

WINDOW_SECONDS = 1.0
"""The highest rate of this time, or up to twice this time, counts."""


class Credit:
    """The credit of one link.

    All that was in flight when a piece was asked for has arrived with it, in the time that this took. So each
    piece proves a rate that the link is capable of. Slower ones prove nothing, for a busy process delays them
    as well; hence the highest rate of the last seconds counts. The credit is what arrives at that rate within
    the shortest round trip and `QUEUE_SECONDS`. At first it doubles, until pieces wait for each other.
    """

    def __init__(self) -> None:
        self.size = FIRST_BYTES
        """How many bytes may be in flight."""
        self._rate = self._former_rate = 0.0
        """The highest rate of this window, and of the one before, in bytes a second."""
        self._window_since = 0.0
        self.start()

    def start(self) -> None:
        """Begin on an idle link."""
        self._shortest = float("inf")
        self._begun: float | None = None
        """When the first piece of this round was asked for."""
        self._arrived = 0
        """How much has arrived in this round."""
        self._pieces, self._seconds = 0, 0.0
        """The number of pieces that were asked for in this round, and the time that they took together."""

    @property
    def piece(self) -> int:
        """The size of the next piece."""
        return min(max(self.size // PIECES, LEAST_PIECE_BYTES), MOST_PIECE_BYTES)

    def arrived(self, size: int, in_flight: int, asked_at: float, now: float) -> None:
        """Note that a piece has arrived.

        Args:
            size: of the piece in bytes.
            in_flight: how much was in flight when it was asked for, itself included.
            asked_at: when it was asked for.
            now: the time.
        """
        if self._begun is None:
            self._begun = asked_at
        took = max(now - asked_at, 1e-5)
        self._shortest = min(self._shortest, took)
        if now - self._window_since > WINDOW_SECONDS:
            self._window_since, self._former_rate, self._rate = now, self._rate, 0.0
        self._rate = max(self._rate, in_flight / took)
        self._arrived += size
        if asked_at < self._begun:
            return  # of the former round
        self._pieces += 1
        self._seconds += took
        if self._arrived < self.size:
            return
        credit = int(max(self._rate, self._former_rate) * (self._shortest + QUEUE_SECONDS))
        if self._seconds / self._pieces - self._shortest < QUEUE_SECONDS / 3:
            credit = max(credit, 2 * self.size)
        self.size = min(max(credit, LEAST_BYTES), MOST_BYTES)
        self._begun, self._arrived, self._pieces, self._seconds = now, 0, 0, 0.0
