"""Routing: the bytes of one peer's messages are passed on to those who follow them.

A hub is a router and nothing else; a node of a program is one with a bus (``node.py``). Payloads are not
decoded here. One lock guards peers, rooms and questions; it is never held while a user's code runs, and only
as long as a batch of frames takes.

What it knows of a message is the head of its batch: identifier, origin, number of the first message, count.
By the identifier the room's table of routes (``room.py``) gives the subscribers, a tuple that is computed
once for each identifier and each change of interest. Each of them is given the same bytes object.

Rules that both kinds of router keep:

- A peer gets no message back that it has sent (`Router.passes`).
- Frames are numbered and acknowledged for each link alone. A router acknowledges a frame when it is in the
  buffers of its followers' links, and not when those have it: a hub that is killed loses what it had
  acknowledged and not yet passed on, and nothing else.
- A peer outlives its connections. ``connection_lost`` starts two timers, a short one after which questions to
  it fail, and its ttl, after which it is removed and its backlog counted as missed.
- What a connection brings after the peer was attached to another one is ignored (``peer.channel is not
  channel``): two threads may still read the former one, and its frames are retransmitted on the new one.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from msgspec import UNSET

from berrymq.bridge.errors import RpcError
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import frames, handshake
from berrymq.bridge.protocol.batches import batch_head, large_batch
from berrymq.bridge.protocol.events import CloseCode, Closed, Event, Piece, Text
from berrymq.bridge.protocol.fields import MAX_COUNT
from berrymq.bridge.protocol.group_frames import GroupFrame, MemoryFrame
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.jsonrpc import INVALID_PARAMS
from berrymq.bridge.protocol.limits import Limits
from berrymq.bridge.protocol.offers import PIECE_HEAD, GoneParams, PullParams, ReleaseParams, gone_frame
from berrymq.bridge.protocol.record_frames import RecordFrame
from berrymq.bridge.transport.budget import Budget

from .announcements import Announcements
from .downloads import Downloads
from .link_timers import LinkTimers
from .memories import Memories
from .peer import MAX_LISTED, Peer
from .pulls import MessageKey
from .question_router import QuestionRouter
from .questions import GRACE_SECONDS
from .room import MAX_ROUTES, Room
from .status import NodeInfo, reachable_nodes, router_status
from .validation import read_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from berrymq.bridge.buffers import Filling, Memory, Own, Rows
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.frames import AckParams, Buffers, Params
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.loop import IoLoop
    from berrymq.identifiers import Identifier

    from .peer import Role
    from .questions import Question
    from .retained import StoredHistory
    from .room import Subscriber

    OnEvent = Callable[[Event], object]

__all__ = ["MAX_PEERS", "Router"]

MAX_PEERS = 1_000
"""The limit of peers of one node, disconnected ones included. It bounds memory and the cost of a status; each
peer may hold a window and a buffer, which the budget bounds."""

MAX_MISSED = 1_000
"""The number of expired peers whose dropped messages are reported if they link again. Of those beyond, the
one that expired longest ago is forgotten."""


class Router:
    """Peers, rooms, and the routing between them.

    Connections are processed on the thread that reads them; `publish` and `questions.ask` may be called on
    any thread that holds `lock`.

    Args:
        loop: reads the connections.
        name: the node's name, for people.
        key: the secret from which the id is derived; random by default.
        limits: bounds of each link.
        budget: bounds all of them together.
    """

    is_hub = False

    def __init__(
        self,
        loop: IoLoop,
        *,
        name: str,
        key: str | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.loop = loop
        self.name = name
        self.key = key or secrets.token_urlsafe(24)
        """Whoever knows it may speak in the name of `id`, so only the id is ever sent to others."""
        self.id = handshake.node_id_of(self.key)
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.lock = threading.RLock()
        """Reentrant, for hooks call methods that take it too."""
        self.peers: dict[str, Peer] = {}
        """By the id of the node."""
        self.rooms: WeakValueDictionary[str | None, Room] = WeakValueDictionary()
        """Held by their members alone."""
        self.questions = QuestionRouter(self)
        self.announcements = Announcements(self)
        self.started_at = time()
        self.on_peers_changed: Callable[[], object] = lambda: None
        """Called on the loop when a peer was added, disconnected or removed."""
        self.stored_history: Callable[[Room], StoredHistory | None] = lambda _: None
        """Returns the history of a room that is stored elsewhere; None where there is none."""
        self.own_bus: Subscriber | None = None
        """A subscriber that `publish` skips: this process's own bus."""
        self.memories = Memories()
        self.downloads = Downloads(loop, self.budget)
        self._head = lru_cache(maxsize=MAX_ROUTES)(batch_head)
        """Makes the beginning of a batch, with the identifier, this node's id and the source; cached, for
        publishing in a loop makes the same one each time."""
        self._sequence = 0
        """The number of the last message published in this node's name; with the lock held."""
        self._unflushed: dict[Peer, None] = {}
        """Peers that may have frames to be written; each is removed before that is done."""
        self._missed: OrderedDict[str, int] = OrderedDict()
        """Messages dropped with an expired link, by the key of its node."""
        self._closed = False
        self.timers = LinkTimers(self)

    # -- peers -----------------------------------------------------------------------------------------------

    def room(self, name: str | None) -> Room:
        """Return the room of that name, a new one if it has no members.

        A room without members is garbage, so rooms need not be closed.
        """
        found = self.rooms.get(name)
        if found is None:
            found = self.rooms[name] = Room(name)
        return found

    def add_peer(self, id: str, name: str, room: str | None, role: Role, *, key: str, ttl: float) -> Peer:
        """Add a peer, to be attached to its connection next. The lock is held.

        Args:
            id: the node's id.
            name: its name, for people.
            room: its room.
            role: the kind of the node.
            key: the secret that the dialling side presents on this link.
            ttl: seconds for which it may be disconnected before it expires.
        """
        peer = Peer(
            id,
            name,
            self.room(room),
            role,
            key=key,
            limits=self.limits,
            account=self.budget.open(lambda target: self._shed(peer, target)),
            ttl=ttl,
            now=self.loop.time(),
        )
        peer.pulls.is_paused = self.is_full
        self.peers[id] = peer
        self.refresh_roles()
        return peer

    def attach(self, peer: Peer, channel: Channel, received: int | None) -> None:
        """Attach a link to a connection.

        Interest is announced before any message of this connection is written, and the channel's events come
        here from then on. The lock is held, so nothing can be sent in between.

        Args:
            peer: the other side.
            channel: the connection.
            received: the number of frames that the other side has received; None if it starts a new stream.

        Raises:
            FrameError: the number does not fit the frames that were sent.
        """
        with self.lock:
            peer.cancel_timers()
            if received is None:
                peer.pulls.fail("the link to its sender was started again before all of it had arrived")
                peer.stream.restart()
                peer.stream.offers.clear()
                peer.forget_announced()
                self.questions.fail(peer, "was started again before it answered")
            else:
                peer.stream.resume(received)
            peer.pulls.cut()
            channel.take_pieces()
            channel.on_event = partial(self.receive, peer, channel, channel.on_event)
            peer.channel = channel
            peer.since = self.loop.time()
            self.update_interest(peer)
            self.link_is_up(peer, resumed=received is not None)
            self.flush(peer)
        self.on_peers_changed()

    def connection_lost(self, peer: Peer, channel: Channel, event: Closed) -> None:
        """Detach a lost connection and start the peer's grace and expiry timers.

        A frame that the other side refuses for the second time is dropped, or it would be refused for ever.

        Args:
            peer: the other side.
            channel: its connection; ignored if the peer has another one by now.
            event: the end, with the close code.
        """
        with self.lock:
            if peer.channel is not channel:
                return
            peer.channel = None
            peer.pulls.cut()
            if event.code in (CloseCode.PROTOCOL_ERROR, CloseCode.TOO_LARGE):
                dropped = peer.note_refusal()
                if dropped:
                    text = "%d messages were dropped: %r refuses them: %r"
                    peers_log.warning(text, dropped, peer.name, event.reason[:200])
            peer.since = self.loop.time()
            peer.stream.stats.cuts += 1
            self.link_is_cut(peer)
            peer.grace = self.loop.call_later(GRACE_SECONDS, self._grace_is_over, peer)
            self.start_expiry(peer)
        self.on_peers_changed()

    def link_is_up(self, peer: Peer, *, resumed: bool) -> None:
        """Do nothing: a hook, called before anything is written to a new connection. The lock is held."""

    def link_is_cut(self, peer: Peer) -> None:
        """Do nothing: a hook, called when the connection to a peer was lost. The lock is held."""

    def start_expiry(self, peer: Peer) -> None:
        """Start the expiry timer of a disconnected peer. The lock is held."""
        if peer.expires and not peer.connected and peer.expiry is None:
            peer.expiry = self.loop.call_later(peer.ttl, self.expire, peer)

    def _grace_is_over(self, peer: Peer) -> None:
        """Fail the questions to a peer that has not reconnected in `GRACE_SECONDS`.

        Reconnecting takes less, and an asker should not wait for its whole timeout.
        """
        with self.lock:
            if not peer.connected:
                self.questions.fail(peer, "was cut off before it answered")

    def expire(self, peer: Peer) -> None:
        """Remove a peer whose ttl is over, and log the number of messages that it misses.

        Called on the loop. A peer that has reconnected, or was replaced by another one with the same id,
        stays.
        """
        if not peer.connected and self.peers.get(peer.id) is peer:
            lost = self.remove_peer(peer, "its ttl is over")
            if lost:
                self._note_missed(peer, lost)
                peers_log.warning(
                    "%d messages for %r were dropped: it did not reconnect in time", lost, peer.name
                )

    def _note_missed(self, peer: Peer, lost: int) -> None:
        """Record messages that were dropped with a link, to be reported if its node links again.

        Kept by the secret key and not by the id, so that no other node can read the number.
        """
        self._missed[peer.key] = self._missed.get(peer.key, 0) + lost
        if len(self._missed) > MAX_MISSED:
            self._missed.popitem(last=False)

    def remove_peer(self, peer: Peer, reason: str, code: CloseCode = CloseCode.NORMAL) -> int:
        """Close a link; return the number of messages that the other side did not get.

        The reason is sent with the close frame. Questions to it fail at once, and its interest is withdrawn
        from the room.

        Args:
            peer: the other side.
            reason: a text that the other side logs.
            code: the WebSocket's close code.
        """
        self.timers.log_drops(peer)
        with self.lock:
            if self.peers.get(peer.id) is peer:
                del self.peers[peer.id]
            changed = peer.leave_room()
            peer.pulls.fail("its sender left before all of it had arrived")
            lost = peer.end(reason, code)
            self._unflushed.pop(peer, None)
            self.timers.forget(peer)
            self.questions.forget_asker(peer)
            self.questions.fail(peer, "left before it answered")
            self.refresh_roles()
            self.announcements.schedule(peer.room, changed)
            self.flush_all()
        self.on_peers_changed()
        return lost

    def refresh_roles(self) -> None:
        """Update what depends on the set of links: a hook, called with the lock held."""

    def recording_changed(self) -> None:
        """Do nothing: a hook, called when what is to be stored on NATS changes. The lock is held."""

    # -- interest --------------------------------------------------------------------------------------------

    def passes(self, source: Peer | None, target: Subscriber) -> bool:
        """Return whether messages of a source, None for this process, may be passed to a target.

        Called for each message and subscriber, so it only compares.
        """
        return source is not target

    def update_interest(self, peer: Peer, changed: set[Identifier] | None = None) -> None:
        """Announce to a peer what of *changed* is followed here, or all of it. The lock is held.

        Beyond `MAX_LISTED` identifiers one frame says "everything" instead of a list; it goes back to a list
        at half of that, so that a number that swings about the limit does not send long lists again and
        again.

        Args:
            peer: the other side.
            changed: identifiers whose followers have changed; None for all.
        """
        interests = peer.room.interests
        limit = MAX_LISTED // 2 if peer.announced_everything else MAX_LISTED
        everything = len(interests) > limit or any(
            self.passes(peer, one) for one in interests.follow_everything
        )
        if changed is None or peer.announced_everything:
            changed = set() if everything else {*interests.identifiers, *peer.announced}
        wanted = self.wanted_from(peer, changed)
        peer.announce_interest(wanted - peer.announced, (changed - wanted) & peer.announced, everything)

    def wanted_from(self, peer: Peer, identifiers: set[Identifier]) -> set[Identifier]:
        """Return the identifiers that others follow to whom messages of a peer may be passed."""
        holders_of = peer.room.interests.holders
        return {
            one
            for one in identifiers
            if (holders := holders_of(one)) and (len(holders) > 1 or peer not in holders)
        }

    def wanted_by_passing(self, peer: Peer, identifiers: set[Identifier]) -> set[Identifier]:
        """Return the same as `wanted_from` where messages do not pass between all subscribers."""
        holders = peer.room.interests.holders
        return {one for one in identifiers if any(self.passes(peer, holder) for holder in holders(one))}

    # -- receiving -------------------------------------------------------------------------------------------

    def receive(self, peer: Peer, channel: Channel, otherwise: OnEvent, event: Event) -> None:
        """Process an event of a link's connection, on the thread that reads it.

        A frame is a notification with one of the methods of ``protocol/frames.py``. Everything else on the
        connection, calls and their results, goes to whoever handled the connection before it became a link.

        Args:
            peer: the other side of the link.
            channel: the connection.
            otherwise: handles what is no frame: calls, their results, the end, malformed text.
            event: the event.
        """
        if type(event) is Piece:
            self._take_piece(peer, channel, otherwise, event)
            return
        if type(event) is not Text:
            otherwise(event)
            return
        try:
            envelope = frames.parse(event.data)
        except FrameError:
            otherwise(event)
            return
        method = envelope.method
        if (method not in frames.NUMBERED and method not in frames.CONTROL) or envelope.id is not UNSET:
            otherwise(event)
            return
        try:
            self.handle_frame(peer, channel, frames.parse_params(method, envelope.params))
        except FrameError as error:
            self.close_for_error(peer, channel, otherwise, error)

    def close_for_error(self, peer: Peer, channel: Channel, otherwise: OnEvent, error: FrameError) -> None:
        """Close a connection after a protocol error.

        It is a cut, not the end of the link: the peer may resume it. A frame that was refused twice is
        skipped there (`Stream.skip_oldest`), so that it can't be cut for ever.

        Args:
            peer: the other side.
            channel: the connection.
            otherwise: handles its end.
            error: the violation.
        """
        peers_log.warning("the link to %r is cut: %r", peer.name, str(error)[:200])
        channel.close(CloseCode.PROTOCOL_ERROR, str(error))
        otherwise(Closed())

    def handle_frame(
        self, peer: Peer, channel: Channel, params: Params | AckParams | PullParams | GoneParams
    ) -> None:
        """Process one frame, on the thread that reads the connection.

        Args:
            peer: the sender.
            channel: the connection that it arrived on.
            params: its decoded params.

        Raises:
            FrameError: it violates the protocol; the connection is to be closed.
        """
        with self.lock:
            if peer.channel is not channel:
                return  # a former connection
            if isinstance(params, frames.AckParams):
                peer.stream.acknowledged(params.ack)
            elif isinstance(params, PullParams):
                self._send_piece(peer, channel, params)
                return
            elif isinstance(params, GoneParams):
                peer.pulls.gone(params.memory, params.reason)
            else:
                self._handle_numbered(peer, params)
            self.flush(peer)
            self.budget.relieve(self.loop.time())

    def _shed(self, peer: Peer, target: int) -> None:
        """Drop a peer's messages until no more than *target* bytes are held; else end its link.

        Called by the budget when this peer is among the largest holders. Its messages go first, then the list
        of what it follows, in whose place it follows everything. The link of a peer that still exceeds its
        share is ended on the loop, since the caller may hold locks.
        """
        with self.lock:
            changed = peer.shed(target)
            if changed:
                self.announcements.schedule(peer.room, changed)
            if peer.is_over_share:
                self.loop.call(self._end_over_share, peer)

    def _end_over_share(self, peer: Peer) -> None:
        """End the link of a peer that does not read what can't be dropped.

        A link that this process has made stays: no other process would make it again.
        """
        if self.peers.get(peer.id) is not peer or not peer.expires:
            return
        lost = self.remove_peer(peer, "too much waits for you", CloseCode.TRY_AGAIN_LATER)
        if lost:
            self._note_missed(peer, lost)
        peers_log.warning(
            "the link to %r is ended, with %d messages: it does not take what is sent", peer.name, lost
        )

    def _handle_numbered(self, peer: Peer, params: Params) -> None:
        """Record the frame's number and acknowledgement, and process it if it is new. The lock is held.

        Batches are validated before the number is recorded: a frame with a malformed one counts as not
        received, and is retransmitted after the reconnection.

        Raises:
            FrameError: it is malformed, or out of order.
        """
        now = self.loop.time()
        stream = peer.stream
        if isinstance(params, frames.MessagesParams):
            batches = [read_batch(peer, raw) for raw in params.batches]
            count = sum([batch.count for batch, _ in batches])
            if stream.receive(params.n, params.ack, count, now):
                self.handle_batches(peer, self._not_held(peer, batches) if peer.pulls else batches)
        elif isinstance(params, frames.BuffersParams):
            batch, data = read_batch(peer, params.batch)
            if stream.receive(params.n, params.ack, 1, now):
                key = MessageKey(batch.identifier, batch.origin)
                is_late = type(params.memory) is int or peer.pulls.holds(key)
                handle = self.handle_late if is_late else self.handle_batches
                self._with_buffers(
                    *(peer, params, key, len(data)),
                    lambda: handle(peer, [large_batch(data, self.memories.receive(params))]),
                )
        elif stream.receive(params.n, params.ack, 0, now):
            if isinstance(params, ReleaseParams):
                stream.offers.release(params.memory)
            elif isinstance(params, frames.InterestParams):
                self.announcements.schedule(peer.room, peer.update_follows(params))
                self.interest_received(peer)
            elif isinstance(params, frames.AskParams):
                size = len(params.batch)
                self._with_buffers(peer, params, None, size, lambda: self.handle_question(peer, params))
            elif isinstance(params, frames.AnswerParams):
                self.questions.handle_answer(peer, params)
            elif isinstance(params, frames.ConcludeParams):
                self.questions.handle_conclude(peer, params.question)
            elif isinstance(params, frames.DroppedParams):
                self.handle_drops(peer, params.count)
            else:
                self._handle_memory_of_hub(peer, params)
        self.timers.schedule_ack(peer)

    def _handle_memory_of_hub(
        self, peer: Peer, params: GroupFrame | frames.ReplayParams | frames.PastParams | RecordFrame
    ) -> None:
        """Process a frame about what a hub or NATS remembers: shared queues and history."""
        if isinstance(params, MemoryFrame):
            self._with_buffers(
                peer, params, ("group", params.group), params.size, lambda: self.handle_group(peer, params)
            )
        elif isinstance(params, GroupFrame):
            self.handle_group(peer, params)
        elif isinstance(params, frames.ReplayParams):
            self.handle_replay(peer, params)
        elif isinstance(params, RecordFrame):
            peer.on_record(params)
        else:
            size = len(params.batches)
            self._with_buffers(
                peer, params, ("query", params.query), size, lambda: self.handle_past(peer, params)
            )

    # -- buffers that are pulled -----------------------------------------------------------------------------

    def _with_buffers(
        self,
        peer: Peer,
        params: Buffers | MemoryFrame,
        key: Hashable,
        size: int,
        process: Callable[[], object],
    ) -> None:
        """Process a frame as soon as its buffers are there, and what precedes it is processed.

        Args:
            peer: the sender.
            params: the frame's.
            key: of frames that stay in order; None for no order.
            size: of the frame in bytes.
            process: processes the frame.
        """
        if type(params.memory) is int:
            self.pull(peer, params, key, size, process)
        elif key is not None and peer.pulls.holds(key):
            peer.pulls.hold(key, process, size)
        else:
            process()

    def pull(
        self,
        peer: Peer,
        params: Buffers | MemoryFrame,
        key: Hashable,
        size: int,
        process: Callable[[], object],
    ) -> None:
        """Pull the buffers of a frame; see `_with_buffers`. The lock is held.

        Then the `Memory` takes the place of their number in the params.
        """

        def done(memory: Memory) -> None:
            params.memory = memory  # type: ignore[assignment]
            if not memory.is_own or self.is_hub:
                self.memories.hold(memory)
            process()
            self.pulled()

        number = params.memory
        if not isinstance(number, int) or not 0 < number <= MAX_COUNT:
            raise FrameError("buffers are pulled by a number from 1 on")
        peer.pulls.add(
            number,
            params.sizes,
            self.memory_for(peer, key),
            done,
            key=key,
            size=size,
            sampled=self.sampled(peer, key, params),
        )
        self._unflushed[peer] = None

    def memory_for(self, peer: Peer, key: Hashable) -> Callable[[int], Filling | Own]:  # noqa: ARG002 - for those who override
        """Return what opens memory for the buffers of a frame: such that others can get them from here."""
        return self.memories.open

    def sampled(self, peer: Peer, key: Hashable, params: Buffers | MemoryFrame) -> Mapping[int, Rows] | None:  # noqa: ARG002 - for those who override
        """Return how buffers of a frame are laid out if a sample of them suffices; None if they are used."""
        return None

    def is_full(self) -> bool:
        """Return whether no more buffers should be pulled at present."""
        return False

    def pulled(self) -> None:
        """Do nothing: a hook, called after a frame was processed whose buffers were pulled."""

    def _not_held(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> list[tuple[Batch, bytes]]:
        """Hold back the messages that have to come after others whose buffers are pulled; return the rest."""
        passed = []
        for one in batches:
            key = MessageKey(one[0].identifier, one[0].origin)
            if peer.pulls.holds(key):
                peer.pulls.hold(key, partial(self.handle_late, peer, [one]), len(one[1]))
            else:
                passed.append(one)
        return passed

    def _take_piece(self, peer: Peer, channel: Channel, otherwise: OnEvent, piece: Piece) -> None:
        """Process a part of buffers that were pulled."""
        with self.lock:
            if peer.channel is not channel:
                return  # a former connection
            try:
                is_whole = peer.pulls.take(piece, self.loop.time())
            except FrameError as error:
                self.close_for_error(peer, channel, otherwise, error)
                return
            if is_whole:
                self.flush(peer)
                self.budget.relieve(self.loop.time())

    def _send_piece(self, peer: Peer, channel: Channel, params: PullParams) -> None:
        """Answer a pull.

        Raises:
            FrameError: there are no such bytes.
        """
        memory = peer.stream.offers.find(params.memory)
        if memory is not None and params.offset + params.size > memory.size:
            raise FrameError("a pull beyond the end of the buffers")

        def send() -> None:
            data = memory.read(params.offset, params.size) if memory is not None else None
            if data is None:
                reason = memory.reason if memory is not None else "it is not offered any more"
                channel.send_text(gone_frame(params.memory, reason))
            else:
                channel.send_piece(PIECE_HEAD.pack(params.memory, params.offset), data)

        channel.when_written(
            send
        )  # so messages overtake pieces, and a piece is copied when it can be written

    def handle_late(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Process messages that were held back until buffers had been pulled. The lock is held.

        Args:
            peer: the sender.
            batches: each with its bytes.
        """
        self.handle_batches(peer, batches)

    def handle_batches(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Pass messages on to those who follow them. The lock is held.

        Args:
            peer: the sender.
            batches: each with its bytes, which are passed on unchanged.
        """
        route, passes = peer.room.route, self.passes
        for batch, data in batches:
            for subscriber in route(batch.identifier):
                if passes(peer, subscriber):
                    self.pass_to(subscriber, data, batch.count)

    def pass_to(self, subscriber: Subscriber, data: bytes, count: int) -> None:
        """Pass a batch to a subscriber; flush it later if it is a peer. The lock is held."""
        subscriber.accept(data, count)
        if isinstance(subscriber, Peer):
            self._unflushed[subscriber] = None

    def handle_question(self, peer: Peer, params: frames.AskParams) -> None:
        """Put a question of a peer to its followers. The lock is held."""
        self.questions.handle_ask(peer, params)

    def can_be_asked(self, asker: Peer | None, subscriber: Subscriber) -> bool:
        """Return whether a follower is asked: a queue is not."""
        return isinstance(subscriber, Peer) and self.passes(asker, subscriber)

    def answers_itself(self, subscriber: Subscriber) -> bool:  # noqa: ARG002 - for those who override
        """Return whether a subscriber is this process's bus, which answers clients that have no link."""
        return False

    def ask_subscriber(self, one: Any, question: Question, batch: Batch, data: bytes) -> None:  # noqa: ARG002 - for those who override
        """Put a question to a follower. The lock is held."""
        self.questions.ask_peer(one, question, data)

    def handle_group(self, peer: Peer, params: GroupFrame) -> None:  # noqa: ARG002 - for those who override
        """Process a frame about a shared queue. The lock is held."""
        raise FrameError("only a hub has groups of shared queues")

    def shared_mailbox(self, room: Room, identifier: Identifier, name: str) -> Any:  # noqa: ARG002
        """Have a client without a link take part in a shared queue. The lock is held.

        Raises:
            RpcError: this node has none.
        """
        raise RpcError(INVALID_PARAMS, "only a hub has shared queues")

    def handle_drops(self, peer: Peer, count: int) -> None:
        """Count and log messages that a peer has dropped for this side. The lock is held.

        The count is what the peer says; it is shown and logged, and nothing is decided by it.
        """
        stats = peer.stream.stats
        stats.lost = min(stats.lost + count, MAX_COUNT)  # else readers of `status` could not take it
        peers_log.warning(
            "%d messages from %r were dropped there before they could be sent", count, peer.name
        )

    def past(self, room: Room, identifier: Identifier, last: int) -> list[tuple[bytes, int]]:  # noqa: ARG002 - for those who override
        """Return the newest retained batches, each with its number of messages; only a hub has some.

        Args:
            room: the room.
            identifier: the messages, with wildcards on either side.
            last: the most messages.
        """
        return []

    def handle_replay(self, peer: Peer, params: frames.ReplayParams) -> None:
        """Send a peer the retained messages; only a hub has some. The lock is held."""
        peer.stream.send(frames.PAST, b'"query":%d,"end":true' % params.query)

    def handle_past(self, peer: Peer, params: frames.PastParams) -> None:
        """Process retained messages of a hub: a hook, called with the lock held."""

    def interest_received(self, peer: Peer) -> None:
        """Note that a peer has announced its interest. The lock is held."""
        peer.interest_known = True
        peer.on_interest_known()

    # -- publishing ------------------------------------------------------------------------------------------

    def publish(self, room: Room, identifier: str, source: str, messages: list[bytes]) -> None:
        """Publish encoded messages in this node's own name. The lock is held.

        Nothing is written here; `flush_all` does, once for all batches of a turn.

        A `FrameError` is possible for clients' identifiers only: those of a bus were checked when they were
        made.

        Args:
            room: the room.
            identifier: the identifier of all messages.
            source: the name that receivers see.
            messages: as they are encoded in a batch.

        Raises:
            FrameError: the identifier is invalid, or a local one.
        """
        count = len(messages)
        first = self._sequence + 1
        self._sequence += count
        data = b"%b,%d,%d,[%b]]" % (
            self._head(identifier, self.id, source),
            first,
            count,
            b",".join(messages),
        )
        for subscriber in room.routes.get(identifier) or room.route(identifier):
            if subscriber is not self.own_bus:
                subscriber.accept(data, count)
                if type(subscriber) is Peer:
                    self._unflushed[subscriber] = None

    def publish_for_client(self, room: Room, identifier: str, source: str, messages: list[bytes]) -> None:
        """Publish for a client that has no link; see `publish`. The lock is held.

        Args:
            room: the client's room.
            identifier: the identifier of all messages.
            source: the client's name; receivers see ``NAME via NODE``.
            messages: as they are encoded in a batch.
        """
        self.publish(room, identifier, f"{source} via {self.name}", messages)

    def ask_for_client(
        self, room: Room, identifier: str, source: str, message: bytes, done: Callable[[list[bytes]], object]
    ) -> tuple[Callable[[], None], Callable[[], list[bytes]]]:
        """Put a question for a client that has no link; see `QuestionRouter.ask_for_client`."""
        self._sequence += 1
        return self.questions.ask_for_client(room, identifier, source, self._sequence, message, done)

    # -- writing ---------------------------------------------------------------------------------------------

    def flush_later(self, peer: Peer) -> None:
        """Write a peer's outgoing frames at the next flush. The lock is held."""
        self._unflushed[peer] = None

    def flush(self, peer: Peer) -> None:
        """Write the outgoing frames of a peer. The lock is held.

        Of the others too that have frames to be written.
        """
        self._unflushed[peer] = None
        self.flush_all()

    def flush_all(self) -> None:
        """Write the outgoing frames of all peers. The lock is held.

        Writing never blocks: what a socket does not accept is buffered by its channel.
        """
        unflushed = self._unflushed
        while unflushed:
            peer, _ = unflushed.popitem()
            if peer.channel is not None:
                pulls = peer.pulls.frames(self.loop.time()) if peer.pulls else None
                if texts := peer.stream.frames(self.loop.time()):
                    peer.channel.send_texts(texts)
                if pulls:
                    peer.channel.send_texts(pulls)
            if peer.stream.unreported_drops and not peer.drop_report_due:
                self.timers.schedule_drop_report(peer)

    # -- status and end --------------------------------------------------------------------------------------

    def nodes(self, room: str | None) -> list[NodeInfo]:
        """Return this node and the connected peers in a room that have announced their interest."""
        with self.lock:
            others = reachable_nodes(self.peers.values(), room)
        return [NodeInfo(self.name, self.id, room, (), self.is_hub, here=True), *others]

    def node_resumed(self) -> None:
        """Do nothing: a hook, called when a node asks to resume a link that is unknown here."""

    def pop_missed(self, key: str) -> int:
        """Return, once, how many messages an expired node has missed.

        Args:
            key: the secret that the node presents again.
        """
        return self._missed.pop(key, 0)

    def status(self) -> dict[str, Any]:
        """Return the names, ids and counters of this node and its peers, as JSON values."""
        return router_status(self)

    def close(self) -> None:
        """Close all links.

        The connections are closed with 1001, GOING_AWAY.
        """
        self._closed = True
        self.timers.stop()
        self.memories.close()
        for peer in list(self.peers.values()):
            self.remove_peer(peer, "the node shuts down", CloseCode.GOING_AWAY)
