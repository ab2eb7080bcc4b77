"""A process on the network, with its bus.

Messages of the bus go through the outbox to the peers that follow them. Messages of peers are delivered to
the bus and, if they arrived over a direct link, passed on to the other direct links.

The way of a message, at the sender:

    twitter -> gateway -> Node._send          encode, on the publishing thread
            -> Outbox.put                     no lock
            -> Node._empty_outbox             the lock; by the publisher or the loop
            -> Router.publish                 one batch for each run of one identifier
            -> Peer.accept -> Stream -> Channel

and at the receiver:

    Channel -> Node.receive                   on the thread that reads
            -> Node._handle_messages          the lock: number, route, deduplicate
            -> Node._deliver                  no lock, one thread at a time
            -> Inbox.deliver -> gateway -> followers

Invariants:

- No user's code runs, and nothing is delivered, with the lock held: what has arrived is appended to a list
  under the lock, and delivered after it. `_delivering` keeps the order, for two threads can read: the loop's,
  and one that waits for an answer (`Channel.pump`).
- A message is published under the next sequence number of this node, and the numbers are given with the lock
  held, in the order in which batches are added to the streams. So each peer sees ascending numbers.
- The first thread that appends to the empty outbox has it emptied. `_empty_outbox` runs with the lock held,
  so what is sent by other ways, such as questions and large messages, empties it before.
"""

from __future__ import annotations

import logging
import threading
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.buffers import Own, end_of
from berrymq.bridge.errors import PayloadError
from berrymq.bridge.payload import ApartError, Form, encode_message, rows_in
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import batches, fields, frames
from berrymq.bridge.protocol.batches import encode_batch, large_batch
from berrymq.bridge.protocol.events import Text
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import MAX_FOLLOWS
from berrymq.identifiers import Identifier
from berrymq.printable import printable

from .answers import Answers, resolve
from .duplicates import Duplicates, is_passed_on
from .history import HubHistory
from .inbox import Inbox, is_sampled
from .link_timers import ACK_TURNS
from .outbox import Outbox
from .peer import Peer
from .pulls import MessageKey
from .router import Router
from .shared_queues import SharedQueues
from .values import Values
from .waiting import LinkWaiter

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from concurrent.futures import Future

    from berrymq.bridge.buffers import Filling, Memory, Rows
    from berrymq.bridge.protocol.batches import Batch, ReadBatch
    from berrymq.bridge.protocol.events import Event
    from berrymq.bridge.protocol.frames import Buffers, ReadMessagesParams
    from berrymq.bridge.protocol.group_frames import GroupFrame, MemoryFrame
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.loop import IoLoop
    from berrymq.bus import Bus
    from berrymq.messages import Message

    from .questions import Question
    from .room import Room, Subscriber
    from .router import OnEvent

__all__ = ["Node"]

IMAGE_MARK = b'"$type":"image"'
IMAGE_BYTES = 4 * 1024 * 1024
"""Images up to this size are fetched to be shown; nothing can be seen of a part of one."""

IDLE_SECONDS = 0.0002
"""A thread that publishes after this silence writes to the sockets itself; during a burst the loop writes,
and joins the messages. Much less than a person notices, and more than the interval of messages in a loop."""

ROUNDS = 2
"""The number of times that a publishing thread empties the outbox, if other threads go on publishing."""

MANY_BYTES = 256 * 1024
"""The size of a message from which its buffers are put beside it, however small each is."""
BUFFER_MARK = b'{"$type":"buffer"'

BACKLOG_POLL_SECONDS = 0.02
"""The interval of checks whether followers have caught up, while they are behind. The acknowledgements of
that time are withheld, which at full speed is a fraction of a window."""

DROP_WARNING_SECONDS = 5.0
"""The least interval of warnings that messages were dropped before they reached a link."""

_log = logging.getLogger("berrymq")


class LocalBus:
    """The bus of this process as a subscriber among others.

    It makes the bus's followers part of the same index and the same routes as those of peers, so that a route
    tells in one look-up whether a message is for this process.
    """

    def __init__(self) -> None:
        self.follows: set[Identifier] = set()
        """What the bus followed at the last update; empty if that was more than `MAX_FOLLOWS` identifiers,
        when everything is followed instead."""

    def accept(self, batch: bytes, count: int) -> None:
        """Do nothing: the node delivers to its bus itself, without the lock."""


class Node(Router):
    """A bus on the network.

    Locks, in the order in which they may be taken: `_delivering`, `lock`, then those of channels, of
    memberships of shared queues and of the outbox. The bus's own locks are not held when it calls `_send`.

    Args:
        loop: reads the connections.
        bus: the bus whose messages cross.
        name: the source that others see on its messages.
        room: only nodes in the same room reach each other.
    """

    idle_seconds = IDLE_SECONDS

    def __init__(self, loop: IoLoop, bus: Bus, *, name: str, room: str | None = None, **options: Any) -> None:
        super().__init__(loop, name=name, **options)
        self.bus = bus
        self.stored_capacity: Callable[[], int] = lambda: 1 << 30
        """Returns how many messages can be accepted for storage on NATS."""
        self.strict = False
        """Whether publishing a value that can't cross is an error."""
        self.values = Values(self.memories)
        self._form = Form(min_apart=self.memories.min_apart)
        self._passes_on = False
        """There are several direct links, and messages of one are passed on to the others. Then every direct
        peer is asked for everything, since what the others will follow is not known to it."""
        self._had_several_links = False
        """There is, or was, another link beside a direct one, so that a batch may arrive over both. It is
        never reset: a batch may still arrive over the second link after the first was closed."""
        self.home = self.room(room)
        """The room of the bus. A node that others link to may have further rooms, of which it is only the
        router."""
        self.outbox = Outbox(self._capacity_left, lambda: not loop.is_current)
        self._gateway = bus.gateway
        self._inbox = Inbox(bus.gateway, self.values)
        self._local = self.own_bus = LocalBus()
        self._arrived: list[tuple[Batch | ReadBatch, int]] = []
        """Batches to be delivered, with their size in bytes."""
        self._asked: list[tuple[Question, Batch | ReadBatch]] = []
        """Questions to the followers of this bus, each as one message."""
        self._replayed: list[Callable[[], object]] = []
        """Deliver the parts of replays that have arrived."""
        self.history = HubHistory(self, self._inbox)
        self.askers: set[int] = set()
        """The threads that read a connection while they wait for an answer. By `threading.get_ident`.
        Followers are not called on these."""
        self.answered_at = 0.0
        """The time of the last answer to a question."""
        self._delivering = threading.Lock()
        """Held by the thread that delivers; taken without blocking, for whoever holds it looks again before
        it leaves."""
        self.shared = SharedQueues(self)
        self._duplicates = Duplicates()
        """Used with the lock held."""
        self._flushed_at = 0.0
        """When the outbox was emptied last, by `time.monotonic`; read without the lock."""
        self._checking_backlog = False
        self._checking_pulls = False
        self._interests_pending = False
        """An update of the bus's interests is scheduled on the loop; further changes need no other one."""
        self._dropped_before = 0
        """The outbox's counter at the last warning."""
        self._warned_at = float("-inf")
        self._unwatch = self._gateway.watch(self._bus_interests_changed)
        self._update_bus_interests()
        self._attachment = self._gateway.attach(
            self._crosses, self._send, ask=self._ask, replay=self.history.replay
        )
        self._waiter = LinkWaiter(self.only_channel, lambda: self.answered_at)
        self._gateway.wait_with(self._waiter)

    def __repr__(self) -> str:
        return printable(f"<Node {self.name!r} {self.id} {len(self.peers)} links>")

    # -- interest --------------------------------------------------------------------------------------------

    def passes(self, source: Peer | None, target: Subscriber) -> bool:
        """Return whether messages of a source may be passed to a target; see `Router.passes`.

        A hub's messages are not passed on to direct links and the other way round: the hub reaches its own
        members, and a loop over both would deliver twice. Between direct links messages pass, as in 2009.
        """
        if source is target:
            return False
        if target is self._local:
            return source is not None
        role: str | None = getattr(target, "role", None)  # of a peer, or of the recorder of NATS
        if role is not None:
            return source is None or source.role == role == "direct"
        return True

    def update_interest(self, peer: Peer, changed: set[Identifier] | None = None) -> None:
        """Announce interest to a peer: in everything, if messages are passed on between direct links.

        The lock is held.
        """
        if peer.role == "direct" and self._passes_on:
            peer.announce_interest(set(), set(), True)
        else:
            super().update_interest(peer, changed)

    def wanted_from(self, peer: Peer, identifiers: set[Identifier]) -> set[Identifier]:
        """Return the identifiers that others follow to whom messages of a peer may be passed."""
        return self.wanted_by_passing(peer, identifiers)

    def refresh_roles(self) -> None:
        """Update whether messages are passed on, after a link was added or removed. The lock is held."""
        direct = sum([peer.role == "direct" for peer in self.peers.values()])
        self._passes_on = direct > 1
        mesh = sum([peer.role == "mesh" for peer in self.peers.values()])
        self._had_several_links |= len(self.peers) > 1 and (direct > 0 or 0 < mesh < len(self.peers))
        for peer in self.peers.values():
            if peer.role == "direct" and peer.interest_announced:
                self.update_interest(peer)
                self._unflushed[peer] = None
        if not self._closed:
            self._attachment.refresh()

    def _bus_interests_changed(self) -> None:
        """Schedule an interest update; called by the bus on any thread.

        A class body with fifty followers calls it fifty times, and the loop updates once. The flag is read
        without a lock: if a change comes just when the loop has reset the flag, another update is scheduled;
        if just before, the running update sees the change, for it reads the interests after the reset.
        """
        if not self._interests_pending and not self._closed:
            self._interests_pending = True
            self.loop.call(self._update_bus_interests)

    def announce_now(self, peer: Peer, identifier: Identifier) -> None:
        """Announce to a peer that an identifier is followed, before frames that are sent next.

        On any thread, with the lock held.

        The usual way, by the loop, is too late for a frame such as ``replay``: the hub would send past
        messages before it knows of the interest, and live ones in between would be missing.
        """
        self._update_bus_interests()
        if peer.interest_announced:
            self.update_interest(peer, {identifier})
        self._empty_outbox()

    def announce_to_all(self, identifier: Identifier) -> None:
        """Do for all peers what `announce_now` does for one. The lock is held."""
        self._update_bus_interests()
        for peer in self.peers.values():
            if peer.interest_announced:
                self.update_interest(peer, {identifier})
        self._empty_outbox()

    def _announce_before_messages(self) -> None:
        """Announce changes of what is followed before the messages that are sent next. The lock is held."""
        if self._interests_pending and not self.announcements.is_delayed:
            self._update_bus_interests()
        self.announcements.send_before_messages()

    def _update_bus_interests(self) -> None:
        """Compare what the bus follows with the last time, and announce the difference to the room."""
        with self.lock:  # or a thread that sends meanwhile would not announce it before its message
            self._interests_pending = False
            follows = set(self._gateway.interests())
            former, everything = self._local.follows, len(follows) > MAX_FOLLOWS
            if everything:
                follows = set()
            self._local.follows = follows
            self.home.unfollow(self._local, former - follows)
            self.home.follow(self._local, follows - former)
            self.home.follow_everything(self._local, everything)
            self.announcements.schedule(self.home, former ^ follows)

    def interest_received(self, peer: Peer) -> None:
        """Note that a peer has announced its interest, and refresh what of the bus crosses."""
        super().interest_received(peer)
        self._attachment.refresh()

    def attach(self, peer: Peer, channel: Channel, received: int | None) -> None:
        """Attach a link to a connection; see `Router.attach`.

        For a new stream, replays begin again: the answers to the former queries are lost with it.
        """
        super().attach(peer, channel, received)
        if received is None:
            with self.lock:
                self.history.end_queries(peer)
                self.history.link_restarted(peer)

    def remove_peer(self, peer: Peer, *args: Any, **kwargs: Any) -> int:
        """Close a link; see `Router.remove_peer`.

        The shared queues leave their groups first, while the link can still carry what they give back.
        """
        if peer is self.shared.peer:
            self.shared.leave()
        lost = super().remove_peer(peer, *args, **kwargs)
        self.shared.link_has_ended()
        with self.lock:
            self.history.end_queries(peer)
        self._attachment.refresh()
        return lost

    def recording_changed(self) -> None:
        """Have the bus also send what is to be stored on NATS; see `Router.recording_changed`."""
        self._attachment.refresh()

    def is_followed(self, identifier: Identifier) -> bool:
        """Return whether an identifier is followed over a link; on any thread."""
        with self.lock:
            return any(self.passes(None, one) for one in self.home.interests.find(identifier))

    def _crosses(self, identifier: Identifier) -> bool:
        """Return whether the links' attachment matches; the groups' attachment has the jobs."""
        return not self.shared.excludes(identifier) and self.is_followed(identifier)

    # -- shared queues ---------------------------------------------------------------------------------------

    def link_is_up(self, peer: Peer, *, resumed: bool) -> None:
        """Have the shared queues of this process join their groups at a hub. The lock is held."""
        self.shared.link_is_up(peer, resumed=resumed)

    def link_is_cut(self, peer: Peer) -> None:
        """Hand out no jobs that a hub may give to others. The lock is held."""
        self.shared.link_is_cut(peer)

    def handle_group(self, peer: Peer, params: GroupFrame) -> None:
        """Process a frame of a group. The lock is held."""
        self.shared.handle(peer, params)

    # -- sending ---------------------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        """Send a message of the bus; on any thread. Does not block, unless `overflow` is "block".

        This is the hot path of publishing. It ends in one of three ways: the message is in the outbox, which
        another thread is about to empty; this thread empties it, if nothing was sent for `IDLE_SECONDS`, so
        that a single message leaves without a switch of threads; or the loop is asked to. If the lock is
        taken, its holder may be busy with a large batch, and the publisher does not wait for it.

        A message is encoded before it is added, so later changes of its arguments do not reach the receivers.

        Raises:
            PayloadError: an argument can't cross and `strict` is set.
        """
        callback = message._callback
        sent_at = message._sent_at
        if not 0.0 <= sent_at <= fields.LATEST:
            sent_at = 0.0  # others refuse the time of a clock that is wrong
        to = None if callback is None or not isinstance(callback, Identifier) else callback.text
        try:
            encoded = encode_message(sent_at, message._args, message._kwargs, to, self._form)
        except (PayloadError, ApartError):
            encoded = b""
        if not encoded or (len(encoded) > MANY_BYTES and BUFFER_MARK in encoded and self.memories.min_apart):
            # it has large buffers, or many, or a value that can't cross
            encoded, memory = self.values.encode(message, sent_at, to, strict=self.strict)
        else:
            memory = None
        watching = self.history.watching
        for replay in watching:
            replay.sent(message)
        if memory is None:
            is_first = self.outbox.put(message._identifier.text, encoded)
        else:
            self.publish_large(message._identifier.text, encoded, memory)
            is_first = False
        if self.history.watching is not watching:  # a replay has begun since
            self.history.note_sent(message, watching)
        if not is_first:
            return
        # `send_soon` without the call
        if monotonic() - self._flushed_at > self.idle_seconds and self.lock.acquire(blocking=False):
            try:
                self._empty_outbox()
            finally:
                self.lock.release()
        else:
            self.loop.call(self._drain)

    def send_soon(self) -> None:
        """Have the outbox emptied: by this thread if nothing was sent lately, else by the loop.

        Called after `Outbox.put` has returned True.
        """
        if monotonic() - self._flushed_at > self.idle_seconds and self.lock.acquire(blocking=False):
            try:
                self._empty_outbox()
            finally:
                self.lock.release()
        else:
            self.loop.call(self._drain)

    def publish_large(self, identifier: str, encoded: bytes, memory: Memory) -> None:
        """Publish a message with buffers beside it, after those that were published before; on any thread.

        Its data is not copied into the outbox. What is in there goes first, and everything with the lock
        held, so the order of publishing stays.
        """
        with self.lock:
            if self.outbox:
                self._empty_outbox()
            self._announce_before_messages()
            self._sequence += 1
            head = self._head(identifier, self.id, self.name)
            _, data = large_batch(encode_batch(head, self._sequence, [encoded], 1), memory)
            for subscriber in self.home.route(identifier):
                if self.passes(None, subscriber) and subscriber is not self.own_bus:
                    self.pass_to(subscriber, data, 1)
            self.flush_all()

    def _drain(self) -> None:
        """Empty the outbox on the loop, and warn of what it has dropped."""
        with self.lock:
            self._empty_outbox()
        if self.outbox.dropped != self._dropped_before:
            self._warn_of_drops()
        self.budget.relieve(monotonic())

    def empty_outbox(self) -> None:
        """Move published messages to the streams of their followers, and write; on any thread."""
        with self.lock:
            self._empty_outbox()

    def _empty_outbox(self) -> None:
        """Move published messages to the streams of their followers, and write. The lock is held.

        Bounded by `ROUNDS`: a publisher that empties it for the others returns to its own work soon.
        """
        for _ in range(ROUNDS):
            groups = self.outbox.take(self.limits.frame_bytes)
            self._announce_before_messages()  # what was followed before any of them was published
            for identifier, messages in groups:
                self.publish(self.home, identifier, self.name, messages)
            self.flush_all()
            self._flushed_at = monotonic()
            if not groups:
                return
        self.loop.call(self._drain)  # others go on publishing: this thread must not serve them for ever

    def _warn_of_drops(self) -> None:
        """Log how many messages the outbox has dropped in total; at most once in `DROP_WARNING_SECONDS`."""
        now = monotonic()
        if now - self._warned_at > DROP_WARNING_SECONDS:
            dropped, self._dropped_before = self.outbox.dropped, self.outbox.dropped
            self._warned_at = now
            _log.warning(
                "%d messages dropped so far: published faster than the links can send",
                dropped,
            )

    def _capacity_left(self) -> int:
        """Return how many messages the fullest link takes; without links as good as any number."""
        return min([self.stored_capacity(), *[peer.stream.capacity for peer in self.peers.values()]])

    def publish_for_client(self, room: Room, identifier: str, source: str, messages: list[bytes]) -> None:
        """Publish for a client that has no link, also to the bus of this process. The lock is held.

        The bus gets it as a batch of its own, numbered 1, which is not deduplicated: it arrives here alone.
        """
        self.publish(room, identifier, f"{source} via {self.name}", messages)
        data = batches.encode_batch(
            batches.batch_head(identifier, self.id, source), 1, messages, len(messages)
        )
        self._arrived.append((batches.parse_batch(data), len(data)))
        self.loop.call(self._deliver)

    # -- receiving -------------------------------------------------------------------------------------------

    def receive(self, peer: Peer, channel: Channel, otherwise: OnEvent, event: Event) -> None:
        """Process an event of a link's connection; see `Router.receive`.

        Most frames hold messages for this process alone, and there is one link. These are decoded in one
        pass, and so are questions and answers.

        After the frame has been processed, and with no lock held, what it brought is delivered on this same
        thread, unless this thread waits for an answer: it may hold a lock of the user's that a follower
        needs.
        """
        is_done = False
        try:
            if type(event) is Text and not self._had_several_links:
                data = event.data
                frame = frames.read_messages(data, trusted=peer.role == "hub")
                if frame is not None:
                    is_done = self._handle_messages(peer, channel, frame, len(data))
                elif (question := frames.read_question(data)) is not None:
                    is_done = self._handle_read_question(peer, channel, question)
            if not is_done:
                super().receive(peer, channel, otherwise, event)
        except FrameError as error:
            self.close_for_error(peer, channel, otherwise, error)
        if self._arrived or self._asked or self._replayed or self.shared.inbox.arrived:
            if get_ident() in self.askers:  # it waits for an answer, and may hold locks of its own
                self.loop.call(self._deliver)
            else:
                self._deliver()
        if self.outbox.blocks:
            self.outbox.wake()

    def _handle_messages(  # noqa: C901, PLR0912 - the hot path: a call less is felt
        self, peer: Peer, channel: Channel, frame: ReadMessagesParams, size: int
    ) -> bool:
        """Accept messages that are not passed on.

        Every check that may return False comes before the frame is recorded in the stream; what returns False
        is parsed again, by `Router.receive`, which must not take it for a duplicate.

        Returns:
            False if the bytes are needed: a client without a link follows them, or another node has published
            them, so that they may arrive over another link as well.

        Args:
            peer: the sender.
            channel: the connection that it arrived on.
            frame: the frame, with its messages decoded.
            size: its bytes, which are divided among its batches by their number of messages.
        """
        with self.lock:
            if peer.channel is not channel:
                return True  # a former connection
            room, local, stream = peer.room, self._local, peer.stream
            origin = None if peer.role == "hub" else peer.id
            duplicates = self._duplicates
            fresh = duplicates.over_hub.fresh if origin is None else duplicates.by_link.fresh
            key: Hashable = (peer.id, peer.id)  # as in `Duplicates.fresh`
            count, followed = 0, []
            for batch in frame.batches:
                count += batch.count
                route = room.routes.get(batch.identifier) or room.route(batch.identifier)
                followed.append(local in route)
                if origin is not None and batch.origin != origin:
                    return False
                for one in route:
                    if one is not local and type(one) is not Peer and self.passes(peer, one):
                        return False
            if peer.pulls:  # some of them may have to come after others
                return False
            if stream.receive(frame.n, frame.ack, count, self.loop.time()):
                for batch, is_followed in zip(frame.batches, followed, strict=True):
                    if origin is None:
                        key = (batch.origin, batch.identifier)
                    numbers: Sequence[int] = (
                        () if batch.origin == self.id else fresh(key, batch.first, batch.count)
                    )
                    if len(numbers) != batch.count:
                        self._note_duplicates(peer, batch.count - len(numbers))
                        if is_followed:
                            self._arrived += [(part, 0) for part in batch.only(numbers)]
                    elif is_followed:
                        self._arrived.append((batch, size * batch.count // count))
            if stream.wants_flush:
                self.flush(peer)
            timers = self.timers
            timers.unacknowledged[peer] = None
            timers.ack_turns = ACK_TURNS
            if not timers.ack_timer_runs:
                timers.start_ack_timer()
        return True

    def handle_batches(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Deliver what is followed here, and pass on what arrived over a direct link. The lock is held.

        The slow way: for several links, for clients that follow, and for messages that others have passed on.
        """
        self._handle_batches(peer, batches)

    def handle_late(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Process messages that were held back until buffers had been pulled; see `Router.handle_late`."""
        self._handle_batches(peer, batches, is_late=True)

    def _handle_batches(
        self, peer: Peer, batches: list[tuple[Batch, bytes]], *, is_late: bool = False
    ) -> None:
        for batch, data in batches:
            numbers = self._fresh(peer, batch, data, is_late=is_late)
            whole = len(numbers) == batch.count
            for part in ((batch, data),) if whole else self._split(peer, batch, numbers):
                for subscriber in peer.room.route(batch.identifier):
                    if subscriber is self._local:
                        self._arrived.append((part[0], len(part[1])))
                    elif self.passes(peer, subscriber) and not is_sampled(part[0]):
                        self.pass_to(subscriber, part[1], part[0].count)

    def _fresh(
        self, peer: Peer, batch: Batch, data: bytes | msgspec.Raw, *, is_late: bool = False
    ) -> Sequence[int]:
        """Return the numbers of a batch that have not arrived before.

        There are none for a batch of this node, which has gone round a ring.
        """
        if batch.origin == self.id:
            return ()
        numbers = self._duplicates.fresh(peer, batch, is_late=is_late)
        if self._had_several_links or is_passed_on(peer, batch.origin):
            return self._duplicates.not_otherwise(peer, batch, bytes(data), numbers)
        return numbers

    def _split(self, peer: Peer, batch: Batch, numbers: Sequence[int]) -> list[tuple[Batch, bytes]]:
        """Return the messages of a batch that are no duplicates, as batches."""
        self._note_duplicates(peer, batch.count - len(numbers))
        try:
            return batches.split_batch(batch, numbers)
        except (
            FrameError
        ) as error:  # not the fault of the peer that passed it on: a hub does not decode messages
            peers_log.warning(
                "%d messages of %r can't be read and are left out: %s", batch.count, batch.source, error
            )
            return []

    def handle_past(self, peer: Peer, params: frames.PastParams) -> None:
        """Process retained messages of a hub. The lock is held."""
        memory = self.memories.receive(params) if params.sizes else None
        self.history.handle_past(peer, params, memory)

    def memory_for(self, peer: Peer, key: Hashable) -> Callable[[int], Filling | Own]:
        """Return what opens memory for buffers: this process's own where nothing else gets them from here."""
        if self._passes_on or (isinstance(key, MessageKey) and self._goes_on(peer, key.identifier)):
            return self.memories.open
        return Own

    def _goes_on(self, peer: Peer, identifier: str) -> bool:
        """Return whether messages of a peer are passed to anything but this node's own bus."""
        route = peer.room.route(identifier)
        return any(one is not self._local and self.passes(peer, one) for one in route)

    def is_only_shown(self, peer: Peer, key: Hashable, params: Buffers | MemoryFrame) -> bool:
        """Return whether all that get the buffers of a frame here only show them."""
        if isinstance(params, frames.PastParams):
            only_shows = self.history.only_shows(params.query)
        elif isinstance(key, MessageKey):
            is_wanted = self._goes_on(peer, key.identifier)
            only_shows = not is_wanted and self._gateway.only_shows(key.identifier)
        else:
            only_shows = False
        return only_shows and not is_small_image(params)

    def sampled(self, peer: Peer, key: Hashable, params: Buffers | MemoryFrame) -> Mapping[int, Rows] | None:
        """Return how buffers of a frame are laid out if they are only shown here; None if they are used."""
        return rows_in(content_of(params)) if self.is_only_shown(peer, key, params) else None

    def receive_now(self, peer: Peer, params: Buffers, timeout: float) -> Memory:
        """Return the buffers that a peer has named, and wait for them; not to be used on the loop.

        Raises:
            TimeoutError: they have not arrived in time.
        """
        if type(params.memory) is int:
            arrived = threading.Event()
            with self.lock:
                self.pull(peer, params, None, 0, arrived.set)
                self.flush(peer)
            if not arrived.wait(timeout):
                raise TimeoutError
        return self.memories.receive(params)

    def is_full(self) -> bool:
        """Return whether no more buffers should be pulled: followers have not finished with the former."""
        is_full = self._inbox.is_full()
        if is_full and not self._checking_pulls:
            self._checking_pulls = True
            self.loop.call_later(BACKLOG_POLL_SECONDS, self._check_pulls)
        return is_full

    def _check_pulls(self) -> None:
        """Go on pulling as soon as followers have finished."""
        self._checking_pulls = False
        with self.lock:
            for peer in self.peers.values():
                if peer.pulls:
                    self._unflushed[peer] = None
            self.flush_all()

    def pulled(self) -> None:
        """Deliver what was held back for buffers, without the lock."""
        self.loop.call(self._deliver)

    def deliver_replayed(self, deliver: Callable[[], object]) -> None:
        """Call a function without the lock, after what arrived before it was delivered. The lock is held.

        So a replay and the live messages around it stay in order.
        """
        self._replayed.append(deliver)
        self.loop.call(self._deliver)

    def _note_duplicates(self, peer: Peer, count: int) -> None:
        """Count messages as duplicates, which the stream has counted as received."""
        peer.stream.stats.duplicates += count
        peer.stream.stats.received -= count

    def _deliver(self) -> None:
        """Deliver what has arrived to the bus; one thread at a time, to keep the order.

        The race at the end: a thread that appended and found `_delivering` taken relies on its holder, which
        has looked at the lists for the last time just before releasing it. Therefore the condition of the
        loop is read again after the release, and each appending thread calls this itself.
        """
        while (
            self._arrived or self._asked or self._replayed or self.shared.inbox.arrived
        ) and self._delivering.acquire(blocking=False):
            try:
                if self.shared.inbox.arrived:
                    self.shared.inbox.deliver()
                with self.lock:
                    arrived, self._arrived = self._arrived, []
                    asked, self._asked = self._asked, []
                    replayed, self._replayed = self._replayed, []
                much = False
                for batch, size in arrived:
                    much = self._inbox.deliver(batch, size)
                if much and self._inbox.is_behind():
                    self._hold_back()
                for deliver in replayed:
                    deliver()
                if replayed and self._inbox.is_behind():
                    self._hold_back()
                for question, asked_batch in asked:
                    self._inbox.poll(asked_batch, self.name, self._answering(question))
            finally:
                self._delivering.release()

    def _hold_back(self) -> None:
        """Withhold the acknowledgements of all links, for followers lag behind.

        So the senders' windows fill, and their buffers then bound what accumulates.
        """
        for peer in self.peers.values():
            peer.stream.behind = True
        if not self._checking_backlog:
            self._checking_backlog = True
            self.loop.call_later(BACKLOG_POLL_SECONDS, self._check_backlog)

    def _check_backlog(self) -> None:
        """On the loop, every `BACKLOG_POLL_SECONDS` while followers lag behind; it ends by itself."""
        if self._inbox.is_behind():
            self.loop.call_later(BACKLOG_POLL_SECONDS, self._check_backlog)
            return
        self._checking_backlog = False
        self._caught_up()

    def _caught_up(self) -> None:
        """Acknowledge what was withheld."""
        with self.lock:
            for peer in self.peers.values():
                peer.stream.caught_up()
                self.flush(peer)

    # -- questions -------------------------------------------------------------------------------------------

    def _ask(self, message: Message, timeout: float | None) -> Future[list[Any]]:  # noqa: ARG002 - the asker's
        """Put a question of the bus to its followers elsewhere; on any thread.

        Followers in this process are asked by the bus, not here. The timeout is the asker's as well.
        """
        future = Answers(self, self.only_channel())
        try:
            encoded, memory = (
                encode_message(message._sent_at, message._args, message._kwargs, None, self._form),
                None,
            )
        except (PayloadError, ApartError):
            encoded, memory = self.values.encode(message, message._sent_at, None, strict=self.strict)
        with self.lock:
            if self.outbox:
                self._empty_outbox()  # what was published before is sent before
            self._announce_before_messages()
            self._sequence += 1
            text = message._identifier.text
            batch = batches.Batch(text, self.id, self.name, self._sequence, 1, msgspec.Raw(b"[%b]" % encoded))
            data = batches.encode_batch(self._head(text, self.id, self.name), self._sequence, [encoded], 1)
            if memory is not None:
                batch, data = large_batch(data, memory)
            future.question = self.questions.ask(
                None, self.home, batch, data, lambda answers: resolve(future, answers)
            )
            future.question.takes_values = True
        return future

    def only_channel(self) -> Channel | None:
        """Return the connection over which all answers arrive; None where there are several, or none.

        With one connection an asker may read it itself, and is spared the switch of threads. All nodes on
        NATS are reached over one.
        """
        channels = [peer.channel for peer in list(self.peers.values())]
        readers = {None if one is None else one.reader for one in channels}
        return readers.pop() if len(readers) == 1 else None

    def can_be_asked(self, asker: Peer | None, subscriber: Subscriber) -> bool:
        """Return whether a follower is asked. The bus asks its own followers itself."""
        return super().can_be_asked(asker, subscriber) or (subscriber is self._local and asker is not None)

    def answers_itself(self, subscriber: Subscriber) -> bool:
        """Return whether a subscriber is the bus of this process, which answers clients that have no link."""
        return subscriber is self._local

    def ask_for_client(self, *args: Any) -> tuple[Callable[[], None], Callable[[], list[bytes]]]:
        """Put a question for a client that has no link, here as well; see `Router.ask_for_client`."""
        asked = super().ask_for_client(*args)
        self.loop.call(self._deliver)
        return asked

    def handle_question(self, peer: Peer, params: frames.AskParams) -> None:
        """Put a question of a peer to its followers; a duplicate from another path gets no answers."""
        batch = batches.parse_batch(params.batch)
        numbers: Sequence[int] = ()
        if batch.origin != self.id:
            numbers = self._duplicates.fresh_question(peer, batch)
            if self._had_several_links or is_passed_on(peer, batch.origin):
                numbers = self._duplicates.not_otherwise(peer, batch, bytes(params.batch), numbers)
        if not numbers:
            peer.stream.send(frames.ANSWER, b'"question":%d,"answers":[]' % params.question)
        else:
            super().handle_question(peer, params)

    def _handle_read_question(
        self, peer: Peer, channel: Channel, frame: frames.ReadAskParams | frames.ReadAnswerParams
    ) -> bool:
        """Process a question that only this process answers, or the last answer to one of this process.

        The fast way: one route, one path, a peer that is its origin. As in `_handle_messages`, nothing is
        recorded before the decision.

        Returns:
            False if it has to be processed step by step.
        """
        with self.lock:
            if peer.channel is not channel:
                return True  # of a former connection
            stream, number = peer.stream, frame.question
            if isinstance(frame, frames.ReadAnswerParams):
                question = self.questions.pending.find_open(number)
                if question is None or not question.takes_values or list(question.waiting) != [peer]:
                    return False
                if stream.receive(frame.n, frame.ack, 0, self.loop.time()):
                    self.questions.pending.answer(number, peer, frame.answers)
            else:
                batch = frame.batch
                if (
                    peer.room.route(batch.identifier) != (self._local,)
                    or is_passed_on(peer, batch.origin)
                    or self.questions.pending.is_full_for(peer)
                    or stream.held_bytes > stream.limits.buffer_bytes
                ):
                    return False
                if stream.receive(frame.n, frame.ack, 0, self.loop.time()):
                    if self._duplicates.fresh_question(peer, batch):
                        done = self.questions.answer_to(peer, number)
                        self._asked.append(
                            (self.questions.pending.open(peer, [self._local], done, number), batch)
                        )
                    else:
                        stream.send(frames.ANSWER, b'"question":%d,"answers":[]' % number)
                        self.flush(peer)
            if stream.wants_flush:
                self.flush(peer)
            self.timers.schedule_ack(peer)
        return True

    def ask_subscriber(self, one: Any, question: Question, batch: Batch, data: bytes) -> None:
        """Put a question to a follower. The lock is held."""
        if one is self._local:
            self._asked.append((question, batch))
        else:
            super().ask_subscriber(one, question, batch, data)

    def _answering(self, question: Question) -> Callable[[bytes], None]:
        """Return a function to be called with this bus's encoded answers, on any thread, without the lock."""

        def answer(answers: bytes) -> None:
            self.answered_at = monotonic()
            with self.lock:
                self.questions.pending.answer(question.number, self._local, [answers])

        return answer

    # -- detaching -------------------------------------------------------------------------------------------

    def detach(self) -> None:
        """Detach from the bus: nothing more is sent; on any thread.

        The links stay until `close`, so that what was published before can still be sent.
        """
        self._closed = True
        self.outbox.close()
        self._gateway.wait_with(None)
        self._waiter.close()
        self._attachment.cancel()
        self._unwatch()

    def after_fork(self) -> None:
        """Detach from the parent's links in a forked child; the first message that would cross warns.

        Only the forking thread exists here, and locks that others held in the parent are never released, so
        they are replaced. Descriptors are closed without a word to the other side: the connection goes on in
        the parent.
        """
        self.lock = threading.RLock()
        self._closed = True
        self._unwatch()
        self.shared.after_fork()
        self._attachment.cancel()
        for peer in self.peers.values():
            if peer.channel is not None:
                peer.channel.close_in_child()
        self._attachment = self._gateway.attach(self.is_followed, self._not_sent)
        self.history.after_fork()

    def detach_from_bus(self) -> None:
        """Detach the parent's node: this forked child now has a link of its own."""
        self._attachment.cancel()

    def _not_sent(self, message: Message) -> None:
        """Warn, once, that a message does not leave the forked child."""
        self._attachment.cancel()
        _log.warning(
            "%s does not leave this process: it was forked, and the links are its parent's. "
            "Call link() in it",
            message.id,
        )

    def close(self) -> None:
        """Detach from the bus and close all links."""
        self.detach()
        if not self._inbox.is_behind():
            self._caught_up()
        super().close()
        self._deliver()  # the loop may end before it does
        self.history.close()


def is_small_image(params: Buffers | MemoryFrame) -> bool:
    """Return whether what came with buffers has images, and is small enough to be fetched whole."""
    if end_of(params.sizes) > IMAGE_BYTES:
        return False
    return IMAGE_MARK in content_of(params)


def content_of(params: Buffers | MemoryFrame) -> bytes:
    """Return the messages of a frame with buffers, as JSON."""
    content = params.batch if isinstance(params, frames.BuffersParams) else getattr(params, "batches", b"")
    return bytes(content)
