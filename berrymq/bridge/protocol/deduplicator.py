"""Which messages were received before, so that each is delivered once however many paths it comes over."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict

__all__ = ["Deduplicator"]


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
        self._by_origin: OrderedDict[str, _Ranges] = OrderedDict()

    def fresh(self, origin: str, first: int, count: int) -> range | list[int]:
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

    def _add_one(self, number: int) -> bool:
        firsts, lasts = self._firsts, self.lasts
        place = bisect_right(firsts, number)
        if number <= self._floor or (place and number <= lasts[place - 1]):
            return False
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
