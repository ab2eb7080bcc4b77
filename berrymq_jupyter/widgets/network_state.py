"""The network as this process sees it: nodes, what they follow, links, and what passes over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from berrymq_jupyter.finding import how_found

from .counts import Rate
from .reach import open_links
from .render import cut, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    import berrymq

__all__ = ["NetworkState"]

MOST_NODES: Final = 200
MOST_FOLLOWS: Final = 50
LONGEST: Final = 80


Way = tuple[str, str]
"""From which node to which neighbour of it, by their ids."""


class Flow:
    """What passes over a link, one way."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.rate = Rate()

    def update(self, total: int, seconds: float) -> None:
        """Take note of how many messages have passed so far."""
        self.rate.update(max(0, total - self.total), seconds)
        self.total = total


class NetworkState:
    """Looks at the nodes of a bus now and then: what it looks at is there anyhow."""

    def __init__(self, bus: berrymq.Bus) -> None:
        self.bus = bus
        self.flows: dict[Way, Flow] = {}
        self.picture: dict[str, Any] = {"links": [], "nodes": [], "edges": [], "more": 0}
        self.looked_at: float | None = None

    def look(self, now: float) -> bool:
        """Look again; return whether anything has changed."""
        seconds = 0.0 if self.looked_at is None else now - self.looked_at
        self.looked_at = now
        links = open_links(self.bus)
        nodes = list({id(link.node): link.node for link in links}.values())
        self.measure({way: total for node in nodes for way, total in passed(node).items()}, seconds)
        before, self.picture = self.picture, self.draw(links, nodes)
        return self.picture != before

    def measure(self, totals: Mapping[Way, int], seconds: float) -> None:
        """Take note of how many messages have passed each way."""
        for way, total in totals.items():
            self.flows.setdefault(way, Flow(total)).update(total, seconds)
        for gone in self.flows.keys() - totals.keys():
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
            one, two = min(node_id, other), max(node_id, other)
            edge = edges.setdefault((one, two), {"between": [one, two], "cut": False, "flow": None})
            edge["cut"] = edge["cut"] or other in record.away
            there, back = self.flows.get((one, two)), self.flows.get((two, one))
            if there is not None and back is not None:
                edge["flow"] = [[flow.total, round(flow.rate.value, 2)] for flow in (there, back)]


def passed(node: Any) -> dict[Way, int]:
    """Return how many messages have passed over links: the node's own, and those it was told of."""
    totals: dict[Way, int] = {**node.passed_elsewhere()}
    for peer in neighbours(node):
        stats = peer.session.stats
        totals[node.id, peer.id] = stats.sent
        totals[peer.id, node.id] = stats.received
    return totals


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
        "foundBy": how_found(link),
        "state": link.state,
        "room": link.room,
        "dropped": stats.dropped + stats.lost,
        "waiting": stats.queued,
        "cuts": stats.cuts,
    }
