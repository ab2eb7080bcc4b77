"""The network as this process sees it: nodes, what they follow, links, and their traffic.

`NetworkState.look` polls: the links of this process for their own counters, and the other side of each for
its status, which has the traffic of the other nodes. What a page gets is a dictionary of JSON values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from berrymq import LinkError
from berrymq_jupyter.links import how_found, nodes_behind, open_links

from .counts import Rate
from .render import cut, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    import berrymq

__all__ = ["NetworkState"]

MOST_NODES: Final = 200
"""Nodes that are shown; the rest is counted."""
MOST_FOLLOWS: Final = 50
"""Identifiers that are listed of each."""
LONGEST: Final = 80
"""Characters of a name or identifier."""

SILENCE: Final = 10.0
"""Seconds for which a hub that did not answer is not called again."""


Way = tuple[str, str]
"""A direction of a link: from one node's id to a neighbour's."""


class Flow:
    """The traffic over a link in one direction.

    Args:
        total: the number of messages so far; what came before does not count for the rate.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.rate = Rate()

    def update(self, total: int, seconds: float) -> None:
        """Record the number of messages so far.

        Args:
            total: the number.
            seconds: since the last update.
        """
        self.rate.update(max(0, total - self.total), seconds)
        self.total = total


class NetworkState:
    """Polls the links of a bus, and the hub for the traffic elsewhere. Not thread-safe.

    Args:
        bus: its links are shown.

    Attributes:
        bus: see above.
    """

    def __init__(self, bus: berrymq.Bus) -> None:
        self.bus = bus
        self.flows: dict[Way, Flow] = {}
        """The traffic in each direction."""
        self.picture: dict[str, Any] = {"links": [], "nodes": [], "edges": [], "more": 0}
        """The network as it is sent to a page."""
        self.looked_at: float | None = None
        """The time of the last poll, in seconds; None before the first."""
        self.silent_until = float("-inf")
        """A hub that did not answer is not called before this time, so that the other views are updated."""

    def look(self, now: float) -> bool:
        """Poll; return whether anything has changed.

        It may wait for a hub's answer. One that did not answer is left alone for `SILENCE` seconds.

        Args:
            now: seconds of a monotonic clock.
        """
        seconds = 0.0 if self.looked_at is None else now - self.looked_at
        self.looked_at = now
        views = [Seen(link, self.ask(link, now)) for link in open_links(self.bus)]
        self.measure({way: total for view in views for way, total in view.passed().items()}, seconds)
        before, self.picture = self.picture, self.draw(views)
        return self.picture != before

    def ask(self, link: Any, now: float) -> dict[str, Any]:
        """Return the status of a link's other side; empty if it does not answer.

        Args:
            link: a link.
            now: in seconds; sets the time before which it is not called again.
        """
        if now < self.silent_until or link.state != "linked":
            return {}
        try:
            status: dict[str, Any] = link.status()
        except LinkError:
            self.silent_until = now + SILENCE
            return {}
        return status

    def measure(self, totals: Mapping[Way, int], seconds: float) -> None:
        """Record the number of messages in each direction, and discard directions that have ended.

        Args:
            totals: the messages so far.
            seconds: since the last poll; 0 for the first.
        """
        for way, total in totals.items():
            self.flows.setdefault(way, Flow(total)).update(total, seconds)
        for gone in self.flows.keys() - totals.keys():
            del self.flows[gone]

    def draw(self, views: list[Seen]) -> dict[str, Any]:
        """Return everything as it is sent to a page."""
        found: dict[str, dict[str, Any]] = {}
        edges: dict[tuple[str, str], dict[str, Any]] = {}
        for view in views:
            for info in view.nodes:
                found.setdefault(info.id, described(info))
            for other, cut_off in view.edges():
                one, two = sorted((view.there, other))
                edge = edges.setdefault((one, two), {"between": [one, two], "cut": False, "flow": None})
                edge["cut"] = edge["cut"] or cut_off
                there, back = self.flows.get((one, two)), self.flows.get((two, one))
                if there is not None and back is not None:
                    edge["flow"] = [[flow.total, round(flow.rate.value, 2)] for flow in (there, back)]
        kept = dict(sorted(found.items(), key=lambda item: order(item[1]))[:MOST_NODES])
        return {
            "links": [linked(view.link) for view in views],
            "nodes": list(kept.values()),
            "edges": [edge for (one, other), edge in edges.items() if one in kept and other in kept],
            "more": len(found) - len(kept),
        }


class Seen:
    """A snapshot of a link and the nodes behind it.

    Args:
        link: the link.
        status: the status of its other side (`Link.status`); empty if it does not answer.
    """

    def __init__(self, link: Any, status: dict[str, Any]) -> None:
        self.link = link
        # Where it does not answer, its nodes are not requested each time either.
        self.nodes = link.nodes() if status or link.state != "linked" else nodes_behind(link)
        """The nodes that the link reaches, this process first."""
        self.here = next(info.id for info in self.nodes if info.here)
        """The id of this process."""
        self.there: str = status.get("id", "")
        """The id of the other side."""
        self._others = [one for one in status.get("nodes", ()) if one["id"] != self.here]
        """The status of the other neighbours of the other side."""

    def edges(self) -> list[tuple[str, bool]]:
        """Return the neighbours of the other side, and whether each is disconnected at present."""
        if not self.there:
            return []
        return [(self.here, False), *((one["id"], not one["connected"]) for one in self._others)]

    def passed(self) -> dict[Way, int]:
        """Return the number of messages in each direction: this process's own count, and the hub's."""
        if not self.there:
            return {}
        stats = self.link.stats()
        totals = {(self.here, self.there): stats.sent, (self.there, self.here): stats.received}
        for one in self._others:
            totals[one["id"], self.there] = one["sent"]
            totals[self.there, one["id"]] = one["received"]
        return totals


def described(info: Any) -> dict[str, Any]:
    """Return a node as it is sent to a page."""
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
    """Return the sort key of nodes: this one, the hubs, the others by name."""
    return not node["here"], not node["hub"], node["name"]


def linked(link: Any) -> dict[str, Any]:
    """Return a link as it is sent to a page."""
    stats = link.stats()
    return {
        "url": shown(cut(link.url, LONGEST)),
        "foundBy": how_found(link),
        "state": link.state,
        "room": link.room,
        "dropped": stats.dropped + stats.lost,
        "waiting": stats.buffered,
        "cuts": stats.cuts,
    }
