"""The messages kept for each identifier, so that one that floods a log does not displace the others."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from berrymq import Identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from berrymq import Message

__all__ = ["FAIR", "Older", "Reserve"]

FAIR: Final = 1000
"""Messages kept for each identifier, as long as that many fit for each."""
MOST_IDENTIFIERS: Final = 10_000


class Older:
    """Messages kept although others of their age are not, ordered by number."""

    def __init__(self, found: Iterable[tuple[int, Message]] = ()) -> None:
        self.messages = dict(found)
        self.numbers = list(self.messages)

    def __len__(self) -> int:
        return len(self.numbers)

    def between(self, start: int, end: int) -> list[tuple[int, Message]]:
        """Return those with numbers from `start` to before `end`."""
        part = self.numbers[bisect_left(self.numbers, start) : bisect_left(self.numbers, end)]
        return [(number, self.messages[number]) for number in part]


class Reserve:
    """The newest messages of each identifier.

    Args:
        most: how many there may be in all; with many identifiers, each keeps fewer.
        keep: other numbers by pattern, outside of that; None for all.
    """

    def __init__(self, most: int, keep: Mapping[str, int | None] | None = None) -> None:
        self.most = most
        self.fair = min(FAIR, most)
        self.keep = [(Identifier.parse(pattern), number) for pattern, number in (keep or {}).items()]
        self.newest: dict[str, deque[tuple[int, Message]]] = {}
        self.fixed: set[str] = set()
        """Identifiers whose number is set by `keep`."""
        self.removed = 0
        """How many times messages were removed that may have been among the older ones."""
        self.cache: tuple[tuple[int, int], Older] = ((0, 0), Older())

    def add(self, start: int, batch: list[Message], heavy: set[str]) -> None:
        """Add messages with numbers from `start` on, but those of identifiers that are `heavy`."""
        newest = self.newest
        first = self.cache[0][0]
        for number, message in enumerate(batch, start):
            name = message.id
            mine = newest.get(name)
            if mine is None:
                mine = self.begin(name, message.identifier)
            if mine is None or name in heavy:
                continue
            if mine and len(mine) == mine.maxlen and mine[0][0] < first:
                self.removed += 1
            mine.append((number, message))

    def begin(self, name: str, identifier: Identifier) -> deque[tuple[int, Message]] | None:
        """Return the buffer of a new identifier; None if there are too many."""
        if len(self.newest) >= MOST_IDENTIFIERS:
            return None
        for pattern, number in self.keep:
            if pattern.matches(identifier):
                self.fixed.add(name)
                return self.newest.setdefault(name, deque(maxlen=number))
        others = len(self.newest) - len(self.fixed) + 1
        if others * self.fair > self.most:
            self.fair = max(1, self.most // (2 * others))
            for other in self.newest.keys() - self.fixed:
                self.newest[other] = deque(self.newest[other], maxlen=self.fair)
            self.removed += 1
        return self.newest.setdefault(name, deque(maxlen=self.fair))

    def older(self, first: int) -> Older:
        """Return those with numbers before `first`."""
        key = (first, self.removed)
        if self.cache[0] != key:
            found: list[tuple[int, Message]] = []
            for mine in self.newest.values():
                if mine and mine[0][0] < first:
                    found += takewhile(lambda entry: entry[0] < first, mine)
            found.sort(key=lambda entry: entry[0])
            self.cache = (key, Older(found))
        return self.cache[1]

    def clear(self) -> None:
        """Remove all."""
        self.newest.clear()
        self.fixed.clear()
        self.fair = min(FAIR, self.most)
        self.removed += 1
