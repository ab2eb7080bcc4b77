"""What the hub's page shows: its state (nodes and traffic, in names and numbers), and the newest payloads.

The hub reports its counters (the wire method ``status``). Their rates are computed here from two reports. The
newest message of an identifier is requested (``newest``) when a page shows its row, and only then.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from berrymq_jupyter.newest_text import newest_text

from .rates import Rates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["HubState", "Status", "picture"]

FRESH_SECONDS = 0.4
"""Seconds for which a report is cached, however many pages ask."""

CUT_SECONDS = 15.0
"""Seconds for which a disconnected node is shown: one that is alive reconnects sooner."""

MAX_IDENTIFIERS = 500
"""Identifiers that the page lists; the rest is counted."""
MAX_MEMBERS = 6
"""Members of a shared queue that it lists."""
MAX_TEXT = 200
"""Characters of a name or identifier that it shows."""


class PeerStatus(msgspec.Struct):
    """The hub's status of one node; see ``berrymq/bridge/node/status.py``.

    Attributes:
        for_seconds: the seconds for which it has been connected, or disconnected.
        follows_more: identifiers that it follows beside those listed.
        sent: messages received from it.
        received: messages sent to it.
        waiting: messages for it that are buffered.
        dropped: messages from it or for it that were dropped.
    """

    id: str
    name: str
    room: str | None
    connected: bool
    for_seconds: float
    follows: list[str]
    follows_more: int
    sent: int
    received: int
    waiting: int
    dropped: int


class Client(msgspec.Struct):
    """A client with a token, which has no link of its own.

    Attributes:
        name: its readable name.
        waiting: the messages in its queue.
        dropped: those that its queue had no space for.
    """

    name: str
    follows: str | None
    """The identifier that its queue collects, if it has one."""
    waiting: int
    dropped: int


class PassedStatus(msgspec.Struct):
    """The hub's counter of one identifier.

    Attributes:
        id: the identifier.
        room: the room of its messages.
        count: the messages so far.
        at: the time of the last one.
        source: its source.
    """

    id: str
    room: str | None
    count: int
    at: float
    source: str


class Member(msgspec.Struct):
    """A member of a shared queue, and how many jobs it has taken, and holds."""

    name: str
    taken: int
    held: int


class GroupStatus(msgspec.Struct):
    """The hub's counters of one shared queue.

    Attributes:
        depth: the jobs that were not taken.
    """

    id: str
    room: str | None
    depth: int
    received: int
    taken: int
    dropped: int
    members: list[Member]
    members_more: int


class Kept(msgspec.Struct):
    """An identifier whose messages the hub retains, and what is retained of it.

    Attributes:
        last: the number of messages that are retained of each identifier that matches.
        by: the name of the first requester.
        since: the time of the first request, in seconds since 1970.
        identifiers: the number of identifiers with retained messages.
    """

    identifier: str
    room: str | None
    last: int
    by: str
    since: float
    identifiers: int
    count: int
    bytes: int
    dropped: int


class Status(msgspec.Struct):
    """The hub's status; times are in seconds since 1970.

    Attributes:
        now: by the hub's clock, when it reported.
        started_at: when it started, and counting began.
        messages: how many it has passed on.
        nodes_more: nodes beside those listed; the same for the other lists.
    """

    id: str
    name: str
    now: float
    started_at: float
    messages: int
    nodes: list[PeerStatus]
    nodes_more: int
    clients: list[Client]
    clients_more: int
    identifiers: list[PassedStatus]
    """The most recent first."""
    identifiers_more: int
    groups: list[GroupStatus] = []
    """The shared queues."""
    groups_more: int = 0
    kept: list[Kept] = []
    kept_more: int = 0


class Here(msgspec.Struct):
    """A node on the network; times are in seconds since 1970."""

    id: str
    name: str
    room: str | None
    here: bool
    """The hub itself."""
    state: Literal["linked", "cut"]
    since: float
    """The seconds for which it has been in that state."""
    follows: list[str]
    follows_more: int = 0
    """The number of identifiers that it follows beside those listed."""
    sent: int = 0
    """Messages received from it."""
    sent_rate: float = 0.0
    received: int = 0
    """Messages sent to it."""
    received_rate: float = 0.0
    waiting: int = 0
    """Messages for it that are buffered at the hub."""
    dropped: int = 0
    """Messages from it or for it that were dropped because a receiver was too slow."""


class PassedIdentifier(msgspec.Struct):
    """An identifier with recent messages."""

    id: str
    room: str | None
    count: int
    rate: float
    at: float
    """The time of the last message; next its source."""
    source: str
    row: int = 0
    """A number by which the page requests its newest message."""


class SharedQueue(msgspec.Struct):
    """A shared queue."""

    id: str
    room: str | None
    depth: int
    taken: int
    rate: float
    """The jobs that are taken a second."""
    dropped: int
    members: list[Member]
    """Those that have taken most."""
    members_more: int


class Picture(msgspec.Struct):
    """The whole state."""

    name: str
    now: float
    since: float
    """When counting began."""
    messages: int
    """The number of messages since then."""
    rate: float
    nodes: list[Here]
    nodes_more: int
    clients: list[Client]
    clients_more: int
    identifiers: list[PassedIdentifier]
    identifiers_more: int
    queues: list[SharedQueue]
    queues_more: int
    kept: list[Kept]
    kept_more: int


Counters = Rates[tuple[str, ...] | tuple[str, str | None]]
"""The counters of the hub: by identifier and room, by node and direction, by shared queue, and the total."""


class HubState:
    """Requests the hub's status when a page asks, and costs nothing otherwise.

    Used on the server's loop.

    Args:
        call: calls a method of the hub with parameters, and returns the result as JSON or raises an error.
    """

    def __init__(self, call: Callable[[str, dict[str, Any]], Awaitable[bytes | msgspec.Raw]]) -> None:
        self._call = call
        self._rows: dict[int, tuple[str | None, str]] = {}
        """The room and identifier of each row of the last state."""
        self._numbers: dict[tuple[str | None, str], int] = {}
        """The same by room and identifier: a row keeps its number."""
        self._last_number = 0
        self._rates: Counters = Rates()
        self._answer = b""
        self._answered_at = float("-inf")
        """When the cached answer was made, by `time.monotonic`."""
        self._asking: asyncio.Task[bytes] | None = None
        """The request that concurrent calls share."""

    async def answer(self) -> bytes:
        """Return the present state as JSON; concurrent calls share one request to the hub.

        One that is cancelled does not cancel it for the others.

        Raises:
            LinkError: the hub does not answer.
        """
        if monotonic() - self._answered_at < FRESH_SECONDS:
            return self._answer
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._look())
        return await asyncio.shield(self._asking)

    async def _look(self) -> bytes:
        """Request the status, and return and cache the state."""
        status = msgspec.json.decode(await self._call("status", {}), type=Status)
        now = monotonic()
        shown = picture(status, self._rates, now)
        self._number([(one.room, one.id) for one in status.identifiers[:MAX_IDENTIFIERS]], shown.identifiers)
        self._answer = msgspec.json.encode(shown)
        self._answered_at = now
        return self._answer

    def _number(self, keys: list[tuple[str | None, str]], rows: list[PassedIdentifier]) -> None:
        """Number the rows, and discard the numbers of those that have gone.

        Args:
            keys: the room and identifier of each row; those in the rows are shortened.
            rows: the rows.
        """
        numbers = self._numbers
        for key, row in zip(keys, rows, strict=True):
            if key not in numbers:
                self._last_number += 1
            row.row = numbers.setdefault(key, self._last_number)
        self._numbers = {key: numbers[key] for key in keys}
        self._rows = {number: key for key, number in self._numbers.items()}

    async def newest(self, rows: list[int]) -> bytes:
        """Return the newest payload of identifiers as short texts, as a JSON object by row.

        Args:
            rows: the numbers of rows of the last state; others are left out.

        Raises:
            LinkError: the hub does not answer.
        """
        by_room: dict[str | None, list[tuple[int, str]]] = {}
        for row in rows:
            if row in self._rows:
                room, identifier = self._rows[row]
                by_room.setdefault(room, []).append((row, identifier))
        texts: dict[int, str] = {}
        for room, wanted in by_room.items():
            params = {"identifiers": [identifier for _, identifier in wanted], "room": room}
            found = msgspec.json.decode(await self._call("newest", params), type=list[dict[str, Any] | None])
            texts.update({row: newest_text(one) for (row, _), one in zip(wanted, found, strict=False)})
        return msgspec.json.encode(texts)


def picture(status: Status, rates: Counters, now: float) -> Picture:
    """Return the state that the page shows.

    Args:
        status: the hub's status.
        rates: computes rates from it and the former one.
        now: seconds of any monotonic clock.
    """
    there = [
        _here(node, status.now) for node in status.nodes if node.connected or node.for_seconds <= CUT_SECONDS
    ]
    counts: dict[tuple[str, ...] | tuple[str, str | None], int] = {
        (one.id, one.room): one.count for one in status.identifiers
    }
    known = set(counts)
    # An identifier has a colon and a node's id has none, so they can share one table.
    for one in there:
        counts[one.id, "sent"] = one.sent
        counts[one.id, "received"] = one.received
    for group in status.groups:
        counts["taken", group.id, group.room or ""] = group.taken
    counts["", None] = status.messages
    # If the list is shortened, an identifier that reappears in it existed before.
    speeds = rates.update(counts, now, old=known if status.identifiers_more else ())
    for one in there:
        one.sent_rate, one.received_rate = speeds[one.id, "sent"], speeds[one.id, "received"]
    hub = Here(
        status.id, _short(status.name), None, here=True, state="linked", since=status.started_at, follows=[]
    )
    return Picture(
        name=_short(status.name),
        now=status.now,
        since=status.started_at,
        messages=status.messages,
        rate=speeds["", None],
        nodes=[hub, *there],
        nodes_more=status.nodes_more,
        clients=[
            Client(_short(one.name), _short_or_none(one.follows), one.waiting, one.dropped)
            for one in status.clients
        ],
        clients_more=status.clients_more,
        identifiers=[
            PassedIdentifier(
                _short(one.id),
                _short_or_none(one.room),
                one.count,
                speeds[one.id, one.room],
                one.at,
                _short(one.source),
            )
            for one in status.identifiers[:MAX_IDENTIFIERS]
        ],
        identifiers_more=status.identifiers_more + max(0, len(status.identifiers) - MAX_IDENTIFIERS),
        queues=[_shared_queue(group, speeds["taken", group.id, group.room or ""]) for group in status.groups],
        queues_more=status.groups_more,
        kept=[
            msgspec.structs.replace(
                one, identifier=_short(one.identifier), room=_short_or_none(one.room), by=_short(one.by)
            )
            for one in status.kept
        ],
        kept_more=status.kept_more,
    )


def _shared_queue(group: GroupStatus, rate: float) -> SharedQueue:
    """Return a shared queue as the page shows it."""
    members = sorted(group.members, key=lambda member: member.taken, reverse=True)
    return SharedQueue(
        id=_short(group.id),
        room=_short_or_none(group.room),
        depth=group.depth,
        taken=group.taken,
        rate=rate,
        dropped=group.dropped,
        members=[Member(_short(one.name), one.taken, one.held) for one in members[:MAX_MEMBERS]],
        members_more=group.members_more + max(0, len(members) - MAX_MEMBERS),
    )


def _here(node: PeerStatus, now: float) -> Here:
    """Return a node as the page shows it."""
    return Here(
        id=node.id,
        name=_short(node.name),
        room=_short_or_none(node.room),
        here=False,
        state="linked" if node.connected else "cut",
        since=now - node.for_seconds,
        follows=[_short(identifier) for identifier in node.follows],
        follows_more=node.follows_more,
        sent=node.sent,
        received=node.received,
        waiting=node.waiting,
        dropped=node.dropped,
    )


def _short(text: str) -> str:
    """Return a text, shortened to the length that the page shows."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _short_or_none(text: str | None) -> str | None:
    return None if text is None else _short(text)
