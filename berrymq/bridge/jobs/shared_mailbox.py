"""Clients without a link as members of shared queues.

Such a client has no stream that would carry jobs to it, and may be gone without notice. So it gets a job only
when it calls ``get``, and one at a time. A job is acknowledged by the next call; if none comes within the ttl
of its session, the mailbox is closed and the job returns to the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berrymq.bridge.node.mailbox import read_message
from berrymq.bridge.protocol.batches import parse_batch, parse_raws

from .job_assignment import Member

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.downloads import Downloads

    from .job_assignment import Group

__all__ = ["SharedMailbox"]

FED_SECONDS = 0.3
"""The time for a job to arrive from NATS."""


class SharedMailbox:
    """A client without a link as a member of a group, with the interface of a `Mailbox`.

    It holds one job at a time, which counts as taken when it asks for the next one, or acknowledges it.

    Args:
        group: the group.
        name: the client's name, for people.
        lock: the router's.
        flush: writes the outgoing frames of members that have a link.
        on_leave: called when it has left the group.
        downloads: hold large buffers, which the client downloads.
    """

    def __init__(  # noqa: PLR0917 - what a group needs to know of it
        self,
        group: Group,
        name: str,
        lock: Any,
        flush: Callable[[], object],
        on_leave: Callable[[], object],
        downloads: Downloads,
    ) -> None:
        self._downloads = downloads
        self.follows = group.follows
        self.dropped = 0
        self.last: dict[str, Any] | None = None
        """For a client that has not received the answer."""
        self._group = group
        self._lock = lock
        self._flush = flush
        self._on_leave = on_leave
        self._on_arrival: Callable[[], object] | None = None
        self._jobs: list[tuple[int, bytes]] = []
        """Jobs that the group has handed over and `take` has not returned: one, while a ``get`` waits."""
        self._member = Member(name, self._arrived)
        group.join(self._member)

    def __len__(self) -> int:
        return self._group.depth

    @property
    def least_seconds(self) -> float:
        """The minimum timeout of a call of ``get``, in seconds: a job from NATS takes a moment."""
        return FED_SECONDS if self._group.is_fed else 0.0

    @property
    def on_arrival(self) -> Callable[[], object] | None:
        """Called when a job arrives, for a waiting call of ``get``."""
        return self._on_arrival

    @on_arrival.setter
    def on_arrival(self, function: Callable[[], object] | None) -> None:
        with self._lock:
            self._on_arrival = function
            self._member.waiting = 0 if function is None else 1
            self._group.on_change()

    def _arrived(self, jobs: list[tuple[int, bytes]]) -> None:
        """Called by the group, with the router's lock held."""
        self._jobs.extend(jobs)
        if self._on_arrival is not None:
            self._on_arrival()

    def acknowledge(self) -> None:
        """Note that the client has the last job."""
        with self._lock:
            if self.last is not None:
                self._group.mark_taken(self._member, [(number, 1) for number in self._member.held])
                self.last = None

    def take(self) -> dict[str, Any] | None:
        """Return the next job, None without one; the one before counts as taken."""
        with self._lock:
            while True:
                if not self._jobs:
                    self.acknowledge()
                    if not self._group.pull(self._member, 1):
                        return None
                    if not self._jobs:
                        continue  # it went to the waiting call
                number, data = self._jobs.pop()
                head = parse_batch(data)
                message = read_message(head, parse_raws(head.messages)[0], data, self._downloads)
                if message is None:
                    self._group.mark_taken(self._member, [(number, 1)])
                    continue
                self.last = message
                return self.last

    def close(self) -> int:
        """Leave the group; the last job returns to it if it was not acknowledged.

        Returns:
            0: no job is lost with it.
        """
        with self._lock:
            self._group.leave(self._member)
            self._on_leave()
            self._flush()
        return 0
