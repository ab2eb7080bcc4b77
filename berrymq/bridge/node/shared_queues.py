"""The shared queues of this process, while it is linked to a hub.

Each shared store is a member of a group at the hub then. What is published here goes over the link like any
message, and comes back as a job when it is this process's turn: so there is one order, and each job once.

Locks: the node's is taken before that of a membership, and never the other way round; while `_gate` or a
membership's lock is held nothing is called that takes another one.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from berrymq.bridge.errors import PayloadError
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.batches import batch_head, encode_batch, large_batch, parse_batch
from berrymq.bridge.protocol.fields import LATEST, crossing_identifier
from berrymq.bridge.protocol.group_frames import (
    JOIN,
    LEAVE,
    MAX_RANGES,
    PUT,
    WANT,
    GroupParams,
    GroupState,
    JobsParams,
    as_ranges,
    group_body,
    parse_jobs,
    parse_state,
    put_body,
)
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.identifiers import Identifier
from berrymq.messages import FarMessage, Message
from berrymq.stores import PriorityItems

from .alive import show_alive, stop_showing
from .inbox import read_batch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from berrymq.bridge.buffers import Memory
    from berrymq.bridge.discovery.file_lock import FileLock
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.group_frames import GroupFrame
    from berrymq.shared_stores import SharedStore
    from berrymq.subscribers import Attachment

    from .node import Node
    from .peer import Peer

__all__ = ["Membership", "SharedQueues"]

TICK_SECONDS = 0.02
"""How many seconds of work are prefetched, and how often that is looked at while jobs are taken."""

MAX_AHEAD = 2_000
"""The most jobs that are prefetched."""

TOLD_PARTS = 10
"""The hub is told what was taken whenever it is such a part of what is prefetched. What it is not told when
this process is killed, it gives to another."""

FETCH_SECONDS = 1.0
"""How long `Queue.get_nowait` and such wait for the answer of the hub at most."""

JOIN_SECONDS = 2.0
"""How long a new shared queue waits to be told whether its group has the same settings."""

RECENT_SECONDS = 2.0
"""The jobs of so many seconds before the last one are remembered: when the hub is killed, those who have sent
them may do so again."""
MAX_RECENT = 10_000
"""The most of consecutive jobs that the next hub is told of."""

_log = logging.getLogger("berrymq")


class JobMessage(FarMessage):
    """A message that the hub has handed over, with its number in the group."""

    __slots__ = ("_job",)

    _job: int


class _Given(NamedTuple):
    """A job for a group, before it is sent."""

    common: tuple[Membership, str, str]
    """What the jobs of one batch have in common: group, identifier and source."""
    encoded: bytes
    memory: Memory | None
    message: Message


class _Report(NamedTuple):
    """A frame ``group``, with the jobs that it shows."""

    params: GroupParams
    first: list[Batch]


class _Question:
    """Something that a consumer waits to be told by the hub."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.first: list[tuple[tuple[str, int], Message]] = []
        """The jobs that are next, each with its origin and sequence number."""


class _Pace:
    """How many jobs to prefetch so that consumers stay busy, by how long a job has taken them lately."""

    __slots__ = ("_done", "_seconds", "_since", "_stalled")

    def __init__(self) -> None:
        self._done = 0
        """Jobs done since the last stall: as little as is known at first, so little is prefetched."""
        self._seconds = 0.0
        """How long a job takes, on average; 0 while that is not known."""
        self._since: dict[int, float] = {}
        """By thread, since when it works on a job."""
        self._stalled = True

    def begin(self) -> None:
        """Note that this thread begins to work on a job."""
        self._since[get_ident()] = monotonic()

    def done(self) -> None:
        """Note that this thread has done its job, and takes another or waits."""
        since = self._since.pop(get_ident(), None)
        if since is not None:
            self._stalled = False
            self._done += 1
            seconds = max(1e-6, monotonic() - since)
            self._seconds = seconds if not self._seconds else 0.8 * self._seconds + 0.2 * seconds

    def stall(self) -> None:
        """Note that for a while no job was taken: what is worked on takes long, or nothing is."""
        self._stalled = True
        self._since.clear()
        self._seconds = 0.0
        self._done = 0

    @property
    def ahead(self) -> int:
        """How many jobs are done in `TICK_SECONDS`."""
        if self._stalled or not self._seconds:
            return 0
        return min(
            MAX_AHEAD, 2 * self._done - 2, int(max(1, len(self._since)) * TICK_SECONDS / self._seconds)
        )


class Membership:
    """What the link does for one shared store; see `berrymq.shared_stores.Membership`."""

    def __init__(self, sharing: SharedQueues, store: SharedStore) -> None:
        self.store = store
        self.group = store.identifier.text
        self.state = GroupState()
        self.joined = threading.Event()
        """Set when the hub has answered."""
        self.refused = ""
        self.epoch = 0
        """Counts the times that the group was joined anew; read and changed with the node's lock held."""
        self._former_are_mine = False
        self.is_new = False
        """The queue is being made: a refusal is an error of that."""
        self._sharing = sharing
        self._items = store.shared_items.inner
        self._lock = threading.RLock()
        self._over = False
        """It has given back what it had, and takes no more."""
        self._paused = False
        """The link is cut: the hub may give to others what it has handed over."""
        self._set_aside: list[tuple[float, JobMessage]] = []
        self._taken: list[int] = []
        """The numbers of jobs that were taken, of which the hub was not told yet."""
        self._returned: list[int] = []
        self._holding = 0
        """Jobs of the hub in the store."""
        self._pace = _Pace()
        self._took_now = self._took_before = 0
        """Jobs taken in this tick, and in the one before."""
        self._known = (0, 0)
        """Consumers that wait and jobs that are prefetched, as the hub was told last."""
        self._ticking = False
        self._recent: deque[list[Any]] = deque()
        """When jobs came: ``[time, origin, first, count]``."""
        self._questions: dict[int, _Question] = {}
        self._last_question = 0
        self._shown: dict[tuple[str, int], Message] = {}
        """What the hub has shown last, so that what it shows again is the same object."""
        self._warned = False

    # -- for the store ---------------------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Pass on to the group a message of a publisher that has computed its route before."""
        self._sharing.give(self, [message])

    def take_backlog(self) -> None:
        """Pass on to the group what was collected here."""
        with self._lock:
            jobs = self._withdraw()
            own: list[Message] = []
            while True:
                try:
                    own.append(self._items.popleft())
                except IndexError:
                    break
            self._restore(jobs)
        self._sharing.give(self, own)

    def take(self) -> Message:
        """Remove and return the next job that is here; `IndexError` when there is none."""
        with self._lock:
            message = self._items.popleft()
            if type(message) is not JobMessage:
                return message
            self._taken.append(message._job)
            self._holding -= 1
            self._took_now += 1
            self._pace.done()
            tick = not self._ticking
            self._ticking = True
            must_tell = self._must_tell()
        if must_tell:
            self._sharing.tell(self)
        if tick:
            self._sharing.call_later(TICK_SECONDS, self._tick)
        self._pace.begin()
        return message

    def waiters_changed(self) -> None:
        """Tell the hub if consumers here wait for a job, or do so no longer."""
        with self._lock:
            self._pace.done()
            must_tell = self._must_tell()
        if must_tell:
            self._sharing.tell(self)

    def _must_tell(self) -> bool:
        """Whether the hub has to be told something now, rather than with what follows. The lock is held."""
        if len(self._taken) >= max(1, self._known[1] // TOLD_PARTS):
            return True
        return not self._holding and len(self.store.blocked) != self._known[0]

    def fetch(self, count: int) -> bool:
        """Have the hub hand over up to so many jobs that wait there; return whether there are some here."""
        self._ask(now=count)
        return bool(self._items)

    def depth(self) -> int:
        """Return how many jobs of the group were not taken."""
        self._ask()
        return self._depth()

    def _depth(self) -> int:
        with self._lock:
            own = len(self._items) - self._holding
            return max(0, self.state.depth - len(self._taken)) + own

    def first(self, limit: int) -> list[Message]:
        """Return the jobs that are next: those here, then those that wait at the hub."""
        with self._lock:
            here = list(self._items)
        if len(here) >= limit:
            return here[:limit]
        asked = self._ask(first=min(limit - len(here), 100))
        if asked is None:
            return here
        shown = self._shown
        self._shown = {key: shown.get(key, message) for key, message in asked.first}
        return [*here, *self._shown.values()][:limit]

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the counters of the group, as the hub has told them last."""
        state = self.state
        return self._depth(), state.received, state.dropped, state.consumers, state.deepest

    def members(self) -> list[tuple[str, int, int, int]]:
        """Return the members of the group, as the hub has told them last."""
        return self.state.members

    def leave(self) -> None:
        """Give back what was not taken; on any thread, even in garbage collection."""
        self.end()
        self._sharing.node.loop.call(self._sharing.forget, self)

    # -- telling the hub -------------------------------------------------------------------------------------

    def _ask(self, *, now: int = 0, first: int = 0) -> _Question | None:
        """Ask the hub, and wait for its answer; None if there is none in time."""
        sharing = self._sharing
        if not sharing.can_wait or self._paused or self._over:
            return None
        with self._lock:
            self._last_question += 1
            number = self._last_question
            question = self._questions[number] = _Question()
        try:
            sharing.tell(self, question=number, now=now, first=first)
            return question if question.answered.wait(FETCH_SECONDS) else None
        finally:
            self._questions.pop(number, None)

    def want_body(self, **fields: int) -> bytes:
        """Return the params of a frame that tells the hub what is wanted and what was taken."""
        with self._lock:
            self._known = len(self.store.blocked), self._pace.ahead
            taken, self._taken = self._taken, []
            returned, self._returned = self._returned, []
        return group_body(
            self.group,
            waiting=self._known[0],
            ahead=self._known[1],
            taken=as_ranges(sorted(taken)),
            returned=as_ranges(sorted(returned)),
            **fields,
        )

    def leave_body(self) -> bytes:
        """Return the params of the frame that leaves the group."""
        with self._lock:
            taken, self._taken = self._taken, []
        return group_body(self.group, taken=as_ranges(sorted(taken)))

    def join_body(self) -> bytes:
        """Return the params of the frame that joins the group."""
        had = []
        for _, origin, first, count in list(self._recent)[-MAX_RANGES:]:
            some = min(count, MAX_RECENT)
            had.append((origin, first + count - some, some))
        store = self.store
        return group_body(self.group, maxsize=store.capacity, overflow=store.overflow, had=had)

    def _tick(self) -> None:
        """Prefetch as much as was taken lately, and give back what is not taken soon; on the loop."""
        with self._lock:
            if self._over:
                return
            before, self._took_before, self._took_now = self._took_before, self._took_now, 0
            if not self._took_before and not before:
                self._pace.stall()
                if not self._paused:
                    self._return(self._holding - len(self.store.blocked))
            waiting, ahead = self._known
            must_tell = (
                bool(self._taken or self._returned)
                or abs(self._pace.ahead - ahead) > ahead // 4
                or waiting > len(self.store.blocked)
            )
            self._ticking = bool(self._took_before or self._holding or (self._pace.ahead and before))
        if must_tell:
            self._sharing.tell(self)
        if self._ticking:
            self._sharing.call_later(TICK_SECONDS, self._tick)

    def _return(self, count: int) -> None:
        """Give back so many jobs, if any, those that would be taken last. The lock is held."""
        if count <= 0:
            return
        jobs = self._withdraw()
        keep = max(0, len(jobs) - count)
        self._returned += [message._job for _, message in jobs[keep:]]
        self._restore(jobs[:keep])

    def _withdraw(self) -> list[tuple[float, JobMessage]]:
        """Take all jobs of the hub out of the store, in their order. The lock is held."""
        items = self._items
        if not self._holding:
            return []
        everything: list[tuple[float, Message]] = []
        if isinstance(items, PriorityItems):
            everything = items.take_all()
        else:
            everything = [(0.0, message) for message in items]
            items.clear()
        jobs = []
        for urgency, message in everything:
            if isinstance(message, JobMessage):
                jobs.append((urgency, message))
            else:
                self._insert(urgency, message)
        self._holding = 0
        return jobs

    def _restore(self, jobs: list[tuple[float, JobMessage]]) -> None:
        """Put jobs into the store, before those that came later. The lock is held."""
        items = self._items
        if isinstance(items, PriorityItems):
            for urgency, message in jobs:
                items.insert(urgency, message)
        else:
            items.extendleft([message for _, message in reversed(jobs)])
        self._holding += len(jobs)

    def _insert(self, urgency: float, message: Message) -> None:
        items = self._items
        if isinstance(items, PriorityItems):
            items.insert(urgency, message)
        else:
            items.append(message)

    # -- what the hub tells ----------------------------------------------------------------------------------

    def jobs_came(self, messages: list[JobMessage], unreadable: list[int], epoch: int) -> None:
        """Put jobs into the store, and wake consumers.

        Args:
            messages: the jobs.
            unreadable: the numbers of jobs that nobody can read.
            epoch: what `epoch` was when they came.
        """
        items = self._items
        # Before the lock is taken, for the priority is the user's code.
        ranked = [
            (items.urgency(message) if isinstance(items, PriorityItems) else 0.0, message)
            for message in messages
        ]
        with self._lock:
            if self._over:
                return  # they were given back
            if epoch != self.epoch:
                late = messages if self._former_are_mine else []
            else:
                late = []
                self._put(ranked, unreadable)
            tick = not self._ticking and bool(self._holding)
            self._ticking = self._ticking or tick
        if late:
            self._sharing.give(self, late)  # type: ignore[arg-type]
        waiters = self.store.waiters
        for _ in range(min(len(ranked), len(waiters))):
            waiters.wake()
        if tick:
            self._sharing.call_later(TICK_SECONDS, self._tick)

    def _put(self, ranked: list[tuple[float, JobMessage]], unreadable: list[int]) -> None:
        """Put jobs into the store. The lock is held."""
        self._taken += unreadable
        if self._paused:
            self._set_aside += ranked
            return
        for urgency, message in ranked:
            self._insert(urgency, message)
        self._holding += len(ranked)

    def remember(self, origin: str, first: int, count: int) -> None:
        """Remember jobs that came, for a hub that takes the place of this one."""
        recent, now = self._recent, monotonic()
        if recent and recent[-1][1] == origin and recent[-1][2] + recent[-1][3] == first:
            recent[-1][0] = now
            recent[-1][3] += count
        else:
            recent.append([now, origin, first, count])
            while len(recent) > MAX_RANGES or now - recent[0][0] > RECENT_SECONDS:
                recent.popleft()

    def told(self, params: GroupParams, first: list[tuple[tuple[str, int], Message]]) -> None:
        """Take note of how the group stands."""
        if params.refused:
            self.refused = params.refused
        else:
            self.state = parse_state(params.state)
        self.joined.set()
        question = self._questions.get(params.question)
        if question is not None:
            question.first = first
            question.answered.set()

    # -- cuts and ends ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Hand out no jobs of the hub until `resume`."""
        with self._lock:
            if not self._paused:
                self._paused = True
                self._set_aside = self._withdraw()

    def resume(self) -> None:
        """Hand out jobs again, after a cut that the hub has waited for."""
        with self._lock:
            self._paused = False
            self._restore(self._set_aside)
            self._set_aside = []
        self.store.waiters.wake_all()

    def begin_anew(self, *, former_are_mine: bool) -> list[JobMessage]:
        """Forget what the former membership was; return the jobs that it had.

        Args:
            former_are_mine: jobs that have come are this process's; else the hub gives them to others.
        """
        with self._lock:
            self.epoch += 1
            self._former_are_mine = former_are_mine
            jobs = [message for _, message in (*self._set_aside, *self._withdraw())]
            self._set_aside = []
            self._paused = False
            self._taken, self._returned = [], []
            self.state = GroupState()
            self._known = (0, 0)
            self._pace.stall()
            self.joined.clear()
        return jobs

    def end(self) -> None:
        """Have what was handed over and not taken be the hub's again."""
        with self._lock:
            self._over = True
            self._withdraw()
            self._set_aside = []
        for question in list(self._questions.values()):
            question.answered.set()

    def collect(self, messages: Iterable[Message]) -> None:
        """Keep messages in this process."""
        for message in messages:
            self.store.collect(message)

    def warn_of_payload(self, message: Message, error: Exception) -> None:
        """Say once that a job stays here which can't cross."""
        if not self._warned:
            self._warned = True
            _log.warning("a job of %r stays in this process: %s: %s", self.group, message.id, error)


class SharedQueues:
    """The memberships of a node in the groups of its hub; see `berrymq.shared_stores.Exchange`.

    Args:
        node: this process.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.peer: Peer | None = None
        """The hub, from the first connection on until this process leaves it."""
        self.arrived: list[tuple[Membership, int, list[tuple[int, Batch]] | _Report]] = []
        """What has come for memberships in which epoch, jobs or news; filled with the node's lock held."""
        self._gateway = node.bus.gateway
        self._stores = self._gateway.shared_stores
        self._hub_id = ""
        self._members: dict[str, Membership] = {}
        self._followed: tuple[Identifier, ...] = ()
        """What goes to groups; changed in one step with the routes."""
        self._is_leaving = False
        """The link is about to be closed: what shared queues collect here must not go to their groups too."""
        self._attachment: Attachment | None = None
        self._gate = threading.Lock()
        self._left = True
        """Nothing goes to groups any more; changed and read with the gate held."""
        self._given: deque[_Given] = deque()
        """Jobs for groups."""
        self._alive: FileLock | None = None

    @property
    def can_wait(self) -> bool:
        """Whether this thread may wait for an answer of the hub, and there is a connection."""
        peer = self.peer
        return peer is not None and peer.connected and not self.node.loop.is_current

    def call_later(self, seconds: float, function: Any) -> None:
        """Call a function on the loop."""
        self.node.loop.call_later(seconds, function)

    # -- the link --------------------------------------------------------------------------------------------

    def link_is_up(self, peer: Peer, *, resumed: bool) -> None:
        """Join the groups, or go on with them. The node's lock is held."""
        if peer.role != "hub" or self.peer not in (None, peer):
            return
        if self.peer is None:
            self._begin(peer)
        elif resumed:
            for member in self._members.values():
                member.resume()
                self._send_want(member)
        else:
            self._rejoin(peer)
        self._hub_id = peer.id

    def link_is_cut(self, peer: Peer) -> None:
        """Hand out no jobs of the hub. The node's lock is held."""
        if peer is self.peer:
            for member in self._members.values():
                member.pause()

    def _begin(self, peer: Peer) -> None:
        """Share the stores that there are. The node's lock is held."""
        for store in self._stores.stores():
            if not store.can_cross and not store.identifier.is_local:
                _log.warning(
                    "the shared queue of %r stays in this process: its overflow is %r, and what is full "
                    "elsewhere can't make a sender wait or raise",
                    store.identifier.text,
                    store.overflow,
                )
        members: list[Membership] = []
        if self._stores.stores():
            self._attach()

        def choose(stores: list[SharedStore]) -> list[SharedStore]:
            chosen = [store for store in stores if store.can_cross and not store.closed]
            members.extend(Membership(self, store) for store in chosen)
            for member in members:
                member.store.membership = member
            self._followed = tuple([store.identifier for store in chosen])
            return chosen

        self.peer = peer
        with (
            self._gate
        ):  # before a route leads here; nothing is sent before the joins, for which the lock is held
            self._left = False
        if self._stores.share(self, choose) is None:
            self.peer = None  # another node of this bus, in another room, shares them
            return
        for member in members:
            self._add(member)
            member.take_backlog()
        self._put_given(peer)

    def _attach(self) -> None:
        """Have messages for groups come here; before the first is joined."""
        if self._attachment is None:
            name = "the shared queues of a link"
            self._attachment = self._gateway.attach(self.matches, self._send, ask=self._ask, name=name)
            self._attachment.is_link = False

    def _add(self, member: Membership) -> None:
        """Join a group. The node's lock is held."""
        assert self.peer is not None
        if self._alive is None:
            self._alive = show_alive(self.node.id)
        self._members[member.group] = member
        self._pin()
        self._send_join(member)

    def _send_join(self, member: Membership, *, first: bool = False) -> None:
        assert self.peer is not None
        if not first:
            self.peer.stream.send(JOIN, member.join_body())
            self.peer.stream.send(WANT, member.want_body())
        else:
            # Before messages that are sent again, and before the interest, after which a new hub may begin to
            # pass on what it has gathered. The last that is put there comes first.
            self.peer.stream.send(WANT, member.want_body(), first=True)
            self.peer.stream.send(JOIN, member.join_body(), first=True)

    def _pin(self) -> None:
        """Have what is for groups go to the hub, whatever it announces. The node's lock is held."""
        assert self.peer is not None
        self.peer.pin({member.store.identifier for member in self._members.values()})

    def _rejoin(self, peer: Peer) -> None:
        """Join the groups of a hub that does not know this node any more. The node's lock is held."""
        is_new = peer.id != self._hub_id
        for member in self._members.values():
            lost = member.state.waiting if is_new else 0
            jobs = member.begin_anew(former_are_mine=is_new)
            self._send_join(member, first=True)
            if lost:
                _log.warning(
                    "about %d jobs waited in %r at the hub that has ended, and are lost", lost, member.group
                )
            if is_new:  # the hub that could have given them to others has ended
                self.give(member, jobs)  # type: ignore[arg-type]
        self._put_given(peer)

    def leave(self) -> None:
        """Leave all groups; the shared queues collect in this process again. No lock is held."""
        node = self.node

        def release(stores: list[SharedStore]) -> None:
            self._followed, self._is_leaving = (), True
            for store in stores:
                member = store.membership
                if isinstance(member, Membership):
                    member.end()
                    store.membership = None

        self._stores.unshare(self, release)
        with self._gate:
            self._left = True
        with node.lock:
            peer, self.peer = self.peer, None
            members, self._members = list(self._members.values()), {}
            if peer is None:
                return
            node._empty_outbox()
            self._put_given(peer)
            stay, self._given = list(self._given), deque()
            for member in members:
                peer.stream.send(LEAVE, member.leave_body())
            node.flush(peer)
            peer.pinned = set()
            alive, self._alive = self._alive, None
            if self._attachment is not None:
                self._attachment.cancel()
                self._attachment = None
        for given in stay:
            given.common[0].collect([given.message])
        stop_showing(node.id, alive)

    def link_has_ended(self) -> None:
        """Have messages cross again to whoever else follows them."""
        if self.peer is None:
            self._is_leaving = False

    def after_fork(self) -> None:
        """Have shared queues collect in the forked child: what was handed over is its parent's."""
        self._gate = threading.Lock()
        for member in self._members.values():
            member._lock = threading.RLock()
            member._withdraw()
            member.store.membership = None
        self._members = {}
        self.peer = None
        self._followed = ()
        if self._attachment is not None:
            self._attachment.cancel()
        self._stores.unshare(self, lambda _: None)

    # -- a store ---------------------------------------------------------------------------------------------

    def join(self, store: SharedStore) -> None:
        """Have a new store join its group.

        Raises:
            ValueError: the group has other settings.
        """
        node = self.node
        member: Membership | None = None
        with node.lock:
            peer = self.peer
            if peer is None:
                self._stores.unshare(self, lambda _: None, store)
                return
            self._attach()
            chosen = member = Membership(self, store)
            member.is_new = True

            def choose(_: list[SharedStore]) -> list[SharedStore]:
                if store.membership is not None or store.routed:
                    return []
                store.membership = chosen
                self._followed = (*self._followed, store.identifier)
                return [store]

            if not self._stores.share(self, choose):
                return
            self._add(member)
            if peer.connected:
                node.flush(peer)
            else:
                member.pause()
        if self.can_wait:
            member.joined.wait(JOIN_SECONDS)
        member.is_new = False
        if member.refused:
            raise ValueError(member.refused)

    def forget(self, member: Membership) -> None:
        """Leave the group of a store that was closed; on the loop."""
        node = self.node
        with node.lock:
            peer = self.peer
            if peer is None or self._members.get(member.group) is not member:
                return
            del self._members[member.group]
            self._unfollow(member)
            peer.stream.send(LEAVE, member.leave_body())
            self._pin()
            node.flush(peer)

    def _unfollow(self, member: Membership) -> None:
        """Have messages for a group stay here. The node's lock is held."""

        def release(stores: list[SharedStore]) -> None:
            self._followed = tuple([one for one in self._followed if one != member.store.identifier])
            member.end()
            for store in stores:
                store.membership = None

        self._stores.unshare(self, release, member.store)

    # -- what goes out ---------------------------------------------------------------------------------------

    def matches(self, identifier: Identifier) -> bool:
        """Whether a group that was joined gets what is published under an identifier."""
        return any(one.matches(identifier) for one in self._followed)

    def excludes(self, identifier: Identifier) -> bool:
        """Whether the other attachment of the links must not match an identifier."""
        if self._is_leaving:
            return any(store.identifier.matches(identifier) for store in self._stores.stores())
        return self.matches(identifier)

    def _send(self, message: Message) -> None:
        """Take a message of the bus that groups get, and perhaps others; on any thread."""
        node = self.node
        encoded, memory = self._encode(message, strict=node.strict)
        if memory is not None:
            left = not self._publish_large(message, encoded, memory)
            must_send = False
        else:
            node.outbox.wait_for_capacity()
            with self._gate:
                left = self._left
                text = message._identifier.text
                must_send = not left and node.outbox.put(text, encoded, may_block=False)
        if left:
            self._stay(message)
        elif must_send:
            node.send_soon()

    def _encode(self, message: Message, *, strict: bool) -> tuple[bytes, Memory | None]:
        """Encode a message; see `Values.encode`."""
        callback, sent_at = message._callback, message._sent_at
        if not 0.0 <= sent_at <= LATEST:
            sent_at = 0.0  # others refuse the time of a clock that is wrong
        to = callback.text if isinstance(callback, Identifier) else None
        return self.node.values.encode(message, sent_at, to, strict=strict)

    def _publish_large(self, message: Message, encoded: bytes, memory: Memory) -> bool:
        """Publish a message with large buffers, unless the groups were left; return whether it was."""
        with self.node.lock:  # `leave` sends its frames with it held, so they come later
            with self._gate:
                left = self._left
            if not left:
                self.node.publish_large(message._identifier.text, encoded, memory)
        return not left

    def _stay(self, message: Message) -> None:
        """Collect here a message whose route was computed before this process has left the hub."""
        for store in self._stores.stores():
            if store.identifier.matches(message._identifier) and store.can_cross:
                store.put(message)

    def _ask(self, message: Message, timeout: float | None) -> Future[list[Any]]:
        """Put a question that groups get as a message, and followers elsewhere as a question."""
        for member in list(self._members.values()):
            if member.store.identifier.matches(message._identifier):
                self.give(member, [message])
        return self.node._ask(message, timeout)

    def give(self, member: Membership, messages: list[Message]) -> None:
        """Pass messages on to a group, as jobs of this node; on any thread."""
        stay = []
        for message in messages:
            try:
                encoded, memory = self._encode(message, strict=True)
            except PayloadError as error:
                member.warn_of_payload(message, error)
                stay.append(message)
                continue
            source = self.node.name if message.source is None else f"{message.source} via {self.node.name}"
            with self._gate:
                left = self._left
                if not left:
                    common = member, message._identifier.text, source
                    self._given.append(_Given(common, encoded, memory, message))
            if left:
                stay.append(message)
        member.collect(stay)
        if self._given:
            self.node.loop.call(self._send_given_now)

    def _send_given_now(self) -> None:
        with self.node.lock:
            peer = self.peer
            if peer is not None:
                self._put_given(peer)
                self.node.flush(peer)

    def _put_given(self, peer: Peer) -> None:
        """Put what was given to groups into the stream, so far as that drops nothing. The lock is held."""
        node, given, stream = self.node, self._given, peer.stream
        while given:
            if stream.capacity < stream.limits.buffer_messages // 2:
                self.call_later(TICK_SECONDS, self._send_given_now)
                break
            common, encoded, memory, _ = given.popleft()
            member, identifier, source = common
            messages, size = [encoded], len(encoded)
            if memory is None:
                while (
                    given
                    and given[0].common == common
                    and given[0].memory is None
                    and size < node.limits.frame_bytes
                ):
                    size += len(given[0].encoded)
                    messages.append(given.popleft().encoded)
            first = node._sequence + 1
            node._sequence += len(messages)
            head = batch_head(identifier, node.id, source)
            data = encode_batch(head, first, messages, len(messages))
            if memory is not None:
                _, data = large_batch(data, memory)
            body = put_body(member.group, data, shared=stream.shares_memory)
            stream.send(PUT, body, messages=len(messages))

    def tell(self, member: Membership, **fields: int) -> None:
        """Tell the hub what a store wants and has taken; on any thread."""
        node = self.node
        if node.lock.acquire(blocking=False):
            try:
                self._send_want(member, **fields)
            finally:
                node.lock.release()
        else:
            node.loop.call(lambda: self._tell(member, **fields))

    def _tell(self, member: Membership, **fields: int) -> None:
        with self.node.lock:
            self._send_want(member, **fields)

    def _send_want(self, member: Membership, **fields: int) -> None:
        """Tell the hub what a store wants. The node's lock is held."""
        peer = self.peer
        if peer is not None and peer.connected and self._members.get(member.group) is member:
            peer.stream.send(WANT, member.want_body(**fields))
            self.node.flush(peer)

    # -- what comes in ---------------------------------------------------------------------------------------

    def handle(self, peer: Peer, params: GroupFrame) -> None:
        """Take a frame of the hub. The node's lock is held.

        Raises:
            FrameError: it comes from another, or is not what a hub sends.
        """
        if peer.role != "hub":
            raise FrameError("only a hub has groups of shared queues")
        if isinstance(params, JobsParams):
            what: list[tuple[int, Batch]] | _Report = self._read_jobs(params)
        elif isinstance(params, GroupParams):
            what = self._read_report(params)
        else:
            raise FrameError("a node is no hub: it has no groups")
        member = self._members.get(params.group)
        if peer is self.peer and member is not None:
            if isinstance(what, list):
                for _, batch in what:
                    member.remember(batch.origin, batch.first, batch.count)
            self.arrived.append((member, member.epoch, what))

    def _read_jobs(self, params: JobsParams) -> list[tuple[int, Batch]]:
        jobs = parse_jobs(params)
        if params.sizes:
            if len(jobs) != 1:
                raise FrameError("a job with buffers beside it is alone in its frame")
            ((number, raw),) = params.jobs
            jobs = [(number, large_batch(bytes(raw), self.node.memories.receive(params))[0])]
        return jobs

    def _read_report(self, params: GroupParams) -> _Report:
        first: list[Batch] = []
        buffers = iter(params.buffers)
        for raw in params.first:
            if (its := next(buffers, None)) is None:
                first.append(parse_batch(raw))
            else:
                first.append(large_batch(bytes(raw), self.node.memories.receive(its))[0])
        return _Report(params, first)

    def deliver(self) -> None:
        """Deal with what the hub has sent; one thread at a time, without the node's lock."""
        with self.node.lock:
            arrived, self.arrived = self.arrived, []
        for member, epoch, what in arrived:
            if isinstance(what, _Report):
                self._told(member, what)
            else:
                self._jobs_came(member, epoch, what)

    def _jobs_came(self, member: Membership, epoch: int, jobs: list[tuple[int, Batch]]) -> None:
        messages: list[JobMessage] = []
        unreadable: list[int] = []
        for number, batch in jobs:
            try:
                found = self._read(batch)
            except FrameError as error:
                peers_log.warning(
                    "%d jobs of %r can't be read and are left out: %s", batch.count, batch.source, error
                )
                unreadable += range(number, number + batch.count)
                continue
            for place, message in enumerate(found):
                message._job = number + place
                self._gateway.report_received(message)
            messages += found
        member.jobs_came(messages, unreadable, epoch)
        if unreadable:
            self.tell(member)

    def _read(self, batch: Batch) -> list[JobMessage]:
        """Return the messages of a batch.

        Raises:
            FrameError: they can't be read.
        """
        identifier = crossing_identifier(batch.identifier)
        is_mine = batch.origin == self.node.id and batch.source == self.node.name
        messages = []
        for content in read_batch(batch):
            message = JobMessage()
            message._identifier = identifier
            message._args = content.args
            message._kwargs = content.kwargs
            message._sent_at = content.sent_at
            message._source = None if is_mine else batch.source
            message._origin = None if is_mine else batch.origin
            message._callback = content.callback
            messages.append(message)
        return messages

    def _told(self, member: Membership, report: _Report) -> None:
        params = report.params
        first: list[tuple[tuple[str, int], Message]] = []
        try:
            for batch in report.first:
                first += [((batch.origin, batch.first), message) for message in self._read(batch)]
            member.told(params, first)
        except FrameError as error:
            peers_log.warning("what the hub says of %r can't be read: %s", member.group, error)
            return
        if params.refused:
            with self.node.lock:
                if self._members.get(member.group) is member:
                    del self._members[member.group]
                    self._unfollow(member)
                    if self.peer is not None:
                        self._pin()
            if not member.is_new:
                _log.warning("%s: this one stays in its process", params.refused)
