"""Which nodes follow an identifier, found without asking each of them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from berrymq.identifiers import WILDCARD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq.identifiers import Identifier

__all__ = ["Interests"]

Follows = tuple[str, tuple["Identifier", ...]]
Key = tuple[str | None, str, str]


class Interests:
    """An index from what is followed to the ids of the nodes that follow it.

    `change` is called on one thread; `followers` on any.
    """

    def __init__(self) -> None:
        # Replaced, never changed in place, for the threads that look.
        self._nodes: dict[Key, frozenset[str]] = {}

    def change(self, ended: Iterable[Follows], begun: Iterable[Follows]) -> None:
        """Forget what some nodes followed, and take in what some follow now."""
        nodes = dict(self._nodes)
        for node_id, follows in ended:
            for key in map(_key, follows):
                left = nodes.get(key, frozenset()) - {node_id}
                if left:
                    nodes[key] = left
                else:
                    nodes.pop(key, None)
        for node_id, follows in begun:
            for key in map(_key, follows):
                nodes[key] = nodes.get(key, frozenset()) | {node_id}
        self._nodes = nodes

    def followers(self, identifier: Identifier) -> frozenset[str]:
        """The ids of the nodes that get a message of that identifier."""
        nodes = self._nodes
        namespace, name, action = _key(identifier)
        if not identifier.is_wild:
            keys = product((namespace,), (name, WILDCARD), (action, WILDCARD))
            return frozenset().union(*[nodes.get(key, ()) for key in keys])
        found = [  # a sender's wildcard reaches whatever is there
            ids
            for (other, its_name, its_action), ids in nodes.items()
            if other == namespace
            and (name in (its_name, WILDCARD) or its_name == WILDCARD)
            and (action in (its_action, WILDCARD) or its_action == WILDCARD)
        ]
        return frozenset().union(*found)


def _key(identifier: Identifier) -> Key:
    return identifier.namespace, identifier.name, identifier.action
