"""Routing: an index of the subscriptions, and a table of routes that publishing looks up.

A route is ``(identifier, entries)``: the parsed identifier and an immutable tuple of what to call, in order.
The table maps what a publisher writes to its route. It is bounded, and cleared by every registration and
cancellation, so that it never has to be updated in place. Messages that came over links have a table of their
own, for attachments and local names are left out of their routes.

Locks. `lock` is held only for a few dictionary operations, never while a follower, a guard, a link's
`matches` or a watcher runs. Adding and discarding go through the queue `_pending`. So what garbage collection
or a destructor does in the middle of such an operation (a weakly held object dies, a ``__del__`` cancels) is
queued, and applied by the thread that holds the lock: it neither deadlocks on itself nor sees a half-made
change.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import IdentifierError
from .failures import log_trouble
from .identifiers import WILDCARD, Identifier, parse_new
from .messages import Message
from .subscriptions import Entry, Subscription

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Ask", "Attachment", "First", "Registry", "Route"]

T = TypeVar("T")
Ask = Callable[[Message, "float | None"], "Future[list[Any]]"]
Key = tuple[str | None, str, str]
Route = tuple[Identifier, tuple[Entry, ...]]
ReceivedRoute = tuple[tuple[Subscription, ...], tuple[Subscription, ...]]

TABLE_SIZE = 4096
"""The most routes that a table holds. A full table is cleared: it fills again within milliseconds."""
OBSERVED = "berrymq"
"""The name of debug observation messages: they stay in the process, and are not observed themselves."""


class Attachment(Entry):
    """The subscription of a link: it gets each message published here whose identifier `matches`.

    Args:
        matches: called with an identifier when a route is computed.
        send: called with each message.
        refresh: has every route computed anew.
        name: names the link in the note of an error.
        ask: puts a question, if the link can; see `Gateway.attach`.
    """

    __slots__ = ("ask", "matches", "name", "refresh", "send")

    def __init__(
        self,
        matches: Callable[[Identifier], bool],
        send: Callable[[Message], Any],
        refresh: Callable[[], None],
        name: str,
        ask: Ask | None = None,
    ) -> None:
        super().__init__()
        self.matches = matches
        self.send = send
        self.refresh = refresh
        self.name = name
        self.ask = ask

    def _start(self, discard: Callable[[Entry], object]) -> None:
        """Begin to deliver."""
        super()._start(discard)
        self.place(self.send)

    def place(self, call: Callable[[Message], Any]) -> None:
        """Have `call` get the messages."""
        if self.active:
            self._deliver = call

    def describe(self) -> str:
        """Name the link, for the note on an error."""
        return self.name

    def _ask(self, message: Message, timeout: float | None, blocking: bool) -> Any:
        """See `Entry._ask`; the future is one of a list of answers."""
        if self.ask is None:
            return super()._ask(message, timeout, blocking)
        return self.ask(message, timeout)


class First(Entry):
    """The first entry of every route while there are observers: it sees messages that are muted, too."""

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
        self._pending: deque[tuple[Entry, bool]] = deque()
        self._index: dict[Key, dict[int, Subscription]] = {}
        self._identifiers: dict[Key, Identifier] = {}
        self._attachments: dict[int, Attachment] = {}
        self._mutes: tuple[Identifier, ...] = ()
        self._first: tuple[First, ...] = ()
        self._watchers: tuple[Callable[[], object], ...] = ()
        self._numbers = count()
        self._version = 0
        self._interest_changed = False

    def begin_child(self) -> None:
        """Start with an unheld lock in a forked child."""
        self.lock = threading.RLock()
        self._busy = False

    # -- changing --------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Put `entry` into the routes. It gets messages that are sent after this returns."""
        self._pending.append((entry, True))
        self._settle(wait=True)

    def discard(self, entry: Entry) -> None:
        """Take `entry` out of the routes; it never waits for another thread."""
        self._pending.append((entry, False))
        self._settle(wait=False)

    def refresh(self) -> None:
        """Have every route computed anew."""
        with self.lock:
            self._version += 1
            self._forget()
        self._settle(wait=False)

    def shift_mute(self, identifier: Identifier, by: int) -> None:
        """Count one mute more or less of what `identifier` matches."""
        with self.lock:
            mutes = list(self._mutes)
            if by > 0:
                mutes.append(identifier)
            else:
                mutes.remove(identifier)
            self._mutes = tuple(mutes)
        self.refresh()

    def set_first(self, entry: First | None) -> None:
        """Put `entry` before all others in every route, those of muted identifiers included."""
        self._first = () if entry is None else (entry,)
        self.refresh()

    def watch(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` whenever `interests` may have changed; return what ends that."""
        with self.lock:
            self._watchers = (*self._watchers, callback)

        def cancel() -> None:
            with self.lock:
                self._watchers = tuple(watcher for watcher in self._watchers if watcher is not callback)

        return cancel

    def _settle(self, *, wait: bool) -> None:
        # The thread that holds the lock checks the queue again after it has released it. So a change that
        # could not take the lock is applied by that thread, and none is left behind.
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
            self._interest_changed = False
            for watcher in self._watchers:
                try:
                    watcher()
                except Exception as error:  # noqa: BLE001  # not the fault of who follows, or stops to
                    log_trouble("a watcher of interests failed", error)

    def _apply(self) -> None:
        while self._pending:
            entry, adding = self._pending.popleft()
            if isinstance(entry, Attachment):
                if adding:
                    entry._number = next(self._numbers)
                    self._attachments[entry._number] = entry
                else:
                    self._attachments.pop(entry._number, None)
            else:
                assert isinstance(entry, Subscription)
                if adding:
                    entry._number = next(self._numbers)
                for identifier in entry.identifiers:
                    self._change(identifier, entry, adding)
        self._version += 1
        self._forget()

    def _forget(self) -> None:
        self.table.clear()
        self.received.clear()

    def _change(self, identifier: Identifier, entry: Subscription, adding: bool) -> None:
        key = (identifier.namespace, identifier.name, identifier.action)
        bucket = self._index.get(key)
        if adding:
            if bucket is None:
                bucket = self._index[key] = {}
                self._identifiers[key] = identifier
                self._interest_changed |= crosses(identifier)
            bucket[entry._number] = entry
        elif bucket is not None:
            bucket.pop(entry._number, None)
            if not bucket:
                del self._index[key], self._identifiers[key]
                self._interest_changed |= crosses(identifier)

    # -- looking up ------------------------------------------------------------------------------------------

    def find(self, raw: str | Identifier) -> Route:
        """Compute the route for what is not in the table, and put it there."""
        key: str | Identifier
        try:
            if type(raw) is str:
                identifier = parse_new(key := raw)  # the table of routes keeps it: no need for another cache
            else:
                identifier = Identifier.parse(raw)
                key = str.__str__(raw) if isinstance(raw, str) else identifier
        except IdentifierError as error:
            raise error from None  # the KeyError of the table is no concern of the caller
        attachments: tuple[Attachment, ...] = ()
        with self.lock:
            version = self._version
            busy, self._busy = self._busy, True  # what destructors change meanwhile has to wait
            try:
                entries = self._collect(identifier)
                if self._attachments and crosses(identifier) and not self._is_muted(identifier):
                    attachments = tuple(self._attachments.values())
            finally:
                self._busy = busy
            route = (identifier, entries)
            if not attachments:
                self._keep(key, route, version)
        if attachments:  # asked without the lock: `matches` is foreign code
            route = (identifier, (*entries, *(link for link in attachments if link.matches(identifier))))
            with self.lock:
                self._keep(key, route, version)
        if self._pending:
            self._settle(wait=False)
        return route

    def route_received(self, identifier: Identifier) -> ReceivedRoute:
        """The route of a message that came over a link; computed where it is not known yet."""
        return self.received.get(identifier.text) or self.find_received(identifier)

    def find_received(self, identifier: Identifier) -> ReceivedRoute:
        """Compute the route of a message that came over a link: who gets it at once, and who in its turn.

        Attachments get none of it, and a wildcard of it reaches no local names.
        """
        version = self._version
        wild = identifier.name == WILDCARD
        entries = [
            entry
            for entry in self.find(identifier)[1]
            if isinstance(entry, Subscription) and not (wild and not any(map(crosses, entry.identifiers)))
        ]
        route = (
            tuple([entry for entry in entries if entry.direct]),
            tuple([entry for entry in entries if not entry.direct]),
        )
        with self.lock:
            if version == self._version and not self._busy:
                if len(self.received) >= TABLE_SIZE:
                    self.received.clear()
                self.received[identifier.text] = route
        return route

    def _keep(self, key: str | Identifier, route: Route, version: int) -> None:
        # A change in between makes the route stale: good for the message that asked for it, which was
        # published before, and not for the next. The version tells.
        if version == self._version and not self._busy:
            if len(self.table) >= TABLE_SIZE:
                self.table.clear()
            self.table[key] = route

    def _is_muted(self, identifier: Identifier) -> bool:
        return bool(self._mutes) and any(mute.matches(identifier) for mute in self._mutes)

    def _collect(self, identifier: Identifier) -> tuple[Entry, ...]:
        entries: tuple[Entry, ...] = () if self._is_muted(identifier) else self._merge(identifier)
        if self._first and identifier.name != OBSERVED:
            entries = self._first + entries
        return entries

    def _merge(self, identifier: Identifier) -> tuple[Subscription, ...]:
        namespace, name, action = identifier.namespace, identifier.name, identifier.action
        get = self._index.get
        if WILDCARD in (name, action):  # a sender's wildcard reaches whatever is there
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
        """Return ``read()`` while nothing changes."""
        with self.lock:
            if self._busy:  # re-entered by a destructor: between two steps of this thread's own change
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
        buckets = self._read(lambda: [tuple(bucket.items()) for bucket in self._index.values()])
        found = {number: entry for bucket in buckets for number, entry in bucket}
        return [found[number] for number in sorted(found)]

    def following(self, identifier: Identifier) -> list[Subscription]:
        """Return the subscriptions of exactly `identifier`."""
        key = (identifier.namespace, identifier.name, identifier.action)
        return self._read(lambda: list(self._index.get(key, {}).values()))

    def attachments(self) -> list[Attachment]:
        """Return the attachments, in order of registration."""
        return self._read(lambda: list(self._attachments.values()))

    def interests(self) -> frozenset[Identifier]:
        """Return the identifiers that are followed here and whose messages may come over a link."""
        found = self._read(lambda: list(self._identifiers.values()))
        return frozenset(identifier for identifier in found if crosses(identifier))


def crosses(identifier: Identifier) -> bool:
    """True when messages of `identifier` may leave the process."""
    return not identifier.is_local and identifier.name != OBSERVED
