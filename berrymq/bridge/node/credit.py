"""How much of a peer's buffers is asked for at a time.

What is in flight delays every message behind it. So no more is asked for than arrives within
`QUEUE_SECONDS`, beside the time that a piece takes on an idle link.
"""

from __future__ import annotations

__all__ = ["Credit"]

QUEUE_SECONDS = 0.025
"""The time for which pieces may delay other messages."""
FIRST_BYTES, LEAST_BYTES, MOST_BYTES = 16 * 1024, 8 * 1024, 16 * 1024 * 1024
"""What is asked for at first, at least and at most."""
PIECES = 8
"""The credit is divided into so many pieces, as far as they are neither too small nor too large."""
LEAST_PIECE_BYTES, MOST_PIECE_BYTES = 4 * 1024, 1024 * 1024


class Credit:
    """The credit of one link.

    It doubles with each round trip until pieces wait for each other. From then on it is what arrives within
    the shortest round trip and `QUEUE_SECONDS`.
    """

    def __init__(self) -> None:
        self.size = FIRST_BYTES
        """How many bytes may be in flight."""
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

    def arrived(self, size: int, asked_at: float, now: float) -> None:
        """Note that a piece has arrived.

        Args:
            size: of the piece in bytes.
            asked_at: when it was asked for.
            now: the time.
        """
        if self._begun is None:
            self._begun = asked_at
        self._arrived += size
        took = now - asked_at
        self._shortest = min(self._shortest, took)
        if asked_at < self._begun:
            return  # of the former round
        self._pieces += 1
        self._seconds += took
        if self._arrived < self.size:
            return
        if self._seconds / self._pieces - self._shortest < QUEUE_SECONDS / 3:
            size = 2 * self.size
        else:
            rate = self._arrived / max(now - self._begun, 1e-6)
            size = int(rate * (self._shortest + QUEUE_SECONDS))
        self.size = min(max(size, LEAST_BYTES), MOST_BYTES)
        self._begun, self._arrived, self._pieces, self._seconds = now, 0, 0, 0.0
