"""What is known of nodes, and which of them are reached over which neighbour."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.protocol.frames import NodeRecord
from berrymq.identifiers import Identifier

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Known", "reach"]


class Known(NamedTuple):
    """A node's record, and what is asked of it often."""

    record: NodeRecord
    follows: tuple[Identifier, ...]
    neighbours: frozenset[str]

    @classmethod
    def of(cls, record: NodeRecord) -> Known:
        """Read a record.

        Raises:
            IdentifierError: something that it follows is no identifier.
        """
        follows = tuple([Identifier.parse(text) for text in record.follows])
        return cls(record, follows, frozenset(record.neighbours))

    def wants(self, identifier: Identifier, room: str | None) -> bool:
        """Whether it follows that identifier in that room."""
        return self.record.room == room and any(followed.matches(identifier) for followed in self.follows)


Carries = Callable[[NodeRecord], bool]


def reach(
    known: dict[str, Known], neighbours: Iterable[str], *, without: str, carries: Carries = lambda _: True
) -> dict[str, frozenset[str]]:
    """What is reached over each neighbour, by a chain of those that carry.

    Both ends of a link have to name it. Those that carry and reach each other reach the same.
    """
    over: dict[str, frozenset[str]] = {}
    starts = frozenset(neighbours)
    for neighbour in neighbours:
        if neighbour not in over:
            component, passed = _reachable(known, neighbour, without=without, carries=carries)
            over.update(dict.fromkeys(starts & passed, component))
    return over


def _reachable(
    known: dict[str, Known], start: str, *, without: str, carries: Carries
) -> tuple[frozenset[str], set[str]]:
    """The nodes that are reached from *start*, and those of them that the ways lead through."""
    reached = {start}
    passed = {start}
    frontier = [start]
    while frontier:
        here = frontier.pop()
        if here not in known or not carries(known[here].record):
            continue
        passed.add(here)
        for other in known[here].record.neighbours:
            if (
                other not in reached
                and other != without
                and other in known
                and here in known[other].neighbours
            ):
                reached.add(other)
                frontier.append(other)
    return frozenset(reached), passed
