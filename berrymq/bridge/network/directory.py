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

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from berrymq.identifiers import Identifier

from .interests import Interests
from .topology import Known, reach

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from berrymq.bridge.protocol.frames import NodeRecord, WireMessage

__all__ = ["Directory", "NodeInfo"]

MAX_NODES = 10_000
"""How many nodes are known at most."""

MAX_NAMED = 1_000_000
"""How many identifiers and neighbours they may name together."""

MAX_OWN_FOLLOWED = 100_000
"""How many identifiers this node announces at most."""

MAX_OWN_BYTES = 8 * 1024 * 1024
"""How long those may be together."""

_log = logging.getLogger("berrymq")


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
    _MAX_ROOMS = 100

    def __init__(self, own: NodeRecord) -> None:
        self.own = own
        # These are replaced, never changed in place: senders on other threads ask `is_followed`.
        self._known: dict[str, Known] = {own.id: Known(own, (), frozenset())}
        self._interests = Interests()
        self._kept = 0
        self._is_full = False
        self._follows_too_much = False
        self._out_of_sight: dict[str, Known] = {}
        self._expected: dict[str, dict[str, Known]] = {}
        self._reach: dict[str, frozenset[str]] = {}
        self._reach_of_rooms: dict[str | None, dict[str, frozenset[str]]] = {}
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
            follows=own.follows if follows is None else self._fitting(sorted(follows)),
            neighbours=own.neighbours if neighbours is None else tuple(sorted(neighbours)),
            away=own.away if away is None else tuple(sorted(away)),
        )
        if changed == msgspec.structs.replace(own, version=own.version + 1):
            return []
        self.own = changed
        return [changed, *self._replace({**self._out_of_sight, **self._known, own.id: Known.of(changed)})]

    def _fitting(self, follows: list[str]) -> tuple[str, ...]:
        """As much of what is followed here as others take note of."""
        count, size = 0, 0
        for text in follows[:MAX_OWN_FOLLOWED]:
            size += len(text.encode())
            if size > MAX_OWN_BYTES:
                break
            count += 1
        if count < len(follows) and not self._follows_too_much:
            _log.warning(
                "%s follows too much: of %d identifiers only %d are heard from elsewhere",
                self.own.name,
                len(follows),
                count,
            )
        self._follows_too_much = count < len(follows)
        return tuple(follows[:count])

    def learn(self, records: Iterable[NodeRecord]) -> list[NodeRecord]:
        """Take in records from a peer; those that were news, which then have to be handed on."""
        known = {**self._out_of_sight, **self._known}
        news = {}
        for record in records:
            former = known.get(record.id)
            if record.id == self.own.id or (former is not None and former.record.version >= record.version):
                continue
            if not self._has_room(record, former, len(known)):
                continue
            try:
                known[record.id] = Known.of(record)
            except ValueError:  # an identifier that is none: the record is of no use
                continue
            news[record.id] = record
        if news:
            news.update((record.id, record) for record in self._replace(known))
        return [record for record in news.values() if record.id in self._known]

    def _has_room(self, record: NodeRecord, former: Known | None, count: int) -> bool:
        more = _weight(record) - (_weight(former.record) if former is not None else 0)
        if (former is not None or count < MAX_NODES) and self._kept + more <= MAX_NAMED:
            self._kept += more
            return True
        if not self._is_full:
            self._is_full = True
            _log.warning(
                "more than %d nodes, or %d identifiers and links of theirs: the rest gets no messages",
                MAX_NODES,
                MAX_NAMED,
            )
        return False

    def _replace(self, known: dict[str, Known]) -> list[NodeRecord]:
        """Take new records, compute who is reached over which neighbour; gives who came back into sight."""
        reached = reach(known, self.own.neighbours, without=self.own.id)
        alive = {self.own.id}.union(self.own.neighbours, *reached.values())
        back = [known[node_id].record for node_id in self._out_of_sight if node_id in alive]
        out_of_sight = [(node_id, record) for node_id, record in known.items() if node_id not in alive]
        former = self._known
        self._known = {node_id: record for node_id, record in known.items() if node_id in alive}
        self._interests.change(_follows(former, self._known), _follows(self._known, former))
        self._out_of_sight = dict(out_of_sight[-self._MAX_OUT_OF_SIGHT :])
        self._kept = sum(
            _weight(kept.record) for part in (self._known, self._out_of_sight) for kept in part.values()
        )
        self._reach = reached
        self._reach_of_rooms = {}
        absent = {
            neighbour: {node_id: record for node_id, record in expected.items() if node_id not in alive}
            for neighbour, expected in self._expected.items()
            if neighbour in reached
        }
        self._expected = {neighbour: expected for neighbour, expected in absent.items() if expected}
        self._routes = {}
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
        behind |= self._expected.get(former, {})
        others = {key: expected for key, expected in self._expected.items() if key != former}
        self._expected = others | {neighbour: behind} if behind else others

    def is_expecting(self, neighbour: str) -> bool:
        """Whether somebody is still expected behind that neighbour."""
        return neighbour in self._expected

    def give_up_expected(self, neighbour: str) -> list[NodeRecord]:
        """Expect nobody behind that neighbour any more; those who were still expected."""
        given_up = self._expected.get(neighbour, {})
        self._expected = {key: expected for key, expected in self._expected.items() if key != neighbour}
        self._routes = {}
        return [known.record for known in given_up.values()]

    def is_there(self, node_id: str) -> bool:
        """Whether a node can be reached, or is expected to be."""
        return node_id in self._known or any(node_id in expected for expected in self._expected.values())

    # -- questions -------------------------------------------------------------------------------------------

    def reached(self) -> dict[str, frozenset[str]]:
        """The ids of the nodes that are reached over each neighbour, itself included."""
        return self._reach

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
        return self._ways_to_any(self.followers(identifier, room), room)

    def _ways_to_any(self, node_ids: AbstractSet[str], room: str | None) -> tuple[str, ...]:
        """The neighbours over which one of some nodes is reached, or is expected to be."""
        nobody: dict[str, Known] = {}
        return tuple(
            [
                neighbour
                for neighbour, reached in self._reach_in(room).items()
                if not reached.isdisjoint(node_ids)
                or not node_ids.isdisjoint(self._expected.get(neighbour, nobody))
            ]
        )

    def _reach_in(self, room: str | None) -> dict[str, frozenset[str]]:
        """What is reached by messages of a room.

        Nodes of another one do not carry them, for they are not told who follows what in it; hubs are.
        """
        rooms = self._reach_of_rooms
        found = rooms.get(room)
        if found is None:
            if len(rooms) >= self._MAX_ROOMS:
                rooms.clear()
            found = rooms[room] = reach(
                self._known,
                self.own.neighbours,
                without=self.own.id,
                carries=lambda record: record.hub or record.room == room,
            )
        return found

    def followers(self, identifier: str | Identifier, room: str | None) -> set[str]:
        """The ids of the other nodes in *room* that follow *identifier*, those that are expected included."""
        wanted = Identifier.parse(identifier)
        known = self._known
        followers = {
            node_id
            for node_id in self._interests.followers(wanted)
            if node_id in known and known[node_id].record.room == room
        }
        for expected in self._expected.values():
            followers.update(node_id for node_id, there in expected.items() if there.wants(wanted, room))
        followers.discard(self.own.id)
        return followers

    def ways_of(self, message: WireMessage) -> tuple[str, ...]:
        """The neighbours over which a message reaches whoever follows it, or whom it is for."""
        if message.to is not None:
            return self.ways_to(message.to, message.room)
        return self.routes(message.identifier, message.room)

    def ways_to(self, node_id: str, room: str | None) -> tuple[str, ...]:
        """The neighbours over which a message of a room reaches a node."""
        return self._ways_to_any({node_id}, room)

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


def _weight(record: NodeRecord) -> int:
    """How much a record takes, in names."""
    return len(record.follows) + len(record.neighbours) + len(record.away)


def _follows(known: dict[str, Known], other: dict[str, Known]) -> list[tuple[str, tuple[Identifier, ...]]]:
    """What those follow of whom the other state does not say the same."""
    return [
        (node_id, there.follows)
        for node_id, there in known.items()
        if there is not (elsewhere := other.get(node_id))
        and (elsewhere is None or elsewhere.follows != there.follows)
    ]
