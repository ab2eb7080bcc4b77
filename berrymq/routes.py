"""Routing: an index of the subscriptions, and a table of routes that publishing looks up.

A route is ``(identifier, subscribers)``: the parsed identifier and an immutable tuple, in the order of
delivery. The table maps what a publisher writes to its route. It is bounded, and cleared by every
registration and cancellation, so that no route is ever changed in place. Messages that came over links have a
table of their own, for their routes leave out attachments and local names.

Locks. `lock` is held only for a few dictionary operations, never while a follower, a guard, a link's
`matches` or a watcher runs. Additions and removals go through the queue `_pending`. So what garbage
collection or a destructor does in the middle of such an operation (a weakly held object dies, a ``__del__``
cancels) is queued, and applied by the thread that holds the lock: it neither deadlocks on itself nor sees a
half-made change.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import IdentifierError
from .failures import log_error
from .identifiers import WILDCARD, Identifier, parse_new
from .subscribers import Attachment, Subscriber
from .subscriptions import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from .messages import Message

__all__ = ["OBSERVED", "Observer", "Registry", "Route"]

T = TypeVar("T")
Key = tuple[str | None, str, str]
Route = tuple[Identifier, tuple[Subscriber, ...]]
ReceivedRoute = tuple[tuple[Subscription, ...], tuple[Subscription, ...]]
"""The direct subscriptions, which the link's thread serves, and the others, which the deliverer serves."""

TABLE_SIZE = 4096
"""The most routes that a table holds. A full table is cleared: it fills again within milliseconds."""
OBSERVED = "berrymq"
"""The name of the messages of debug observation: they stay in the process, and are not observed in turn."""


class Observer(Subscriber):
    """The first subscriber of every route while the bus is observed: it gets muted messages, too."""

    __slots__ = ()

    def __init__(self, call: Callable[[Message], Any]) -> None:
        super().__init__()
        self._deliver = call


class Registry:
    """The subscriptions of one bus, and the routes to them."""

    def __init__(self) -> None:
        self.table: dict[Any, Route] = {}
        self.received: dict[str, ReceivedRoute] = {}
        """Routes of messages that came over links, by the identifier's text; emptied like `table`."""
        self.lock = threading.RLock()
        self._busy = False
        """True while this or another thread reads or changes the index: `lock` is re-entrant."""
        self._pending: deque[tuple[Subscriber, bool]] = deque()
        self._index: dict[Key, dict[int, Subscription]] = {}
        self._identifiers: dict[Key, Identifier] = {}
        self._attachments: dict[int, Attachment] = {}
        self._mutes: tuple[Identifier, ...] = ()
        self._observer: tuple[Observer, ...] = ()
        self._watchers: tuple[Callable[[], object], ...] = ()
        self._numbers = count()
        self._version = 0
        """Counts the changes: a route that was computed across one is not put into the table."""
        self._parked: dict[int, Subscription] = {}
        """Subscriptions that `switch` has taken out of the routes and not put back yet."""
        self._switches = 0
        """Counts the calls of `switch`: a route that was computed across one is computed again."""
        self._interest_changed = False

    def after_fork(self) -> None:
        """Release the lock in a forked child: the thread that held it is the parent's."""
        self.lock = threading.RLock()
        self._busy = False

    # -- changing --------------------------------------------------------------------------------------------

    def add(self, subscriber: Subscriber) -> None:
        """Add `subscriber` to the routes. It gets the messages that are sent after this returns."""
        self._pending.append((subscriber, True))
        self._settle(wait=True)

    def discard(self, subscriber: Subscriber) -> None:
        """Remove `subscriber` from the routes, without ever waiting for another thread."""
        self._pending.append((subscriber, False))
        self._settle(wait=False)

    def refresh(self) -> None:
        """Have every route computed again."""
        with self.lock:
            self._version += 1
            self._clear_tables()
        self._settle(wait=False)

    def shift_mute(self, identifier: Identifier, by: int) -> None:
        """Add a mute of what `identifier` matches (`by` is +1), or remove one (-1)."""
        with self.lock:
            mutes = list(self._mutes)
            if by > 0:
                mutes.append(identifier)
            else:
                mutes.remove(identifier)
            self._mutes = tuple(mutes)
        self.refresh()

    def set_observer(self, observer: Observer | None) -> None:
        """Put `observer` before all others in every route, those of muted identifiers included."""
        self._observer = () if observer is None else (observer,)
        self.refresh()

    def watch(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` whenever `interests` may have changed; return the function that ends that."""
        with self.lock:
            self._watchers = (*self._watchers, callback)

        def cancel() -> None:
            with self.lock:
                self._watchers = tuple(watcher for watcher in self._watchers if watcher is not callback)

        return cancel

    def switch(self, step: Callable[[], list[tuple[Subscription, bool]]]) -> None:
        """Add and remove subscribers in one step: a message is routed as before all of it, or as after it.

        Args:
            step: returns subscriptions, each with whether it is put into the routes, or taken out of them and
                kept in mind. It is called with the lock held, and may change what the `matches` of an
                attachment returns.
        """
        with self.lock:
            busy, self._busy = self._busy, True
            try:
                changes = step()
                self._pending.extend(changes)
                self._switches += 1
                self._apply()
                for subscription, routed in changes:
                    if not routed and subscription.active:
                        if subscription._number < 0:
                            subscription._number = next(self._numbers)
                        self._parked[subscription._number] = subscription
            finally:
                self._busy = busy
        self._settle(wait=False)

    def _settle(self, *, wait: bool) -> None:
        """Apply the pending changes, and call the watchers; with `wait`, wait for the lock."""
        # The thread that holds the lock checks the queue again after it has released it. So a change by a
        # thread that could not take the lock is applied by the one that held it, and none is left over.
        while self._pending:
            if not self.lock.acquire(wait):
                return
            try:
                if self._busy:
                    return  # re-entered by a destructor: this thread is in `_apply`, and will pop it there
                self._busy = True
                try:
                    self._apply()
                finally:
                    self._busy = False
            finally:
                self.lock.release()
        if self._interest_changed:
            # Cleared before the calls: a change during them sets it again, and calls the watchers again.
            self._interest_changed = False
            for watcher in self._watchers:
                try:
                    watcher()
                except Exception as error:  # noqa: BLE001  # the caller only registers or cancels
                    log_error("a watcher of interests failed", error)

    def _apply(self) -> None:
        """Apply the pending changes to the index, with the lock held."""
        while self._pending:
            subscriber, adding = self._pending.popleft()
            if isinstance(subscriber, Attachment):
                if adding:
                    subscriber._number = next(self._numbers)
                    self._attachments[subscriber._number] = subscriber
                else:
                    self._attachments.pop(subscriber._number, None)
            else:
                assert isinstance(subscriber, Subscription)
                was_parked = self._parked.pop(subscriber._number, None) is not None
                if adding and not was_parked:
                    subscriber._number = next(self._numbers)
                for identifier in subscriber.identifiers:
                    self._change(identifier, subscriber, adding)
        self._version += 1
        self._clear_tables()

    def _clear_tables(self) -> None:
        """Remove all routes from the tables, with the lock held."""
        self.table.clear()
        self.received.clear()

    def _change(self, identifier: Identifier, subscription: Subscription, adding: bool) -> None:
        """Add `subscription` to the index under `identifier`, or remove it."""
        key = (identifier.namespace, identifier.name, identifier.action)
        bucket = self._index.get(key)
        if adding:
            if bucket is None:
                bucket = self._index[key] = {}
                self._identifiers[key] = identifier
                self._interest_changed |= crosses(identifier)
            bucket[subscription._number] = subscription
        elif bucket is not None:
            bucket.pop(subscription._number, None)
            if not bucket:
                del self._index[key], self._identifiers[key]
                self._interest_changed |= crosses(identifier)

    # -- look-up ---------------------------------------------------------------------------------------------

    def find(self, raw: str | Identifier) -> Route:
        """Compute the route for what is not in the table, and add it.

        Raises:
            IdentifierError: `raw` is no identifier.
        """
        key: str | Identifier
        try:
            if type(raw) is str:
                identifier = parse_new(key := raw)  # the table caches it: a second cache would only cost
            else:
                identifier = Identifier.parse(raw)
                key = str.__str__(raw) if isinstance(raw, str) else identifier
        except IdentifierError as error:
            raise error from None  # the KeyError of the table means nothing to the caller
        while True:
            switches = self._switches
            route = self._find(key, identifier)
            if switches == self._switches:
                break
        if self._pending:
            self._settle(wait=False)
        return route

    def _find(self, key: str | Identifier, identifier: Identifier) -> Route:
        """Compute a route, and add it to the table under `key`."""
        attachments: tuple[Attachment, ...] = ()
        with self.lock:
            version = self._version
            busy, self._busy = self._busy, True  # changes by destructors are queued until this is done
            try:
                subscribers = self._collect(identifier)
                if self._attachments and crosses(identifier) and not self._is_muted(identifier):
                    attachments = tuple(self._attachments.values())
            finally:
                self._busy = busy
            route = (identifier, subscribers)
            if not attachments:
                self._add_route(key, route, version)
        if attachments:  # without the lock: `matches` is foreign code
            route = (identifier, (*subscribers, *(link for link in attachments if link.matches(identifier))))
            with self.lock:
                self._add_route(key, route, version)
        return route

    def find_received(self, identifier: Identifier) -> ReceivedRoute:
        """Compute the route of a message that came over a link, and put it into the table `received`.

        It has no attachments, and that of a wildcard has no local names.
        """
        version = self._version  # before `find`, so that a change during it makes this route stale, too
        wild = identifier.name == WILDCARD
        subscribers = [
            subscriber
            for subscriber in self.find(identifier)[1]
            if isinstance(subscriber, Subscription)
            and (subscriber._replay is None or subscriber._replay.takes_received)
            and not (wild and not any(map(crosses, subscriber.identifiers)))
        ]
        route = (
            tuple([subscriber for subscriber in subscribers if subscriber.direct]),
            tuple([subscriber for subscriber in subscribers if not subscriber.direct]),
        )
        with self.lock:
            if version == self._version and not self._busy:
                if len(self.received) >= TABLE_SIZE:
                    self.received.clear()
                self.received[identifier.text] = route
        return route

    def _add_route(self, key: str | Identifier, route: Route, version: int) -> None:
        """Add a route to the table, unless something has changed since `version`."""
        # A change since the look-up began makes the route stale: right for the message that it was computed
        # for, which was published before the change, and wrong for the next. The version shows that.
        if version == self._version and not self._busy:
            if len(self.table) >= TABLE_SIZE:
                self.table.clear()  # publishers read the table without a lock: they miss, and call `find`
            self.table[key] = route

    def _is_muted(self, identifier: Identifier) -> bool:
        """Return whether a mute matches `identifier`."""
        return bool(self._mutes) and any(mute.matches(identifier) for mute in self._mutes)

    def _collect(self, identifier: Identifier) -> tuple[Subscriber, ...]:
        """Return the subscribers of `identifier` without the attachments, the observer first."""
        subscribers: tuple[Subscriber, ...] = () if self._is_muted(identifier) else self._merge(identifier)
        if self._observer and identifier.name != OBSERVED:
            subscribers = self._observer + subscribers
        return subscribers

    def _merge(self, identifier: Identifier) -> tuple[Subscription, ...]:
        """Return the subscriptions that `identifier` matches, in order of registration."""
        namespace, name, action = identifier.namespace, identifier.name, identifier.action
        get = self._index.get
        if identifier.is_wild:  # a published wildcard reaches all that it matches
            known = self._identifiers.items()
            buckets = [get(key) for key, followed in known if identifier.matches(followed)]
        else:
            buckets = [
                get((namespace, name, action)),
                get((namespace, name, WILDCARD)),
                get((namespace, WILDCARD, action)),
                get((namespace, WILDCARD, WILDCARD)),
            ]
        found = [bucket for bucket in buckets if bucket]
        if not found:
            return ()
        if len(found) == 1:
            return tuple(found[0].values())
        merged: dict[int, Subscription] = {}
        for bucket in found:
            merged.update(bucket)
        return tuple([merged[number] for number in sorted(merged)])

    def _read(self, read: Callable[[], T]) -> T:
        """Return ``read()``, called while nothing changes the index."""
        with self.lock:
            if self._busy:  # re-entered by a destructor, between two steps of this thread's own change
                return read()
            self._busy = True
            try:
                found = read()
            finally:
                self._busy = False
        self._settle(wait=False)
        return found

    def subscriptions(self) -> list[Subscription]:
        """Return all subscriptions, in order of registration."""
        buckets = self._read(
            lambda: [tuple(bucket.items()) for bucket in (*self._index.values(), self._parked)]
        )
        found = {number: subscriber for bucket in buckets for number, subscriber in bucket}
        return [found[number] for number in sorted(found)]

    def following(self, identifier: Identifier) -> list[Subscription]:
        """Return the subscriptions of exactly `identifier`."""
        key = (identifier.namespace, identifier.name, identifier.action)
        return self._read(
            lambda: [
                *self._index.get(key, {}).values(),
                *(one for one in self._parked.values() if identifier in one.identifiers),
            ]
        )

    def attachments(self) -> list[Attachment]:
        """Return the attachments, in order of registration."""
        return self._read(lambda: list(self._attachments.values()))

    def interests(self) -> frozenset[Identifier]:
        """Return the identifiers that are followed here and whose messages may come over a link."""
        found = self._read(lambda: list(self._identifiers.values()))
        return frozenset(identifier for identifier in found if crosses(identifier))


def crosses(identifier: Identifier) -> bool:
    """Return whether messages of `identifier` may leave the process."""
    return not identifier.is_local and identifier.name != OBSERVED
