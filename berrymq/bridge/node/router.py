"""Routing: what comes from one peer goes, as the bytes that came, to those who follow it.

A hub is a router that does nothing else; a node of a program is one with a bus (``node.py``). Payloads are
not decoded here. One lock guards peers, rooms and questions; it is never held while code of a user runs, and
only for as long as a batch of frames takes.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from msgspec import UNSET

from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import frames, handshake
from berrymq.bridge.protocol.connection import CloseCode, Closed, Event, Text
from berrymq.bridge.protocol.frames import ANSWER, ASK, CONCLUDE, Batch, FrameError
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES, Limits
from berrymq.bridge.protocol.stream import DROP_REPORT_SECONDS
from berrymq.bridge.transport.budget import Budget

from .peer import MAX_LISTED, Peer, interest_body
from .questions import GRACE_SECONDS, Question, Questions
from .room import MAX_ROUTES, Room

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from berrymq.bridge.protocol.frames import AckParams, Params
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.loop import IoLoop
    from berrymq.identifiers import Identifier

    from .peer import Role
    from .room import Subscriber

    OnEvent = Callable[[Event], object]

__all__ = ["MAX_PEERS", "NodeInfo", "Router"]

MAX_PEERS = 1_000
"""Peers of one node, those included whose connection is cut at present."""

MAX_BATCH_BYTES = MAX_PAYLOAD_BYTES + 8 * 1024
"""What a batch may take that is accepted here: less than a frame, so that it can be passed on."""

MAX_MISSED = 1_000
"""Peers that did not come back in time of which it is remembered how many messages they have missed."""

ACK_TURNS = 20
"""For so many delays after the last frame the timer of acknowledgements goes on."""

ANNOUNCED_AT_ONCE = 2_000
"""Changes of interest that are announced at once, counted for each peer; after more there is a pause."""
ANNOUNCE_SECONDS, ANNOUNCE_SECONDS_EACH = 0.05, 1e-6
"""That pause, and how much longer it is for each of them, so that announcing never takes up the loop."""

MAX_SHOWN_BY_NODES = 1_000
"""Identifiers that `Router.nodes` lists of each node: the list has to fit into a frame."""

MAX_UNANSWERED = 100
"""Names of nodes that have not answered that go with the answers to a question."""

MAX_SHOWN = 200
MAX_SHOWN_FOLLOWS = 20


class NodeInfo(NamedTuple):
    """A node on the network, for people and programs to look at."""

    name: str
    id: str
    room: str | None
    follows: tuple[str, ...]
    hub: bool
    here: bool
    """It is this process."""


class Router:
    """Peers, rooms, and what passes between them.

    What concerns connections happens on the thread that reads them; `publish` and `ask_followers` may be
    called on any thread that holds `lock`.

    Args:
        loop: reads the connections.
        name: what people call this node.
        key: the secret from which the id is made; a new one by default.
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
        self.id = handshake.node_id_of(self.key)
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.lock = threading.RLock()
        self.peers: dict[str, Peer] = {}
        self.rooms: WeakValueDictionary[str | None, Room] = WeakValueDictionary()
        """A room is held by those who are in it, and by nothing else."""
        self.questions = Questions(
            self.budget, self.lock, self._failure(self, "has no memory for so many answers")
        )
        self.started_at = time()
        self.on_peers_changed: Callable[[], object] = lambda: None
        """Called on the loop when a peer came, was cut off or went."""
        self.own_bus: Subscriber | None = None
        """Gets what is published here in another way, without a batch."""
        self._head = lru_cache(maxsize=MAX_ROUTES)(frames.batch_head)
        self._sequence = 0
        self._unflushed: dict[Peer, None] = {}
        self._unacknowledged: dict[Peer, None] = {}
        self._ack_timer = False
        self._ack_turns = 0
        self._interest_changed: dict[Room, set[Identifier]] = {}
        self._announcing_since = float("-inf")
        self._announced = 0
        """Changes that were announced since then."""
        self._missed: OrderedDict[str, int] = OrderedDict()
        """By the key that a node showed: the messages dropped since it had not come back in time."""
        self._closed = False
        loop.call(self._keep_alive)

    # -- peers -----------------------------------------------------------------------------------------------

    def room(self, name: str | None) -> Room:
        """The room of that name; one that nobody is in yet is made."""
        found = self.rooms.get(name)
        if found is None:
            found = self.rooms[name] = Room(name)
        return found

    def add_peer(self, id: str, name: str, room: str | None, role: Role, *, key: str, ttl: float) -> Peer:
        """A new peer, to be attached to its connection next. The lock is held."""
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
        self.peers[id] = peer
        self.refresh_roles()
        return peer

    def attach(self, peer: Peer, channel: Channel, received: int | None) -> None:
        """Carry on a link over a connection.

        Args:
            peer: the other side.
            channel: the connection.
            received: how many frames the other side has; None where it begins anew.

        Raises:
            FrameError: that does not fit what was sent.
        """
        with self.lock:
            peer.cancel_timers()
            if received is None:
                peer.stream.restart()
                peer.forget_announced()
                self.fail_questions(peer, "was started again before it answered")
            else:
                peer.stream.resume(received)
            channel.on_event = partial(self.receive, peer, channel, channel.on_event)
            peer.channel = channel
            peer.since = self.loop.time()
            self.update_interest(peer)
            self.flush(peer)
        self.on_peers_changed()

    def connection_lost(self, peer: Peer, channel: Channel, event: Closed) -> None:
        """Detach a lost connection and start the peer's grace and expiry timers.

        What the other side refuses for the second time is given up, or it would be refused for ever.
        """
        with self.lock:
            if peer.channel is not channel:
                return
            peer.channel = None
            if event.code in (CloseCode.PROTOCOL_ERROR, CloseCode.TOO_LARGE):
                dropped = peer.note_refusal()
                if dropped:
                    text = "%d messages were dropped: %r refuses them: %r"
                    peers_log.warning(text, dropped, peer.name, event.reason[:200])
            peer.since = self.loop.time()
            peer.stream.stats.cuts += 1
            peer.grace = self.loop.call_later(GRACE_SECONDS, self._grace_is_over, peer)
            self.expect_back(peer)
        self.on_peers_changed()

    def expect_back(self, peer: Peer) -> None:
        """Let a peer that is not connected expire when its ttl is over. The lock is held."""
        if peer.expires and not peer.connected and peer.expiry is None:
            peer.expiry = self.loop.call_later(peer.ttl, self.expire, peer)

    def _grace_is_over(self, peer: Peer) -> None:
        with self.lock:
            if not peer.connected:
                self.fail_questions(peer, "was cut off before it answered")

    def expire(self, peer: Peer) -> None:
        """Forget a peer that has not come back, and say what it misses by that."""
        if not peer.connected and self.peers.get(peer.id) is peer:
            lost = self.remove_peer(peer, "its ttl is over")
            if lost:
                self._note_missed(peer, lost)
                peers_log.warning(
                    "%d messages for %r were dropped: it did not come back in time", lost, peer.name
                )

    def _note_missed(self, peer: Peer, lost: int) -> None:
        """Have a peer told, when it comes again, of messages that were dropped with its link."""
        self._missed[peer.key] = self._missed.get(peer.key, 0) + lost
        if len(self._missed) > MAX_MISSED:
            self._missed.popitem(last=False)

    def remove_peer(self, peer: Peer, reason: str, code: CloseCode = CloseCode.NORMAL) -> int:
        """Close a link; return how many messages the other side did not get."""
        self.report_drops(peer)
        with self.lock:
            if self.peers.get(peer.id) is peer:
                del self.peers[peer.id]
            changed = peer.leave_room()
            lost = peer.end(reason, code)
            self._unflushed.pop(peer, None)
            self._unacknowledged.pop(peer, None)
            self.questions.forget_asker(peer)
            self.fail_questions(peer, "left before it answered")
            self.refresh_roles()
            self.interest_changed(peer.room, changed)
            self.flush_all()
        self.on_peers_changed()
        return lost

    def refresh_roles(self) -> None:
        """Links came or went; the lock is held."""

    def fail_questions(self, peer: Peer, what: str) -> None:
        """Answer for a peer that does not; the lock is held."""
        self.questions.fail(peer, self._failure(peer, what))

    def _failure(self, who: Peer | Router, what: str) -> bytes:
        """What is answered in the place of somebody."""
        error = {"$type": "RemoteError", "value": ["LinkError", f"{who.name} {what}", []]}
        return frames.encode_json((who.name, [], [error]))

    # -- interest --------------------------------------------------------------------------------------------

    def passes(self, source: Peer | None, target: Subscriber) -> bool:
        """Whether what comes from one is for the other, if it follows it. None is this process."""
        return source is not target

    def interest_changed(self, room: Room, identifiers: Iterable[Identifier]) -> None:
        """Schedule an interest update for the peers in a room. The lock is held."""
        if not self._interest_changed:
            pause = self._announce_pause()
            if pause > 0 and self._announced > ANNOUNCED_AT_ONCE:
                self.loop.call_later(pause, self.announce_interests)
            else:
                self.loop.call(self.announce_interests)
        self._interest_changed.setdefault(room, set()).update(identifiers)

    def _announce_pause(self) -> float:
        """How many seconds of the pause that announcements make are left; begin to count anew after it."""
        now = self.loop.time()
        end = self._announcing_since + ANNOUNCE_SECONDS + self._announced * ANNOUNCE_SECONDS_EACH
        if now >= end:
            self._announcing_since, self._announced = now, 0
            return 0.0
        return end - now

    def announce_interests(self) -> None:
        """Tell all peers what has changed."""
        with self.lock:
            rooms, self._interest_changed = self._interest_changed, {}
            self._announce_pause()
            for peer in list(self.peers.values()) if rooms else ():
                changed = rooms.get(peer.room)
                if changed is not None and peer.interest_announced:
                    self._announced += 1 + len(changed)
                    self.update_interest(peer, changed)
                    self.flush(peer)
            interest_body.cache_clear()

    def update_interest(self, peer: Peer, changed: set[Identifier] | None = None) -> None:
        """Tell one peer what of *changed* is wanted from it, else all that is. The lock is held."""
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
        """Those of the identifiers that others follow to whom passes what comes from a peer."""
        holders_of = peer.room.interests.holders
        return {
            one
            for one in identifiers
            if (holders := holders_of(one)) and (len(holders) > 1 or peer not in holders)
        }

    # -- what comes from peers -------------------------------------------------------------------------------

    def receive(self, peer: Peer, channel: Channel, otherwise: OnEvent, event: Event) -> None:
        """Process what comes over the connection of a link, on the thread that reads it.

        Args:
            peer: the other side of the link.
            channel: the connection.
            otherwise: takes what is no frame, but a call, the answer to one, or the end; or can't be read.
            event: what came.
        """
        if type(event) is not Text:
            otherwise(event)
            return
        try:
            envelope = frames.parse(event.data)
        except FrameError:
            otherwise(event)
            return
        method = envelope.method
        if (method not in frames.NUMBERED and method != frames.ACK) or envelope.id is not UNSET:
            otherwise(event)
            return
        try:
            self.handle_frame(peer, channel, method, frames.parse_params(method, envelope.params))
        except FrameError as error:
            self.close_for_error(peer, channel, otherwise, error)

    def close_for_error(self, peer: Peer, channel: Channel, otherwise: OnEvent, error: FrameError) -> None:
        """Close a connection that brought what is against the protocol."""
        peers_log.warning("the link to %r is cut: %r", peer.name, str(error)[:200])
        channel.close(CloseCode.PROTOCOL_ERROR, str(error))
        otherwise(Closed())

    def handle_frame(self, peer: Peer, channel: Channel, method: str, params: Params | AckParams) -> None:
        """Process one frame, on the thread that reads the connection.

        Raises:
            FrameError: it is against the protocol; the connection that brought it is to be closed.
        """
        with self.lock:
            if peer.channel is not channel:
                return  # a connection of before
            if method == "ack":
                peer.stream.acknowledged(params.ack)
            else:
                self._handle_numbered(peer, params)  # type: ignore[arg-type]
            self.flush(peer)
            self.flush_all()
            self.budget.relieve(self.loop.time())

    def _shed(self, peer: Peer, target: int) -> None:
        """Have a peer hold no more bytes than that, or end."""
        with self.lock:
            changed = peer.shed(target)
            if changed:
                self.interest_changed(peer.room, changed)
            if peer.is_over_share:
                self.loop.call(self._end_over_share, peer)

    def _end_over_share(self, peer: Peer) -> None:
        """End the link of a peer that takes nothing of more than can be held for it.

        A link that this process has made stays: nobody would make it again.
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
        now = self.loop.time()
        stream = peer.stream
        if isinstance(params, frames.MessagesParams):
            batches = [self._read_batch(peer, raw) for raw in params.batches]
            count = sum([batch.count for batch, _ in batches])
            if stream.receive(params.n, params.ack, count, now):
                self.handle_batches(peer, batches)
        elif stream.receive(params.n, params.ack, 0, now):
            if isinstance(params, frames.InterestParams):
                self.interest_changed(peer.room, peer.update_follows(params))
                self.interest_received(peer)
            elif isinstance(params, frames.AskParams):
                self.handle_question(peer, params)
            elif isinstance(params, frames.AnswerParams):
                found = frames.split_answers(params.answers, one=peer.role == "member")
                answers = [self._read_answer(peer, bytes(raw)) for raw in found]
                unanswered = frames.parse_names(params.unanswered) if peer.role == "hub" else ()
                self.questions.answer(params.question, peer, answers, unanswered)
            elif isinstance(params, frames.ConcludeParams):
                self.conclude_for(peer, params.question)
            elif isinstance(params, frames.ReplayParams):
                self.handle_replay(peer, params)
            elif isinstance(params, frames.PastParams):
                self.handle_past(peer, params)
            else:
                self.handle_drops(peer, params.count)
        self._schedule_ack(peer)

    def _read_batch(self, peer: Peer, raw: bytes | memoryview) -> tuple[Batch, bytes]:
        batch = frames.parse_batch(raw)  # type: ignore[arg-type]
        if len(raw) > MAX_BATCH_BYTES:
            raise FrameError(f"a batch of {len(raw):,} bytes; {MAX_BATCH_BYTES:,} is the most")
        if peer.role == "member" and not (
            batch.origin == peer.id
            and (batch.source == peer.name or batch.source.endswith(f" via {peer.name}"))
        ):
            raise FrameError("a node publishes in its own name alone")
        if peer.role != "hub":  # that has looked at it
            frames.check_batch(batch, raw)
        return batch, bytes(raw)  # a copy: else what waits would hold the whole frame that it came in

    def _read_answer(self, peer: Peer, answer: bytes) -> bytes:
        if len(answer) > MAX_BATCH_BYTES:
            raise FrameError("an answer is too large")
        frames.check_depth(answer, around=1)
        if peer.role == "member":
            try:
                source = frames.parse_answer(answer)[0]
            except FrameError:
                source = None
            if source != peer.name:
                raise FrameError("a node answers in its own name alone")
        return answer

    def handle_batches(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Pass messages on to those who follow them. The lock is held."""
        route, passes = peer.room.route, self.passes
        for batch, data in batches:
            for subscriber in route(batch.identifier):
                if passes(peer, subscriber):
                    self.pass_to(subscriber, data, batch.count)

    def pass_to(self, subscriber: Subscriber, data: bytes, count: int) -> None:
        """Give a subscriber a batch, and have it flushed if it is a peer. The lock is held."""
        subscriber.accept(data, count)
        if isinstance(subscriber, Peer):
            self._unflushed[subscriber] = None

    def handle_question(self, peer: Peer, params: frames.AskParams) -> None:
        """Put a question to all who follow it but the asker. The lock is held."""
        batch, data = self._read_batch(peer, params.batch)
        number = params.question
        if peer.stream.held_bytes > 2 * peer.stream.limits.buffer_bytes:
            raise FrameError("a node that takes no answers asks nothing more")

        def done(answers: list[bytes]) -> None:
            with self.lock:
                self._send_answers(peer, number, answers)

        self.ask_followers(peer, peer.room, batch, data, done, asked_as=number)

    def conclude_for(self, peer: Peer, number: int) -> None:
        """Answer the question of a peer with what has come, and name those who have not answered.

        The lock is held.
        """
        question = self.questions.find(peer, number)
        if question is None:
            return  # its answers are on their way
        unanswered = [self.name_of(one) for one in question.waiting]
        self.questions.give_up(question)
        self._send_answers(peer, number, question.answers, unanswered[:MAX_UNANSWERED])

    def _send_answers(
        self, peer: Peer, number: int, answers: list[bytes], unanswered: Iterable[str] = ()
    ) -> None:
        """Send the answers to a question of a peer. The lock is held."""
        if sum(map(len, answers)) > MAX_BATCH_BYTES:  # more than a frame takes
            answers = [self._failure(peer, "was answered with more than one frame takes")]
        params = b'"question":%d,"answers":[%b]' % (number, b",".join(answers))
        if unanswered:
            params += b',"unanswered":%b' % frames.encode_json(unanswered)
        peer.stream.send(ANSWER, params)
        self.flush(peer)

    def name_of(self, subscriber: Hashable) -> str:
        """Return the name of the node that one of those asked is."""
        return subscriber.name if isinstance(subscriber, Peer) else self.name

    def ask_followers(
        self,
        asker: Peer | None,
        room: Room,
        batch: Batch,
        data: bytes,
        done: Callable[[list[bytes]], object],
        *,
        for_client: bool = False,
        asked_as: int | None = None,
    ) -> Question:
        """Ask all who follow an identifier and answer. The lock is held.

        Args:
            asker: who gets no question of its own; None for this process.
            room: where they follow.
            batch: the question.
            data: the same, as it is passed on.
            done: called with the answers.
            for_client: a client without a link asks.
            asked_as: the asker's own number of the question.
        """
        followers = room.route(batch.identifier)
        asked: list[Any] = [
            one
            for one in followers
            if self.can_be_asked(asker, one) or (for_client and self.answers_itself(one))
        ]
        is_full = self.questions.is_full_for(asker)
        question = self.questions.open(asker, [] if is_full else asked, done, asked_as)
        if is_full:
            asked = []
            question.answers.append(self._failure(self, "has too many open questions already"))
        for one in asked:
            self.ask_subscriber(one, question, batch, data)
        self.questions.end_if_complete(question)
        self.flush_all()
        return question

    def can_be_asked(self, asker: Peer | None, subscriber: Subscriber) -> bool:
        """Whether a follower answers questions: a queue does not."""
        return isinstance(subscriber, Peer) and self.passes(asker, subscriber)

    def answers_itself(self, subscriber: Subscriber) -> bool:  # noqa: ARG002 - for those who override
        """Whether it is the bus of this process, which answers clients that have no link."""
        return False

    def ask_subscriber(self, one: Any, question: Question, batch: Batch, data: bytes) -> None:  # noqa: ARG002 - for those who override
        """Put a question to one who follows it. The lock is held."""
        if one.stream.capacity == 0:  # questions are never dropped, so they must not pile up
            self.questions.answer(question.number, one, [self._failure(one, "is too far behind to be asked")])
            return
        one.stream.send(ASK, b'"question":%d,"batch":%b' % (question.number, data))
        self._unflushed[one] = None

    def conclude(self, question: Question) -> None:
        """Have a question end with the answers that have come; on any thread.

        A hub is asked for those that it has; all others have given none, and are named in `unanswered`.
        """
        with self.lock:
            for one in list(question.waiting):
                if isinstance(one, Peer) and one.role == "hub":
                    one.stream.send(CONCLUDE, b'"question":%d' % question.number)
                    self._unflushed[one] = None
                else:
                    self.questions.answer(question.number, one, [], [self.name_of(one)])
            self.flush_all()

    def unanswered(self, question: Question) -> list[str]:
        """Return the names of the nodes that have not answered a question; on any thread."""
        with self.lock:
            return [*question.unanswered, *map(self.name_of, question.waiting)]

    def give_up(self, question: Question) -> None:
        """Wait no longer for answers; on any thread."""
        with self.lock:
            self.questions.give_up(question)

    def handle_drops(self, peer: Peer, count: int) -> None:
        """A peer says that it dropped messages for this side. The lock is held."""
        peer.stream.stats.lost += count
        peers_log.warning(
            "%d messages from %r were dropped there before they could be sent", count, peer.name
        )

    def past(self, room: Room, identifier: Identifier, last: int) -> list[tuple[bytes, int]]:  # noqa: ARG002 - for those who override
        """Return the newest retained batches, each with its number of messages: none, but at a hub."""
        return []

    def handle_replay(self, peer: Peer, params: frames.ReplayParams) -> None:
        """Send a peer what is retained: nothing, but at a hub. The lock is held."""
        peer.stream.send(frames.PAST, b'"query":%d,"end":true' % params.query)

    def handle_past(self, peer: Peer, params: frames.PastParams) -> None:
        """Take what a hub had retained. The lock is held."""

    def interest_received(self, peer: Peer) -> None:
        """Note that a peer has announced its interest. The lock is held."""
        peer.interest_known = True
        peer.on_interest_known()

    # -- what is published here ------------------------------------------------------------------------------

    def publish(self, room: Room, identifier: str, source: str, messages: list[bytes]) -> None:
        """Publish messages, encoded as they stand in a batch, in this node's own name. The lock is held.

        Raises:
            FrameError: the identifier is none, or a local one.
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
        """Publish for a client that has no link. The lock is held."""
        self.publish(room, identifier, f"{source} via {self.name}", messages)

    def ask_for_client(
        self, room: Room, identifier: str, source: str, message: bytes, done: Callable[[list[bytes]], object]
    ) -> tuple[Callable[[], None], Callable[[], list[bytes]]]:
        """Put a question for a client that has no link. The lock is held.

        Returns:
            What gives it up, and what gives the answers that have come so far.
        """
        self._sequence += 1
        head = frames.batch_head(identifier, self.id, f"{source} via {self.name}")
        data = frames.encode_batch(head, self._sequence, [message], 1)
        question = self.ask_followers(None, room, frames.parse_batch(data), data, done, for_client=True)
        return lambda: self.give_up(question), lambda: list(question.answers)

    # -- writing ---------------------------------------------------------------------------------------------

    def flush(self, peer: Peer) -> None:
        """Write what a peer is to get. The lock is held."""
        self._unflushed[peer] = None
        self.flush_all()

    def flush_all(self) -> None:
        """Write what all peers are to get. The lock is held."""
        unflushed = self._unflushed
        while unflushed:
            peer, _ = unflushed.popitem()
            if peer.channel is not None and (texts := peer.stream.frames(self.loop.time())):
                peer.channel.send_texts(texts)
            if peer.stream.unreported_drops and not peer.drop_report_due:
                peer.drop_report_due = True
                self.loop.call_later(DROP_REPORT_SECONDS, self._send_drop_report, peer)

    def _send_drop_report(self, peer: Peer) -> None:
        with self.lock:
            peer.drop_report_due = False
            if self.peers.get(peer.id) is peer:
                self.flush(peer)

    def _schedule_ack(self, peer: Peer) -> None:
        """Have a peer's frames acknowledged soon; most often with a frame that goes there anyhow."""
        self._unacknowledged[peer] = None
        self._ack_turns = ACK_TURNS
        if not self._ack_timer:
            self.start_ack_timer()

    def start_ack_timer(self) -> None:
        """Have what is unacknowledged looked at after the delay. The lock is held."""
        self._ack_timer = True
        self.loop.call_later(self.limits.ack_delay, self._send_acks)

    def _send_acks(self) -> None:
        # While frames come the timer goes on by itself: to start it from another thread would wake the loop
        # each time, in the middle of an answer.
        with self.lock:
            waiting, self._unacknowledged = self._unacknowledged, {}
            for peer in waiting:
                self.flush(peer)
                if peer.stream.ack_due_at() is not None:
                    self._unacknowledged[peer] = None
            self._ack_turns -= 1
            if self._ack_turns > 0 or self._unacknowledged:
                self.loop.call_later(self.limits.ack_delay, self._send_acks)
            else:
                self._ack_timer = False

    def _keep_alive(self) -> None:
        if self._closed:
            return
        limits = self.limits
        now = self.loop.time()
        for peer in list(self.peers.values()):
            self.report_drops(peer)
            channel = peer.channel
            if channel is None:
                continue
            silent = now - channel.heard_at
            if silent > 3 * limits.keepalive:
                channel.abort()
            elif silent > limits.keepalive / 2:
                channel.act(lambda connection: connection.ping())
        self.loop.call_later(limits.keepalive / 2, self._keep_alive)

    def report_drops(self, peer: Peer) -> None:
        """Say how many messages for a peer were dropped, if any were."""
        with self.lock:
            report = peer.take_report()
        if report:
            peers_log.warning("%s", report)

    # -- looking in ------------------------------------------------------------------------------------------

    def nodes(self, room: str | None) -> list[NodeInfo]:
        """Who is connected in a room and has said what it follows, this node first."""
        with self.lock:
            others = [
                NodeInfo(
                    peer.name,
                    peer.id,
                    room,
                    tuple(sorted([identifier.text for identifier in peer.follows])[:MAX_SHOWN_BY_NODES]),
                    peer.role == "hub",
                    False,
                )
                for peer in self.peers.values()
                if peer.connected and peer.interest_known and peer.room.name == room
            ]
        return [NodeInfo(self.name, self.id, room, (), self.is_hub, True), *others]

    def node_returned(self) -> None:
        """Hook: a node asked to resume a link that is unknown here."""

    def take_missed(self, key: str) -> int:
        """How many messages a node has missed that did not come back in time; told once."""
        return self._missed.pop(key, 0)

    def status(self) -> dict[str, Any]:
        """What there is at this node: names and numbers."""
        now = self.loop.time()
        with self.lock:
            peers = sorted(self.peers.values(), key=lambda peer: (not peer.connected, peer.name))
            return {
                "name": self.name,
                "id": self.id,
                "hub": self.is_hub,
                "started_at": self.started_at,
                "held_bytes": self.budget.held,
                "nodes": [peer_status(peer, now) for peer in peers[:MAX_SHOWN]],
                "nodes_more": max(0, len(peers) - MAX_SHOWN),
            }

    def close(self) -> None:
        """Leave the network."""
        self._closed = True
        for peer in list(self.peers.values()):
            self.remove_peer(peer, "the node shuts down", CloseCode.GOING_AWAY)


def peer_status(peer: Peer, now: float) -> dict[str, Any]:
    """One peer, in names and numbers."""
    stats = peer.stream.snapshot()
    follows = sorted([identifier.text for identifier in peer.follows])
    return {
        "id": peer.id,
        "name": peer.name,
        "room": peer.room.name,
        "role": peer.role,
        "connected": peer.connected,
        "for_seconds": now - peer.since,
        "follows": follows[:MAX_SHOWN_FOLLOWS],
        "follows_more": max(0, len(follows) - MAX_SHOWN_FOLLOWS),
        "sent": stats.received,
        "received": stats.sent,
        "waiting": stats.buffered + (0 if peer.connected else stats.in_flight),
        "dropped": stats.dropped + stats.lost,
        "cuts": stats.cuts,
    }
