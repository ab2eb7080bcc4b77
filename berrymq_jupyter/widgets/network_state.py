"""The network as this process sees it: nodes, what they follow, links, their traffic, and what a hub holds.

`NetworkState.look` polls: the links of this process for their own counters, and the other side of each for
its status, which has the traffic of the other nodes. What a page gets is a dictionary of JSON values. Of what
a hub counts and holds, it has what belongs to the room of the link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from berrymq import LinkError
from berrymq_jupyter.links import how_found, nodes_behind, open_links
from berrymq_jupyter.newest_text import newest_text

from .counts import Rate
from .render import cut, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    import berrymq

__all__ = ["NetworkState"]

MOST_NODES: Final = 200
"""Nodes that are shown; the rest is counted."""
MOST_FOLLOWS: Final = 50
"""Patterns that are listed of each at least, if it follows that many."""
MOST_FOLLOWED: Final = 5_000
"""Patterns that are listed of all, where fewer of each suffice for that."""
MOST_IDENTIFIERS: Final = 500
"""Identifiers of messages, shared queues or keeps that are listed."""
MOST_MEMBERS: Final = 6
"""Members of a shared queue that are listed."""
MOST_NEWEST: Final = 200
"""Newest messages in one request of a page: the limit of the hub."""
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
        self.passing: dict[tuple[str, str, str | None], Flow] = {}
        """The traffic of each identifier, by the node that counts it, and by room."""
        self.links: list[Any] = []
        """The links of the last poll."""
        self.picture: dict[str, Any] = {"links": [], "nodes": [], "edges": [], "more": 0, **held([])}
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
        self.links = [view.link for view in views]
        identifiers = self.identifiers(views, seconds)
        before, self.picture = self.picture, {**self.draw(views), **held(views), "identifiers": identifiers}
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

    def identifiers(self, views: list[Seen], seconds: float) -> list[list[Any]]:
        """Return the identifiers of messages that passed, as they are sent to a page, with their rates.

        Args:
            views: the links.
            seconds: since the last poll; 0 for the first.

        Returns:
            For each its link's place, text, count, rate, time of the last in milliseconds, and source.
        """
        rows: list[list[Any]] = []
        passing: dict[tuple[str, str, str | None], Flow] = {}
        for place, view in enumerate(views):
            for one in view.of_room("identifiers"):
                key = (view.there, one["id"], one["room"])
                flow = passing[key] = self.passing.get(key) or Flow(one["count"])
                flow.update(one["count"], seconds)
                source = shown(cut(one["source"], LONGEST))
                row = [
                    place,
                    one["id"],
                    flow.total,
                    round(flow.rate.value, 2),
                    round(one["at"] * 1000),
                    source,
                ]
                rows.append(row)
        self.passing = passing
        return rows[:MOST_IDENTIFIERS]

    def newest(self, wanted: list[Any]) -> list[list[Any]]:
        """Return the newest message of identifiers as short texts; it waits for the hub's answer.

        Args:
            wanted: pairs of a link's place and an identifier, from a page.

        Returns:
            The same pairs, each with the text.
        """
        by_place: dict[int, list[str]] = {}
        for place, identifier in wanted[:MOST_NEWEST]:
            by_place.setdefault(int(place), []).append(str(identifier))
        found: list[list[Any]] = []
        for place, identifiers in by_place.items():
            try:
                texts = map(newest_text, self.links[place].newest(identifiers))
                found += [[place, *pair] for pair in zip(identifiers, texts, strict=True)]
            except (LinkError, LookupError, ValueError):
                continue  # cut just now, or a hub of a former version
        return found

    def draw(self, views: list[Seen]) -> dict[str, Any]:
        """Return everything as it is sent to a page."""
        found: dict[str, Any] = {}
        edges: dict[tuple[str, str], dict[str, Any]] = {}
        for view in views:
            for info in view.nodes:
                found.setdefault(info.id, info)
            for other, cut_off in view.edges():
                one, two = sorted((view.there, other))
                edge = edges.setdefault((one, two), {"between": [one, two], "cut": False, "flow": None})
                edge["cut"] = edge["cut"] or cut_off
                there, back = self.flows.get((one, two)), self.flows.get((two, one))
                if there is not None and back is not None:
                    edge["flow"] = [[flow.total, round(flow.rate.value, 2)] for flow in (there, back)]
        kept = dict(sorted(found.items(), key=lambda item: order(item[1]))[:MOST_NODES])
        most = max(MOST_FOLLOWS, MOST_FOLLOWED // max(1, len(kept)))
        return {
            "links": [linked(view.link) for view in views],
            "nodes": [described(info, most) for info in kept.values()],
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
        self.status = status
        self._others = [one for one in status.get("nodes", ()) if one["id"] != self.here]
        """The status of the other neighbours of the other side."""

    def of_room(self, key: str) -> list[dict[str, Any]]:
        """Return a list of the status of a hub, as far as it concerns the room of the link."""
        return [one for one in self.status.get(key, ()) if one["room"] == self.link.room]

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


def held(views: list[Seen]) -> dict[str, Any]:
    """Return shared queues, retained messages, and the number of further identifiers, as sent to a page."""
    queues = [one for view in views for one in view.of_room("groups")]
    kept = [one for view in views for one in view.of_room("kept")]
    passed = [one for view in views for one in view.of_room("identifiers")]
    forgotten = sum(view.status.get("identifiers_more", 0) for view in views)
    return {
        "identifiers": [],
        "identifiersMore": max(0, len(passed) - MOST_IDENTIFIERS) + forgotten,
        "queues": [
            [
                one["id"],
                one["depth"],
                one["taken"],
                [[shown(cut(member["name"], LONGEST)), member["taken"]] for member in members[:MOST_MEMBERS]],
                max(0, len(members) - MOST_MEMBERS) + one["members_more"],
                one["dropped"],
            ]
            for one in queues[:MOST_IDENTIFIERS]
            for members in [sorted(one["members"], key=lambda member: -member["taken"])]
        ],
        "kept": [
            [
                one["identifier"],
                one["count"],
                one["last"],
                one["identifiers"],
                one["bytes"],
                shown(cut(one["by"], LONGEST)),
                one["dropped"],
            ]
            for one in kept[:MOST_IDENTIFIERS]
        ],
    }


def described(info: Any, most: int) -> dict[str, Any]:
    """Return a node as it is sent to a page.

    Args:
        info: of the node.
        most: the limit of patterns that it follows.
    """
    return {
        "id": info.id,
        "name": shown(cut(info.name, LONGEST)),
        "room": None if info.room is None else shown(cut(info.room, LONGEST)),
        "hub": info.hub,
        "here": info.here,
        "follows": [shown(cut(pattern, LONGEST)) for pattern in info.follows[:most]],
        "followsMore": max(0, len(info.follows) - most),
    }


def order(info: Any) -> tuple[bool, bool, str]:
    """Return the sort key of nodes: this one, the hubs, the others by name."""
    return not info.here, not info.hub, info.name


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
