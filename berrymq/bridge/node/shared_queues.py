"""The shared queues of this process, while it is linked to a hub or to NATS.

Each shared store is a member of a group at the hub then, or of one that NATS feeds (``nats/job_queue.py``).
Messages that are published here cross the link like any other, and those that the hub hands to this process
come back as jobs: so there is one order, and each job is taken once.

The way of a job: ``twitter`` -> `JobOutbox.publish` -> the link -> the hub's group -> ``jobs`` -> `JobInbox`
-> `Membership.receive_jobs` -> the store -> `Queue.get`. Also what a consumer in the same process takes goes
this way, or two processes would each have an order of their own.

Which side collects a message is decided in one step, for messages are published on any thread while the link
comes and goes: the bus's routes, `_followed` and `Membership` of a store change together
(``stores.share`` with its ``choose``), and `JobOutbox` checks with its gate held whether the groups were
left.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from berrymq.bridge.protocol.group_frames import JOIN, LEAVE, WANT, GroupParams
from berrymq.bridge.protocol.json_checks import FrameError

from .job_inbox import JobInbox
from .job_outbox import JobOutbox
from .membership import Membership
from .process_lock import lock_process_file, unlock_process_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from berrymq.bridge.discovery.file_lock import FileLock
    from berrymq.bridge.protocol.group_frames import GroupFrame
    from berrymq.identifiers import Identifier
    from berrymq.messages import Message
    from berrymq.shared_stores import SharedStore
    from berrymq.subscribers import Attachment

    from .node import Node
    from .peer import Peer

__all__ = ["SharedQueues"]

JOIN_SECONDS = 2.0
"""The timeout of a new shared queue for the answer to its ``join``, which refuses other settings. Without an
answer in this time the queue is used all the same; a refusal that comes later is logged."""

_log = logging.getLogger("berrymq")


class SharedQueues:
    """The memberships of a node in the groups of its hub; see `berrymq.shared_stores.Exchange`.

    Locks: the node's is taken before any other here. Memberships have one each, see ``membership.py``.

    Args:
        node: this process.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.peer: Peer | None = None
        """The hub, from the first connection to `leave`."""
        self.inbox = JobInbox(self)
        self.outbox = JobOutbox(self)
        self._gateway = node.bus.gateway
        self.stores = self._gateway.shared_stores
        self._hub_id = ""
        """The hub of the last connection; another id means that a successor has taken its place, and that the
        former hub's jobs are gone."""
        self._members: dict[str, Membership] = {}
        """By the identifier of the group; changed with the node's lock held."""
        self._left: set[str] = set()
        """The groups that were left over the present link; see `Membership.rejoins`."""
        self._followed: tuple[Identifier, ...] = ()
        """The identifiers of groups; changed in one step with the routes."""
        self._is_leaving = False
        """The link is about to be closed: messages that shared queues collect here must not cross too."""
        self._attachment: Attachment | None = None
        """Routes messages for groups here; held from the first group to `leave`."""
        self._process_lock: FileLock | None = None
        """By it the hub sees that this process has ended, however it did."""

    @property
    def can_wait(self) -> bool:
        """Whether this thread may wait for an answer of the hub, and there is a connection.

        The I/O thread must not: the answer would be read by itself.
        """
        peer = self.peer
        return peer is not None and peer.connected and not self.node.loop.is_current

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a function on the loop."""
        self.node.loop.call_later(seconds, function)

    # -- the link --------------------------------------------------------------------------------------------

    def link_is_up(self, peer: Peer, *, resumed: bool) -> None:
        """Join the groups, or resume the memberships. The node's lock is held.

        Three cases: the first connection joins; a resumed one goes on where it was; a new stream, at the same
        hub or at its successor, joins again.
        """
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
        """Pause the memberships. The node's lock is held.

        Jobs that no consumer has taken are set aside, for the hub may give them to others once this process's
        ttl is over.
        """
        if peer is self.peer:
            for member in self._members.values():
                member.pause()

    def _begin(self, peer: Peer) -> None:
        """Share the stores that there are. The node's lock is held.

        The route must lead to the outbox before any message can match it, and the ``join`` must be in the
        stream before the first message; both hold since the node's lock is held throughout.
        """
        for store in self.stores.stores():
            if not store.can_cross and not store.identifier.is_local:
                _log.warning(
                    "the shared queue of %r stays in this process: its overflow is %r, and what is full "
                    "elsewhere can't make a sender wait or raise",
                    store.identifier.text,
                    store.overflow,
                )
        members: list[Membership] = []
        if self.stores.stores():
            self._attach()

        def choose(stores: list[SharedStore]) -> list[SharedStore]:
            chosen = [store for store in stores if store.can_cross and not store.closed]
            members.extend(Membership(self, store) for store in chosen)
            for member in members:
                member.store.membership = member
            self._followed = tuple([store.identifier for store in chosen])
            return chosen

        self.peer = peer
        self._left.clear()
        self.outbox.open()  # before a route leads there; the lock is held, so the joins are sent first
        if self.stores.share(self, choose) is None:
            self.peer = None  # another node of this bus, in another room, shares them
            return
        for member in members:
            self._add(member)
            member.take_backlog()
        self.outbox.send(peer)

    def _attach(self) -> None:
        """Follow messages for groups; before the first is joined."""
        if self._attachment is None:
            name = "the shared queues of a link"
            self._attachment = self._gateway.attach(
                self.matches, self.outbox.publish, ask=self._ask, name=name
            )
            self._attachment.is_link = False

    def _add(self, member: Membership) -> None:
        """Join a group. The node's lock is held."""
        assert self.peer is not None
        if self._process_lock is None:
            self._process_lock = lock_process_file(self.node.id)
        self._members[member.group] = member
        self._pin()
        self._send_join(member)

    def _send_join(self, member: Membership, *, first: bool = False) -> None:
        """Send a ``join`` and the ``want`` that belongs to it. The node's lock is held.

        Args:
            member: the membership.
            first: put the frames before all others, also before retransmitted messages.
        """
        assert self.peer is not None
        if not first:
            fields = {}
            if member.group in self._left:
                member.rejoin()
                fields["question"] = member.rejoins
            self.peer.stream.send(JOIN, member.join_body())
            self.peer.stream.send(WANT, member.want_body(**fields))
        else:
            # Before messages that are sent again, and before the interest, after which a new hub may begin to
            # pass on what it has gathered. The last that is put there comes first.
            self.peer.stream.send(WANT, member.want_body(), first=True)
            self.peer.stream.send(JOIN, member.join_body(), first=True)

    def _pin(self) -> None:
        """Have messages for groups go to the hub, whatever it announces. The node's lock is held.

        A hub that has just started announces nothing yet; without this, messages for a group would not be
        sent to it.
        """
        assert self.peer is not None
        self.peer.pin({member.store.identifier for member in self._members.values()})

    def _rejoin(self, peer: Peer) -> None:
        """Join the groups again, at a hub that has no state of this node. The node's lock is held.

        At a successor, jobs that this process held are its own again: the hub that could have given them to
        others has ended. They are put into the group once more, in their order, and the ``join`` names what
        was received lately, so that what the senders resend is not added twice.

        What waited at the former hub is lost; its last known number is logged.
        """
        self._left.clear()
        is_new = peer.id != self._hub_id
        for member in self._members.values():
            lost = member.state.waiting if is_new and not member.stored else 0
            keeps_former = is_new and not member.stored  # else NATS gives them to others
            jobs = member.restart(keeps_former=keeps_former)
            self._send_join(member, first=True)
            if lost:
                _log.warning(
                    "about %d jobs waited in %r at the hub that has ended, and are lost", lost, member.group
                )
            if keeps_former:  # the hub that could have given them to others has ended
                self.outbox.put(member, jobs)  # type: ignore[arg-type]
        self.outbox.send(peer)

    def leave(self) -> None:
        """Leave all groups; the shared queues collect in this process again. No lock is held.

        First the routes change, so that new messages are collected here; then what is on the way to the hub
        is sent; then the memberships are given up, with the numbers of jobs that were taken. What could not
        be sent is collected here.
        """
        node = self.node

        def release(stores: list[SharedStore]) -> None:
            self._followed, self._is_leaving = (), True
            for store in stores:
                member = store.membership
                if isinstance(member, Membership):
                    member.end()
                    store.membership = None

        self.stores.unshare(self, release)
        self.outbox.close()
        with node.lock:
            peer, self.peer = self.peer, None
            members, self._members = list(self._members.values()), {}
            if peer is None:
                return
            node._empty_outbox()
            self.outbox.send(peer)
            unsent = self.outbox.take_unsent()
            for member in members:
                peer.stream.send(LEAVE, member.leave_body())
            node.flush(peer)
            peer.pinned = set()
            process_lock, self._process_lock = self._process_lock, None
            if self._attachment is not None:
                self._attachment.cancel()
                self._attachment = None
        for member, message in unsent:
            member.collect([message])
        unlock_process_file(node.id, process_lock)

    def link_has_ended(self) -> None:
        """Have messages cross over other links again."""
        if self.peer is None:
            self._is_leaving = False

    def after_fork(self) -> None:
        """Have shared queues collect in the forked child; received jobs are its parent's."""
        self.outbox.after_fork()
        for member in self._members.values():
            member._lock = threading.RLock()
            member._withdraw()
            member.store.membership = None
        self._members = {}
        self.peer = None
        self._followed = ()
        if self._attachment is not None:
            self._attachment.cancel()
        self.stores.unshare(self, lambda _: None)

    # -- a store ---------------------------------------------------------------------------------------------

    def join(self, store: SharedStore) -> None:
        """Have a new store join its group.

        Blocks for up to `JOIN_SECONDS`, where that is possible, for the hub may refuse other settings than
        the group has.

        Raises:
            ValueError: the group has other settings.
        """
        node = self.node
        member: Membership | None = None
        with node.lock:
            peer = self.peer
            if peer is None:
                self.stores.unshare(self, lambda _: None, store)
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

            if not self.stores.share(self, choose):
                return
            self._add(member)
            if peer.connected:
                node.flush(peer)
            else:
                member.pause()
        if self.can_wait:
            member.joined.wait(JOIN_SECONDS)
        if member.refused:
            raise ValueError(member.refused)
        member.is_new = False

    def forget(self, member: Membership) -> None:
        """Leave the group of a store that was closed; on the loop.

        Scheduled by `Membership.leave`, which may be called by the garbage collector, in which no lock may be
        taken.
        """
        node = self.node
        with node.lock:
            peer = self.peer
            if peer is None or self._members.get(member.group) is not member:
                return
            del self._members[member.group]
            self._left.add(member.group)
            self._unfollow(member)
            peer.stream.send(LEAVE, member.leave_body())
            self._pin()
            node.flush(peer)

    def _unfollow(self, member: Membership) -> None:
        """Have messages for a group stay here. The node's lock is held."""

        def release(stores: list[SharedStore]) -> None:
            followed = list(self._followed)
            if member.store.identifier in followed:  # a durable queue may have the same one
                followed.remove(member.store.identifier)
            self._followed = tuple(followed)
            member.end()
            for store in stores:
                store.membership = None

        self.stores.unshare(self, release, member.store)

    # -- publishing ------------------------------------------------------------------------------------------

    def matches(self, identifier: Identifier) -> bool:
        """Return whether messages of an identifier go to a group that was joined."""
        return any(one.matches(identifier) for one in self._followed)

    def excludes(self, identifier: Identifier) -> bool:
        """Return whether the attachment of the links must not match an identifier.

        Otherwise a message would cross twice: once for the group, once for peers that follow it.
        """
        if self._is_leaving:
            return any(store.identifier.matches(identifier) for store in self.stores.stores())
        return self.matches(identifier)

    def _ask(self, message: Message, timeout: float | None) -> Future[list[Any]]:
        """Put a question, which groups get as a job and followers elsewhere as a question."""
        for member in list(self._members.values()):
            if member.store.identifier.matches(message._identifier):
                self.outbox.put(member, [message])
        return self.node._ask(message, timeout)

    def report(self, member: Membership, **fields: int) -> None:
        """Report to the hub what a store wants and has taken; on any thread.

        The lock is not waited for: a consumer that takes a job must not stand behind a large batch.

        Args:
            member: the membership.
            fields: further params of the ``want``, such as those of a question.
        """
        node = self.node
        if node.lock.acquire(blocking=False):
            try:
                self._send_want(member, **fields)
            finally:
                node.lock.release()
        else:
            node.loop.call(lambda: self._report(member, **fields))

    def _report(self, member: Membership, **fields: int) -> None:
        with self.node.lock:
            self._send_want(member, **fields)

    def _send_want(self, member: Membership, **fields: int) -> None:
        """Send a ``want``. The node's lock is held."""
        peer = self.peer
        if peer is not None and peer.connected and self._members.get(member.group) is member:
            peer.stream.send(WANT, member.want_body(**fields))
            self.node.flush(peer)

    # -- frames ----------------------------------------------------------------------------------------------

    def handle(self, peer: Peer, params: GroupFrame) -> None:
        """Process a frame of the hub. The node's lock is held.

        Raises:
            FrameError: its sender is no hub, or it is malformed.
        """
        if peer.role != "hub":
            raise FrameError("only a hub has groups of shared queues")
        member = self._members.get(params.group) if peer is self.peer else None
        if member is not None and member.rejoins:
            if isinstance(params, GroupParams) and (params.question == member.rejoins or params.refused):
                self._after_pulled(peer, params.group, partial(self._has_rejoined, member))
            else:
                member = None  # the former one
        self.inbox.add(member, params)
        if member is not None and isinstance(params, GroupParams) and params.expired:
            self._after_pulled(peer, params.group, partial(self.inbox.add_expired_arrived, member))

    @staticmethod
    def _after_pulled(peer: Peer, group: str, function: Callable[[], object]) -> None:
        """Call a function when the jobs have arrived whose buffers are still pulled; at once without any."""
        key = ("group", group)
        if peer.pulls.holds(key):
            peer.pulls.hold(key, function, 0)
        else:
            function()

    def _has_rejoined(self, member: Membership) -> None:
        """Request jobs: all that come from now on are those of this membership. The node's lock is held."""
        self._left.discard(member.group)
        member.rejoins = 0
        self._send_want(member)

    def refused(self, member: Membership) -> None:
        """End a membership that the hub has refused. No lock is held.

        The store collects in this process from now on.
        """
        with self.node.lock:
            if self._members.get(member.group) is not member:
                return
            del self._members[member.group]
            unsent = [message for _, message in self.outbox.take_unsent(member)]
        member.collect([*member.unanswered, *unsent])
        member.unanswered = []
        with self.node.lock:
            self._unfollow(member)
            if self.peer is not None:
                self._pin()
        if not member.is_new:
            _log.warning("%s: this one stays in its process", member.refused)
