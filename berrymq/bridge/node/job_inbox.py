"""Frames of a hub for the shared queues of this process: jobs that it hands over, and the state of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.batches import large_batch, parse_batch
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.group_frames import GroupParams, JobsParams, parse_jobs
from berrymq.bridge.protocol.json_checks import FrameError

from .inbox import read_runs
from .membership import JobMessage

if TYPE_CHECKING:
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.group_frames import GroupFrame
    from berrymq.messages import Message

    from .membership import Membership
    from .shared_queues import SharedQueues

__all__ = ["JobInbox"]


class _Jobs(NamedTuple):
    """A frame ``jobs``."""

    batches: list[tuple[int, Batch]]
    """Each with the number of its first job."""


class _State(NamedTuple):
    """A frame ``group``."""

    params: GroupParams
    first: list[Batch]
    """The next jobs, as batches of one."""


class _ExpiredArrived(NamedTuple):
    """All jobs have arrived that were sent before a ``group`` frame by which some expired."""


class JobInbox:
    """Reads frames with the node's lock held, and delivers them to the memberships without it.

    Args:
        queues: the memberships.
    """

    def __init__(self, queues: SharedQueues) -> None:
        self._queues = queues
        self._node = queues.node
        self._gateway = queues.node.bus.gateway
        self.arrived: list[tuple[Membership, int, _Jobs | _State | _ExpiredArrived]] = []
        """Undelivered frames, each with the membership and its `epoch`; changed with the node's lock held."""

    def add(self, member: Membership | None, params: GroupFrame) -> None:
        """Add a frame of the hub. The node's lock is held.

        Everything that can be refused is refused here, with the connection at hand. Jobs are remembered at
        once, before they are delivered: the hub may be killed in between.

        Args:
            member: the membership that it is for; None if it has ended.
            params: the frame.

        Raises:
            FrameError: it is malformed, or none that a hub sends.
        """
        frame: _Jobs | _State
        if isinstance(params, JobsParams):
            frame = self._read_jobs(params)
        elif isinstance(params, GroupParams):
            frame = self._read_state(params)
        else:
            raise FrameError("a node is no hub: it has no groups")
        if member is not None:
            if isinstance(frame, _Jobs):
                for _, batch in frame.batches:
                    member.remember(batch.origin, batch.first, batch.count)
            self.arrived.append((member, member.epoch, frame))

    def add_expired_arrived(self, member: Membership) -> None:
        """Note that what was sent before a frame with `expired` is here. The node's lock is held."""
        self.arrived.append((member, member.epoch, _ExpiredArrived()))

    def _read_jobs(self, params: JobsParams) -> _Jobs:
        """Decode a frame of jobs, with the buffers of a large one.

        Raises:
            FrameError: they are malformed.
        """
        jobs = parse_jobs(params)
        if params.sizes:
            if len(jobs) != 1:
                raise FrameError("a job with buffers beside it is alone in its frame")
            ((number, raw),) = params.jobs
            jobs = [(number, large_batch(bytes(raw), self._node.memories.receive(params))[0])]
        return _Jobs(jobs)

    def _read_state(self, params: GroupParams) -> _State:
        """Decode a frame with the state of a group, and the next jobs that it shows.

        Raises:
            FrameError: it is malformed.
        """
        first: list[Batch] = []
        buffers = iter(params.buffers)
        for raw in params.first:
            if (own := next(buffers, None)) is None:
                first.append(parse_batch(raw))
            else:
                first.append(large_batch(bytes(raw), self._node.memories.receive(own))[0])
        return _State(params, first)

    def deliver(self) -> None:
        """Deliver the frames; one thread at a time, without the node's lock."""
        with self._node.lock:
            arrived, self.arrived = self.arrived, []
        for member, epoch, frame in arrived:
            if isinstance(frame, _State):
                if frame.params.expired:
                    member.expire(frame.params.expired)
                self._deliver_state(member, frame)
            elif isinstance(frame, _ExpiredArrived):
                member.expired_arrived()
            else:
                self._deliver_jobs(member, epoch, frame)

    def _deliver_jobs(self, member: Membership, epoch: int, jobs: _Jobs) -> None:
        """Jobs that can't be read are logged, and count as taken."""
        messages: list[JobMessage] = []
        unreadable: list[int] = []
        for number, batch in jobs.batches:
            try:
                found = self._read(batch)
            except FrameError as error:
                peers_log.warning(
                    "%d jobs of %r can't be read and are left out: %s", batch.count, batch.source, error
                )
                unreadable += range(number, number + batch.count)
                continue
            unreadable += set(range(number, number + batch.count)) - {number + place for place, _ in found}
            for place, message in found:
                message._job = number + place
                self._gateway.report_received(message)
                messages.append(message)
        member.receive_jobs(messages, unreadable, epoch)
        if unreadable:
            self._queues.report(member)

    def _deliver_state(self, member: Membership, state: _State) -> None:
        """A refusal ends the membership, without a lock."""
        first: list[tuple[tuple[str, int], Message]] = []
        try:
            for batch in state.first:
                first += [((batch.origin, batch.first), message) for _, message in self._read(batch)]
            member.receive_state(state.params, first)
        except FrameError as error:
            peers_log.warning("the state of the shared queue %r can't be read: %s", member.group, error)
            return
        if state.params.refused:
            self._queues.refused(member)

    def _read(self, batch: Batch) -> list[tuple[int, JobMessage]]:
        """Return the messages of a batch that can be read, each with its place.

        Raises:
            FrameError: all are malformed.
        """
        identifier = crossing_identifier(batch.identifier)
        is_own = batch.origin == self._node.id and batch.source == self._node.name
        messages = []
        for first, run in read_runs(batch):
            for place, content in enumerate(run, first - batch.first):
                message = JobMessage()
                message._identifier = identifier
                message._args = content.args
                message._kwargs = content.kwargs
                message._sent_at = content.sent_at
                message._source = None if is_own else batch.source
                message._origin = None if is_own else batch.origin
                message._callback = content.callback
                messages.append((place, message))
        return messages
