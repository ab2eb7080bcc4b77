"""One process on the network: its bus, its neighbours, and what passes between them.

A node takes what its own bus says and what its neighbours hand it, sends each message over every link
behind which somebody follows it, and gives those that are followed here to its bus. A hub is a node whose
bus nobody uses.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from berrymq.bus import Bus
from berrymq.process import process

from .access_token import new_access_token
from .network.directory import Directory, NodeInfo
from .network.handover import Handover
from .network.peer import Peer
from .network.survey import Survey, Way
from .network.traffic import Traffic
from .protocol.accounts import Limits
from .protocol.frames import MAX_COUNT, Announce, Dropped, Frame, NodeRecord, SendMessages
from .tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .processes import Process
    from .protocol.session import Session

__all__ = ["DEFAULT_TTL", "Node"]

DEFAULT_TTL = 1000.0
"""Seconds for which a cut link waits for its other side."""

_log = logging.getLogger("berrymq")


class Listening(Protocol):
    """Lets others link to a node."""

    @property
    def url(self) -> str:
        """Where they link to."""

    @property
    def address(self) -> tuple[str, int]:
        """The same, as host and port."""

    async def stop(self) -> None:
        """Close the port and every connection."""


class Node:
    """A process on the network.

    All methods run on the loop that the node was made on (or was given), but for what a bus calls.

    Args:
        bus: whose messages cross; one of its own unless told.
        name: what people call it.
        room: only nodes in the same room hear each other; None is a room as well.
        hub: it hands on for every room.
        loop: the running loop unless told.
        limits: bounds of its links.
    """

    def __init__(
        self,
        bus: Bus | None = None,
        *,
        name: str,
        room: str | None = None,
        hub: bool = False,
        access_token: str | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.name = name
        self.room = room
        self.hub = hub
        self.access_token = access_token or new_access_token()
        self.loop = loop or asyncio.get_running_loop()
        self.limits = limits or Limits()
        self.opening = 0
        """Links that are being made at present."""
        self.on_peers_changed: Callable[[], None] | None = None
        """Called when a link came or went."""
        self.listener: Listening | None = None
        """Where others can link to this node, if they can."""
        self._closed = False
        self._directory = Directory(NodeRecord(self.id, name, 0, room, hub))
        self._peers: dict[str, Peer] = {}
        self._handovers: dict[Peer, Handover] = {}
        self._announcing = False
        self._untold: dict[Peer, None] = {}
        """The neighbours to whom announcements are to go."""
        self.bus = bus if bus is not None else Bus(name)
        self.tokens = Tokens(self.bus, self.loop)
        """The clients that have no link of their own."""
        self.traffic = Traffic(self.bus, self._directory, self._peers, self.loop)
        self._survey = Survey(self._directory, self.loop, self.traffic.survey)
        self._tap = self.bus.gateway.attach(
            self._directory.is_followed, self.traffic.send, ask=self.traffic.ask
        )
        self._unwatch = self.bus.gateway.watch(self._interests_changed)
        self._interests_changed()
        process.on_fork(self.after_fork)

    def after_fork(self) -> None:
        """Leave the parent's loop alone in a forked child."""
        self._closed = True

    def __repr__(self) -> str:
        return f"<Node {self.name!r} {self.id} links={len(self._peers)}>"

    @property
    def url(self) -> str:
        """Where it listens; empty if it does not."""
        return self.listener.url if self.listener is not None else ""

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens, as host and port."""
        return self.listener.address if self.listener is not None else None

    # -- neighbours ------------------------------------------------------------------------------------------

    @property
    def record(self) -> NodeRecord:
        """What this node says of itself."""
        return self._directory.own

    def rename(self, name: str) -> None:
        """Call it something else, as when only now it is known what."""
        self.name = name
        self._spread(self._directory.set_own(name=name), None)

    @property
    def neighbours(self) -> list[Peer]:
        """Those it has a link to, the ones whose connection is cut at present included."""
        return list(self._peers.values())

    @property
    def peers(self) -> int:
        """How many neighbours there are, those whose connection is cut at present included."""
        return len(self._peers)

    @property
    def connected_peers(self) -> int:
        """How many neighbours have a connection now."""
        return sum(peer.connected for peer in self._peers.values())

    def peer(self, node_id: str) -> Peer | None:
        """The neighbour with that id."""
        return self._peers.get(node_id)

    def peer_of_session(self, session_id: str) -> Peer | None:
        """The neighbour with that session, for one who comes back."""
        for peer in self._peers.values():
            if secrets.compare_digest(peer.session.id.encode(), session_id.encode()):
                return peer
        return None

    def add_peer(
        self, record: NodeRecord, session: Session, ttl: float = DEFAULT_TTL, process: Process | None = None
    ) -> Peer:
        """A new neighbour; a former session of the same node is over."""
        former = self._peers.pop(record.id, None)
        if former is not None:
            # Copies of what did arrive are told by their numbers, see ``seen.py``.
            session.inherit(former.session, ended=False)
            former.end("replaced")
        peer = self._peers[record.id] = Peer(
            record.id,
            session,
            name=record.name,
            room=record.room,
            sees_all=record.hub,
            ttl=ttl,
            process=process,
            loop=self.loop,
            on_frame=self._on_frame,
            on_change=self._peer_changed,
            is_behind=self.traffic.arrivals.is_behind,
            on_progress=self.traffic.on_progress,
            stranded=self.traffic.lost_links.stranded,
        )
        self._update_neighbours()
        self._learn([record], peer)
        self._announce(self._directory.records(), peer)
        return peer

    def rename_peer(self, peer: Peer, record: NodeRecord, session_id: str) -> None:
        """The other side of a link is a new incarnation: what it did not confirm goes to its successor."""
        former = self._directory.record(peer.id)
        self._peers.pop(peer.id, None)
        other = self._peers.pop(record.id, None)
        peer.id, peer.name = record.id, record.name
        self._peers[record.id] = peer
        peer.session.restart(session_id)
        if other is not None and other is not peer:
            peer.session.inherit(other.session, ended=True)
            other.end("replaced")
            self._cancel_handover(other)
        if former is not None and former.hub and record.hub and former.id != record.id:
            self._directory.expect_behind(record.id, former.id)
            self._begin_handover(peer, former)
        self._update_neighbours()
        self._learn([record], peer)
        self._announce(self._directory.records(), peer)

    def _begin_handover(self, peer: Peer, former: NodeRecord) -> None:
        self._cancel_handover(peer)
        if self._directory.is_expecting(peer.id):
            self._handovers[peer] = Handover(peer, former.name, self._directory, self.loop)

    def _cancel_handover(self, peer: Peer) -> None:
        handover = self._handovers.pop(peer, None)
        if handover is not None:
            handover.cancel()

    def end_handover(self, peer: Peer) -> None:
        """Wait no longer for the nodes that have not come to the hub that took another one's place."""
        if peer in self._handovers:
            self._handovers[peer].give_up()

    def merge_peer(self, former: Peer, peer: Peer) -> None:
        """What waits for a neighbour that is gone goes to the one that took its place."""
        peer.session.inherit(former.session, ended=True)
        self.remove_peer(former, "its place was taken")
        peer.pump()

    def retire_peer(self, peer: Peer) -> int:
        """A hub will not come back; how many messages waited for nobody but those it has taken along."""
        stranded = self.traffic.lost_links.stranded(peer)
        self.remove_peer(peer, "it has ended")
        return stranded

    def remove_peer(self, peer: Peer, reason: str = "closed") -> int:
        """A link is over; how many messages were dropped by that."""
        dropped = peer.end(reason)
        self._peer_changed(peer)
        return dropped

    def update_peer_record(self, record: NodeRecord, follows: Iterable[str]) -> None:
        """A neighbour that does not announce records says through us what it follows."""
        version = min(record.version + 1, MAX_COUNT)  # larger ones nobody reads
        self._learn([replace(record, version=version, follows=tuple(sorted(follows)))], None)

    def _peer_changed(self, peer: Peer) -> None:
        if peer.expired and self._peers.get(peer.id) is peer:
            del self._peers[peer.id]
        if peer in self._handovers:
            self._handovers[peer].connection_changed()
        self._update_neighbours()
        if self.on_peers_changed is not None:
            self.on_peers_changed()

    def _update_neighbours(self) -> None:
        away = [peer.id for peer in self._peers.values() if not peer.connected]
        self._spread(self._directory.set_own(neighbours=self._peers, away=away), None)

    # -- the directory ---------------------------------------------------------------------------------------

    def nodes(self) -> list[NodeInfo]:
        """Who is there: the nodes of this node's room and the hubs; a hub sees every room."""
        return self._directory.nodes(self.room, all_rooms=self.hub)

    def nodes_of(self, room: str | None) -> list[NodeInfo]:
        """Who is there, as seen from a room."""
        return self._directory.nodes(room)

    def record_of(self, node_id: str) -> NodeRecord | None:
        """What is known of a node."""
        return self._directory.record(node_id)

    def passed_elsewhere(self) -> dict[Way, int]:
        """How many messages have passed over the links of other nodes, by from where to where.

        What is known at once, and not older than some seconds; who wants to see it live asks again and again.
        May be called on any thread.
        """
        return {} if self._closed else self._survey.passed()

    def _interests_changed(self) -> None:
        """Called by the bus, on any thread."""
        self.traffic.arrivals.interests_changed()
        if not self._announcing and not self._closed:
            self._announcing = True
            self._call_on_loop(self._announce_interests)

    def _announce_interests(self) -> None:
        self._announcing = False
        if self._closed:
            return
        follows = {str(identifier) for identifier in self.bus.gateway.interests()}
        self._spread(self._directory.set_own(follows=follows), None)

    def _learn(self, records: list[NodeRecord], source: Peer | None) -> None:
        self._spread(self._directory.learn(records), source)

    def _spread(self, records: list[NodeRecord], source: Peer | None) -> None:
        rerouted = self.traffic.lost_links.reroute()
        if records:
            self._tell(records, source)
        for peer in rerouted:
            peer.pump()

    def _tell(self, records: list[NodeRecord], source: Peer | None) -> None:
        for peer in self._peers.values():
            if peer is not source:
                self._announce(records, peer)
        self._tap.refresh()
        self.traffic.questions.nodes_changed(self._directory.is_there)
        for peer, handover in list(self._handovers.items()):
            handover.nodes_changed()
            if handover.over:
                self._handovers.pop(peer, None)

    def _announce(self, records: list[NodeRecord], peer: Peer) -> None:
        """Tell a neighbour of those that it may see: its own room's, and the hubs.

        At the end of this turn of the loop, or before the next message: news often come together.
        """
        peer.session.announce(
            [record for record in records if peer.sees_all or record.hub or record.room == peer.room]
        )
        if not self._untold:
            self.loop.call_soon(self._pump_untold)
        self._untold[peer] = None

    def _pump_untold(self) -> None:
        untold, self._untold = self._untold, {}
        for peer in untold:
            peer.pump()

    def _on_frame(self, peer: Peer, frame: Frame) -> None:
        if isinstance(frame, SendMessages):
            self.traffic.receive(peer, frame.params.batch)
        elif isinstance(frame, Announce):
            self._learn(frame.params.nodes, peer)
        elif isinstance(frame, Dropped):
            _log.warning(
                "%d messages for %s were dropped on their way: it is too slow", frame.params.count, self.name
            )

    # -- its end ---------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Wait until the neighbours have everything that was said before."""
        await self.traffic.flush_outbox()
        await asyncio.gather(*[peer.flush() for peer in self._peers.values() if peer.connected])

    async def close(self) -> None:
        """Leave the network."""
        self.detach_bus()
        if self.listener is not None:
            await self.listener.stop()
        self.tokens.close_all()
        for peer in list(self._peers.values()):
            self.remove_peer(peer, "the node has left")

    def detach_bus(self) -> None:
        """Take nothing more from the bus; may be called on any thread."""
        if not self._closed:
            self._closed = True
            self.traffic.outbox.close()
            self._tap.cancel()
            self._unwatch()

    def _call_on_loop(self, function: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            _log.debug("the loop of %r is closed", self)
