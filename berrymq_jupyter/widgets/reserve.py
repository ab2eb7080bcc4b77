"""The messages kept for each identifier, so that one that floods a log does not displace the others.

A sensor that sends a thousand messages a second would displace the one ``train:done`` of an hour ago. So the
newest of each identifier are kept beside the newest of all. The same messages are in both while they are new,
which costs nothing but references.

The share of each identifier (`Reserve.fair`) shrinks as more appear, and does not grow again before
`Reserve.clear`: `most` bounds their sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass
from itertools import chain, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from berrymq import Identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from berrymq import Message

__all__ = ["FAIR", "Older", "Removed", "Reserve"]

FAIR: Final = 1000
"""Messages kept for each identifier, as long as that many fit for each."""
MOST_IDENTIFIERS: Final = 10_000
"""Of further ones nothing is kept here, nor of more than there may be messages."""


class Older:
    """Messages kept although others of their age are not, ordered by number.

    Immutable after it was made.
    """

    def __init__(self, found: Iterable[tuple[int, Message]] = ()) -> None:
        self.messages = dict(found)
        self.numbers = list(self.messages)

    def __len__(self) -> int:
        return len(self.numbers)

    def between(self, start: int, end: int) -> list[tuple[int, Message]]:
        """Return those with numbers from `start` to before `end`."""
        part = self.numbers[bisect_left(self.numbers, start) : bisect_left(self.numbers, end)]
        return [(number, self.messages[number]) for number in part]


@dataclass
class Removed:
    """What `Reserve.clear` has removed, for `Reserve.restore`."""

    newest: dict[str, deque[tuple[int, Message]]]
    heavy: dict[str, deque[tuple[int, int]]]


class Reserve:
    """The newest messages of each identifier.

    Args:
        most: how many there may be in all; with many identifiers, each keeps fewer.
        most_bytes: what large payloads may hold in all; each identifier that has some gets the same share.
        keep: other numbers by pattern, outside of both limits; None for all.
    """

    def __init__(
        self, most: int, most_bytes: int = 2**62, keep: Mapping[str, int | None] | None = None
    ) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.fair = min(FAIR, most)
        """Messages kept for each identifier that is not fixed."""
        self.keep = [(Identifier.parse(pattern), number) for pattern, number in (keep or {}).items()]
        self.newest: dict[str, deque[tuple[int, Message]]] = {}
        """By identifier: numbers and messages, oldest first."""
        self.fixed: set[str] = set()
        """Identifiers whose number is set by `keep`."""
        self.heavy: dict[str, deque[tuple[int, int]]] = {}
        """Numbers and bytes of the large payloads of each identifier that is not fixed."""
        self.held: Counter[str] = Counter()
        """The sum of these bytes for each identifier."""
        self.removed = 0
        """How many times messages were removed that may have been among the older ones."""
        self.evicted: set[str] = set()
        """Identifiers that lost messages since this was last emptied."""
        self.cache: tuple[tuple[int, int], Older] = ((0, 0), Older())
        """The result of `older`, with its argument and the count of removals for which it holds."""

    def add(
        self,
        start: int,
        batch: list[Message],
        names: list[str],
        counts: Mapping[str, int],
        *,
        weights: Mapping[int, int],
        skipped: AbstractSet[str] = frozenset(),
    ) -> None:
        """Add messages with numbers from `start` on.

        Args:
            start: the number of the first.
            batch: the messages.
            names: their identifiers.
            counts: how many messages each of these has.
            weights: the bytes of large payloads by number.
            skipped: identifiers of which only the messages in `weights` were weighed: others are not kept.
        """
        newest = self.newest
        self.begin_all(counts.keys() - newest.keys())
        found: dict[str, list[tuple[int, Message]]] = {}
        wanted: dict[str, int] = {}  # how many are still to be found, from the newest on
        for name in counts.keys() & newest.keys():
            most = newest[name].maxlen
            found[name], wanted[name] = [], counts[name] if most is None else min(counts[name], most)
        unfinished = sum([number > 0 for number in wanted.values()])
        for index in range(len(batch) - 1, -1, -1):
            name = names[index]
            left = wanted.get(name)
            if not left or (name in skipped and start + index not in weights):
                continue
            found[name].append((start + index, batch[index]))
            wanted[name] = left - 1
            if left == 1:
                unfinished -= 1
                if not unfinished:
                    break
        first = self.cache[0][0]
        for name, added in found.items():
            mine = newest[name]
            is_full = mine.maxlen is not None and len(mine) + len(added) > mine.maxlen
            if mine and is_full and mine[0][0] < first:
                self.removed += 1
                self.evicted.add(name)
            mine.extend(reversed(added))
        for number, held in weights.items():
            name = names[number - start]
            if name in newest and name not in self.fixed:
                self.heavy.setdefault(name, deque()).append((number, held))
                self.held[name] += held
        if self.heavy:
            self.share()

    def begin_all(self, names: AbstractSet[str]) -> None:
        """Have buffers for new identifiers, as far as there is room."""
        if self.keep or not self.is_full():
            for name in names:
                self.begin(name, Identifier.parse(name))

    def begin(self, name: str, identifier: Identifier) -> deque[tuple[int, Message]] | None:
        """Return the buffer of a new identifier; None if there are too many.

        Patterns are tried in the order of `keep`; the first that matches counts.
        """
        if len(self.newest) >= MOST_IDENTIFIERS:
            return None  # whatever `keep` says
        for pattern, number in self.keep:
            if pattern.matches(identifier):
                self.fixed.add(name)
                return self.newest.setdefault(name, deque(maxlen=number))
        if self.is_full():
            return None
        others = len(self.newest) - len(self.fixed) + 1
        if others * self.fair > self.most:
            self.fair = max(1, self.most // (2 * others))
            for other in self.newest.keys() - self.fixed:
                self.newest[other] = deque(self.newest[other], maxlen=self.fair)
                self.evicted.add(other)
            self.removed += 1
        return self.newest.setdefault(name, deque(maxlen=self.fair))

    def is_full(self) -> bool:
        """Return whether there is room for no further identifier that is not fixed."""
        return len(self.newest) >= MOST_IDENTIFIERS or len(self.newest) - len(self.fixed) >= self.most

    def share(self) -> None:
        """Drop the oldest large payloads of each identifier that has more than its share, but the newest.

        Where these alone are too much, those go that were sent first.

        It runs for each batch in which large payloads are, or were before.
        """
        fair = self.most_bytes // max(1, len(self.heavy))
        for name, weights in self.heavy.items():
            mine = self.newest[name]
            while weights and (not mine or weights[0][0] < mine[0][0]):  # pushed out by newer messages
                self.held[name] -= weights.popleft()[1]
            while len(weights) > 1 and self.held[name] > fair:
                self.drop_oldest(name)
        total = self.held.total()
        if total > self.most_bytes:
            for name in sorted(self.heavy, key=lambda name: self.heavy[name][0] if self.heavy[name] else ()):
                if self.heavy[name] and total > self.most_bytes:
                    total -= self.heavy[name][0][1]
                    self.drop_oldest(name)
        for name in [name for name, weights in self.heavy.items() if not weights]:
            del self.heavy[name], self.held[name]

    def drop_oldest(self, name: str) -> None:
        """Drop the oldest large payload of an identifier, and the messages before it."""
        number, held = self.heavy[name].popleft()
        self.held[name] -= held
        mine = self.newest[name]
        while mine and mine[0][0] <= number:
            mine.popleft()
        self.removed += 1
        self.evicted.add(name)

    def weights(self) -> dict[int, int]:
        """Return the bytes of the large payloads by number."""
        return {number: held for weights in self.heavy.values() for number, held in weights}

    def older_count(self, name: str, first: int) -> int:
        """Return how many messages of one identifier before `first` are kept."""
        mine = self.newest.get(name)
        return bisect_left(mine, first, key=itemgetter(0)) if mine and mine[0][0] < first else 0

    def older(self, first: int) -> Older:
        """Return those with numbers before `first`.

        Cached, for it is needed several times a round and changes seldom.
        """
        key = (first, self.removed)
        if self.cache[0] != key:
            found: list[tuple[int, Message]] = []
            for mine in self.newest.values():
                if mine and mine[0][0] < first:
                    found += takewhile(lambda entry: entry[0] < first, mine)
            found.sort(key=lambda entry: entry[0])
            self.cache = (key, Older(found))
        return self.cache[1]

    def clear(self) -> Removed:
        """Remove all, and return it."""
        removed = Removed(self.newest, self.heavy)
        self.newest, self.heavy = {}, {}
        self.fixed.clear()
        self.held.clear()
        self.fair = min(FAIR, self.most)
        self.removed += 1
        return removed

    def restore(self, removed: Removed) -> None:
        """Put back what the last `clear` has removed, before what came since."""
        for name, before in removed.newest.items():
            mine = self.newest.get(name)
            if mine is None and before:
                mine = self.begin(name, before[-1][1].identifier)
            if mine is not None:
                self.newest[name] = deque(chain(before, mine), maxlen=mine.maxlen)
                self.evicted.add(name)
        for name, weights in removed.heavy.items():
            if name in self.newest and name not in self.fixed:
                self.heavy[name] = deque(chain(weights, self.heavy.get(name, ())))
                self.held[name] += sum(held for _, held in weights)
        if self.heavy:
            self.share()
        self.removed += 1
