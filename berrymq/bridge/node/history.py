"""The node's side of the hub's history: replays for new subscriptions, and the identifiers to be retained.

A query is sent after the interest that it needs and after what was published here before. The hub adds the
answer to its stream in one step: messages before it in the stream are in the answer, as far as they are
retained, and messages after it are not.

The race of a replay: messages are published while the past is on its way. The hub sends what it retains and,
behind it, what it passes on, so live messages of others follow without a gap. Messages of this very process
do not come back from a hub; those that were sent before the query are among the retained ones, those after it
are not. Therefore what this process sends is passed to each replay as well (`watching`), which drops what it
would deliver twice.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.errors import LinkError
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.protocol.batches import split_batches
from berrymq.bridge.protocol.frames import REPLAY
from berrymq.bridge.protocol.json_checks import FrameError, encode_json
from berrymq.bridge.protocol.limits import MAX_REPLAYS

from .retained import as_batch

if TYPE_CHECKING:
    from msgspec import Raw

    from berrymq.bridge.buffers import Memory
    from berrymq.bridge.protocol.frames import PastParams
    from berrymq.messages import Message
    from berrymq.replay import Replay

    from .inbox import Inbox
    from .node import Node
    from .peer import Peer
    from .retained import Retained

__all__ = ["HubHistory"]

ANSWER_SECONDS = 10.0
"""The time for the first frame of an answer: live messages must not be held for long."""

WATCH_SECONDS = 2.0
"""The time after the end of a replay in which a thread may still send what it began to publish before the
replay's start."""

_log = logging.getLogger("berrymq")


class Query(NamedTuple):
    """A replay that was requested of a peer."""

    replay: Replay
    peer: Peer


class HubHistory:
    """The queries and retained identifiers of a node. Its lock is the node's.

    Args:
        node: this process.
        inbox: decodes retained messages.
    """

    def __init__(self, node: Node, inbox: Inbox) -> None:
        self._node = node
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._queries: dict[int, Query] = {}
        """Those that have not ended, by number; a hub is sent no more than `MAX_REPLAYS` at a time."""
        self._asked: dict[int, Peer] = {}
        """Those that were sent and not answered to the end, also if they have timed out since."""
        self._unsent: deque[int] = deque()
        self._stored: set[Replay] = set()
        """Those whose retained messages are being read from NATS."""
        self.watching: tuple[Replay, ...] = ()
        """Replays whose `Replay.sent` is called with each message of this process before it is sent."""
        self._begun: set[int] = set()
        """The queries whose answer has begun to arrive."""
        self._keeps: dict[str, int] = {}
        """The identifiers that this node has the hub retain, each with its number of messages."""
        self._kept_at: str | None = None
        """The id of that hub."""

    # -- replays ---------------------------------------------------------------------------------------------

    def replay(self, replay: Replay) -> bool:
        """Request a replay from the hub; return False without a hub. On any thread.

        The interest is announced before the query, in the same stream: the hub passes on live messages from
        then on, and nothing is missing in between.
        """
        node = self._node
        with node.lock:
            peer = self._hub()
            if peer is None:
                return self._replay_stored(replay)
            number = next(self._numbers)
            self._queries[number] = Query(replay, peer)
            self.watching = (*self.watching, replay)
            node.announce_now(peer, replay.identifier)
            self._unsent.append(number)
            self._send_next(peer)
            node.flush(peer)
        return True

    def _replay_stored(self, replay: Replay) -> bool:
        """Replay what is stored on NATS; return False if the history is not on NATS. The lock is held."""
        node = self._node
        stored = node.stored_history(node.home)
        if stored is None:
            return False
        self.watching = (*self.watching, replay)
        self._stored.add(replay)
        node.announce_to_all(replay.identifier)
        node.flush_all()

        def done(found: list[Retained] | LinkError) -> None:
            if isinstance(found, LinkError) and node.stored_history(node.home) is not None:
                _log.warning("%s: %s begins without what is kept", found, replay.identifier.text)
            with node.lock:
                past = [] if isinstance(found, LinkError) else found
                node.deliver_replayed(lambda: self._deliver_stored(replay, past))

        node.loop.call(stored.past, replay.identifier, replay.last, done)
        return True

    def _deliver_stored(self, replay: Replay, past: list[Retained]) -> None:
        self._stored.discard(replay)
        for _, _, data in past:
            batch = as_batch(data)
            self._inbox.replay(replay, batch, is_own=batch.origin == self._node.id)
        self._end(replay)

    def _send_next(self, peer: Peer) -> None:
        """Send queries, as many as a hub accepts. The lock is held."""
        while self._unsent and len(self._asked) < MAX_REPLAYS:
            number = self._unsent.popleft()
            replay = self._queries[number].replay
            body = b'"query":%d,"identifier":%b' % (number, encode_json(replay.identifier.text))
            if replay.last is not None:
                body += b',"last":%d' % replay.last
            self._asked[number] = peer
            peer.stream.send(REPLAY, body)
            self._node.loop.call_later(ANSWER_SECONDS, self._give_up, number)

    def _hub(self) -> Peer | None:
        return next((peer for peer in self._node.peers.values() if peer.role == "hub"), None)

    def only_shows(self, number: int) -> bool:
        """Return whether the subscription of a query only shows messages. The lock is held."""
        query = self._queries.get(number)
        return query is not None and query.replay.subscription.preview

    def handle_past(self, peer: Peer, params: PastParams, memory: Memory | None) -> None:
        """Process a frame of an answer. The lock is held.

        The content is delivered later, without the lock, in order with live messages.

        Args:
            peer: its sender.
            params: its decoded params.
            memory: the buffers of its only message, if that has some.
        """
        number, is_end = params.query, params.end
        if is_end and self._asked.get(number) is peer:
            del self._asked[number]
            self._send_next(peer)
        query = self._queries.get(number)
        if query is None or query.peer is not peer:
            return  # it has timed out
        self._begun.add(number)
        if is_end:
            del self._queries[number]
            self._begun.discard(number)

        def deliver() -> None:
            self._deliver(query.replay, params.batches, memory)
            if is_end:
                self._end(query.replay)

        self._node.deliver_replayed(deliver)

    def _deliver(self, replay: Replay, batches: Raw, memory: Memory | None) -> None:
        try:
            found = split_batches(batches, memory)
        except FrameError as error:
            peers_log.warning("retained messages of the hub can't be read: %s", error)
            return
        for batch in found:
            self._inbox.replay(replay, batch, is_own=batch.origin == self._node.id)

    def _give_up(self, number: int) -> None:
        """The subscription goes on with live messages."""
        with self._node.lock:
            is_answered = number in self._begun or number not in self._queries
            if is_answered or any(peer.pulls.holds(("query", number)) for peer in self._node.peers.values()):
                return
            ended = [self._queries.pop(one) for one in (number, *self._unsent)]
            self._unsent.clear()
        for query in ended:
            _log.warning(
                "the hub has not answered: %s begins without what is retained", query.replay.identifier.text
            )
            self._end(query.replay)

    def note_sent(self, message: Message, watching: tuple[Replay, ...]) -> None:
        """Pass a message of this process to the replays that have begun since *watching* was read."""
        for replay in self.watching:
            if replay not in watching:
                replay.sent(message)

    def _end(self, replay: Replay) -> None:
        """End a replay, and after a while its watch over what is sent."""
        replay.end()
        self._node.loop.call_later(WATCH_SECONDS, self._end_watch, replay)

    def _end_watch(self, replay: Replay) -> None:
        with self._node.lock:
            self.watching = tuple([one for one in self.watching if one is not replay])
        replay.end_watch()

    def end_queries(self, peer: Peer) -> None:
        """End the queries that a peer will not answer. The lock is held."""
        self._asked = {number: asked for number, asked in self._asked.items() if asked is not peer}
        ended = [number for number, query in self._queries.items() if query.peer is peer]
        self._unsent = deque([number for number in self._unsent if number not in ended])
        for number in ended:
            self._begun.discard(number)
            self._node.deliver_replayed(partial(self._end, self._queries.pop(number).replay))

    def close(self) -> None:
        """End all watches."""
        for replay in self.watching:
            self._end_watch(replay)

    def after_fork(self) -> None:
        """End all replays in a forked child: the link is the parent's, so no answer arrives."""
        queries, self._queries, self.watching = self._queries, {}, ()
        self._asked, self._unsent = {}, deque()
        for replay in (*self._stored, *[query.replay for query in queries.values()]):
            replay.after_fork()
        self._stored.clear()

    # -- keeps -----------------------------------------------------------------------------------------------

    def note_keep(self, identifier: str, last: int, hub_id: str) -> None:
        """Record an identifier that the hub retains, so that a hub that replaces it does, too; 0 ends that.

        Args:
            identifier: the identifier.
            last: the number of messages.
            hub_id: the id of the hub.
        """
        with self._node.lock:
            self._kept_at = hub_id
            if last:
                self._keeps[identifier] = max(last, self._keeps.get(identifier, 0))
            else:
                self._keeps.pop(identifier, None)

    def link_restarted(self, peer: Peer) -> None:
        """Have a new hub retain what the former one did. The lock is held."""
        channel = peer.channel
        if not self._keeps or channel is None or peer.role != "hub" or peer.id == self._kept_at:
            return
        self._kept_at = peer.id
        for identifier, last in self._keeps.items():
            params = {"identifier": identifier, "last": last}
            channel.send_text(jsonrpc.request("keep", params, 0))
        _log.warning(
            "the hub is a new one: what was retained of %s is lost, and it retains what comes from now on",
            ", ".join(self._keeps),
        )
