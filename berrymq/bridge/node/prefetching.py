"""How many jobs of a shared queue to prefetch.

A consumer that takes 10 ms for a job loses nothing by a round trip of 0.2 ms; one that takes 10 µs would wait
most of the time. So a process asks for as many jobs as its consumers do in one tick, and not for more: a job
that is prefetched here can't be taken by an idle consumer elsewhere.
"""

from __future__ import annotations

from threading import get_ident
from time import monotonic

__all__ = ["TICK_SECONDS", "Pace"]

TICK_SECONDS = 0.02
"""How many seconds of work are prefetched, and the interval of updates while jobs are taken."""

MAX_AHEAD = 2_000
"""The most jobs that are prefetched. A group limits their bytes as well."""


class Pace:
    """Estimates how many jobs to prefetch so that consumers stay busy, from the time that jobs take.

    Used with the lock of the membership held, but for `begin`, which concerns the entry of its own thread
    alone.
    """

    __slots__ = ("_done", "_seconds", "_since", "_stalled")

    def __init__(self) -> None:
        self._done = 0
        """Jobs done since the last stall; while they are few, few are prefetched."""
        self._seconds = 0.0
        """The average time of a job; 0 while it is unknown."""
        self._since: dict[int, float] = {}
        """By thread, when it began its job."""
        self._stalled = True

    def begin(self) -> None:
        """Note that this thread begins to work on a job."""
        self._since[get_ident()] = monotonic()

    def done(self) -> None:
        """Note that this thread has done its job, and takes another or waits.

        The average gives the last job a fifth of the weight, so it follows a change within some ten jobs.
        """
        since = self._since.pop(get_ident(), None)
        if since is not None:
            self._stalled = False
            self._done += 1
            seconds = max(1e-6, monotonic() - since)
            self._seconds = seconds if not self._seconds else 0.8 * self._seconds + 0.2 * seconds

    def stall(self) -> None:
        """Forget the estimate: no job was taken for a while."""
        self._stalled = True
        self._since.clear()
        self._seconds = 0.0
        self._done = 0

    @property
    def ahead(self) -> int:
        """The number of jobs that are done in `TICK_SECONDS`.

        It begins with 0 and grows by two for each job done, so that the first consumer to ask does not take
        all jobs of a short queue.
        """
        if self._stalled or not self._seconds:
            return 0
        return min(
            MAX_AHEAD, 2 * self._done - 2, int(max(1, len(self._since)) * TICK_SECONDS / self._seconds)
        )
