"""Deduplication of messages that arrive again: over the same link after a cut, or over another in a ring.

A peer that passes messages on could forge others of the same origin, with sequence numbers that are yet to be
published. These must not suppress the real messages, so sequence numbers are compared within one link only.
Between links, a batch is recognised by its bytes, which are passed on unchanged.

The first copy is delivered, whichever link it arrives on. So there is no hand-over between links and no race
at the end of one: a message that arrived over two links was delivered with the first, and a message that was
dropped on one link, because it was closed or expired, is delivered when it arrives over the other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from berrymq.bridge.protocol.frames import Batch

    from .peer import Peer

__all__ = ["Deduplicator", "Duplicates"]

MAX_BATCHES = 200_000
"""Batches that are recognised when they arrive over another link; more than the window and the buffer of a
link hold, so that a link may lag behind another by all of that."""


class Duplicates:
    """Finds the messages of a batch that have not arrived before.

    Args:
        batches: the number of recent batches that are recognised by their bytes.
    """

    def __init__(self, batches: int = MAX_BATCHES) -> None:
        self.by_link = Deduplicator()
        """The sequence numbers by `key`. That is sufficient while there is one link only."""
        self._most = batches
        self._digests: set[int] = set()
        self._in_order: deque[int] = deque()

    @staticmethod
    def key(peer: Peer, origin: str) -> Hashable:
        """Return the key for the sequence numbers of an origin that arrive from a peer.

        A hub verifies origins, and another hub may take its place, so the hub's id is not part of the key.
        """
        return origin if peer.role == "hub" else (peer.id, origin)

    def fresh(self, peer: Peer, batch: Batch, data: bytes) -> Sequence[int]:
        """Return the numbers of a batch that have not arrived over any link, and record them.

        Args:
            peer: the sender.
            batch: its decoded head.
            data: its bytes, unchanged.
        """
        numbers: Sequence[int] = self.by_link.fresh(self.key(peer, batch.origin), batch.first, batch.count)
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
    """Return whether the origin of a batch is only claimed: the peer is neither the origin nor a hub."""
    return peer.id != origin and peer.role != "hub"


class Deduplicator:
    """Remembers the sequence numbers of recent messages, by origin.

    The numbers of one origin grow, but a node receives only what it follows, so they have gaps; over several
    paths they may come out of order. What is older than all ranges that are remembered counts as a duplicate.

    Args:
        ranges: how many ranges of numbers are remembered for each origin.
        origins: how many origins are remembered; the one not heard from for longest goes first.
    """

    def __init__(self, ranges: int = 1_024, origins: int = 2_000) -> None:
        self._ranges = ranges
        self._origins = origins
        self._by_origin: OrderedDict[Hashable, _Ranges] = OrderedDict()

    def fresh(self, origin: Hashable, first: int, count: int) -> range | list[int]:
        """The numbers of a batch that were not received before; from now on they were."""
        known = self._by_origin.get(origin)
        if known is None:
            known = self._by_origin[origin] = _Ranges(self._ranges)
            if len(self._by_origin) > self._origins:
                self._by_origin.popitem(last=False)
        else:
            self._by_origin.move_to_end(origin)
        lasts = known.lasts
        if lasts and first == lasts[-1] + 1:  # the usual case: it follows on what came last
            lasts[-1] += count
            return range(first, first + count)
        return known.add(first, count)

    def without(self, origin: Hashable, numbers: Sequence[int]) -> Sequence[int]:
        """Return those of the given numbers that were not received, in the given order."""
        known = self._by_origin.get(origin)
        if known is None or not numbers or not known.lasts or numbers[0] > known.lasts[-1]:
            return numbers
        return [number for number in numbers if number not in known]


class _Ranges:
    """Disjoint ranges of numbers, in order, both ends included. All up to the floor is in."""

    __slots__ = ("_firsts", "_floor", "_most", "lasts")

    def __init__(self, most: int) -> None:
        self._most = most
        self._floor = 0
        self._firsts: list[int] = []
        self.lasts: list[int] = []
        """The last number of each range."""

    def add(self, first: int, count: int) -> range | list[int]:
        firsts, lasts = self._firsts, self.lasts
        highest = lasts[-1] if lasts else self._floor
        if first > highest:  # newer than all before
            firsts.append(first)
            lasts.append(first + count - 1)
            self._forget_oldest()
            return range(first, first + count)
        return [number for number in range(first, first + count) if self._add_one(number)]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number)
        return number <= self._floor or (place > 0 and number <= self.lasts[place - 1])

    def _add_one(self, number: int) -> bool:
        if number in self:
            return False
        firsts, lasts = self._firsts, self.lasts
        place = bisect_right(firsts, number)
        joins_left = bool(place) and lasts[place - 1] == number - 1
        joins_right = place < len(firsts) and firsts[place] == number + 1
        if joins_left and joins_right:
            lasts[place - 1] = lasts.pop(place)
            del firsts[place]
        elif joins_left:
            lasts[place - 1] = number
        elif joins_right:
            firsts[place] = number
        else:
            firsts.insert(place, number)
            lasts.insert(place, number)
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        if len(self._firsts) > 2 * self._most:  # half of them at once, which is cheap by the number
            self._floor = self.lasts[self._most - 1]
            del self._firsts[: self._most], self.lasts[: self._most]
