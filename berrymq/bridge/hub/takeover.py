"""Takeover: what a hub does first that replaces a killed one.

The nodes of the former hub reconnect one after the other, and each resends messages for others that have not
reconnected yet. So the hub holds what it receives until all nodes on the former hub's roster (``roster.py``)
have announced what they follow, or until no more nodes reconnect.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from berrymq.bridge.jobs.groups import Put

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.frames import AskParams
    from berrymq.bridge.transport.loop import Timer

    from .router import Hub

    Held = list[tuple[Batch, bytes]] | AskParams | Put

__all__ = ["Takeover"]

QUIET_SECONDS, QUIET_SECONDS_FOR_EXPECTED = 0.6, 2.0
"""The time from the last node that reconnects to the end; the longer one while expected nodes are missing."""
MAX_TAKEOVER_SECONDS = 5.0
"""The longest takeover; also the age beyond which a hub begins none."""

MAX_HELD_BYTES = 64 * 1024 * 1024
"""A takeover ends when it holds more than that."""


class Takeover:
    """Holds what a hub receives while the nodes of its predecessor reconnect.

    It begins with the first node that resumes, and ends when the expected nodes have announced their
    interest, `QUIET_SECONDS` after the last one, after `MAX_TAKEOVER_SECONDS`, or when memory is short.
    There is one for each hub, and it takes place once. The hub's lock is held.

    Args:
        hub: routes what was held, at the end.
        expected: the ids of the nodes that were linked to its predecessor when that was killed.
    """

    def __init__(self, hub: Hub, expected: Iterable[str]) -> None:
        self._hub = hub
        self._loop = hub.loop
        self._expected = set(expected)
        self._held: list[tuple[Peer, Held]] = []
        """What was received, with its sender, in order."""
        self._account = hub.budget.open(lambda _: self._end())
        """Counts the bytes held; the budget ends the takeover when memory is short."""
        self._timer: Timer | None = None
        """Ends the takeover; None before and after it."""
        self._deadline = 0.0
        """The latest end, by the clock of the loop."""
        self._is_over = False

    @property
    def active(self) -> bool:
        """Whether nodes of the former hub are still expected to reconnect."""
        return self._timer is not None

    def node_resumed(self) -> None:
        """Start or prolong the takeover: a node was linked to a former hub, so others will reconnect too."""
        if self._is_over:
            return  # to hold messages up again for a late node would cost the others more
        now = self._loop.time()
        if self._timer is None:
            if self._hub.started_at + MAX_TAKEOVER_SECONDS < time():
                return  # this hub has replaced none: the node was linked to one elsewhere
            self._deadline = now + MAX_TAKEOVER_SECONDS
        else:
            self._timer.cancel()
        quiet = QUIET_SECONDS_FOR_EXPECTED if self._expected else QUIET_SECONDS
        self._timer = self._loop.call_later(max(0.0, min(quiet, self._deadline - now)), self._end)

    def interest_received(self, peer: Peer) -> None:
        """End the takeover if this was the last node expected.

        Args:
            peer: has announced what it follows.
        """
        was_expected = peer.id in self._expected
        self._expected.discard(peer.id)
        if was_expected and self.active and not self._expected:
            peers = self._hub.peers.values()
            if all(one.interest_known for one in peers if one.connected):
                self._end()

    def hold(self, peer: Peer, frame: Held, size: int) -> None:
        """Hold a frame until the end.

        Args:
            peer: its sender.
            frame: batches with their bytes, a question, or jobs of a shared queue.
            size: the bytes that it takes.
        """
        self._held.append((peer, frame))
        self._account.grow(size)
        if self._account.held > MAX_HELD_BYTES:
            self._end()

    def _end(self) -> None:
        """Route all that was held, in order; callable on any thread."""
        hub = self._hub
        with hub.lock:
            self._is_over = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            self._account.grow(-self._account.held)
            for peer in hub.peers.values():
                if peer.connected and not peer.interest_announced:
                    hub.update_interest(peer)
            held, self._held = self._held, []
            for peer, frame in held:
                if hub.peers.get(peer.id, peer) is not peer:
                    continue  # it has started again, and sends it again
                if isinstance(frame, list):
                    hub.handle_batches(peer, frame)
                elif isinstance(frame, Put):
                    frame.accept()
                elif peer.id in hub.peers:
                    hub.handle_question(peer, frame)
                hub.flush_all()  # else all that was held would have to fit behind the windows
            for peer in hub.peers.values():
                peer.stream.caught_up()
                hub.flush(peer)
