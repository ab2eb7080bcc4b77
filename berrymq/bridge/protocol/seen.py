"""Which messages were here before, so that each is taken once however many ways it comes."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Seen"]


class Seen:
    """Remembers the last messages of each origin.

    The messages of one origin are numbered upwards, but a node sees only those that somebody here follows,
    and over several ways they may come out of turn; so the last *window* numbers at least are remembered one
    by one. What is older than all of those counts as seen: it could only be a copy that took very long.

    Args:
        window: how many numbers are kept for each origin, where there are gaps; for a while twice as many.
        origins: how many origins are kept; the one not heard of for longest goes first.
    """

    def __init__(self, window: int = 4_096, origins: int = 2_000) -> None:
        self._window = window
        self._origins = origins
        self._by_origin: OrderedDict[str, _Recent] = OrderedDict()

    def first_time(self, origin: str, sequence: int) -> bool:
        """Whether this message was not here before; from now on it was."""
        recent = self._by_origin.get(origin)
        if recent is None:
            recent = self._by_origin[origin] = _Recent(self._window)
            if len(self._by_origin) > self._origins:
                self._by_origin.popitem(last=False)
        else:
            self._by_origin.move_to_end(origin)
        return recent.add(sequence)


class _Recent:
    """All up to a floor, and those above it; without gaps the floor follows, and nothing is kept."""

    __slots__ = ("_above", "_floor", "_window")

    def __init__(self, window: int) -> None:
        self._window = window
        self._above: set[int] = set()
        self._floor = 0

    def add(self, sequence: int) -> bool:
        above = self._above
        if sequence == self._floor + 1 and not above:
            self._floor = sequence
            return True
        if sequence <= self._floor or sequence in above:
            return False
        above.add(sequence)
        while self._floor + 1 in above:
            self._floor += 1
            above.discard(self._floor)
        if len(above) > 2 * self._window:  # the lower half goes at once, which is cheap by the number
            lower = sorted(above)[: self._window]
            above.difference_update(lower)
            self._floor = lower[-1]
        return True
