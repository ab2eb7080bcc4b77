"""The shared queues of a hub: which there are, and how nodes and clients without a link take part in them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from berrymq.bridge.buffers import Memory
from berrymq.bridge.discovery.file_lock import is_locked
from berrymq.bridge.discovery.runtime_directory import runtime_directory
from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.node.alive import lock_path
from berrymq.bridge.node.mailbox import read_message
from berrymq.bridge.node.validation import read_batch
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.batches import LargeBatchBytes, large_batch, parse_batch, parse_raws
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.group_frames import (
    GROUP,
    JOBS,
    JoinParams,
    LeaveParams,
    PutParams,
    WantParams,
    group_body,
    jobs_bodies,
)
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.jsonrpc import INVALID_PARAMS
from berrymq.bridge.protocol.stream import HoldingBody

from .shared_queues import Group, Member

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.room import Room
    from berrymq.bridge.protocol.group_frames import GroupFrame
    from berrymq.bridge.transport.loop import Timer
    from berrymq.identifiers import Identifier

    from .router import Hub

__all__ = ["Groups", "Put", "SharedMailbox"]

MAX_GROUPS = 1_000
"""The most groups of one hub."""

TTL_SECONDS = 1000.0
"""How long a group without members goes on collecting."""

RESEND_SECONDS = 15.0
"""For so long the nodes of a former hub may send again what that has handed over already."""

STATE_SECONDS, STATE_SECONDS_EACH = 0.25, 0.005
"""The least time between two reports of how a group stands, and how much longer it is for each member."""

LOOK_SECONDS = (0.02, 0.2, 1.0)
"""How long after a cut it is looked whether the process at the other side has ended, and then at intervals of
the last."""

MAX_UNREAD_BYTES = 5 * 1024 * 1024
"""While so much waits for a node it is told nothing of groups: more than it may have of jobs."""

MAX_SHOWN = 200

WAITS = "it waits at the hub, on another machine"


class _Known:
    """A group, with what the hub knows about it."""

    def __init__(self, hub: Hub, room: Room, identifier: Identifier, group: Group) -> None:
        self.room = room
        self.identifier = identifier
        self.group = group
        self.peers: dict[Peer, Member] = {}
        self.expiry: Timer | None = None
        self.reporting = False
        self._hub = hub

    def change(self) -> None:
        """Have the members told how the group stands, not too often."""
        if not self.reporting and self.peers:
            self.reporting = True
            seconds = STATE_SECONDS + STATE_SECONDS_EACH * len(self.peers)
            self._hub.loop.call_later(seconds, self._report)

    def _report(self) -> None:
        with self._hub.lock:
            self.reporting = False
            body = self.state_body()
            for peer in self.peers:
                if peer.connected and peer.stream.held_bytes < MAX_UNREAD_BYTES:
                    peer.stream.send(GROUP, body)
                    self._hub.flush(peer)

    def state_body(self, **fields: Any) -> bytes:
        """Return the params of a frame that says how the group stands."""
        return group_body(self.group.follows, state=self.group.state(), **fields)

    def answer_body(self, question: int, first: int, *, shared: bool) -> bytes:
        """Return the params of the frame that answers a member.

        Args:
            question: its number.
            first: how many of the next jobs it is to show.
            shared: whether the member can open this process's shared memory.
        """
        jobs = self.group.first(first)
        memories = [job.memory if isinstance(job, LargeBatchBytes) else None for job in jobs]
        fields: dict[str, Any] = {"question": question, "first": [msgspec.Raw(job) for job in jobs]}
        if not any(memories):
            return self.state_body(**fields)
        fields["buffers"] = [
            memory
            and msgspec.Raw(
                b"{%b}" % (memory if shared else Memory(None, memory.sizes, WAITS)).parameter(shared=shared)
            )
            for memory in memories
        ]
        held = [memory for memory in memories if memory is not None]
        return HoldingBody.of(self.state_body(**fields), held)


class Put(NamedTuple):
    """Jobs that a member hands over for one group."""

    group: str
    jobs: bytes
    """A batch."""
    number_of_jobs: int


class Groups:
    """The groups of a hub. Used with its lock held.

    Args:
        hub: where they follow.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._known: dict[tuple[str | None, str], _Known] = {}

    def open(self, room: Room, identifier: Identifier, maxsize: int | None, overflow: str) -> _Known:
        """Return the group of an identifier in a room, which begins to collect if it is new.

        Args:
            room: where it follows.
            identifier: what it follows.
            maxsize: its capacity, 0 for no bound; None for whatever it is.
            overflow: what happens to jobs beyond that.

        Raises:
            ValueError: it has other settings, or there are too many groups.
        """
        key = room.name, identifier.text
        known = self._known.get(key)
        if known is not None:
            group = known.group
            if maxsize is not None and (maxsize, overflow) != (group.maxsize, group.overflow):
                if known.peers or group.members:
                    raise ValueError(
                        f"the shared queue of {identifier} has maxsize={group.maxsize} and "
                        f"overflow={group.overflow!r} in other processes: "
                        "all that share it have the same settings"
                    )
                group.maxsize, group.overflow = maxsize, overflow  # type: ignore[assignment]
        else:
            if len(self._known) >= MAX_GROUPS:
                raise ValueError(f"the hub has {MAX_GROUPS} shared queues already")
            group = Group(identifier.text, self._hub.budget, maxsize or 0, overflow)  # type: ignore[arg-type]
            known = self._known[key] = _Known(self._hub, room, identifier, group)
            group.on_change = known.change
            room.follow(group, [identifier])
            self._hub.announcements.schedule(room, [identifier])
        if known.expiry is not None:
            known.expiry.cancel()
            known.expiry = None
        return known

    def _left(self, known: _Known) -> None:
        """Have a group expire that has no members any more."""
        if not known.group.members and known.expiry is None:
            known.expiry = self._hub.loop.call_later(TTL_SECONDS, self._expire, known)

    def _expire(self, known: _Known) -> None:
        with self._hub.lock:
            if known.group.members:
                return
            del self._known[known.room.name, known.identifier.text]
            known.room.unfollow(known.group, [known.identifier])
            self._hub.announcements.schedule(known.room, [known.identifier])
            left = known.group.close()
        if left:
            peers_log.warning(
                "the shared queue of %r has ended with %d jobs in it: nobody came to take them",
                known.group.follows,
                left,
            )

    @property
    def have_jobs(self) -> bool:
        """Whether jobs wait for members that may come."""
        return any(known.group.depth for known in self._known.values())

    # -- nodes -----------------------------------------------------------------------------------------------

    def handle(self, peer: Peer, params: GroupFrame) -> None:
        """Process a frame of a member.

        Raises:
            FrameError: it is not what a member sends.
        """
        if isinstance(params, JoinParams):
            self._join(peer, params)
            return
        known = self._known.get((peer.room.name, params.group))
        member = None if known is None else known.peers.get(peer)
        if known is None or member is None:
            return  # it was refused
        group = known.group
        if isinstance(params, LeaveParams):
            group.mark_taken(member, params.taken)
            del known.peers[peer]
            group.leave(member)
            self._left(known)
        elif isinstance(params, WantParams):
            group.mark_taken(member, params.taken)
            group.give_back(member, params.returned)
            member.waiting, member.ahead = params.waiting, params.ahead
            if params.now:
                group.pull(member, params.now)
            group.hand_over()
            if params.question:
                if peer.stream.held_bytes > MAX_UNREAD_BYTES:
                    return  # it does not read what it asks for
                shared = peer.stream.shares_memory
                peer.stream.send(GROUP, known.answer_body(params.question, params.first, shared=shared))
        else:
            raise FrameError("a hub is sent no jobs")

    def read_put(self, peer: Peer, params: PutParams) -> Put:
        """Read jobs that a member hands over.

        Raises:
            FrameError: they are malformed, or no jobs of the group.
        """
        batch, data = read_batch(peer, params.batch)
        if not crossing_identifier(params.group).matches(crossing_identifier(batch.identifier)):
            raise FrameError(f"{batch.identifier!r} is no job of {params.group!r}")
        if params.sizes:
            _, data = large_batch(data, self._hub.memories.receive(params))
        return Put(params.group, data, batch.count)

    def put(self, peer: Peer, put: Put) -> None:
        """Add jobs of a member to its group."""
        known = self._known.get((peer.room.name, put.group))
        if known is not None and peer in known.peers:
            known.group.accept(put.jobs, put.number_of_jobs)

    def _join(self, peer: Peer, params: JoinParams) -> None:
        identifier = crossing_identifier(params.group)
        try:
            known = self.open(peer.room, identifier, params.maxsize, params.overflow)
        except ValueError as error:
            peer.stream.send(GROUP, group_body(params.group, refused=str(error)))
            return
        if params.had:
            known.group.deduplicate(params.had)
            self._hub.loop.call_later(RESEND_SECONDS, known.group.stop_deduplicating)
        if peer not in known.peers:

            def send(jobs: list[tuple[int, bytes]]) -> None:
                shared = peer.stream.shares_memory
                for body in jobs_bodies(known.group.follows, jobs, shared=shared):
                    peer.stream.send(JOBS, body)
                self._hub.flush_later(peer)

            known.peers[peer] = member = Member(peer.name, send)
            known.group.join(member)
        peer.stream.send(GROUP, known.state_body())

    def link_changed(self, peer: Peer) -> None:
        """A link of a member was cut, or is up again."""
        for known in self._known.values():
            member = known.peers.get(peer)
            if member is not None:
                member.connected = peer.connected
                if peer.connected:
                    known.group.hand_over()

    def peer_is_gone(self, peer: Peer) -> None:
        """A node has left, or did not come back in time: it gives back what it had."""
        for known in self._known.values():
            member = known.peers.pop(peer, None)
            if member is not None:
                known.group.leave(member)
                self._left(known)

    def look_for_end(self, peer: Peer, turn: int = 0) -> None:
        """See from time to time whether the process of a member whose link is cut has ended."""
        if any(peer in known.peers for known in self._known.values()):
            seconds = LOOK_SECONDS[min(turn, len(LOOK_SECONDS) - 1)]
            self._hub.loop.call_later(seconds, self._look, peer, turn + 1)

    def _look(self, peer: Peer, turn: int) -> None:
        hub = self._hub
        if peer.connected or hub.peers.get(peer.id) is not peer:
            return
        with suppress(LinkError):
            path = lock_path(runtime_directory(), peer.id)
            if path.exists() and not is_locked(path):
                path.unlink(missing_ok=True)
                hub.expire(peer)
                return
        self.look_for_end(peer, turn)

    # -- clients without a link ------------------------------------------------------------------------------

    def shared_mailbox(self, room: Room, identifier: Identifier, name: str) -> SharedMailbox:
        """Have a client without a link join a group, and return where it takes jobs from.

        Raises:
            RpcError: there are too many groups.
        """
        try:
            known = self.open(room, identifier, None, "drop_oldest")
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, str(error)) from None
        return SharedMailbox(
            known.group, name, self._hub.lock, self._hub.flush_all, lambda: self._left(known)
        )

    # -- looking in ------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """Return how the groups stand, in names and numbers."""
        return [
            {"room": known.room.name, **known.group.status()}
            for known in list(self._known.values())[:MAX_SHOWN]
        ]


class SharedMailbox:
    """A client without a link as a member of a group, with the interface of a `Mailbox`.

    It has one job at a time, which counts as taken when it asks for the next one, or says that it has it.

    Args:
        group: what it takes jobs from.
        name: what people call the client.
        lock: the router's.
        flush: writes what members with a link are to get.
        on_leave: called when it has left the group.
    """

    def __init__(
        self, group: Group, name: str, lock: Any, flush: Callable[[], object], on_leave: Callable[[], object]
    ) -> None:
        self.follows = group.follows
        self.dropped = 0
        self.last: dict[str, Any] | None = None
        self._group = group
        self._lock = lock
        self._flush = flush
        self._on_leave = on_leave
        self._on_arrival: Callable[[], object] | None = None
        self._jobs: list[tuple[int, bytes]] = []
        self._member = Member(name, self._arrived)
        group.join(self._member)

    def __len__(self) -> int:
        return self._group.depth

    @property
    def on_arrival(self) -> Callable[[], object] | None:
        """Called when there is something to take, for one who waits."""
        return self._on_arrival

    @on_arrival.setter
    def on_arrival(self, function: Callable[[], object] | None) -> None:
        with self._lock:
            self._on_arrival = function
            self._member.waiting = 0 if function is None else 1
            self._group.on_change()

    def _arrived(self, jobs: list[tuple[int, bytes]]) -> None:
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
        """Return the next job, None if there is none; the one before counts as taken."""
        with self._lock:
            while True:
                if not self._jobs:
                    self.acknowledge()
                    if not self._group.pull(self._member, 1):
                        return None
                    if not self._jobs:
                        continue  # it went to whoever waits already
                number, data = self._jobs.pop()
                head = parse_batch(data)
                message = read_message(head, parse_raws(head.messages)[0], data)
                if message is None:
                    self._group.mark_taken(self._member, [(number, 1)])
                    continue
                self.last = message
                return message

    def close(self) -> int:
        """Leave the group, which gets back the last job if it was not acknowledged."""
        with self._lock:
            self._group.leave(self._member)
            self._on_leave()
            self._flush()
        return 0
