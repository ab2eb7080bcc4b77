"""The hub's routing: members of a room reach each other, and nobody else.

A hub that takes the place of one that was killed knows nobody yet. Whoever comes back to it has messages in
its hands for others who have not come back, so for a moment the hub only gathers: it takes in what comes and
passes nothing on until all have returned of whom the former hub had left a note (``roster.py``), or no more
nodes return.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from time import time
from typing import TYPE_CHECKING, Any

from berrymq.bridge.node.questions import SPIN_SECONDS
from berrymq.bridge.node.router import Router
from berrymq.bridge.protocol.frames import crossing_identifier

from .history import KEEP_BYTES, KEEP_MESSAGES, Feed, Histories

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.room import Room
    from berrymq.bridge.node.router import NodeInfo
    from berrymq.bridge.protocol.frames import AskParams, Batch, ReplayParams
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.loop import Timer
    from berrymq.identifiers import Identifier

__all__ = ["Hub", "Passed"]

QUIET_SECONDS, QUIET_SECONDS_FOR_EXPECTED = 0.6, 2.0
"""A gathering ends so long after the last node has returned; later while some are missing who were expected.
"""
LONGEST_GATHERING_SECONDS = 5.0

MAX_GATHERED_BYTES = 64 * 1024 * 1024
"""With more than that in its hands a hub gathers no longer."""

MAX_COUNTED = 2_000
"""Identifiers of which it is counted how many messages passed; those that passed least lately are forgotten.
"""

MAX_SHOWN_IDENTIFIERS = 500

_log = logging.getLogger("berrymq")


class Passed:
    """What has passed of one identifier in one room."""

    __slots__ = ("at", "count", "source")

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        self.source = ""


class Hub(Router):
    """Routes between its members, by room. Used on one thread."""

    is_hub = True

    def __init__(
        self,
        *args: Any,
        expected: Iterable[str] = (),
        keep_messages: int = KEEP_MESSAGES,
        keep_bytes: int = KEEP_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._expected = set(expected)
        """The ids of the nodes that were linked to a former hub when it was killed."""
        self.messages = 0
        """Messages that have passed."""
        self.passed: OrderedDict[tuple[str | None, str], Passed] = OrderedDict()
        self._held: list[tuple[Peer, Any]] = []
        self._gathered = self.budget.open(lambda _: self._end_gathering())
        self._gathering: Timer | None = None
        self._gathering_until = 0.0
        self._has_gathered = False
        self.histories = Histories(self.budget, most_messages=keep_messages, most_bytes=keep_bytes)

    # -- gathering -------------------------------------------------------------------------------------------

    @property
    def is_gathering(self) -> bool:
        """Whether nodes of a former hub are still on their way here."""
        return self._gathering is not None

    def node_returned(self) -> None:
        """A node came that was linked to a former hub: others will come too."""
        if self._has_gathered:
            return  # it is late: to hold up the others for it again would do them more harm than it good
        now = self.loop.time()
        if self._gathering is None:
            if self.started_at + LONGEST_GATHERING_SECONDS < time():
                return  # this hub has taken nobody's place: the node comes from elsewhere
            self._gathering_until = now + LONGEST_GATHERING_SECONDS
        else:
            self._gathering.cancel()
        quiet = QUIET_SECONDS_FOR_EXPECTED if self._expected else QUIET_SECONDS
        wait = max(0.0, min(quiet, self._gathering_until - now))
        self._gathering = self.loop.call_later(wait, self._end_gathering)

    def interest_received(self, peer: Peer) -> None:
        """A node has said what it follows: perhaps it was the last that was waited for. The lock is held."""
        super().interest_received(peer)
        was_expected = peer.id in self._expected
        self._expected.discard(peer.id)
        if was_expected and self.is_gathering and not self._expected:
            waiting = [one for one in self.peers.values() if one.connected and not one.interest_known]
            if not waiting:
                self._end_gathering()

    def _hold(self, peer: Peer, what: Any, size: int) -> None:
        """Keep for the end of the gathering, which comes at once if too much is kept."""
        self._held.append((peer, what))
        self._gathered.grow(size)
        if self._gathered.held > MAX_GATHERED_BYTES:
            self._end_gathering()

    def _end_gathering(self) -> None:
        with self.lock:
            self._has_gathered = True
            if self._gathering is not None:
                self._gathering.cancel()
            self._gathering = None
            self._gathered.grow(-self._gathered.held)
            for peer in self.peers.values():
                if peer.connected and not peer.interest_announced:
                    self.update_interest(peer)
            held, self._held = self._held, []
            for peer, what in held:
                if self.peers.get(peer.id) is not peer:
                    continue
                if isinstance(what, list):
                    self.handle_batches(peer, what)
                else:
                    self.handle_question(peer, what)
                self.flush_all()  # else all that was held would have to fit behind the windows
            for peer in self.peers.values():
                peer.stream.caught_up()
                self.flush(peer)

    def attach(self, peer: Peer, channel: Channel, received: int | None) -> None:
        """Carry on a link over a connection; see `Router.attach`."""
        super().attach(peer, channel, received)
        if self.is_gathering:
            peer.stream.behind = True

    def update_interest(self, peer: Peer, changed: set[Any] | None = None) -> None:
        """Tell a peer what is wanted from it; while it is gathered, what the former hub told it holds."""
        if not self.is_gathering:
            super().update_interest(peer, changed)

    def nodes(self, room: str | None) -> list[NodeInfo]:
        """Who is connected in a room, this hub first; see `Router.nodes`.

        Whoever asks over its link has been told before what those follow, and publishes to them from now on.
        """
        if self.is_gathering:  # nobody has been told yet
            return super().nodes(room)[:1]
        self.announce_interests()
        return super().nodes(room)

    # -- routing ---------------------------------------------------------------------------------------------

    def handle_batches(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Pass messages on, and count them. The lock is held."""
        if self.is_gathering:
            for batch, _ in batches:
                crossing_identifier(batch.identifier)  # what is refused is refused to whom it came from
            self._hold(peer, batches, sum([len(data) for _, data in batches]))
            return
        super().handle_batches(peer, batches)
        for batch, _ in batches:
            self.count(peer.room, batch.identifier, batch.source, batch.count)

    def handle_question(self, peer: Peer, params: AskParams) -> None:
        """Put a question to all who follow it but the asker. The lock is held."""
        if self.is_gathering:
            batch, data = self._read_batch(peer, params.batch)
            crossing_identifier(batch.identifier)
            self._hold(peer, params, len(data))
            return
        super().handle_question(peer, params)
        self.loop.spin_until = self.loop.time() + SPIN_SECONDS

    def past(self, room: Room, identifier: Identifier, last: int) -> list[tuple[bytes, int]]:
        """Return the newest retained batches, each with its number of messages. The lock is held."""
        history = self.histories.of(room)
        found = history.past(identifier, last) if history is not None else []
        return [(data, count) for _, count, data in found]

    def handle_replay(self, peer: Peer, params: ReplayParams) -> None:
        """Send a peer what is retained, before everything that comes from now on. The lock is held."""
        identifier = crossing_identifier(params.identifier)
        history = self.histories.of(peer.room)
        batches = history.past(identifier, params.last) if history is not None else []
        peer.stream.send_later(Feed(params.query, batches, peer.account, self.limits.frame_bytes))

    def publish(self, room: Room, identifier: str, source: str, messages: list[bytes]) -> None:
        """Publish messages for a client that has no link; see `Router.publish`."""
        super().publish(room, identifier, source, messages)
        self.count(room, identifier, source, len(messages))

    def count(self, room: Room, identifier: str, source: str, count: int) -> None:
        """Note that messages have passed."""
        self.messages += count
        key = (room.name, identifier)
        passed = self.passed.get(key)
        if passed is None:
            passed = self.passed[key] = Passed()
            if len(self.passed) > MAX_COUNTED:
                self.passed.popitem(last=False)
        else:
            self.passed.move_to_end(key)
        passed.count += count
        passed.source = source
        passed.at = time()

    def status(self) -> dict[str, Any]:
        """What there is and what has passed: names and numbers."""
        latest = list(reversed(self.passed.items()))
        return {
            **super().status(),
            "messages": self.messages,
            "identifiers": [
                {"id": identifier, "room": room, "count": one.count, "at": one.at, "source": one.source}
                for (room, identifier), one in latest[:MAX_SHOWN_IDENTIFIERS]
            ],
            "identifiers_more": max(0, len(latest) - MAX_SHOWN_IDENTIFIERS),
        }
