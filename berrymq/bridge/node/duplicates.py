"""Which messages came before: over the same link, as after a cut, or over another one, as in a ring.

Whoever passes messages on could pass on others in the same names, with sequence numbers that are still to
come. What comes over one link must not keep away what comes over another one, so numbers count for each link
on its own. A batch that comes over two links is recognised by its bytes, which nobody changes in passing it
on. So there is no need to know what a link is about to bring, or that it ends: whatever comes first is taken,
and a link that is cut, expires, is closed or made again in the middle leaves no gap and no overlap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from berrymq.bridge.protocol.batches import Batch

    from .peer import Peer

__all__ = ["Deduplicator", "Duplicates"]

MAX_BATCHES = 200_000
"""Batches that are recognised when they come over another link; more than wait for one link at most."""


class Duplicates:
    """Leaves out what came before, of the batches that the peers of a node bring.

    Args:
        batches: so many of the newest are recognised.
    """

    def __init__(self, batches: int = MAX_BATCHES) -> None:
        self.by_link = Deduplicator()
        """The numbers that came, by `key`. It is enough where all come over one link."""
        self._most = batches
        self._digests: set[int] = set()
        self._in_order: deque[int] = deque()

    @staticmethod
    def key(peer: Peer, origin: str) -> Hashable:
        """Under what the numbers of an origin are remembered that a peer brings.

        A hub lets nobody use another's id, and it may be another one after a while, so its id is not in it.
        """
        return origin if peer.role == "hub" else (peer.id, origin)

    def fresh(self, peer: Peer, batch: Batch, data: bytes) -> Sequence[int]:
        """The numbers of a batch that did not come before over any link; from now on they did.

        Args:
            peer: who has sent it.
            batch: what was read of it.
            data: all of it, as it came.
        """
        numbers: Sequence[int] = self.by_link.fresh(self.key(peer, batch.origin), batch.first, batch.count)
        if numbers:
            digest = hash(data)  # with a key of this process, so nobody can choose two that are the same
            if digest in self._digests:
                return ()
            self._digests.add(digest)
            self._in_order.append(digest)
            if len(self._in_order) > self._most:
                self._digests.discard(self._in_order.popleft())
            if is_passed_on(peer, batch.origin):
                # What came before there was a second link is not among the digests (see `Node.receive`).
                for key in (batch.origin, (batch.origin, batch.origin)):
                    numbers = self.by_link.without(key, numbers)
        return numbers


def is_passed_on(peer: Peer, origin: str) -> bool:
    """Whether it is only the peer's word that a batch is of that origin."""
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
        """Those of some numbers, in their order, that were not received."""
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
