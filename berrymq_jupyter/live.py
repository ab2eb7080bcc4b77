"""What is alive here: identifiers, nodes, rooms and addresses that may stand on a magic's line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from berrymq import default_bus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq import Link, NodeInfo, Subscription

# Identifiers of messages that are remembered.
MOST_PASSED = 1000


class Passed:
    """The identifiers of messages that passed here lately.

    A bus forgets them when its followers change. So they are looked at before that, and after each cell; that
    costs a message nothing.
    """

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def look(self, _: object = None) -> None:
        """Take note of what the bus still knows."""
        for identifier in default_bus.gateway.recent():
            self._texts.pop(identifier.text, None)
            self._texts[identifier.text] = None
        for oldest in list(self._texts)[:-MOST_PASSED]:
            self._texts.pop(oldest, None)

    def identifiers(self) -> list[str]:
        """Return them, and all that the bus still knows."""
        self.look()
        known = (identifier.text for identifier in default_bus.gateway.recent())
        return list(dict.fromkeys([*self._texts, *known]))


def followed() -> set[str]:
    """Return the identifiers that are followed, here or by a linked node."""
    found = {identifier.text for entry in default_bus.subscriptions() for identifier in entry.identifiers}
    found.update(text for node in nodes() for text in node.follows)
    return found


def stoppable() -> list[Subscription]:
    """Return the followers that `%unfollow` ends: all of this process but what collects."""
    return [entry for entry in default_bus.subscriptions() if not entry.is_queue]


def open_links() -> list[Link]:
    """Return the links of this process, without loading what makes links."""
    bridge = sys.modules.get("berrymq.bridge")
    return list(bridge.links()) if bridge is not None else []


def nodes() -> list[NodeInfo]:
    """Return the nodes that can be reached."""
    return [node for link in open_links() for node in link.nodes()]


# What may be the value of an option, or the first word of a magic.
VALUES: dict[str, Callable[[], Iterable[str]]] = {
    "room": lambda: (node.room for node in nodes() if node.room),
    "links": lambda: (node.name for node in nodes()),
    "unlink": lambda: (link.url for link in open_links()),
    "unfollow": lambda: (identifier.text for entry in stoppable() for identifier in entry.identifiers),
}
