"""The shared queues of a hub, or of a node on NATS: opening groups, and the frames of their members.

``job_assignment.py`` decides, without I/O, which member gets a job; this file gives it members and jobs. A
group follows its identifier in its room like any subscriber, so messages reach it by the ordinary routes. A
node is a member as long as it is a peer, through all cuts of its link. While it is cut the hub gives it
nothing and checks, if it is on the same machine, whether its process has ended; then its jobs return at once,
else with its ttl.

A group may be fed from NATS (`Feed`): then its jobs are stored there, and it requests as many as its members
want. So members on several machines share one queue. Until the feed is active, and where there is no
JetStream, the group collects here.

A group without members goes on collecting for `TTL_SECONDS`, so that a worker may be restarted, and jobs be
published before the first worker runs.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from berrymq.bridge.buffers import Memory
from berrymq.bridge.discovery.file_lock import is_locked
from berrymq.bridge.discovery.runtime_directory import runtime_directory
from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.node.process_lock import lock_path
from berrymq.bridge.node.validation import read_batch
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.batches import LargeBatchBytes, large_batch
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.group_frames import (
    GROUP,
    JOBS,
    MAX_RANGES,
    JoinParams,
    LeaveParams,
    PutParams,
    WantParams,
    as_ranges,
    group_body,
    group_name,
    jobs_bodies,
    parse_group,
)
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.jsonrpc import INVALID_PARAMS
from berrymq.bridge.protocol.reliable_stream import HoldingBody

from .job_assignment import Group, Member
from .shared_mailbox import SharedMailbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.room import Room
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.group_frames import GroupFrame, GroupState
    from berrymq.bridge.protocol.offers import Offers
    from berrymq.bridge.transport.loop import Timer
    from berrymq.identifiers import Identifier

__all__ = ["Feed", "Feeds", "Groups", "KnownGroup", "Put"]

MAX_GROUPS = 1_000
"""The limit of groups of one hub; beyond it, one without members and jobs gives way to a new one."""
MAX_GROUPS_OF_NODE = 500
"""The limit of groups that one node is a member of."""

TTL_SECONDS = 1000.0
"""The time for which a group without members goes on collecting."""

RESEND_SECONDS = 15.0
"""The time in which nodes of a former hub may resend jobs that it has handed over."""
REJOIN_SECONDS = 60.0
"""The time after the start of a hub in which members may name jobs that a former one has handed over."""

STATE_SECONDS, STATE_SECONDS_EACH = 0.25, 0.005
"""The least interval of a group's state frames, and its increment for each member. So the frames of a group
with many members do not grow with the square of their number."""

PROCESS_CHECK_SECONDS = (0.02, 0.2, 1.0)
"""The delays of the checks after a cut whether the member's process has ended; the last one repeats. The
first one soon, since a worker that is killed should cost its consumers little time."""

MAX_UNREAD_BYTES = 5 * 1024 * 1024
"""A node with so many unread bytes is sent no state of groups; they are more than it may hold of jobs."""

MAX_SHOWN = 200
"""The limit of groups in a status."""

WAITS = "it waits at the hub, on another machine"


NO_NATS = "a durable queue needs NATS with JetStream: link to it (nats://…), or start the hub with --upstream nats://…"


class Feed(Protocol):
    """The source of jobs of a group that does not collect them itself. Used on the loop, with the lock."""

    active: bool
    """Whether the group gets its jobs from here; otherwise it collects them itself."""
    opened: bool
    """Whether it is decided if the feed can be active."""
    closed: bool
    """Whether it was closed."""

    def changed(self) -> None:
        """Request jobs for the credit of the members, and give back those that no member wants."""

    def put(self, jobs: bytes) -> None:
        """Store a batch of jobs for this group alone."""

    def ask(self, now: int, first: int, answer: Callable[[list[bytes]], object]) -> None:
        """Request jobs for one member without delay, and update the state.

        Args:
            now: the limit of jobs.
            first: how many of the next jobs to show.
            answer: called with the next jobs, as batches of one, when the requested jobs are in the group.
        """

    def state(self) -> GroupState:
        """Return the counters of the group as far as they are known here."""

    def close(self) -> None:
        """Give back what is held."""


class Feeds(Protocol):
    """Feeds the groups of one room."""

    def open(self, known: KnownGroup) -> Feed:
        """Return the feed of a group."""


class KnownGroup:
    """A group, with its peers and timers."""

    def __init__(self, hub: Router, room: Room, identifier: Identifier, durable: str, group: Group) -> None:
        self.room = room
        self.durable = durable
        """Its name, if it is a durable one."""
        self.feed: Feed | None = None
        self.collects = False
        """Whether it collects what is published in the room."""
        self.any_settings = False
        """Whether its first member accepts the settings that the group has on other machines."""
        self.identifier = identifier
        self.group = group
        self.peers: dict[Peer, Member] = {}
        """The nodes that are members; clients without a link are in `Group.members` alone."""
        self.expiry: Timer | None = None
        self.end_of_resending: Timer | None = None
        self.reporting = False
        """A state frame is scheduled."""
        self._hub = hub

    def change(self) -> None:
        """Schedule a state frame for the members.

        Called by the group after each change; at most one frame in `STATE_SECONDS` follows.
        """
        if self.feed is not None:
            self.feed.changed()
        if not self.reporting and self.peers:
            self.reporting = True
            seconds = STATE_SECONDS + STATE_SECONDS_EACH * len(self.peers)
            self._hub.loop.call_later(seconds, self._report)

    def _report(self) -> None:
        """Send the state to the members; those that read too slowly get the next one."""
        if self.is_fed:
            self.feed.ask(0, 0, lambda _: self._send_state())  # type: ignore[union-attr]
        else:
            self._send_state()

    def _send_state(self) -> None:
        with self._hub.lock:
            self.reporting = False
            if not self.is_opened:
                return  # the answers to the joins come first
            body = self.state_body()
            for peer in self.peers:
                if peer.connected and peer.stream.held_bytes < MAX_UNREAD_BYTES:
                    peer.stream.send(GROUP, body)
                    self._hub.flush(peer)

    # -- its feed --------------------------------------------------------------------------------------------

    @property
    def is_opened(self) -> bool:
        """Whether it is decided if it has an active feed."""
        return self.feed is None or self.feed.opened

    @property
    def is_fed(self) -> bool:
        """Whether it gets its jobs from a feed."""
        return self.feed is not None and self.feed.active

    def collect(self, collects: bool) -> None:
        """Start or stop collecting what is published in the room. The lock is held."""
        if collects != self.collects:
            self.collects = collects
            (self.room.follow if collects else self.room.unfollow)(self.group, [self.identifier])
            self._hub.announcements.schedule(self.room, [self.identifier])

    def accept(self, jobs: bytes, count: int) -> None:
        """Add a batch of jobs for this group alone. The lock is held."""
        if self.is_fed:
            self.feed.put(jobs)  # type: ignore[union-attr]
        else:
            self.group.accept(jobs, count)

    def feed_opened(self, refused: str = "") -> None:
        """Answer the peers that joined before the feed was opened. The lock is held.

        Args:
            refused: why they can't join; "" if they can.
        """
        for peer in self.peers:
            if refused:
                peer.stream.send(GROUP, group_body(self.name, refused=refused))
            else:
                peer.stream.send(GROUP, self.state_body())
            self._hub.flush(peer)

    def expire(self) -> None:
        """Have members discard the jobs that they hold, since others may get them. The lock is held."""
        for peer, member in self.peers.items():
            if member.held and peer.connected:
                ranges = as_ranges(sorted(member.held))
                for start in range(0, len(ranges), MAX_RANGES):
                    expired = ranges[start : start + MAX_RANGES]
                    peer.stream.send(GROUP, self.state_body(expired=expired))
                self._hub.flush(peer)

    # -- its state -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name in frames."""
        return group_name(self.identifier.text, self.durable)

    def state(self) -> GroupState:
        """Return its counters and members."""
        return self.feed.state() if self.is_fed else self.group.state()  # type: ignore[union-attr]

    def state_body(self, **fields: Any) -> bytes:
        """Return the params of a frame with the state of the group."""
        if self.is_fed:
            fields["stored"] = True
        return group_body(self.name, state=self.state(), **fields)

    def answer_body(self, question: int, jobs: list[bytes], *, to: Offers) -> bytes:
        """Return the params of the frame that answers a member.

        Args:
            question: its number.
            jobs: the next ones, to be shown.
            to: how the member reads buffers.
        """
        memories = [job.memory if isinstance(job, LargeBatchBytes) else None for job in jobs]
        fields: dict[str, Any] = {"question": question, "first": [msgspec.Raw(job) for job in jobs]}
        if not any(memories):
            return self.state_body(**fields)
        fields["buffers"] = [
            memory
            and msgspec.Raw(
                b"{%b}"
                % (memory if to.shares_memory else Memory(None, memory.sizes, WAITS)).parameter(
                    to=to, beside=0
                )
            )
            for memory in memories
        ]
        held = [memory for memory in memories if memory is not None]
        return HoldingBody.of(self.state_body(**fields), held)


class Put(NamedTuple):
    """Jobs that a member hands over for one group."""

    group: KnownGroup
    jobs: bytes
    """A batch."""
    number_of_jobs: int

    def accept(self) -> None:
        """Add them to the group."""
        self.group.accept(self.jobs, self.number_of_jobs)


class Groups:
    """The groups of a hub, or of one node. Used with its lock held.

    Args:
        hub: the hub or node.
    """

    def __init__(self, hub: Router) -> None:
        self.feeds: Callable[[Room], Feeds | None] = lambda _: None
        """Returns what feeds the groups of a room; None if nothing does."""
        self._hub = hub
        self._known: dict[tuple[str | None, str], KnownGroup] = {}

    def open(
        self, room: Room, identifier: Identifier, maxsize: int | None, overflow: str, durable: str = ""
    ) -> KnownGroup:
        """Return the group of an identifier in a room; a new one begins to collect.

        The settings of the first member hold. When all have left, the next one may bring others.

        Args:
            room: its room.
            identifier: the messages that it collects.
            maxsize: its capacity, 0 for no bound; None for any.
            overflow: which jobs are dropped beyond that.
            durable: the name of a durable group; else "".

        Raises:
            ValueError: it has other settings, or there are too many groups.
        """
        key = room.name, group_name(identifier.text, durable)
        feeds = self.feeds(room)
        if durable and feeds is None:
            raise ValueError(NO_NATS)
        known = self._known.get(key)
        if known is not None:
            group = known.group
            if feeds is not None and known.feed is not None and known.feed.closed:  # all had left the room
                known.feed = feeds.open(known)
                known.collect(not known.is_fed)
            if maxsize is not None and (maxsize, overflow) != (group.maxsize, group.overflow):
                if known.peers or group.members:
                    raise ValueError(
                        f"the shared queue of {identifier} has maxsize={group.maxsize} and "
                        f"overflow={group.overflow!r} in other processes: "
                        "all that share it have the same settings"
                    )
                group.maxsize, group.overflow = maxsize, overflow  # type: ignore[assignment]
        else:
            if len(self._known) >= MAX_GROUPS and not self._make_way():
                raise ValueError(f"the hub has {MAX_GROUPS:,} shared queues already")
            group = Group(identifier.text, self._hub.budget, maxsize or 0, overflow)  # type: ignore[arg-type]
            known = self._known[key] = KnownGroup(self._hub, room, identifier, durable, group)
            known.any_settings = maxsize is None
            group.on_change = known.change
            group.shed_by(partial(self._shed, group))
            if feeds is not None:
                known.feed = feeds.open(known)
            known.collect(not known.is_fed)
        if known.expiry is not None:
            known.expiry.cancel()
            known.expiry = None
        return known

    def _shed(self, group: Group, target: int) -> None:
        """Have a group drop jobs, on the loop; called by the budget, on any thread of a node on NATS."""
        hub = self._hub
        if not hub.loop.is_current:
            hub.loop.call(self._shed, group, target)
            return
        with hub.lock:
            group.shed(target)

    def _make_way(self) -> bool:
        """Close a group without members and jobs; return False if there is none."""
        for known in self._known.values():
            if not known.group.members and not known.group.depth:
                self._close(known)
                return True
        return False

    def _member_left(self, known: KnownGroup) -> None:
        """Start the expiry timer of a group without members; close it if its jobs are stored elsewhere."""
        if not known.group.members and known.is_fed:
            self._close(known)
        elif not known.group.members and known.expiry is None:
            known.expiry = self._hub.loop.call_later(TTL_SECONDS, self._expire, known)

    def _expire(self, known: KnownGroup) -> None:
        """Close a group without members; its jobs are lost, and logged."""
        with self._hub.lock:
            if known.group.members:
                return
            left = self._close(known)
        if left:
            peers_log.warning(
                "the shared queue of %r has expired without members: %d jobs in it are lost",
                known.group.follows,
                left,
            )

    def _close(self, known: KnownGroup) -> int:
        """Remove a group; return the number of its jobs, which are lost if they are not stored elsewhere."""
        for timer in (known.expiry, known.end_of_resending):
            if timer is not None:
                timer.cancel()
        if self._known.get((known.room.name, known.name)) is known:
            del self._known[known.room.name, known.name]
        known.collect(False)
        left = known.group.close()
        if known.feed is not None:
            known.feed.close()
        return left

    def refuse(self, known: KnownGroup, reason: str) -> None:
        """Close a group that can't have the settings of its members. The lock is held."""
        known.feed_opened(reason)
        known.peers.clear()
        self._close(known)

    def rooms(self) -> set[str | None]:
        """Return the rooms with groups that have members."""
        return {known.room.name for known in self._known.values() if known.group.members}

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._known)

    @property
    def have_jobs(self) -> bool:
        """Whether there are jobs that were not taken.

        A hub with untaken jobs does not shut down when idle.
        """
        return any(known.group.depth for known in self._known.values())

    # -- nodes -----------------------------------------------------------------------------------------------

    def handle(self, peer: Peer, params: GroupFrame) -> None:
        """Process a frame of a member.

        Raises:
            FrameError: it is none that a member sends.

        Args:
            peer: the member.
            params: one of ``join``, ``want`` and ``leave``. A ``want`` first reports what was taken and
                returned, and then renews the credit, so a job is never counted twice.
        """
        if isinstance(params, JoinParams):
            self._join(peer, params)
            return
        known = self._known.get((peer.room.name, params.group))
        member = None if known is None else known.peers.get(peer)
        if known is None or member is None:
            return  # its ``join`` was refused
        group = known.group
        if isinstance(params, LeaveParams):
            group.mark_taken(member, params.taken)
            del known.peers[peer]
            peer.shared_queues.discard(known.identifier)
            group.leave(member)
            self._member_left(known)
        elif isinstance(params, WantParams):
            group.mark_taken(member, params.taken)
            group.give_back(member, params.returned)
            member.waiting, member.ahead = params.waiting, params.ahead
            if params.question and known.is_fed:
                group.hand_over()
                known.feed.ask(  # type: ignore[union-attr]
                    params.now, params.first, lambda jobs: self._answer(peer, known, params, jobs)
                )
                return
            if params.now:
                group.pull(member, params.now)
            group.hand_over()
            if params.question:
                self._answer(peer, known, params, group.first(params.first))
        else:
            raise FrameError("only a hub sends jobs")

    def _answer(self, peer: Peer, known: KnownGroup, params: WantParams, jobs: list[bytes]) -> None:
        """Answer the question of a member. The lock is held."""
        member = known.peers.get(peer)
        if member is None or peer.stream.held_bytes > MAX_UNREAD_BYTES:
            return  # it has left, or does not read
        if known.is_fed and params.now:
            known.group.pull(member, params.now)
        peer.stream.send(GROUP, known.answer_body(params.question, jobs, to=peer.stream.offers))
        self._hub.flush(peer)

    def read_put(self, peer: Peer, params: PutParams) -> Put | None:
        """Read jobs that a member hands over; None if its ``join`` was refused.

        It is read when it arrives and put later: a hub that replaces a killed one holds jobs until all
        members have reported which ones they have.

        Raises:
            FrameError: they are malformed, or no jobs of the group.
        """
        batch, data = read_batch(peer, params.batch)
        if not parse_group(params.group)[0].matches(crossing_identifier(batch.identifier)):
            raise FrameError(f"{batch.identifier!r} is no job of {params.group!r}")
        if params.sizes:
            _, data = large_batch(data, self._hub.memories.receive(params))
        known = self._known.get((peer.room.name, params.group))
        if known is None or peer not in known.peers:
            return None
        return Put(known, data, batch.count)

    def _join(self, peer: Peer, params: JoinParams) -> None:
        """Add a node to a group, or answer with the reason of a refusal.

        A node that joins again over a resumed link keeps the jobs that it holds.
        """
        identifier, durable = parse_group(params.group)
        try:
            self._check_number(peer, params.group)
            known = self.open(peer.room, identifier, params.maxsize, params.overflow, durable)
        except ValueError as error:
            peer.stream.send(GROUP, group_body(params.group, refused=str(error)))
            return
        if params.had and not known.is_fed and time() < self._hub.started_at + REJOIN_SECONDS:
            known.group.deduplicate(params.had)
            if known.end_of_resending is not None:
                known.end_of_resending.cancel()
            known.end_of_resending = self._hub.loop.call_later(RESEND_SECONDS, known.group.stop_deduplicating)
        if peer not in known.peers:

            def send(jobs: list[tuple[int, bytes]]) -> None:
                for body in jobs_bodies(known.name, jobs, to=peer.stream.offers):
                    peer.stream.send(JOBS, body)
                self._hub.flush_later(peer)

            known.peers[peer] = member = Member(peer.name, send)
            peer.shared_queues.add(identifier)
            known.group.join(member)
        if known.is_opened:
            peer.stream.send(GROUP, known.state_body())

    def _check_number(self, peer: Peer, group: str) -> None:
        """Check that a node may join one more group.

        Raises:
            ValueError: it is a member of as many as it may be.
        """
        joined = [text for (_, text), known in self._known.items() if peer in known.peers]
        if len(joined) >= MAX_GROUPS_OF_NODE and group not in joined:
            raise ValueError(f"a process has at most {MAX_GROUPS_OF_NODE} shared queues at a hub")

    def link_changed(self, peer: Peer) -> None:
        """Update whether a member gets jobs, after its link was cut or resumed."""
        for known in self._known.values():
            member = known.peers.get(peer)
            if member is not None:
                member.connected = peer.connected
                if peer.connected:
                    known.group.hand_over()

    def remove_peer(self, peer: Peer) -> None:
        """Remove a node from its groups, which get back the jobs that it has not taken.

        Called when the peer has left, has expired, or was replaced.
        """
        for known in list(self._known.values()):
            member = known.peers.pop(peer, None)
            if member is not None:
                known.group.leave(member)
                self._member_left(known)

    def check_process(self, peer: Peer, turn: int = 0) -> None:
        """Check from time to time whether the process of a member whose link is cut has ended.

        It ends when the node reconnects, or is removed otherwise.

        Args:
            peer: the node.
            turn: how many checks were made since the cut.
        """
        if any(peer in known.peers for known in self._known.values()):
            seconds = PROCESS_CHECK_SECONDS[min(turn, len(PROCESS_CHECK_SECONDS) - 1)]
            self._hub.loop.call_later(seconds, self._check_process, peer, turn + 1)

    def _check_process(self, peer: Peer, turn: int) -> None:
        """Expire a node whose lock file exists and is not locked: its process has ended, however it did.

        A file that is missing proves nothing: the node may be on another machine, or of another language.
        """
        hub = self._hub
        if peer.connected or hub.peers.get(peer.id) is not peer:
            return
        with suppress(LinkError):
            path = lock_path(runtime_directory(), peer.id)
            if path.exists() and not is_locked(path):
                path.unlink(missing_ok=True)
                hub.expire(peer)
                return
        self.check_process(peer, turn)

    # -- clients without a link ------------------------------------------------------------------------------

    def shared_mailbox(self, room: Room, identifier: Identifier, name: str) -> SharedMailbox:
        """Have a client without a link join a group, and return its mailbox.

        Raises:
            RpcError: there are too many groups.
        """
        try:
            known = self.open(room, identifier, None, "drop_oldest")
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, str(error)) from None
        hub = self._hub
        return SharedMailbox(
            known.group, name, hub.lock, hub.flush_all, lambda: self._member_left(known), hub.downloads
        )

    # -- status ----------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """Return the names and counters of some groups, as JSON values."""
        return [
            {"room": known.room.name, **known.group.status(known.state()), "id": known.name}
            for known in list(self._known.values())[:MAX_SHOWN]
        ]
