"""The network as this process sees it: nodes, what they follow, links, and what passes over its own ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .counts import Rate
from .reach import open_links
from .render import cut, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    import berrymq

__all__ = ["NetworkState"]

MOST_NODES: Final = 200
MOST_FOLLOWS: Final = 50
LONGEST: Final = 80


class Flow:
    """What passes over one link of this process."""

    def __init__(self) -> None:
        self.sent = self.received = 0
        self.out = Rate()
        self.into = Rate()

    def update(self, sent: int, received: int, seconds: float) -> bool:
        """Take note of the counts so far; return whether the rates moved."""
        moved = self.out.update(max(0, sent - self.sent), seconds)
        moved |= self.into.update(max(0, received - self.received), seconds)
        self.sent, self.received = sent, received
        return moved


class NetworkState:
    """Looks at the nodes of a bus now and then: what it looks at is there anyhow."""

    def __init__(self, bus: berrymq.Bus) -> None:
        self.bus = bus
        self.flows: dict[str, Flow] = {}
        self.picture: dict[str, Any] = {"links": [], "nodes": [], "edges": [], "more": 0}
        self.looked_at: float | None = None

    def look(self, now: float) -> bool:
        """Look again; return whether anything has changed."""
        seconds = 0.0 if self.looked_at is None else now - self.looked_at
        self.looked_at = now
        links = open_links(self.bus)
        nodes = list({id(link.node): link.node for link in links}.values())
        self.measure([peer for node in nodes for peer in neighbours(node)], seconds)
        before, self.picture = self.picture, self.draw(links, nodes)
        return self.picture != before

    def measure(self, peers: Iterable[Any], seconds: float) -> None:
        """Take note of what passed over this process's own links."""
        seen = set()
        for peer in peers:
            seen.add(peer.id)
            stats = peer.session.stats
            flow = self.flows.get(peer.id)
            if flow is None:
                flow = self.flows[peer.id] = Flow()
                flow.sent, flow.received = stats.sent, stats.received
            flow.update(stats.sent, stats.received, seconds)
        for gone in self.flows.keys() - seen:
            del self.flows[gone]

    def draw(self, links: list[Any], nodes: list[Any]) -> dict[str, Any]:
        """Return everything as a page gets it."""
        found: dict[str, dict[str, Any]] = {}
        edges: dict[tuple[str, str], dict[str, Any]] = {}
        for node in nodes:
            infos = node.nodes()
            for info in infos:
                found.setdefault(info.id, described(info))
            for info in infos:
                self.add_edges(node, info.id, edges)
        kept = dict(sorted(found.items(), key=lambda item: order(item[1]))[:MOST_NODES])
        return {
            "links": [linked(link) for link in links],
            "nodes": list(kept.values()),
            "edges": [edge for (one, other), edge in edges.items() if one in kept and other in kept],
            "more": len(found) - len(kept),
        }

    def add_edges(self, node: Any, node_id: str, edges: dict[tuple[str, str], dict[str, Any]]) -> None:
        """Add the links of one node, as it announces them."""
        record = node.record_of(node_id)
        if record is None:
            return
        for other in record.neighbours:
            key = (min(node_id, other), max(node_id, other))
            edge = edges.setdefault(key, {"between": list(key), "cut": False, "flow": None})
            edge["cut"] = edge["cut"] or other in record.away
            flow = self.flows.get(other if node_id == node.id else "")
            if flow is not None:
                edge["flow"] = {
                    "from": node_id,
                    "sent": flow.sent,
                    "received": flow.received,
                    "out": round(flow.out.value, 2),
                    "into": round(flow.into.value, 2),
                }


def neighbours(node: Any) -> list[Any]:
    """Return the neighbours of a node, whose own thread may be changing them."""
    while True:
        try:
            return list(node.neighbours)
        except RuntimeError:
            continue


def described(info: Any) -> dict[str, Any]:
    """Return a node as a page gets it."""
    return {
        "id": info.id,
        "name": shown(cut(info.name, LONGEST)),
        "room": None if info.room is None else shown(cut(info.room, LONGEST)),
        "hub": info.hub,
        "here": info.here,
        "follows": [shown(cut(pattern, LONGEST)) for pattern in info.follows[:MOST_FOLLOWS]],
        "followsMore": max(0, len(info.follows) - MOST_FOLLOWS),
    }


def order(node: dict[str, Any]) -> tuple[bool, bool, str]:
    """Return by what nodes are sorted: this one, the hubs, the others by name."""
    return not node["here"], not node["hub"], node["name"]


def linked(link: Any) -> dict[str, Any]:
    """Return a link as a page gets it."""
    stats = link.stats()
    return {
        "url": shown(cut(link.url, LONGEST)),
        "foundBy": link.found_by,
        "state": link.state,
        "room": link.room,
        "dropped": stats.dropped + stats.lost,
        "waiting": stats.queued,
        "cuts": stats.cuts,
    }
