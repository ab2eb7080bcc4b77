"""The stores of shared queues: in this process, or, while a link shares them, members of a group elsewhere.

The store of a durable queue collects nothing in this process: its messages are stored at the other side.

A shared store that is not linked collects what its subscription gets. A link (an `Exchange`) takes the
subscriptions of all of them out of the routes, and from then on each has a `Membership` of a group at the
other side, which hands it jobs. Both changes are one step for the routes (`Registry.switch`). A thread that
has computed its route before still calls `SharedStore.put`, which passes the message on to the group.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Protocol

from .routes import crosses
from .stores import BoundedStore, Overflow, PriorityItems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .identifiers import Identifier
    from .messages import Message
    from .routes import Registry
    from .subscriptions import Subscription

__all__ = ["Exchange", "Membership", "SharedItems", "SharedStore", "SharedStores"]


class Membership(Protocol):
    """The part of a link for one shared store. Any thread may call it."""

    def put(self, message: Message) -> None:
        """Pass on to the group a message that was published here."""

    def take_backlog(self) -> None:
        """Pass on to the group what was collected here."""

    def take(self) -> Message:
        """Remove and return a job that was handed to this process; `IndexError` when there is none."""

    def waiters_changed(self) -> None:
        """Handle that a consumer here waits, or waits no longer."""

    def fetch(self, count: int) -> bool:
        """Have the group hand over up to `count` jobs now; return whether it has handed over some."""

    def depth(self) -> int:
        """Return the number of jobs in the group that were not taken."""

    def first(self, limit: int) -> list[Message]:
        """Return the jobs that are next, without taking them."""

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the counters of the group as far as they are known here; see `Store.counts`."""

    def members(self) -> list[tuple[str, int, int, int]]:
        """Return the members of the group; see `Store.members`."""

    def leave(self) -> None:
        """Return what was not taken; called in garbage collection too, so it must not wait for a lock."""


class Exchange(Protocol):
    """A link as shared stores see it."""

    def join(self, store: SharedStore) -> None:
        """Have a new store join its group, if this is still the exchange.

        Raises:
            ValueError: the group has other settings.
        """


class SharedItems:
    """The messages of a shared store, with the interface of a deque that queues use."""

    def __init__(self, items: deque[Message] | PriorityItems | None) -> None:
        self.inner: deque[Message] | PriorityItems = deque() if items is None else items
        self.membership: Membership | None = None

    def append(self, message: Message) -> None:
        """Add one message."""
        self.inner.append(message)

    def popleft(self) -> Message:
        """Remove and return the next message; `IndexError` when there is none."""
        membership = self.membership
        return self.inner.popleft() if membership is None else membership.take()

    def drop_oldest(self) -> Message:
        """Remove and return the message that came first; `IndexError` when there is none."""
        inner = self.inner
        return inner.popleft() if isinstance(inner, deque) else inner.drop_oldest()

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Message:
        return self.inner[index]

    def __iter__(self) -> Iterator[Message]:
        return iter(self.inner)


class SharedStore(BoundedStore):
    """The store of all shared queues of one identifier on one bus.

    Args:
        identifier: what they collect.
        maxsize: their capacity in messages; 0 for no bound.
        overflow: what happens to a message that finds it full; see `Queue`.
        items: what holds the messages, if not a deque.
        durable: the name of a durable queue; else "".
    """

    def __init__(
        self,
        identifier: Identifier,
        maxsize: int,
        overflow: Overflow,
        items: deque[Message] | PriorityItems | None = None,
        durable: str = "",
    ) -> None:
        self.durable = durable
        self.shared_items = SharedItems(items)
        super().__init__(maxsize or sys.maxsize, overflow, self.shared_items)
        self.identifier = identifier
        self.capacity = maxsize
        self.subscription: Subscription | None = None
        self.blocked: dict[Callable[[], object], None] = {}
        """Consumers that wait for a message, each as the function that wakes it."""
        self.routed = False
        """Whether the subscription is in the routes; changed in `Registry.switch` alone."""

    @property
    def membership(self) -> Membership | None:
        """Its membership of a group; None while it collects here."""
        return self.shared_items.membership

    @membership.setter
    def membership(self, membership: Membership | None) -> None:
        self.shared_items.membership = membership

    @property
    def can_cross(self) -> bool:
        """Whether a link can share it: a follower elsewhere must not make a sender here raise or wait."""
        return self.overflow in ("drop_oldest", "drop_newest") and crosses(self.identifier)

    def put(self, message: Message) -> None:
        """Add one message here, or pass it on to the group."""
        membership = self.membership
        if membership is not None:
            membership.put(message)
            return
        super().put(message)
        membership = self.membership
        if membership is not None:  # joined in between, perhaps after `take_backlog`
            membership.take_backlog()

    def collect(self, message: Message) -> None:
        """Add one message here."""
        super().put(message)

    def wait_begins(self, wake: Callable[[], object]) -> None:
        """Have the group know that a consumer here waits."""
        self.blocked[wake] = None
        membership = self.membership
        if membership is not None:
            membership.waiters_changed()

    def stop_waiting(self, wake: Callable[[], object]) -> None:
        """Remove a waiter; see `Store.stop_waiting`."""
        super().stop_waiting(wake)
        if self.blocked.pop(wake, wake) is None:
            membership = self.membership
            if membership is not None:
                membership.waiters_changed()

    def fetch(self, count: int) -> bool:
        """Have up to `count` jobs of the group come here; return whether some have come."""
        membership = self.membership
        return membership is not None and not self.closed and membership.fetch(count)

    def depth(self) -> int:
        """Return the number of messages that wait, in the group or here."""
        membership = self.membership
        return super().depth() if membership is None else membership.depth()

    def first(self, limit: int | None) -> list[Message]:
        """Return the messages that wait, the next one first; of a group, those that it shows."""
        membership = self.membership
        return super().first(limit) if membership is None else membership.first(limit or sys.maxsize)

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the counters of `Store.counts`, of the group while there is one."""
        membership = self.membership
        return super().counts() if membership is None else membership.counts()

    def members(self) -> list[tuple[str, int, int, int]]:
        """Return the members of the group, if there is one."""
        membership = self.membership
        return [] if membership is None else membership.members()

    def close(self) -> None:
        """Add nothing more, and wake all waiters. What a group has handed over goes back to it."""
        membership = self.membership
        if membership is not None:
            membership.leave()
        super().close()


class SharedStores:
    """The shared stores of one bus, one for each identifier, and for each name of a durable queue of it.

    Args:
        registry: of the bus.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[tuple[Identifier, str], tuple[tuple[object, ...], SharedStore]] = {}
        self._exchange: Exchange | None = None

    def open(
        self,
        identifier: Identifier,
        settings: tuple[object, ...],
        open_store: Callable[[], SharedStore],
        front: object,
        durable: str = "",
    ) -> SharedStore:
        """Return the store of `identifier`, open for as long as the queue `front` is.

        Args:
            identifier: what it collects.
            settings: those that all queues that share it have in common.
            open_store: opens a new store.
            front: the queue.
            durable: the name of a durable queue.

        Raises:
            ValueError: the queues that share it have other settings.
        """
        while True:
            key = identifier, durable
            known = self._known.get(key) or self._add(key, (settings, open_store()))
            if known[0] != settings:
                raise ValueError(
                    "the shared queue of {} has maxsize={}, overflow={!r} and priority={!r}: "
                    "all queues that share it have the same settings".format(identifier, *known[0])
                )
            if known[1].attach(front):  # else its last queue was detached just now
                return known[1]

    def _add(
        self, key: tuple[Identifier, str], mine: tuple[tuple[object, ...], SharedStore]
    ) -> tuple[tuple[object, ...], SharedStore]:
        """Add a store, unless another thread was faster; return the one that is known."""
        # The store was opened without a lock held, since that calls hooks and watchers. When two threads do
        # so at the same time, the second store is discarded.
        store = mine[1]
        cancel = store.on_close

        def on_close() -> None:
            if self._known.get(key) is mine:
                del self._known[key]
            cancel()

        store.on_close = on_close
        known = self._known.setdefault(key, mine)
        if known is not mine:
            store.close()
            return known
        try:
            self._begin(store)
        except ValueError:
            store.close()
            raise
        return known

    def _begin(self, store: SharedStore) -> None:
        """Have a new store collect here, or join its group.

        Raises:
            ValueError: its group has other settings, or a durable queue has no group.
        """

        def step() -> list[tuple[Subscription, bool]]:
            return self._route([store], here=self._exchange is None or not store.can_cross)

        self._registry.switch(step)
        exchange = self._exchange
        if exchange is not None and not store.routed:
            exchange.join(store)
        elif store.durable:
            raise ValueError(
                "a durable queue needs a link to NATS with JetStream: make one first, such as "
                "berrymq.link('nats://localhost')"
            )

    def _route(self, stores: list[SharedStore], *, here: bool) -> list[tuple[Subscription, bool]]:
        """Return the changes by which stores collect here, or do not; in `Registry.switch`."""
        changes = []
        for store in stores:
            subscription = store.subscription
            if here and store.durable:
                continue  # its messages come from the link alone
            if subscription is not None and subscription.active and (not here or not store.routed):
                store.routed = here
                changes.append((subscription, here))
        return changes

    def stores(self) -> list[SharedStore]:
        """Return all stores."""
        return [store for _, store in self._known.copy().values()]

    def share(
        self, exchange: Exchange, choose: Callable[[list[SharedStore]], list[SharedStore]]
    ) -> list[SharedStore] | None:
        """Have a link share stores from now on, those too that are opened later.

        Args:
            exchange: the link.
            choose: called in the same step with all stores; returns those that collect here no longer, each
                with its membership set.

        Returns:
            Those; None if another link shares them already.
        """
        chosen: list[SharedStore] = []

        def step() -> list[tuple[Subscription, bool]]:
            if self._exchange not in (None, exchange):
                return []
            self._exchange = exchange
            chosen.extend(choose(self.stores()))
            return self._route(chosen, here=False)

        self._registry.switch(step)
        return chosen if self._exchange is exchange else None

    def unshare(
        self,
        exchange: Exchange,
        release: Callable[[list[SharedStore]], object],
        store: SharedStore | None = None,
    ) -> None:
        """Have stores collect here again.

        Args:
            exchange: the link that has shared them.
            release: called in the same step with the stores; ends their memberships.
            store: this one alone.
        """

        def step() -> list[tuple[Subscription, bool]]:
            if self._exchange is not exchange:
                return []
            if store is None:
                self._exchange = None
            stores = self.stores() if store is None else [store]
            release(stores)
            return self._route([one for one in stores if not one.closed], here=True)

        self._registry.switch(step)
