"""Deduplication of messages that arrive again: over the same link after a cut, or over another in a ring.

A peer that passes messages on could forge others of the same origin, with sequence numbers that are yet to be
published. These must not suppress the real messages, so sequence numbers are compared within one link only.
Between links, a batch is recognised by its bytes, which are passed on unchanged.

The first copy is delivered, whichever link it arrives on. So there is no hand-over between links and no race
at the end of one: a message that arrived over two links was delivered with the first, and a message that was
dropped on one link, because it was closed or expired, is delivered when it arrives over the other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .inbox import Deduplicator

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from berrymq.bridge.protocol.batches import Batch, ReadBatch

    from .peer import Peer

__all__ = ["Duplicates", "is_passed_on"]

MAX_BATCHES = 200_000
"""Batches that are recognised when they arrive over another link; more than the window and the buffer of a
link hold, so that a link may lag behind another by all of that. A hash and its place in the order take about
100 bytes, so this is 20 MB at most, and only where there are several links."""


MAX_ASCENDING = 50_000
"""Pairs of origin and identifier whose last number from a hub is remembered, at about 200 bytes each."""


class Duplicates:
    """Finds the messages of a batch that have not arrived before. The lock of the node is held.

    Args:
        batches: the number of recent batches that are recognised by their bytes.
    """

    def __init__(self, batches: int = MAX_BATCHES) -> None:
        self.by_link = Deduplicator()
        """The sequence numbers by link and origin. That is sufficient while there is one link only."""
        self.over_hub = Ascending()
        """The same of messages that arrive from a hub, whichever one it is."""
        self._most = batches
        self._digests: set[int] = set()
        """The hashes of recent batches."""
        self._in_order: deque[int] = deque()
        """The same, oldest first."""

    def fresh(self, peer: Peer, batch: Batch, *, is_late: bool = False) -> Sequence[int]:
        """Return the numbers of a batch that have not arrived from this peer, and record them.

        Args:
            peer: the sender.
            batch: its decoded head.
            is_late: it was held back until buffers had been pulled. More than is remembered may have passed
                it meanwhile; and it does not arrive again, since its frame was acknowledged before.

        Returns:
            Sequence numbers, ascending; an empty sequence for a batch that is known.
        """
        if peer.role == "hub":
            return self.over_hub.fresh((batch.origin, batch.identifier), batch.first, batch.count)
        if is_late:
            return range(batch.first, batch.first + batch.count)
        return self.by_link.fresh((peer.id, batch.origin), batch.first, batch.count)

    def fresh_question(self, peer: Peer, batch: Batch | ReadBatch) -> Sequence[int]:
        """Return the number of a question, if it has not arrived from this peer; see `fresh`.

        Questions pass messages, and those with large buffers are passed by others, so they are counted apart.
        """
        link = "" if peer.role == "hub" else peer.id
        return self.by_link.fresh(("question", link, batch.origin), batch.first, 1)

    def not_otherwise(self, peer: Peer, batch: Batch, data: bytes, numbers: Sequence[int]) -> Sequence[int]:
        """Return those of the numbers of a batch that have not arrived over another link, and record it.

        Args:
            peer: the sender.
            batch: its decoded head.
            data: its bytes, unchanged.
            numbers: those that have not arrived from the peer.
        """
        if numbers:
            digest = hash(data)  # keyed in each process, so a collision can't be chosen
            if digest in self._digests:
                return ()
            self._digests.add(digest)
            self._in_order.append(digest)
            if len(self._in_order) > self._most:
                self._digests.discard(self._in_order.popleft())
            if is_passed_on(peer, batch.origin):
                # Batches that arrived while there was one link have no digest (see `Node.receive`).
                numbers = self.by_link.without((batch.origin, batch.origin), numbers)
                last = self.over_hub.last((batch.origin, batch.identifier))
                if numbers and numbers[0] <= last:
                    numbers = [number for number in numbers if number > last]
        return numbers


class Ascending:
    """Remembers the last sequence number of each origin and identifier, from a hub.

    Over a hub the numbers of one origin and identifier ascend. Those of different identifiers may not: a
    message with large buffers is passed on when they are there, and others pass it. What is below the last
    number is a message that its origin sends again to the successor of a killed hub: if it was not received,
    it was published before it was followed here.

    Args:
        most: how many pairs are remembered; the one that came first goes first.
    """

    def __init__(self, most: int = MAX_ASCENDING) -> None:
        self._most = most
        self._lasts: dict[Hashable, int] = {}

    def fresh(self, key: Hashable, first: int, count: int) -> range:
        """Return the numbers of a batch that were not received before, and record them.

        Args:
            key: origin and identifier.
            first: the sequence number of its first message.
            count: the number of its messages.
        """
        lasts, end = self._lasts, first + count
        last = lasts.get(key, 0)
        if not last and len(lasts) >= self._most:
            del lasts[next(iter(lasts))]
        if end > last + 1:
            lasts[key] = end - 1
        return range(max(first, last + 1), end)

    def last(self, key: Hashable) -> int:
        """Return the last number of an origin and identifier; 0 without one."""
        return self._lasts.get(key, 0)


def is_passed_on(peer: Peer, origin: str) -> bool:
    """Return whether the origin of a batch is only claimed: the peer is neither the origin nor a hub.

    Args:
        peer: the sender.
        origin: the origin that the batch names.
    """
    return peer.id != origin and peer.role != "hub"
