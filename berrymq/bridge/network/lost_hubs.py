"""What waits at a node for hubs whose connection is cut: it goes to the nodes that move over from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berrymq.identifiers import Identifier

from .topology import Known

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berrymq.bridge.protocol.frames import NodeRecord
    from berrymq.bridge.protocol.session import Session

    from .directory import Directory
    from .peer import Peer

__all__ = ["LostHubs"]


class LostHubs:
    """The neighbours that are hubs and are cut off at present.

    Some of what they have taken may not have been handed on.

    Args:
        peers: the neighbours, by node id.
        directory: knows where the ways lead.
    """

    def __init__(self, peers: Mapping[str, Peer], directory: Directory) -> None:
        self._peers = peers
        self._directory = directory

    def _lost(self) -> Iterator[Peer]:
        return (peer for peer in self._peers.values() if peer.sees_all and not peer.connected)

    def catch_up(self, newcomer: NodeRecord, session: Session) -> None:
        """Have a node that has just come get first what waits for it at one of them."""
        known = Known.of(newcomer)
        for lost in self._lost():
            for message in lost.session.pending():
                if message.to is None:
                    is_for_it = known.wants(Identifier.parse(message.identifier), message.room)
                else:
                    is_for_it = message.to == newcomer.id
                if is_for_it:
                    session.send(message)

    def stranded(self, lost: Peer) -> int:
        """How many of the messages that wait for one of them have no other way to go."""
        return sum(
            not any(way != lost.id for way in self._directory.ways_of(message))
            for message in lost.session.unconfirmed()
        )
