"""Which messages were here before, so that each is taken once however many ways it comes."""

from __future__ import annotations

from collections import OrderedDict, deque

__all__ = ["Seen"]


class Seen:
    """Remembers the last messages of each origin.

    The messages of one origin are numbered upwards, but a node sees only those that somebody here follows,
    and over several ways they may come out of turn; so the last *window* numbers are kept as a set. What is
    older than all of those counts as seen: it could only be a copy that took very long.

    Args:
        window: how many numbers are kept for each origin.
        origins: how many origins are kept; the one not heard of for longest goes first.
    """

    def __init__(self, window: int = 16_384, origins: int = 10_000) -> None:
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
    __slots__ = ("_floor", "_known", "_order")

    def __init__(self, window: int) -> None:
        self._known: set[int] = set()
        self._order: deque[int] = deque(maxlen=window)
        self._floor = 0

    def add(self, sequence: int) -> bool:
        known, order = self._known, self._order
        if sequence in known or sequence <= self._floor:
            return False
        if len(order) == order.maxlen:
            oldest = order[0]
            known.discard(oldest)
            self._floor = max(self._floor, oldest)
        order.append(sequence)
        known.add(sequence)
        return True
