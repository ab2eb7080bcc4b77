"""The links of this process: the nodes behind them, and their description for people.

Completion, notes and views ask for the same list of nodes several times a second, so it is cached; nothing
here loads the bridge where no link was made.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from berrymq import introspection
from berrymq.printable import printable

if TYPE_CHECKING:
    from berrymq import Bus, Link, NodeInfo

__all__ = ["count", "how_found", "link_lines", "linked_nodes", "nodes_behind", "open_links"]

FRESH_SECONDS = 0.5
"""Seconds for which the list of nodes behind a link is cached."""
REUSE_FACTOR = 5
"""A list that took long is cached for this many times as long, so that an overloaded hub does not delay each
key that is typed."""

DESCRIPTIONS = {
    "environment": "a hub that BERRYMQ_HUB_URL names",
    "connection file": "the hub of this machine, by its connection file",
    "started a hub": "the hub of this machine, which was started for this link",
    "JupyterHub": "this user's server of JupyterHub",
    "NATS": "the nodes on this NATS server",
}
"""Descriptions of `Link.found_by`."""

_behind: WeakKeyDictionary[Link, tuple[float, list[NodeInfo]]] = WeakKeyDictionary()
"""The nodes behind each link, and the end of their time in the cache."""


def open_links(bus: Bus | None = None) -> list[Link]:
    """Return the links of this process, or those of one bus, without loading the bridge."""
    return [link for link in introspection.open_links() if bus is None or link.node.bus is bus]


def nodes_behind(link: Link) -> list[NodeInfo]:
    """Return the nodes that a link reaches, perhaps from the cache; else it waits for the hub's answer."""
    began = monotonic()
    until, known = _behind.get(link, (began, []))
    if began >= until:
        known = link.nodes()
        ended = monotonic()
        _behind[link] = ended + max(FRESH_SECONDS, REUSE_FACTOR * (ended - began)), known
    return known


def linked_nodes(bus: Bus | None = None) -> list[NodeInfo]:
    """Return the nodes that the links of this process, or of one bus, reach, perhaps from the cache."""
    return [node for link in open_links(bus) for node in nodes_behind(link)]


def how_found(link: Link) -> str:
    """Describe how the address of a link was found."""
    return DESCRIPTIONS.get(link.found_by, link.found_by)


def link_lines(link: Link) -> list[str]:
    """Return lines that describe where a link leads, how that was found, and its traffic."""
    room = f" in the room '{link.room}'" if link.room else ""
    lines = [f"{link.state} as '{link.name}'{room} to {link.url} ({how_found(link)})"]
    stats = link.stats()
    missing = stats.dropped + stats.lost
    if stats.sent or stats.received or missing:
        dropped = f", {missing} dropped" if missing else ""
        lines.append(f"{count(stats.sent, 'message')} sent, {stats.received} received{dropped}")
    return [printable(line) for line in lines]


def count(number: int, noun: str) -> str:
    """Return a number and its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
