"""Who is on the network, who follows what, and over which link each can be reached.

Every node keeps the record of every other one: its followers' identifiers and its neighbours. A node floods
its own record when it changes; a record with a higher version replaces an older one. A node to which no
chain of neighbours leads any more is out of sight, on every node alike, so the record of one that has died
can't linger (this is link-state routing, as in OSPF, RFC 2328, without the costs).

What is out of sight is kept for a while, since news come over several ways and not at the same speed: that a
way has gone may be heard before that there is another, over which nobody will tell again what is old news.

When a hub has died and its successor knows nobody yet, the nodes that were behind the former one are
expected behind the latter: messages that they follow are routed there until they come, or are given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from berrymq.identifiers import Identifier

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from .protocol.frames import NodeRecord, WireMessage

__all__ = ["Directory", "NodeInfo"]


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node on the network, for people and programs to look at."""

    name: str
    id: str
    room: str | None
    follows: tuple[str, ...]
    hub: bool
    here: bool
    """It is the node that was asked."""


class Directory:
    """The records of all nodes that can be reached, and the routes to them.

    Args:
        own: the record of this node, without neighbours.
    """

    _MAX_ROUTES = 4096
    _MAX_OUT_OF_SIGHT = 1000

    def __init__(self, own: NodeRecord) -> None:
        self.own = own
        # These are replaced, never changed in place: senders on other threads ask `is_followed`.
        self._known: dict[str, _Known] = {own.id: _Known(own, (), frozenset())}
        self._out_of_sight: dict[str, _Known] = {}
        self._expected: dict[str, dict[str, _Known]] = {}
        self._reach: dict[str, frozenset[str]] = {}
        self._routes: dict[tuple[str, str | None], tuple[str, ...]] = {}

    # -- changes ---------------------------------------------------------------------------------------------

    def set_own(
        self,
        *,
        name: str | None = None,
        follows: Iterable[str] | None = None,
        neighbours: Iterable[str] | None = None,
        away: Iterable[str] | None = None,
    ) -> list[NodeRecord]:
        """Change this node's record; gives what has to be announced, nothing if that made no difference."""
        own = self.own
        changed = msgspec.structs.replace(
            own,
            version=own.version + 1,
            name=own.name if name is None else name,
            follows=own.follows if follows is None else tuple(sorted(follows)),
            neighbours=own.neighbours if neighbours is None else tuple(sorted(neighbours)),
            away=own.away if away is None else tuple(sorted(away)),
        )
        if changed == msgspec.structs.replace(own, version=own.version + 1):
            return []
        self.own = changed
        return [changed, *self._replace({**self._out_of_sight, **self._known, own.id: _Known.of(changed)})]

    def learn(self, records: Iterable[NodeRecord]) -> list[NodeRecord]:
        """Take in records from a peer; those that were news, which then have to be handed on."""
        known = {**self._out_of_sight, **self._known}
        news = {}
        for record in records:
            former = known.get(record.id)
            if record.id == self.own.id or (former is not None and former.record.version >= record.version):
                continue
            try:
                known[record.id] = _Known.of(record)
            except ValueError:  # an identifier that is none: the record is of no use
                continue
            news[record.id] = record
        if news:
            news.update((record.id, record) for record in self._replace(known))
        return [record for record in news.values() if record.id in self._known]

    def _replace(self, known: dict[str, _Known]) -> list[NodeRecord]:
        """Take new records, compute who is reached over which neighbour; gives who came back into sight."""
        reach = _components(known, self.own.neighbours, without=self.own.id)
        alive = {self.own.id}.union(self.own.neighbours, *reach.values())
        back = [known[node_id].record for node_id in self._out_of_sight if node_id in alive]
        out_of_sight = [(node_id, record) for node_id, record in known.items() if node_id not in alive]
        self._known = {node_id: record for node_id, record in known.items() if node_id in alive}
        self._out_of_sight = dict(out_of_sight[-self._MAX_OUT_OF_SIGHT :])
        self._reach = reach
        self._routes = {}
        for neighbour, expected in list(self._expected.items()):
            absent = {node_id: record for node_id, record in expected.items() if node_id not in alive}
            if absent and neighbour in reach:
                self._expected[neighbour] = absent
            else:
                del self._expected[neighbour]
        return back

    # -- who will be back ------------------------------------------------------------------------------------

    def expect_behind(self, neighbour: str, former: str) -> None:
        """Another neighbour takes the place of a former one: what was reached over that is expected there.

        To be called before the neighbours are changed by `set_own`.
        """
        reached = self._reach.get(former, frozenset()) - {former}
        behind = {
            node_id: known
            for node_id, known in self._known.items()
            if node_id in reached and not known.record.hub
        }
        behind |= self._expected.pop(former, {})
        if behind:
            self._expected[neighbour] = behind

    def is_expecting(self, neighbour: str) -> bool:
        """Whether somebody is still expected behind that neighbour."""
        return neighbour in self._expected

    def give_up_expected(self, neighbour: str) -> list[NodeRecord]:
        """Expect nobody behind that neighbour any more; those who were still expected."""
        self._routes = {}
        return [known.record for known in self._expected.pop(neighbour, {}).values()]

    def is_there(self, node_id: str) -> bool:
        """Whether a node can be reached, or is expected to be."""
        return node_id in self._known or any(node_id in expected for expected in self._expected.values())

    # -- questions -------------------------------------------------------------------------------------------

    def routes(self, identifier: str, room: str | None) -> tuple[str, ...]:
        """The neighbours over which somebody in *room* who follows *identifier* can be reached."""
        routes = self._routes
        key = (identifier, room)
        found = routes.get(key)
        if found is None:
            found = self._find_routes(Identifier.parse(identifier), room)
            if len(routes) >= self._MAX_ROUTES:
                routes.clear()
            routes[key] = found
        return found

    def _find_routes(self, identifier: Identifier, room: str | None) -> tuple[str, ...]:
        interested = self.followers(identifier, room)
        return tuple([neighbour for neighbour in self._reach if self._leads_to(neighbour, interested)])

    def _leads_to(self, neighbour: str, node_ids: AbstractSet[str]) -> bool:
        """Whether one of some nodes is behind a neighbour, or expected there."""
        expected = self._expected.get(neighbour)
        return not self._reach[neighbour].isdisjoint(node_ids) or (
            expected is not None and not node_ids.isdisjoint(expected)
        )

    def followers(self, identifier: str | Identifier, room: str | None) -> set[str]:
        """The ids of the other nodes in *room* that follow *identifier*, those that are expected included."""
        wanted = Identifier.parse(identifier)
        return {
            node_id
            for records in (self._known, *self._expected.values())
            for node_id, known in records.items()
            if node_id != self.own.id and known.wants(wanted, room)
        }

    def ways_of(self, message: WireMessage) -> tuple[str, ...]:
        """The neighbours over which a message reaches whoever follows it, or whom it is for."""
        if message.to is not None:
            return self.ways_to(message.to)
        return self.routes(message.identifier, message.room)

    def ways_to(self, node_id: str) -> tuple[str, ...]:
        """The neighbours over which a node can be reached."""
        return tuple([neighbour for neighbour in self._reach if self._leads_to(neighbour, {node_id})])

    def is_followed(self, identifier: Identifier) -> bool:
        """Whether another node in this node's room follows *identifier*."""
        return bool(self.routes(str(identifier), self.own.room))

    def record(self, node_id: str) -> NodeRecord | None:
        """What is known of a node."""
        known = self._known.get(node_id)
        return known.record if known is not None else None

    def records(self) -> list[NodeRecord]:
        """Everything that is known, this node included, for a peer that has just come."""
        return [known.record for known in self._known.values()]

    def nodes(self, room: str | None = None, *, all_rooms: bool = False) -> list[NodeInfo]:
        """The nodes of a room and the hubs, this one first; not those whose connection is cut."""
        records = self.records()
        away = {node_id for record in records for node_id in record.away}
        return [
            NodeInfo(
                record.name, record.id, record.room, record.follows, record.hub, record.id == self.own.id
            )
            for record in sorted(
                records, key=lambda record: (record.id != self.own.id, record.name, record.id)
            )
            if record.id not in away and (all_rooms or record.hub or record.room == room)
        ]


class _Known(NamedTuple):
    record: NodeRecord
    follows: tuple[Identifier, ...]
    neighbours: frozenset[str]

    @classmethod
    def of(cls, record: NodeRecord) -> _Known:
        """Raises IdentifierError."""
        follows = tuple([Identifier.parse(text) for text in record.follows])
        return cls(record, follows, frozenset(record.neighbours))

    def wants(self, identifier: Identifier, room: str | None) -> bool:
        """Whether it follows that identifier in that room."""
        return self.record.room == room and any(followed.matches(identifier) for followed in self.follows)


def _components(
    known: dict[str, _Known], neighbours: Iterable[str], *, without: str
) -> dict[str, frozenset[str]]:
    """What is reached over each neighbour; those that reach each other reach the same."""
    reach: dict[str, frozenset[str]] = {}
    starts = frozenset(neighbours)
    for neighbour in neighbours:
        if neighbour not in reach:
            component = _reachable(known, neighbour, without=without)
            reach.update(dict.fromkeys(starts & component, component))
    return reach


def _reachable(known: dict[str, _Known], start: str, *, without: str) -> frozenset[str]:
    """The nodes to which a chain of neighbours leads from *start*; both ends of a link have to name it."""
    reached = {start}
    frontier = [start]
    while frontier:
        here = frontier.pop()
        for other in known[here].record.neighbours if here in known else ():
            if (
                other not in reached
                and other != without
                and other in known
                and here in known[other].neighbours
            ):
                reached.add(other)
                frontier.append(other)
    return frozenset(reached)
