"""What waits at a node for links that are cut: it goes another way when there is one.

A node that was reached over a lost link alone, and now is over another one, gets first what waits for it
there. Some of that it may have got already; it tells copies by their numbers (see ``seen.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from berrymq.bridge.protocol.frames import said_again

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from berrymq.bridge.protocol.frames import WireMessage

    from .directory import Directory
    from .peer import Peer

__all__ = ["LostLinks"]


class LostLinks:
    """The neighbours whose connection is cut at present, and the nodes that are cut off by that.

    Args:
        peers: the neighbours, by node id.
        directory: knows where the ways lead.
    """

    def __init__(self, peers: Mapping[str, Peer], directory: Directory) -> None:
        self._peers = peers
        self._directory = directory
        self._cut_off: AbstractSet[str] = frozenset()

    def reroute(self) -> set[Peer]:
        """Look anew who is cut off; what waits for those who no longer are takes their new way.

        To be called when the directory has changed, before anything else is sent. Gives the neighbours for
        whom there is something to send.
        """
        lost = {peer.id: peer for peer in self._peers.values() if peer.cut_since is not None}
        if not lost and not self._cut_off:
            return set()
        reached = self._directory.reached()
        nobody: frozenset[str] = frozenset()
        over_lost = nobody.union(*[nodes for way, nodes in reached.items() if way in lost])
        over_others = nobody.union(*[nodes for way, nodes in reached.items() if way not in lost])
        back = self._cut_off & over_others
        self._cut_off = over_lost - over_others
        return self._catch_up(back, lost) if back and lost else set()

    def _catch_up(self, back: AbstractSet[str], lost: Mapping[str, Peer]) -> set[Peer]:
        touched: set[Peer] = set()
        known: dict[tuple[str, str | None, str | None], list[Peer]] = {}
        for link in lost.values():
            for message in link.session.pending():
                key = message.identifier, message.room, message.to
                chosen = known.get(key)
                if chosen is None:
                    ways = self._ways_to(back, message) - lost.keys()
                    chosen = known[key] = [self._peers[way] for way in ways]
                for peer in chosen:
                    peer.session.send(replace(message, again=said_again(message)))
                touched.update(chosen)
        return touched

    def _ways_to(self, nodes: AbstractSet[str], message: WireMessage) -> set[str]:
        """The ways to those of the nodes that want a message."""
        if message.to is not None:
            wanting = {message.to} & nodes
        else:
            wanting = self._directory.followers(message.identifier, message.room) & nodes
        return {way for node_id in wanting for way in self._directory.ways_to(node_id, message.room)}

    def stranded(self, lost: Peer) -> int:
        """How many of the messages that wait for one of them have no other way to go."""
        return sum(
            not any(way != lost.id for way in self._directory.ways_of(message))
            for message in lost.session.unconfirmed()
        )
