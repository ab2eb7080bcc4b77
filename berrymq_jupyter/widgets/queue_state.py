"""Statistics of a queue, polled now and then: nothing is added to the cost of a message.

The rates are differences of the queue's own counters, so nothing that happens between two polls is missed; of
the depth, a peak between two polls is seen only if it is the highest so far.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from .counts import Rate

if TYPE_CHECKING:
    from berrymq import Queue
    from berrymq.introspection import QueueMember, QueueStats

__all__ = ["POINTS", "STEP", "QueueState", "taken"]

STEP: Final = 0.5
"""Seconds that one point of the depth's history covers."""
POINTS: Final = 240
"""Two minutes of history."""
IDLE: Final = 0.2
"""The interval of polls of an idle queue, in seconds."""


class MemberState:
    """A member of a shared queue, and its rate."""

    __slots__ = ("member", "rate")

    def __init__(self, member: QueueMember) -> None:
        self.member = member
        self.rate = Rate()


class QueueState:
    """Numbers of a queue: its depth over the last two minutes, and the rates of its input and output."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.stats: QueueStats = queue.stats()
        self.coming = Rate()
        self.going = Rate()
        self.members: dict[str, MemberState] = {}
        """The members of a shared queue, by name."""
        self.course: deque[int] = deque(maxlen=POINTS - 1)
        """The highest depth of each step that is over."""
        self.current = self.stats.size
        """The highest depth of this step."""
        self.step_began = self.looked_at = monotonic()
        self.unsent = True

    def changed(self) -> bool:
        """Return whether the queue has changed since the last poll."""
        return self.queue.stats() != self.stats

    def look(self, now: float) -> None:
        """Poll the queue.

        Args:
            now: by `time.monotonic`.
        """
        before, self.stats = self.stats, self.queue.stats()
        stats = self.stats
        came = max(0, stats.received - before.received)
        taken_now = max(0, taken(stats) - taken(before))
        passed = now - self.looked_at
        self.looked_at = now
        moving = self.coming.update(came, passed) | self.going.update(taken_now, passed)
        moving |= self.update_members(passed)
        self.current = max(self.current, stats.size)
        if stats.deepest > before.deepest:  # between two polls
            self.current = stats.deepest
        if now - self.step_began >= STEP:
            steps = min(int((now - self.step_began) / STEP), POINTS)
            self.course.extend([self.current] * steps)
            self.step_began = now
            self.current = stats.size
            moving = moving or self.uneven()
        self.unsent = self.unsent or moving or stats != before

    def update_members(self, passed: float) -> bool:
        """Update the members and their rates; return whether something has changed."""
        before, self.members = self.members, {}
        changed = False
        for member in self.queue.members():
            known = before.get(member.name) or MemberState(member)
            # Members of one name are shown as one; jobs taken before the first poll make no rate.
            changed |= known.rate.update(max(0, member.taken - known.member.taken), passed)
            changed |= known.member != member
            known.member = member
            self.members[member.name] = known
        return changed or before.keys() != self.members.keys()

    def uneven(self) -> bool:
        """Return whether the history is more than a level line.

        A level line needs no further updates.
        """
        return len(self.course) > 0 and (
            min(self.course) != max(self.course) or self.course[-1] != self.current
        )

    def depths(self) -> list[int]:
        """Return the history of the depth, the present one last."""
        return [*self.course, self.current]

    def patience(self) -> float | None:
        """Return the seconds until the next poll; None when nothing can change any more."""
        if self.stats.closed and not self.stats.size and not self.unsent and not self.uneven():
            return None
        return IDLE


def taken(stats: QueueStats) -> int:
    """Return how many messages were taken, by any consumer."""
    return stats.received - stats.size - stats.dropped
