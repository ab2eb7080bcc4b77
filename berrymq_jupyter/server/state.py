"""What the hub's page shows: who is there, and what passes. Names and numbers; no payload, no secret."""

from __future__ import annotations

import time
from heapq import nlargest
from typing import TYPE_CHECKING, Literal

import msgspec

from berrymq.bridge.network.directory import NodeInfo
from berrymq.bridge.network.tally import Tally
from berrymq.bridge.protocol.accounts import LinkStats

from .rates import Rates

if TYPE_CHECKING:
    import asyncio

    from berrymq.bridge.network.peer import Peer
    from berrymq.bridge.node import Node

__all__ = ["HubState"]

FRESH_SECONDS = 0.4
"""So long an answer is given again, however many pages ask."""

ATTENTION_SECONDS = 600.0
"""So long after the last look identifiers are counted on, for a page that is shown again."""

CUT_HEARTBEATS = 3
"""For so many heartbeats one that is cut off is shown: one that lives is back sooner, most often at once."""

MAX_NODES = 200
MAX_FOLLOWS = 20
MAX_CLIENTS = 100
MAX_IDENTIFIERS = 100
MAX_TEXT = 200


class Here(msgspec.Struct):
    """A node on the network; times are in seconds since 1970."""

    id: str
    name: str
    room: str | None
    hub: bool
    here: bool
    """It is this hub itself."""
    state: Literal["linked", "cut", "beyond"]
    """``beyond`` has its link to another hub, so its traffic is not seen here."""
    since: float | None
    """How long the link has been in that state; None where it is not ours."""
    follows: list[str]
    follows_more: int
    """How many identifiers more it follows than are listed."""
    sent: int
    """Messages that came from it."""
    sent_rate: float
    received: int
    """Messages that went to it."""
    received_rate: float
    waiting: int
    """Messages for it that wait here."""
    dropped: int
    """Messages from it or for it that were dropped, since somebody was too slow."""


class Client(msgspec.Struct):
    """A client with a token, which has no link of its own."""

    name: str
    follows: str | None
    """What its queue collects, if it has one."""
    waiting: int
    dropped: int


class Heard(msgspec.Struct):
    """An identifier that passed lately."""

    id: str
    room: str | None
    count: int
    rate: float
    at: float
    """When the last message came, and who sent it."""
    source: str


class Picture(msgspec.Struct):
    """All of it."""

    name: str
    now: float
    since: float
    """When the counting of identifiers began."""
    messages: int
    """How many passed since then."""
    rate: float
    nodes: list[Here]
    nodes_more: int
    clients: list[Client]
    clients_more: int
    identifiers: list[Heard]
    identifiers_more: int


class HubState:
    """Looks at a hub when it is asked to, and costs nothing while nobody asks.

    Nodes and links count by themselves what passes them. Identifiers are counted from the first look on,
    until nobody has looked for ten minutes.

    Lives on the loop of the hub.

    Args:
        node: the hub.
    """

    def __init__(self, node: Node) -> None:
        self.loop = node.loop
        self._node = node
        self._rates: Rates[tuple[str, str | None]] = Rates()
        self._answer = b""
        self._answered_at = float("-inf")
        self._expiry: asyncio.TimerHandle | None = None

    def look(self) -> bytes:
        """The picture of this moment, as JSON."""
        now = self._node.loop.time()
        if now - self._answered_at >= FRESH_SECONDS:
            self._pay_attention()
            self._answer = msgspec.json.encode(self._picture(now))
            self._answered_at = now
        return self._answer

    async def answer(self) -> bytes:
        """The same, for one who asks from another loop."""
        return self.look()

    def close(self) -> None:
        """Nobody will look any more."""
        self._node.traffic.tally = None
        if self._expiry is not None:
            self._expiry.cancel()

    def _pay_attention(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._node.loop.call_later(ATTENTION_SECONDS, self.close)

    def _picture(self, now: float) -> Picture:
        node = self._node
        tally = node.traffic.tally
        if tally is None:
            tally = node.traffic.tally = Tally()
        entries = tally.entries()
        there = self._nodes()
        counts: dict[tuple[str, str | None], int] = {key: entry.count for key, entry in entries.items()}
        # An identifier has a colon and a node's id has none, so they can share one table.
        for one in there:
            counts[one.id, "sent"] = one.sent
            counts[one.id, "received"] = one.received
        counts["", None] = tally.total
        rates = self._rates.update(counts, now)
        for one in there:
            one.sent_rate, one.received_rate = rates[one.id, "sent"], rates[one.id, "received"]
        latest = nlargest(MAX_IDENTIFIERS, entries.items(), key=lambda item: item[1].at)
        holders = node.tokens.holders
        return Picture(
            name=shortened(node.name),
            now=time.time(),
            since=tally.since,
            messages=tally.total,
            rate=rates["", None],
            nodes=there[:MAX_NODES],
            nodes_more=max(0, len(there) - MAX_NODES),
            clients=[
                Client(
                    shortened(holder.name),
                    None if holder.mailbox is None else shortened(holder.mailbox.follows),
                    0 if holder.mailbox is None else len(holder.mailbox),
                    0 if holder.mailbox is None else holder.mailbox.dropped,
                )
                for holder in holders[:MAX_CLIENTS]
            ],
            clients_more=max(0, len(holders) - MAX_CLIENTS),
            identifiers=[
                Heard(
                    shortened(key[0]),
                    None if key[1] is None else shortened(key[1]),
                    entry.count,
                    rates[key],
                    entry.at,
                    shortened(entry.source),
                )
                for key, entry in latest
            ],
            identifiers_more=max(0, len(entries) - MAX_IDENTIFIERS),
        )

    def _nodes(self) -> list[Here]:
        """Everybody: those that can be reached, and neighbours whose connection was cut just now.

        One that was killed, or whose machine sleeps, is gone as far as people can tell. Its session waits for
        it all the same, up to its ``ttl``.
        """
        node = self._node
        long_ago = time.time() - CUT_HEARTBEATS * node.limits.heartbeat
        peers = {peer.id: peer for peer in node.neighbours}
        there = [_here(info, peers.pop(info.id, None)) for info in node.nodes()]
        for peer in peers.values():
            record = node.record_of(peer.id)
            if record is not None and (peer.cut_since or peer.since) > long_ago:
                info = NodeInfo(record.name, record.id, record.room, record.follows, record.hub, here=False)
                there.append(_here(info, peer))
        return there


def _here(info: NodeInfo, peer: Peer | None) -> Here:
    stats = peer.session.stats if peer is not None else LinkStats()
    cut_since = peer.cut_since if peer is not None else None
    return Here(
        id=info.id,
        name=shortened(info.name),
        room=None if info.room is None else shortened(info.room),
        hub=info.hub,
        here=info.here,
        state="linked" if info.here else "beyond" if peer is None else "cut" if cut_since else "linked",
        since=cut_since or (peer.since if peer is not None else None),
        follows=[shortened(identifier) for identifier in info.follows[:MAX_FOLLOWS]],
        follows_more=max(0, len(info.follows) - MAX_FOLLOWS),
        sent=stats.received,
        sent_rate=0.0,
        received=stats.sent,
        received_rate=0.0,
        waiting=stats.queued + (stats.in_flight if cut_since else 0),
        dropped=stats.dropped + stats.lost,
    )


def shortened(text: str) -> str:
    """A text that has a place on the page."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
