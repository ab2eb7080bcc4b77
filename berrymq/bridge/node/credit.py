"""How much of a peer's buffers is asked for at a time.

What is in flight delays every message behind it. So no more is asked for than arrives within
`QUEUE_SECONDS`, beside what the link itself holds during a round trip.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Asked", "Credit"]

QUEUE_SECONDS = 0.02
"""The time for which pieces may delay other messages. Estimates are off by up to a half, and the target is
50 ms."""
FIRST_BYTES, LEAST_BYTES, MOST_BYTES = 4 * 1024, 2 * 1024, 8 * 1024 * 1024
"""What is asked for at first, at least and at most."""
PIECES = 8
"""The credit is divided into so many pieces, as far as they are neither too small nor too large."""
LEAST_PIECE_BYTES, MOST_PIECE_BYTES = 1024, 1024 * 1024

WINDOW_SECONDS = 1.0
"""The highest rate of this time, or up to twice this time, counts."""


class Asked(NamedTuple):
    """A piece that was requested.

    Attributes:
        size: in bytes.
        at: when, in seconds.
        in_flight: the bytes in flight then, this piece included.
        arrived: when the piece before those in flight arrived; on an idle link the same as `at`.
        arrived_asked: when that one was requested.
    """

    size: int
    at: float
    in_flight: int
    arrived: float
    arrived_asked: float


class Credit:
    """The credit of one link.

    All that was in flight when a piece was asked for has arrived with it, since the arrival of the piece
    before that. So each piece proves a rate that the link is capable of. Slower ones prove nothing, for a
    busy process delays them as well; hence the highest rate of the last seconds counts. The credit is what
    arrives at that rate within the shortest round trip and `QUEUE_SECONDS`. At first it doubles, until pieces
    wait for each other.
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
        self._last: tuple[float, float] | None = None
        """When the last piece arrived, and when it was asked for."""
        self._shortest = float("inf")
        """The shortest time from asking for a piece to its arrival, in seconds."""
        self._shortest_size = 0
        """The size of that piece."""
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

    def ask(self, size: int, in_flight: int, now: float) -> Asked:
        """Record that a piece is requested, and return it.

        Args:
            size: of the piece, in bytes.
            in_flight: the bytes in flight then, this piece included.
            now: the time, in seconds.
        """
        return Asked(size, now, in_flight, *(self._last or (now, now)))

    def arrived(self, asked: Asked, now: float) -> None:
        """Record that a piece has arrived.

        Args:
            asked: the piece.
            now: the time, in seconds.
        """
        if self._begun is None:
            self._begun = asked.at
        took = max(now - asked.at, 1e-5)
        if took < self._shortest:
            self._shortest, self._shortest_size = took, asked.size
        if now - self._window_since > WINDOW_SECONDS:
            self._window_since, self._former_rate, self._rate = now, self._rate, 0.0
        # Where this process was busy, pieces wait in its socket and then arrive all at once. Those after them
        # would prove too much; but what the link can't deliver faster was not asked for faster either.
        seconds = max(now - asked.arrived, asked.at - asked.arrived_asked, 1e-5)
        self._rate = max(self._rate, asked.in_flight / seconds)
        self._last = now, asked.at
        self._arrived += asked.size
        if asked.at < self._begun:
            return  # of the former round
        self._pieces += 1
        self._seconds += took
        if self._arrived < self.size:
            return
        rate = max(self._rate, self._former_rate)
        credit = int(rate * (max(self._shortest - self._shortest_size / rate, 0) + QUEUE_SECONDS))
        if self._seconds / self._pieces - self._shortest < QUEUE_SECONDS / 3:
            credit = max(credit, 2 * self.size)
        self.size = min(max(credit, LEAST_BYTES), MOST_BYTES)
        self._begun, self._arrived, self._pieces, self._seconds = now, 0, 0, 0.0
