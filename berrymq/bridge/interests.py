"""Which nodes follow an identifier, found without asking each of them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from berrymq.identifiers import WILDCARD, Identifier

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Interests"]

Follows = tuple[str, tuple[Identifier, ...]]


class Interests:
    """An index from what is followed to the ids of the nodes that follow it.

    `change` is called on one thread; `followers` on any.
    """

    def __init__(self) -> None:
        # Replaced, never changed in place, for the threads that look.
        self._nodes: dict[Identifier, frozenset[str]] = {}

    def change(self, ended: Iterable[Follows], begun: Iterable[Follows]) -> None:
        """Forget what some nodes followed, and take in what some follow now."""
        nodes = dict(self._nodes)
        for node_id, follows in ended:
            for identifier in follows:
                left = nodes.get(identifier, frozenset()) - {node_id}
                if left:
                    nodes[identifier] = left
                else:
                    nodes.pop(identifier, None)
        for node_id, follows in begun:
            for identifier in follows:
                nodes[identifier] = nodes.get(identifier, frozenset()) | {node_id}
        self._nodes = nodes

    def followers(self, identifier: Identifier) -> frozenset[str]:
        """The ids of the nodes that get a message of that identifier."""
        nodes = self._nodes
        if identifier.is_wild:  # reaches whatever is there
            found = [ids for followed, ids in nodes.items() if followed.matches(identifier)]
        else:
            keys = product((identifier.name, WILDCARD), (identifier.action, WILDCARD))
            found = [nodes.get(Identifier(*key, identifier.namespace), frozenset()) for key in keys]
        return frozenset().union(*found)
