"""The index of who follows what, which finds the followers of an identifier without a search over all.

A look-up costs as much as it finds, whatever the identifier: a wildcard in it is looked up by the other part.
So no small message makes a hub of many nodes search for long.
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
"""Namespace, name and action."""
Counts = dict[S, int]
"""Subscribers, each with the number of its identifiers that lead to it. Dictionaries keep the order of
insertion."""


class Interests(Generic[S]):
    """An index of subscribers by the identifiers that they follow. Not thread-safe.

    Each identifier is stored under four keys: all of it, its name, its action, its namespace. A look-up for a
    plain identifier reads four entries of the first table; one with a wildcard reads the tables of its other
    part. Subscribers are any hashable objects: peers, queues of clients, the bus.
    """

    def __init__(self) -> None:
        self._exact: dict[Key, Counts[S]] = {}
        """The subscribers of each identifier, by all its parts."""
        self._identifiers: dict[Key, Identifier] = {}
        """The identifiers that are followed."""
        self._by_name: dict[tuple[str | None, str], Counts[S]] = {}
        """The subscribers of any action of a name, by namespace and name."""
        self._by_action: dict[tuple[str | None, str], Counts[S]] = {}
        """The subscribers of any name with an action, by namespace and action."""
        self._by_namespace: dict[str | None, Counts[S]] = {}
        """All subscribers in a namespace."""
        self._everything: dict[S, None] = {}
        """The subscribers to every identifier, in order."""

    def __len__(self) -> int:
        """Return the number of different identifiers."""
        return len(self._exact)

    def add(self, subscriber: S, identifier: Identifier) -> None:
        """Add a subscriber to an identifier that it does not follow yet.

        Args:
            subscriber: any hashable object.
            identifier: may have wildcards.
        """
        self._identifiers[_key(identifier)] = identifier
        for table, key in self._places(identifier):
            counts = table.setdefault(key, {})
            counts[subscriber] = counts.get(subscriber, 0) + 1

    def remove(self, subscriber: S, identifier: Identifier) -> None:
        """Undo an `add`.

        Raises:
            KeyError: the subscriber does not follow the identifier.
        """
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
        """Add a subscriber to every identifier, or undo that; either may be repeated.

        Args:
            subscriber: any hashable object.
            wanted: whether it follows everything.
        """
        if wanted:
            self._everything[subscriber] = None
        else:
            self._everything.pop(subscriber, None)

    def find(self, identifier: Identifier) -> list[S]:
        """Return the subscribers of all identifiers that match this one, each once.

        Args:
            identifier: of a message; may have wildcards.
        """
        found = dict(self._everything)
        for counts in self._matching(identifier):
            found.update(dict.fromkeys(counts))
        return list(found)

    def holders(self, identifier: Identifier) -> Collection[S]:
        """Return the subscribers of exactly this identifier."""
        return self._exact.get(_key(identifier), {})

    @property
    def identifiers(self) -> Iterable[Identifier]:
        """All identifiers that are followed."""
        return self._identifiers.values()

    @property
    def follow_everything(self) -> Iterable[S]:
        """The subscribers to every identifier."""
        return self._everything

    def _places(self, identifier: Identifier) -> Iterator[tuple[dict[object, Counts[S]], object]]:
        """Yield each table with the key under which an identifier is stored in it."""
        namespace, name, action = key = _key(identifier)
        tables: list[tuple[object, object]] = [
            (self._exact, key),
            (self._by_name, (namespace, name)),
            (self._by_action, (namespace, action)),
            (self._by_namespace, namespace),
        ]
        yield from tables  # type: ignore[misc]  # each table with a key of its own

    def _matching(self, identifier: Identifier) -> Iterator[Counts[S]]:
        """Yield the subscribers of the identifiers that match one, table entry by table entry."""
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
    """Return the parts of an identifier as a key."""
    return identifier.namespace, identifier.name, identifier.action
