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

    from berrymq.bridge.protocol.batches import Batch

    from .peer import Peer

__all__ = ["Duplicates", "is_passed_on"]

MAX_BATCHES = 200_000
"""Batches that are recognised when they arrive over another link; more than the window and the buffer of a
link hold, so that a link may lag behind another by all of that. A hash and its place in the order take about
100 bytes, so this is 20 MB at most, and only where there are several links."""


class Duplicates:
    """Finds the messages of a batch that have not arrived before. The lock of the node is held.

    Args:
        batches: the number of recent batches that are recognised by their bytes.
    """

    def __init__(self, batches: int = MAX_BATCHES) -> None:
        self.by_link = Deduplicator()
        """The sequence numbers by `key`. That is sufficient while there is one link only."""
        self._most = batches
        self._digests: set[int] = set()
        """The hashes of recent batches."""
        self._in_order: deque[int] = deque()
        """The same, oldest first."""

    @staticmethod
    def key(peer: Peer, origin: str) -> Hashable:
        """Return the key for the sequence numbers of an origin that arrive from a peer.

        A hub verifies origins, and another hub may take its place, so the hub's id is not part of the key.

        Args:
            peer: the sender.
            origin: the id of the node that published them.
        """
        return origin if peer.role == "hub" else (peer.id, origin)

    def fresh(self, peer: Peer, batch: Batch, data: bytes) -> Sequence[int]:
        """Return the numbers of a batch that have not arrived over any link, and record them.

        Args:
            peer: the sender.
            batch: its decoded head.
            data: its bytes, unchanged.

        Returns:
            Sequence numbers, ascending; an empty sequence for a batch that is known.
        """
        numbers = self.by_link.fresh(
            self.key(peer, batch.origin), batch.first, batch.count, in_order=peer.role == "hub"
        )
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
                for key in (batch.origin, (batch.origin, batch.origin)):
                    numbers = self.by_link.without(key, numbers)
        return numbers


def is_passed_on(peer: Peer, origin: str) -> bool:
    """Return whether the origin of a batch is only claimed: the peer is neither the origin nor a hub.

    Args:
        peer: the sender.
        origin: the origin that the batch names.
    """
    return peer.id != origin and peer.role != "hub"
