"""What a node asks of its hub's history: the past of new subscriptions, and what the hub is to keep.

A query goes into the stream behind the interest that it needs and behind what was published here before. The
hub puts the answer into its own stream in one step: what comes before it there is in the past, as far as that
is retained, and what comes after it is not.
"""

from __future__ import annotations

import itertools
import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.protocol.frames import REPLAY, FrameError, encode_json, split_batches

if TYPE_CHECKING:
    from msgspec import Raw

    from berrymq.messages import Message
    from berrymq.replay import Replay

    from .inbox import Inbox
    from .node import Node
    from .peer import Peer

__all__ = ["HubHistory"]

ANSWER_SECONDS = 10.0
"""A hub that has not begun to answer by then is waited for no longer: what is live must not be held for long.
"""

WATCH_SECONDS = 2.0
"""So long after the end of a replay a thread may still send what it began to before the beginning."""

_log = logging.getLogger("berrymq")


class Query(NamedTuple):
    """A past that was asked for."""

    replay: Replay
    peer: Peer


class HubHistory:
    """The side of a node. Its lock is the node's.

    Args:
        node: this process.
        inbox: hands on what was retained.
    """

    def __init__(self, node: Node, inbox: Inbox) -> None:
        self._node = node
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._queries: dict[int, Query] = {}
        self.watching: tuple[Replay, ...] = ()
        """Those that are told of each message of this process before it goes out."""
        self._begun: set[int] = set()
        """Queries of which some of the answer has come."""
        self._keeps: dict[str, int] = {}
        """What the hub was told to keep by this node, with how many of each identifier."""
        self._kept_at: str | None = None
        """The id of that hub."""

    # -- replays ---------------------------------------------------------------------------------------------

    def replay(self, replay: Replay) -> bool:
        """Ask the hub for the past of a subscription; False where there is no hub. On any thread."""
        node = self._node
        with node.lock:
            peer = self._hub()
            if peer is None:
                return False
            number = next(self._numbers)
            self._queries[number] = Query(replay, peer)
            self.watching = (*self.watching, replay)
            node.announce_now(peer, replay.identifier)
            body = b'"query":%d,"identifier":%b' % (number, encode_json(replay.identifier.text))
            if replay.last is not None:
                body += b',"last":%d' % replay.last
            peer.stream.send(REPLAY, body)
            node.flush(peer)
        node.loop.call_later(ANSWER_SECONDS, self._give_up, number)
        return True

    def _hub(self) -> Peer | None:
        return next((peer for peer in self._node.peers.values() if peer.role == "hub"), None)

    def take(self, peer: Peer, number: int, batches: Raw, is_end: bool) -> None:
        """Take a part of an answer from the stream. The lock is held."""
        query = self._queries.get(number)
        if query is None or query.peer is not peer:
            return  # it was given up
        self._begun.add(number)
        if is_end:
            del self._queries[number]
            self._begun.discard(number)

        def deliver() -> None:
            self._deliver(query.replay, batches)
            if is_end:
                self._end(query.replay)

        self._node.deliver_next(deliver)

    def _deliver(self, replay: Replay, batches: Raw) -> None:
        try:
            found = split_batches(batches)
        except FrameError as error:
            peers_log.warning("what the hub had retained can't be read: %s", error)
            return
        for batch in found:
            self._inbox.replay(replay, batch, is_own=batch.origin == self._node.id)

    def _give_up(self, number: int) -> None:
        with self._node.lock:
            if number in self._begun:
                return
            query = self._queries.pop(number, None)
        if query is not None:
            _log.warning(
                "the hub has not answered: %s begins without what is retained", query.replay.identifier.text
            )
            self._end(query.replay)

    def note_sent(self, message: Message, told: tuple[Replay, ...]) -> None:
        """Tell the replays that have begun since of a message of this process."""
        for replay in self.watching:
            if replay not in told:
                replay.sent(message)

    def _end(self, replay: Replay) -> None:
        """End a replay, and soon the watch over what is sent."""
        replay.end()
        self._node.loop.call_later(WATCH_SECONDS, self._end_watch, replay)

    def _end_watch(self, replay: Replay) -> None:
        with self._node.lock:
            self.watching = tuple([one for one in self.watching if one is not replay])
        replay.end_watch()

    def end_queries(self, peer: Peer) -> None:
        """End the queries that a peer will not answer any more. The lock is held."""
        ended = [number for number, query in self._queries.items() if query.peer is peer]
        for number in ended:
            self._begun.discard(number)
            self._node.deliver_next(partial(self._end, self._queries.pop(number).replay))
        if ended:
            self._node.loop.call(self._node.deliver_arrived)

    def close(self) -> None:
        """Watch nothing more."""
        for replay in self.watching:
            self._end_watch(replay)

    def after_fork(self) -> None:
        """In a forked child: no answer comes, for the link is the parent's."""
        queries, self._queries, self.watching = self._queries, {}, ()
        for query in queries.values():
            query.replay.after_fork()

    # -- keeps -----------------------------------------------------------------------------------------------

    def note_keep(self, identifier: str, last: int, hub_id: str) -> None:
        """Remember what the hub was told to keep, for the hub that takes its place; 0 for no more."""
        with self._node.lock:
            self._kept_at = hub_id
            if last:
                self._keeps[identifier] = max(last, self._keeps.get(identifier, 0))
            else:
                self._keeps.pop(identifier, None)

    def hub_changed(self, peer: Peer) -> None:
        """A link was made anew: tell another hub than before what to keep. The lock is held."""
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
