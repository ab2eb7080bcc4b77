"""A process on the network, with its bus.

What the bus publishes goes through the outbox to the peers that follow it. What peers send goes to the bus
and, if it came over a direct link, to the other direct links as well.
"""

from __future__ import annotations

import logging
import threading
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.payload import encode_message
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import frames
from berrymq.bridge.protocol.connection import Text
from berrymq.bridge.protocol.frames import FrameError
from berrymq.bridge.protocol.limits import MAX_FOLLOWS
from berrymq.identifiers import Identifier
from berrymq.printable import printable

from .answers import Answers, resolve
from .history import HubHistory
from .inbox import Deduplicator, Inbox
from .outbox import Outbox
from .peer import Peer
from .router import ACK_TURNS, Router
from .waiting import LinkWaiter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from berrymq.bridge.protocol.connection import Event
    from berrymq.bridge.protocol.frames import Batch, ReadBatch, ReadMessagesParams
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.loop import IoLoop
    from berrymq.bus import Bus
    from berrymq.messages import Message

    from .questions import Question
    from .room import Room, Subscriber
    from .router import OnEvent

__all__ = ["Node"]

IDLE_SECONDS = 0.0002
"""Who publishes after so long a silence writes to the sockets himself; who follows closer leaves it to the
loop, which joins what has come meanwhile.
"""

ROUNDS = 2
"""So often the outbox is emptied at once, if more is published meanwhile."""

BACKLOG_POLL_SECONDS = 0.02
"""How often it is looked whether followers have caught up, while they are behind."""

DROP_WARNING_SECONDS = 5.0

_log = logging.getLogger("berrymq")


class LocalBus:
    """The bus of this process as a subscriber among others."""

    def __init__(self) -> None:
        self.follows: set[Identifier] = set()

    def accept(self, batch: bytes, count: int) -> None:
        """Never called: the node delivers to its bus itself, without the lock."""


class Node(Router):
    """A bus on the network.

    Args:
        loop: reads the connections.
        bus: whose messages cross.
        name: what others see as the source of its messages.
        room: only nodes in the same room reach each other.
    """

    idle_seconds = IDLE_SECONDS

    def __init__(self, loop: IoLoop, bus: Bus, *, name: str, room: str | None = None, **options: Any) -> None:
        super().__init__(loop, name=name, **options)
        self.bus = bus
        self._passes_on = False
        """There are several direct links, and what comes over one is for the others as well."""
        self.home = self.room(room)
        self.outbox = Outbox(self._capacity_left, lambda: not loop.is_current)
        self._gateway = bus.gateway
        self._inbox = Inbox(bus.gateway)
        self._local = self.own_bus = LocalBus()
        self._arrived: list[tuple[Batch | ReadBatch, int]] = []
        """Batches to be delivered, with the bytes they take."""
        self._to_do: list[Callable[[], object]] = []
        """What is to be done beside: questions to be put to followers here, and what was retained."""
        self.history = HubHistory(self, self._inbox)
        self.askers: set[int] = set()
        """The threads that read a connection while they wait for an answer."""
        self.answered_at = 0.0
        """When a question was answered here last."""
        self._delivering = threading.Lock()
        self._seen = Deduplicator()
        self._flushed_at = 0.0
        self._checking_backlog = False
        self._interests_pending = False
        self._dropped_before = 0
        self._warned_at = float("-inf")
        self._unwatch = self._gateway.watch(self._bus_interests_changed)
        self._update_bus_interests()
        self._attachment = self._gateway.attach(
            self.is_followed, self._send, ask=self._ask, replay=self.history.replay
        )
        self._waiter = LinkWaiter(self.only_channel, lambda: self.answered_at)
        self._gateway.wait_with(self._waiter)

    def __repr__(self) -> str:
        return printable(f"<Node {self.name!r} {self.id} {len(self.peers)} links>")

    # -- interest --------------------------------------------------------------------------------------------

    def passes(self, source: Peer | None, target: Subscriber) -> bool:
        """Whether what comes from one is for the other, if it follows it. None is this process."""
        if source is target:
            return False
        if target is self._local:
            return source is not None
        if isinstance(target, Peer):
            return source is None or source.role == target.role == "direct"
        return True

    def update_interest(self, peer: Peer, changed: set[Identifier] | None = None) -> None:
        """Tell one peer what is wanted from it: everything, if this node passes on between direct links."""
        if peer.role == "direct" and self._passes_on:
            peer.announce_interest(set(), set(), True)
        else:
            super().update_interest(peer, changed)

    def wanted_from(self, peer: Peer, identifiers: set[Identifier]) -> set[Identifier]:
        """Those of the identifiers that others follow to whom passes what comes from a peer."""
        holders = peer.room.interests.holders
        return {one for one in identifiers if any(self.passes(peer, who) for who in holders(one))}

    def refresh_roles(self) -> None:
        """Links came or went: there may be others to pass on to. The lock is held."""
        self._passes_on = sum([peer.role == "direct" for peer in self.peers.values()]) > 1
        for peer in self.peers.values():
            if peer.role == "direct" and peer.interest_announced:
                self.update_interest(peer)
                self._unflushed[peer] = None
        if not self._closed:
            self._attachment.refresh()

    def _bus_interests_changed(self) -> None:
        """Schedule an interest update; called by the bus on any thread."""
        if not self._interests_pending and not self._closed:
            self._interests_pending = True
            self.loop.call(self._update_bus_interests)

    def announce_now(self, peer: Peer, identifier: Identifier) -> None:
        """Tell a peer, before anything else, that an identifier is followed; on any thread with the lock."""
        self._update_bus_interests()
        if peer.interest_announced:
            self.update_interest(peer, {identifier})
        self._empty_outbox()

    def _update_bus_interests(self) -> None:
        self._interests_pending = False
        with self.lock:
            follows = set(self._gateway.interests())
            former, everything = self._local.follows, len(follows) > MAX_FOLLOWS
            if everything:
                follows = set()
            self._local.follows = follows
            self.home.unfollow(self._local, former - follows)
            self.home.follow(self._local, follows - former)
            self.home.follow_everything(self._local, everything)
            self.interest_changed(self.home, former ^ follows)

    def interest_received(self, peer: Peer) -> None:
        """A peer has said what it wants: the bus asks anew what crosses."""
        super().interest_received(peer)
        self._attachment.refresh()

    def attach(self, peer: Peer, channel: Channel, received: int | None) -> None:
        """Carry on a link over a connection; see `Router.attach`."""
        super().attach(peer, channel, received)
        if received is None:
            with self.lock:
                self.history.end_queries(peer)
                self.history.hub_changed(peer)

    def remove_peer(self, peer: Peer, *args: Any, **kwargs: Any) -> int:
        """A link is over."""
        lost = super().remove_peer(peer, *args, **kwargs)
        with self.lock:
            self.history.end_queries(peer)
        self._attachment.refresh()
        return lost

    def is_followed(self, identifier: Identifier) -> bool:
        """Whether somebody on a link follows it; on any thread."""
        with self.lock:
            return any(self.passes(None, one) for one in self.home.interests.find(identifier))

    # -- what goes out ---------------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        """Take a message of the bus; on any thread. It waits for nothing, unless `overflow` says so."""
        callback = message._callback
        sent_at = message._sent_at
        encoded = encode_message(
            sent_at if 0.0 <= sent_at <= frames.LATEST else 0.0,  # others refuse what a broken clock says
            message._args,
            message._kwargs,
            None if callback is None or not isinstance(callback, Identifier) else callback.text,
        )
        watching = self.history.watching
        for replay in watching:
            replay.sent(message)
        is_first = self.outbox.put(message._identifier.text, encoded)
        if self.history.watching is not watching:  # a replay has begun meanwhile
            self.history.note_sent(message, watching)
        if not is_first:
            return
        if monotonic() - self._flushed_at > self.idle_seconds and self.lock.acquire(blocking=False):
            try:
                self._empty_outbox()
            finally:
                self.lock.release()
        else:
            self.loop.call(self._drain)

    def _drain(self) -> None:
        with self.lock:
            self._empty_outbox()
        if self.outbox.dropped != self._dropped_before:
            self._warn_of_drops()
        self.budget.relieve(monotonic())

    def empty_outbox(self) -> None:
        """Put what was published into the streams of those who follow it, and write; on any thread."""
        with self.lock:
            self._empty_outbox()

    def _empty_outbox(self) -> None:
        """Put what was published into the streams of those who follow it, and write. The lock is held."""
        for _ in range(ROUNDS):
            groups = self.outbox.take(self.limits.frame_bytes)
            for identifier, messages in groups:
                self.publish(self.home, identifier, self.name, messages)
            self.flush_all()
            self._flushed_at = monotonic()
            if not groups:
                return
        self.loop.call(self._drain)  # others publish on: they must not keep this thread for ever

    def _warn_of_drops(self) -> None:
        now = monotonic()
        if now - self._warned_at > DROP_WARNING_SECONDS:
            dropped, self._dropped_before = self.outbox.dropped, self.outbox.dropped
            self._warned_at = now
            _log.warning(
                "%d messages dropped so far: published faster than the links can send",
                dropped,
            )

    def _capacity_left(self) -> int:
        return min([peer.stream.capacity for peer in self.peers.values()], default=1 << 30)

    def publish_for_client(self, room: Room, identifier: str, source: str, messages: list[bytes]) -> None:
        """Publish for a client that has no link; here as well. The lock is held."""
        self.publish(room, identifier, f"{source} via {self.name}", messages)
        data = frames.encode_batch(frames.batch_head(identifier, self.id, source), 1, messages, len(messages))
        self._arrived.append((frames.parse_batch(data), len(data)))
        self.loop.call(self.deliver_arrived)

    # -- what comes in ---------------------------------------------------------------------------------------

    def receive(self, peer: Peer, channel: Channel, otherwise: OnEvent, event: Event) -> None:
        """Process what comes over the connection of a link; see `Router.receive`.

        Nearly all are messages that are followed here and are not to be passed on. Those are read in one go.
        """
        frame, size = None, 0
        if type(event) is Text and not self._passes_on:
            frame, size = frames.read_messages(event.data, trusted=peer.role == "hub"), len(event.data)
        try:
            if frame is None or not self._handle_messages(peer, channel, frame, size):
                super().receive(peer, channel, otherwise, event)
        except FrameError as error:
            self.close_for_error(peer, channel, otherwise, error)
        if self._arrived or self._to_do:
            if get_ident() in self.askers:  # it waits for an answer, and may hold locks of its own
                self.loop.call(self.deliver_arrived)
            else:
                self.deliver_arrived()
        if self.outbox.blocks:
            self.outbox.wake()

    def _handle_messages(self, peer: Peer, channel: Channel, frame: ReadMessagesParams, size: int) -> bool:
        """Take messages that are not passed on; False where a client that has no link gets them as well."""
        with self.lock:
            if peer.channel is not channel:
                return True  # a connection of before
            room, local, stream = peer.room, self._local, peer.stream
            count, followed = 0, []
            for batch in frame.batches:
                count += batch.count
                route = room.routes.get(batch.identifier) or room.route(batch.identifier)
                followed.append(local in route)
                for one in route:
                    if one is not local and type(one) is not Peer:
                        return False
            if stream.receive(frame.n, frame.ack, count, self.loop.time()):
                for batch, is_followed in zip(frame.batches, followed, strict=True):
                    origin = batch.origin
                    numbers = () if origin == self.id else self._seen.fresh(origin, batch.first, batch.count)
                    if len(numbers) != batch.count:
                        self._note_duplicates(peer, batch.count - len(numbers))
                        if is_followed:
                            self._arrived += [(part, 0) for part in batch.only(numbers)]
                    elif is_followed:
                        self._arrived.append((batch, size * batch.count // count))
            if stream.wants_flush:
                self.flush(peer)
            self._unacknowledged[peer] = None
            self._ack_turns = ACK_TURNS
            if not self._ack_timer:
                self.start_ack_timer()
        return True

    def handle_batches(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Keep what is followed here, and pass on what came over a direct link. The lock is held."""
        for batch, data in batches:
            origin = batch.origin
            numbers = () if origin == self.id else self._seen.fresh(origin, batch.first, batch.count)
            whole = len(numbers) == batch.count
            for part in ((batch, data),) if whole else self._split(peer, batch, numbers):
                for subscriber in peer.room.route(batch.identifier):
                    if subscriber is self._local:
                        self._arrived.append((part[0], len(part[1])))
                    elif self.passes(peer, subscriber):
                        self.pass_to(subscriber, part[1], part[0].count)

    def _split(self, peer: Peer, batch: Batch, numbers: Sequence[int]) -> list[tuple[Batch, bytes]]:
        """What of a batch has not been here before, where some of it has."""
        self._note_duplicates(peer, batch.count - len(numbers))
        try:
            return frames.split_batch(batch, numbers)
        except FrameError as error:  # whoever has passed it on can't help it: a hub does not read messages
            peers_log.warning(
                "%d messages of %r can't be read and are left out: %s", batch.count, batch.source, error
            )
            return []

    def handle_past(self, peer: Peer, params: frames.PastParams) -> None:
        """Take what a hub had retained. The lock is held."""
        self.history.take(peer, params.query, params.batches, params.end)

    def deliver_next(self, deliver: Callable[[], object]) -> None:
        """Have something done with the next delivery, which does not hold the lock. The lock is held."""
        self._to_do.append(deliver)

    def _note_duplicates(self, peer: Peer, count: int) -> None:
        peer.stream.stats.duplicates += count
        peer.stream.stats.received -= count

    def deliver_arrived(self) -> None:
        """Hand what has arrived to the bus; one thread at a time, for the order."""
        while (self._arrived or self._to_do) and self._delivering.acquire(blocking=False):
            try:
                with self.lock:
                    arrived, self._arrived = self._arrived, []
                    asked, self._to_do = self._to_do, []
                much = False
                for batch, size in arrived:
                    much = self._inbox.deliver(batch, size)
                if much and self._inbox.is_behind():
                    self._hold_back()
                for deliver in asked:
                    deliver()
                if asked and self._inbox.is_behind():
                    self._hold_back()
            finally:
                self._delivering.release()

    def _hold_back(self) -> None:
        for peer in self.peers.values():
            peer.stream.behind = True
        if not self._checking_backlog:
            self._checking_backlog = True
            self.loop.call_later(BACKLOG_POLL_SECONDS, self._check_backlog)

    def _check_backlog(self) -> None:
        if self._inbox.is_behind():
            self.loop.call_later(BACKLOG_POLL_SECONDS, self._check_backlog)
            return
        self._checking_backlog = False
        with self.lock:
            for peer in self.peers.values():
                peer.stream.caught_up()
                self.flush(peer)

    # -- questions -------------------------------------------------------------------------------------------

    def _ask(self, message: Message, timeout: float | None) -> Future[list[Any]]:  # noqa: ARG002 - the asker's
        """Put a question of the bus to all who follow it elsewhere; on any thread."""
        future = Answers(self, self.only_channel())
        encoded = encode_message(message._sent_at, message._args, message._kwargs)
        with self.lock:
            if self.outbox:
                self._empty_outbox()  # what was published before goes before
            self._sequence += 1
            text = message._identifier.text
            batch = frames.Batch(text, self.id, self.name, self._sequence, 1, msgspec.Raw(b"[%b]" % encoded))
            data = frames.encode_batch(self._head(text, self.id, self.name), self._sequence, [encoded], 1)
            future.question = question = self.ask_followers(
                None, self.home, batch, data, lambda answers: resolve(future, answers)
            )
        future.add_done_callback(lambda done: self.give_up(question) if done.cancelled() else None)
        return future

    def only_channel(self) -> Channel | None:
        """The connection over which all answers come; None where there are several, or none."""
        channels = [peer.channel for peer in self.peers.values()]
        return channels[0] if len(channels) == 1 else None

    def can_be_asked(self, asker: Peer | None, subscriber: Subscriber) -> bool:
        """Whether a follower answers questions. The bus asks its own followers itself."""
        return super().can_be_asked(asker, subscriber) or (subscriber is self._local and asker is not None)

    def answers_itself(self, subscriber: Subscriber) -> bool:
        """Whether it is the bus of this process, which answers clients that have no link."""
        return subscriber is self._local

    def ask_for_client(self, *args: Any) -> tuple[Callable[[], None], Callable[[], list[bytes]]]:
        """Put a question for a client that has no link, here as well; see `Router.ask_for_client`."""
        asked = super().ask_for_client(*args)
        self.loop.call(self.deliver_arrived)
        return asked

    def handle_question(self, peer: Peer, params: frames.AskParams) -> None:
        """Put a question to all who follow it; one that came over another path before is answered already."""
        batch = frames.parse_batch(params.batch)
        if batch.origin == self.id or not self._seen.fresh(batch.origin, batch.first, 1):
            peer.stream.send(frames.ANSWER, b'"question":%d,"answers":[]' % params.question)
        else:
            super().handle_question(peer, params)

    def ask_subscriber(self, one: Any, question: Question, batch: Batch, data: bytes) -> None:
        """Put a question to one who follows it. The lock is held."""
        if one is self._local:
            self._to_do.append(lambda: self._inbox.poll(batch, self.name, self._answering(question)))
        else:
            super().ask_subscriber(one, question, batch, data)

    def _answering(self, question: Question) -> Callable[[bytes], None]:
        def answer(answers: bytes) -> None:
            self.answered_at = monotonic()
            with self.lock:
                self.questions.answer(question.number, self._local, [answers])

        return answer

    # -- its end ---------------------------------------------------------------------------------------------

    def detach(self) -> None:
        """Take nothing more from the bus; on any thread."""
        self._closed = True
        self.outbox.close()
        self._gateway.wait_with(None)
        self._waiter.close()
        self._attachment.cancel()
        self._unwatch()

    def after_fork(self) -> None:
        """In a forked child: the links are its parent's. It is told so when it publishes what would cross."""
        self.lock = threading.RLock()
        self._closed = True
        self._unwatch()
        self._attachment.cancel()
        for peer in self.peers.values():
            if peer.channel is not None:
                peer.channel.close_in_child()
        self._attachment = self._gateway.attach(self.is_followed, self._not_sent)
        self.history.after_fork()

    def leave_bus(self) -> None:
        """Detach the parent's node: this forked child now has a link of its own."""
        self._attachment.cancel()

    def _not_sent(self, message: Message) -> None:
        self._attachment.cancel()
        _log.warning(
            "%s does not leave this process: it was forked, and the links are its parent's. "
            "Call link() in it",
            message.id,
        )

    def close(self) -> None:
        """Leave the network."""
        self.detach()
        super().close()
        self.deliver_arrived()  # the loop may end before it does
        self.history.close()
