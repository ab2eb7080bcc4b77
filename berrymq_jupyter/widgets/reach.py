"""The followers that a message would reach: here, and on the network if this process is linked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from berrymq import Identifier
from berrymq.errors import IdentifierError
from berrymq_jupyter.links import linked_nodes

if TYPE_CHECKING:
    import berrymq
    from berrymq import NodeInfo

__all__ = ["Reach"]

MOST_KNOWN: Final = 300
"""Identifiers offered for completion."""
MOST_NAMED: Final = 5
"""The limit of nodes that are named one by one."""


class Reach:
    """Finds the followers of a bus, and the nodes that its links reach.

    Args:
        bus: where a message would be sent.
    """

    def __init__(self, bus: berrymq.Bus) -> None:
        self.bus = bus

    def identifiers(self) -> list[str]:
        """Return the identifiers that are followed, sorted, at most `MOST_KNOWN`; for completion."""
        found = {
            str(known) for subscription in self.bus.subscriptions() for known in subscription.identifiers
        }
        for node in self.others():
            found.update(node.follows)
        return sorted(found - {"*:*"})[:MOST_KNOWN]

    def describe(self, identifier: Identifier) -> str:
        """Return in words who follows `identifier`."""
        here = sum(
            any(known.matches(identifier) for known in subscription.identifiers)
            for subscription in self.bus.subscriptions()
        )
        parts = [f"{here} follower{'' if here == 1 else 's'} here"] if here else []
        names = sorted({node.name for node in self.others() if follows(node.follows, identifier)})
        if names and not identifier.is_local:
            more = len(names) - MOST_NAMED
            parts.append(", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else ""))
        return f"reaches {' and '.join(parts)}" if parts else "no followers at present"

    def others(self) -> list[NodeInfo]:
        """Return the reachable nodes without this one."""
        return [node for node in linked_nodes(self.bus) if not node.here]


def follows(patterns: tuple[str, ...], identifier: Identifier) -> bool:
    """Return whether one of the patterns matches; those that are no identifiers here don't.

    Args:
        patterns: what a node says that it follows.
        identifier: of a message.
    """
    for pattern in patterns:
        try:
            if Identifier.parse(pattern).matches(identifier):
                return True
        except IdentifierError:  # another implementation may allow what we don't
            continue
    return False
