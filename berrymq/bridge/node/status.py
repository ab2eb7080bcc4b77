"""Snapshots of a node's peers, for people and programs: `NodeInfo` and the status reports.

All of it is copied, so it may be used without a lock; lists are shortened, to fit into a frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .peer import Peer
    from .router import Router

__all__ = ["NodeInfo", "peer_status", "reachable_nodes", "router_status"]

MAX_LISTED_FOLLOWS = 1_000
"""Identifiers listed of each node by `reachable_nodes`: the list has to fit into a frame."""

MAX_STATUS_PEERS = 200
"""Peers that a status report lists; the rest is counted."""
MAX_STATUS_FOLLOWS = 20
"""Identifiers that it lists for each of them; the rest is counted."""


class NodeInfo(Struct, frozen=True):
    """A node on the network, as `Link.nodes` lists it.

    Attributes:
        name: its readable name; several nodes may have the same.
        id: its unique id.
        room: its room, or None.
        follows: the identifiers that it follows, with those of its shared queues, sorted, perhaps not all.
        hub: whether it is a hub.
    """

    name: str
    id: str
    room: str | None
    follows: tuple[str, ...]
    hub: bool
    here: bool = False
    """This process."""


def reachable_nodes(peers: Iterable[Peer], room: str | None) -> list[NodeInfo]:
    """Return the connected peers in a room that have announced their interest.

    The router's lock is held.

    Args:
        peers: those of the router.
        room: the name of the room; None is a room as well.
    """
    found = []
    for peer in peers:
        if peer.connected and peer.interest_known and peer.room.name == room:
            follows = followed_by(peer)[:MAX_LISTED_FOLLOWS]
            is_hub = peer.role == "hub" or (peer.role == "mesh" and bool(peer.members))
            found.append(NodeInfo(peer.name, peer.id, room, tuple(follows), is_hub))
            found += [
                NodeInfo(f"{name} ({peer.name})", f"{peer.id}/{number}", room, (), hub=False)
                for number, name in enumerate(peer.members)
            ]
    return found


def followed_by(peer: Peer) -> list[str]:
    """Return what a peer follows, in its shared queues too, sorted."""
    return sorted([identifier.text for identifier in peer.follows | peer.shared_queues])


def router_status(router: Router) -> dict[str, Any]:
    """Return the names, ids and counters of a node and its peers, as JSON values; connected peers first.

    Its form is part of the wire protocol (WIRE.md, method ``status``).
    """
    now = router.loop.time()
    with router.lock:
        peers = sorted(router.peers.values(), key=lambda peer: (not peer.connected, peer.name))
        return {
            "name": router.name,
            "id": router.id,
            "hub": router.is_hub,
            "started_at": router.started_at,
            "held_bytes": router.budget.held,
            "nodes": [peer_status(peer, now) for peer in peers[:MAX_STATUS_PEERS]],
            "nodes_more": max(0, len(peers) - MAX_STATUS_PEERS),
        }


def peer_status(peer: Peer, now: float) -> dict[str, Any]:
    """Return the names and counters of a peer, as JSON values; its lists are shortened.

    ``sent`` and ``received`` are from the peer's point of view: ``sent`` counts what this node has received.

    Args:
        peer: the peer.
        now: by the clock of the loop.
    """
    stats = peer.stream.snapshot()
    follows = followed_by(peer)
    return {
        "id": peer.id,
        "name": peer.name,
        "room": peer.room.name,
        "role": peer.role,
        "connected": peer.connected,
        "for_seconds": now - peer.since,
        "follows": follows[:MAX_STATUS_FOLLOWS],
        "follows_more": max(0, len(follows) - MAX_STATUS_FOLLOWS),
        "sent": stats.received,
        "received": stats.sent,
        "waiting": stats.buffered + (0 if peer.connected else stats.in_flight),
        "dropped": stats.dropped + stats.lost,
        "cuts": stats.cuts,
    }
