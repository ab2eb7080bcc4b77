"""Who follows what: an index that finds the followers of an identifier without looking at the others.

A look-up costs as much as it finds, whatever a sender writes: a wildcard in it is looked up by the part that
is none. So no small message makes a hub of many nodes search for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from berrymq.identifiers import WILDCARD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from berrymq.identifiers import Identifier

__all__ = ["Interests"]

S = TypeVar("S")
Key = tuple[str | None, str, str]
Counts = dict[S, int]
"""Subscribers, each with how many of its identifiers are behind it. Dictionaries keep the order they came in.
"""


class Interests(Generic[S]):
    """Which subscribers follow which identifiers. Not thread-safe."""

    def __init__(self) -> None:
        self._exact: dict[Key, Counts[S]] = {}
        self._identifiers: dict[Key, Identifier] = {}
        self._by_name: dict[tuple[str | None, str], Counts[S]] = {}
        self._by_action: dict[tuple[str | None, str], Counts[S]] = {}
        self._by_namespace: dict[str | None, Counts[S]] = {}
        self._everything: dict[S, None] = {}

    def __len__(self) -> int:
        """How many different identifiers are followed."""
        return len(self._exact)

    def add(self, subscriber: S, identifier: Identifier) -> None:
        """Have a subscriber follow an identifier that it does not follow yet."""
        self._identifiers[_key(identifier)] = identifier
        for table, key in self._places(identifier):
            counts = table.setdefault(key, {})
            counts[subscriber] = counts.get(subscriber, 0) + 1

    def remove(self, subscriber: S, identifier: Identifier) -> None:
        """Take back an `add`."""
        for table, key in self._places(identifier):
            counts = table[key]
            left = counts.pop(subscriber) - 1
            if left:
                counts[subscriber] = left
            elif not counts:
                del table[key]
                if table is self._exact:
                    del self._identifiers[_key(identifier)]

    def set_everything(self, subscriber: S, wanted: bool) -> None:
        """Have a subscriber follow every identifier, or only those that were added."""
        if wanted:
            self._everything[subscriber] = None
        else:
            self._everything.pop(subscriber, None)

    def find(self, identifier: Identifier) -> list[S]:
        """Those who follow something that the identifier matches."""
        found = dict(self._everything)
        for counts in self._matching(identifier):
            found.update(dict.fromkeys(counts))
        return list(found)

    def holders(self, identifier: Identifier) -> Collection[S]:
        """Those who follow exactly this."""
        return self._exact.get(_key(identifier), {})

    @property
    def identifiers(self) -> Iterable[Identifier]:
        """All that is followed."""
        return self._identifiers.values()

    @property
    def follow_everything(self) -> Iterable[S]:
        """Those who follow every identifier."""
        return self._everything

    def _places(self, identifier: Identifier) -> Iterator[tuple[dict[object, Counts[S]], object]]:
        namespace, name, action = key = _key(identifier)
        tables: list[tuple[object, object]] = [
            (self._exact, key),
            (self._by_name, (namespace, name)),
            (self._by_action, (namespace, action)),
            (self._by_namespace, namespace),
        ]
        yield from tables  # type: ignore[misc]  # each table with a key of its own

    def _matching(self, identifier: Identifier) -> Iterator[Counts[S]]:
        namespace, name, action = _key(identifier)
        found: list[Counts[S] | None]
        if name == WILDCARD and action == WILDCARD:
            found = [self._by_namespace.get(namespace)]
        elif name == WILDCARD:
            found = [self._by_action.get((namespace, action)), self._by_action.get((namespace, WILDCARD))]
        elif action == WILDCARD:
            found = [self._by_name.get((namespace, name)), self._by_name.get((namespace, WILDCARD))]
        else:
            found = [
                self._exact.get((namespace, name, action)),
                self._exact.get((namespace, name, WILDCARD)),
                self._exact.get((namespace, WILDCARD, action)),
                self._exact.get((namespace, WILDCARD, WILDCARD)),
            ]
        return (counts for counts in found if counts)


def _key(identifier: Identifier) -> Key:
    return identifier.namespace, identifier.name, identifier.action
