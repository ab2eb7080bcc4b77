"""What passes over the links of other nodes: asked of them while somebody looks, and only then.

A node counts what it sends and receives on each of its links anyway. Who draws the network asks the hubs, and
one end of each link that has no hub, at most once a second; nothing is sent while nobody looks.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    from .directory import Directory
    from .peer import Peer

__all__ = ["Survey", "Way", "passed_here"]

ASK_SECONDS = 1.0
"""How often it is asked at most."""
KEEP_SECONDS = 5.0
"""How long an answer counts, and how long one is waited for."""
MOST_ASKED = 50
MOST_LINKS = 1000
"""Links of one node that are told of."""

Way = tuple[str, str]
"""From which node to which, by their ids."""


class _Answer(NamedTuple):
    at: float
    passed: dict[Way, int]


def passed_here(peers: Mapping[str, Peer], room: str | None) -> list[tuple[str, int, int]]:
    """The answer to one in *room*: the neighbour on each link, and how many messages went out and came in."""
    seen = [peer for peer in peers.values() if peer.sees_all or peer.room == room][:MOST_LINKS]
    return [(peer.id, peer.session.stats.sent, peer.session.stats.received) for peer in seen]


class Survey:
    """Knows what passes elsewhere, as of the last second or two.

    Args:
        directory: who is there.
        loop: the node's.
        ask: puts the question to a node; the future gets its answer, and cancelling it gives that up.
        clock: seconds of any steady clock.
    """

    def __init__(
        self,
        directory: Directory,
        loop: asyncio.AbstractEventLoop,
        ask: Callable[[str], Future[list[Any]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._loop = loop
        self._ask = ask
        self._clock = clock
        self._asked_at = -ASK_SECONDS
        self._waiting: dict[str, Future[list[Any]]] = {}
        # Replaced, never changed in place, for the threads that look.
        self._answers: dict[str, _Answer] = {}

    def passed(self) -> dict[Way, int]:
        """How many messages have passed each way over the links of others, as far as they say so.

        Returns what is known at once, and asks for news; may be called on any thread.
        """
        now = self._clock()
        if now - self._asked_at >= ASK_SECONDS:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._ask_all)
        known = self._answers.values()
        return {
            way: total
            for answer in known
            if now - answer.at < KEEP_SECONDS
            for way, total in answer.passed.items()
        }

    def _ask_all(self) -> None:
        asked = list(self._whom())[:MOST_ASKED]
        self._answers = {node_id: answer for node_id, answer in self._answers.items() if node_id in asked}
        for node_id in asked:
            if node_id not in self._waiting:
                future = self._waiting[node_id] = self._ask(node_id)
                future.add_done_callback(partial(self._take, node_id))
                self._loop.call_later(KEEP_SECONDS, future.cancel)

    def _whom(self) -> Iterator[str]:
        """All hubs but this one, and the first end of each link between two that are none."""
        records = {record.id: record for record in self._directory.records()}
        own = self._directory.own.id
        for record in records.values():
            ends = [other for other in record.neighbours if other in records and not records[other].hub]
            if record.id != own and (record.hub or any(record.id < other and other != own for other in ends)):
                yield record.id

    def _take(self, node_id: str, future: Future[list[Any]]) -> None:
        self._waiting.pop(node_id, None)
        if future.cancelled() or future.exception() is not None:
            return
        passed: dict[Way, int] = {}
        for row in future.result()[:MOST_LINKS]:
            match row:
                case str(other), int(sent), int(received):
                    passed[node_id, other] = sent
                    passed[other, node_id] = received
        self._answers = {**self._answers, node_id: _Answer(self._clock(), passed)}
