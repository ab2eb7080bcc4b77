"""Queues: they collect the messages that an identifier matches until these are taken.

No wait relies on the clock alone. Where a test freezes it, or it jumps, a wait still ends when the lock times
out in the operating system, as in the standard library.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, get_args

from . import scopes
from .conditions import Condition, conditions_of
from .errors import QueueClosed
from .process import process
from .shared_stores import SharedStore
from .stores import BoundedStore, Overflow, PriorityItems, Store
from .targets import QueueTarget

try:  # the class of the module `queue`, which loads much else
    from _queue import Empty
except ImportError:  # another implementation of Python
    from queue import Empty

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType
    from typing import Any, Self

    from .bus import Bus
    from .identifiers import Identifier
    from .introspection import QueueMember, QueueStats
    from .messages import Message
    from .subscriptions import Subscription

__all__ = ["Empty", "Queue"]

ALL = 1 << 30

_DURABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Queue:
    """Collects the messages that `identifier` matches, from now on, or with a past.

    Standalone queues each get a copy of a message. Those with ``shared=True`` and the same identifier share
    the messages: each goes to exactly one of them, in this process and, while it is linked to a hub, in all
    processes on that hub: to one that waits in `get` first, otherwise it waits at the hub. The bus holds a
    queue weakly: one without references does not collect.

    Over NATS (a link to ``nats://…``, or a hub that is linked there), shared queues are shared by all
    machines, and their messages wait on JetStream, for a day if there is no queue to take them. A message is
    taken, and acknowledged, when `get` returns it. What a process or hub that is killed or cut off had not
    taken goes to others within some seconds; a message that it had taken but not yet acknowledged is
    delivered again, so delivery is at least once. If the server has no JetStream, a warning is logged, and
    the queue is shared within the hub or the process alone.

    With ``durable="name"`` messages are stored from the first construction of a queue of that name on. One
    that is constructed again, later, in another process or on another machine, continues where the last one
    stopped. Several at a time take turns, as shared ones do; each name gets all messages. It needs NATS with
    JetStream. A name that is not used for 30 days is removed with its messages.

    Over a link to a hub, a message is taken when `get` returns it: if the process is killed then, the message
    is lost, or given to another process if that was not reported to the hub yet. Messages that were not taken
    are given to others when the process ends, closes its queue, or is disconnected for longer than the
    ``ttl`` of its link. A value that can't cross arrives as an `Opaque`, in this process too.

    Direct links (`init_connection`, `interconnect`) share nothing: a queue at each side gets a copy. While a
    shared queue is linked to a hub, it gets messages of the hub and of its own process, and none that arrive
    over direct links: their senders may be on the hub too, and would be served twice.

    Args:
        identifier: what is collected, or a joint condition.
        shared: whether it shares the messages with the other shared queues of the identifier.
        maxsize: the capacity in messages, of all that share it together; 0 for no bound.
        overflow: what happens to a message that finds the queue full: ``"drop_oldest"`` drops the oldest for
            it, ``"drop_newest"`` drops it (both count in `dropped`), ``"raise"`` raises `queue.Full` at the
            sender, ``"block"`` has the sender wait. A shared queue with one of the last two stays in its
            process.
        durable: the name of a durable queue: 1 to 64 letters, digits, ``-`` and ``_``. It implies *shared*.
        priority: takes a message and returns a number; the lowest comes out first, equal ones in order of
            arrival. Over a link it orders what was handed to this process, not what waits at the hub.
        guard: takes a message and decides whether it is collected.
        past: begin with so many of the newest messages that the hub retains, or with all of them for True;
            see `keep`.
        bus: where to collect, if not on the default bus.
        filter_id: the identifier, by its name of 2009.
    """

    def __init__(
        self,
        identifier: str | Identifier | Condition | None = None,
        shared: bool = False,
        *,
        maxsize: int = 0,
        overflow: Overflow = "drop_oldest",
        durable: str | None = None,
        priority: Callable[[Message], float] | None = None,
        guard: Callable[[Message], object] | None = None,
        past: bool | int = False,
        bus: Bus | None = None,
        filter_id: str | Identifier | None = None,
    ) -> None:
        if (identifier is None) == (filter_id is None):
            raise TypeError("a Queue takes one identifier; filter_id is another name for it")
        identifier = filter_id if identifier is None else identifier
        assert identifier is not None
        if overflow not in get_args(Overflow):
            raise ValueError(
                f"overflow is one of {', '.join(map(repr, get_args(Overflow)))}, not {overflow!r}"
            )
        if maxsize < 0:
            raise ValueError(f"maxsize is a number of messages, or 0 for no bound, not {maxsize}")
        bus = process.default_bus if bus is None else bus
        assert bus is not None
        self._identifiers, _ = conditions_of(identifier)
        if durable is not None:
            check_durable(durable, overflow, self._identifiers[0])
            shared = True
        self.durable = durable
        self.shared = shared
        self.maxsize = maxsize
        self.overflow: Overflow = overflow
        self._closed = False
        caller = sys._getframe(1)
        where = f"{caller.f_code.co_filename}:{caller.f_lineno}"

        def subscribe(store: Store, *, routed: bool = True) -> Subscription:
            subscription: Subscription = bus._subscribe(
                identifier,
                QueueTarget(store.put, "shared Queue" if shared else "Queue", where, store.close),
                guard=guard,
                # The thread of a link fills queues directly, unless a full one could block it.
                direct=overflow != "block",
                routed=routed,
                past=past,
            )
            store.on_close = subscription.cancel
            return subscription

        items = None if priority is None else PriorityItems(priority)
        self._store: Store
        if not shared:
            self._store = BoundedStore(maxsize, overflow, items) if maxsize else Store(items)
            subscribe(self._store)
            self._store.attach(self)
        else:
            if isinstance(identifier, Condition) or guard is not None:
                raise ValueError(
                    "a shared queue has a plain identifier and no guard: those that share it collect the same"
                )
            if past:
                raise ValueError("a shared queue has no past: what is retained would be taken twice")
            settings = (maxsize, overflow, priority)

            def open_store() -> SharedStore:
                store = SharedStore(self._identifiers[0], maxsize, overflow, items, durable or "")
                store.subscription = subscribe(store, routed=False)
                return store

            self._store = bus._shared_stores().open(
                self._identifiers[0], settings, open_store, self, durable or ""
            )
        self._items = self._store.items
        scope = scopes.owner()
        if scope is not None:
            scope.add(self)

    # -- taking ----------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> Message:
        """Take the next message; wait for one, at most `timeout` seconds, unless `block` is false.

        Raises `Empty` when none came, `QueueClosed` when none can come any more.
        """
        try:
            message = self._items.popleft()
        except IndexError:
            pass  # and wait outside of this block: else an interrupt would show this error as its context
        else:
            if self.maxsize:
                self._store.took()
            return message
        return self._wait(block, timeout)

    def get_nowait(self) -> Message:
        """Take the next message; raise `Empty` when there is none."""
        return self.get(False)

    def _wait(self, block: bool, timeout: float | None) -> Message:
        """Take the next message as `get` does, which has found none at once."""
        store = self._store
        if timeout is not None and timeout < 0:
            raise ValueError(f"timeout is a number of seconds from 0 on, or None, not {timeout}")
        if not block or timeout == 0:
            store.fetch(1)
        until = None if timeout is None else monotonic() + timeout
        over = not block
        while True:
            # A plain lock as a one-shot event: `threading.Event` costs a condition and a second lock.
            gate = threading.Lock()
            gate.acquire()
            wake = gate.release
            store.waiters.append(wake)
            try:
                message = self._take()  # after the append: see the rules in `stores`
                if message is not None:
                    return message
                if over:
                    if timeout is None or not block:
                        raise Empty(f"no message for {self.follows} is waiting")
                    raise Empty(f"no message for {self.follows} within {timeout:g} s")
                store.wait_begins(wake)
                if until is None or timeout is None:
                    gate.acquire()
                else:
                    left = max(0.0, min(until - monotonic(), timeout, threading.TIMEOUT_MAX))
                    # When the lock has timed out the wait is over, even if the clock has not advanced.
                    over = not gate.acquire(timeout=left)
            finally:
                store.stop_waiting(wake)

    def _take(self) -> Message | None:
        """Take and return a message, or None; raise `QueueClosed` when none can come any more."""
        try:
            message = self._items.popleft()
        except IndexError:
            if self._closed or self._store.closed:
                raise QueueClosed(f"this queue of {self.follows} is closed and empty") from None
            return None
        if self.maxsize:
            self._store.took()
        return message

    async def aget(self) -> Message:
        """Take the next message; wait for one without blocking the event loop.

        Raises `QueueClosed` when none can come any more.
        """
        import asyncio

        store = self._store
        loop = asyncio.get_running_loop()
        while True:
            future: asyncio.Future[None] = loop.create_future()

            def resolve(future: asyncio.Future[None] = future) -> None:
                if not future.done():
                    future.set_result(None)

            def wake(resolve: Callable[[], None] = resolve) -> None:
                try:
                    loop.call_soon_threadsafe(resolve)
                except RuntimeError:  # that loop is closed: pass the wake-up on
                    store.waiters.wake()

            store.waiters.append(wake)
            try:
                message = self._take()
                if message is not None:
                    return message
                store.wait_begins(wake)
                await future
            finally:
                store.stop_waiting(wake)

    def peek(self) -> Message:
        """Return the next message and leave it there; raise `Empty` when there is none.

        Another process may take it first, where the queue is shared over a link.
        """
        waiting = self._store.first(1)
        if not waiting:
            raise Empty(f"no message for {self.follows} is waiting")
        return waiting[0]

    def waiting(self, limit: int | None = None) -> list[Message]:
        """Return the messages in the queue without taking them, the next one first, at most `limit`.

        Of a queue that is shared over a link, those are at most 100 that wait at the hub.
        """
        return self._store.first(limit)

    def drain(self) -> list[Message]:
        """Take and return all messages that are there, without waiting for more."""
        taken: list[Message] = []
        while True:
            try:
                taken.append(self._items.popleft())
            except IndexError:
                if not self._store.fetch(ALL):
                    return taken
            else:
                if self.maxsize:
                    self._store.took()

    def __iter__(self) -> Iterator[Message]:
        """Take messages, waiting for each, until the queue is closed and empty."""
        while True:
            try:
                message = self.get()
            except QueueClosed:
                return
            yield message

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Take messages like iteration, without blocking the event loop while there is none."""
        while True:
            try:
                message = await self.aget()
            except QueueClosed:
                return
            yield message

    # -- state -----------------------------------------------------------------------------------------------

    @property
    def identifier(self) -> Identifier:
        """The identifier that it follows; of a joint condition, the first."""
        return self._identifiers[0]

    @property
    def follows(self) -> str:
        """What it follows, as text; the identifiers of a joint condition are joined by ``&``."""
        return " & ".join(identifier.text for identifier in self._identifiers)

    @property
    def dropped(self) -> int:
        """The number of messages dropped because the queue was full."""
        return self._store.counts()[2]

    @property
    def closed(self) -> bool:
        """True after `close`, or after its subscription has ended. What is in it can still be taken."""
        return self._closed or self._store.closed

    def qsize(self) -> int:
        """Return the number of messages in the queue; for a shared queue, that of the group."""
        return self._store.depth()

    def empty(self) -> bool:
        """Return whether there is no message."""
        return not self._store.depth()

    def full(self) -> bool:
        """Return whether the queue holds `maxsize` messages."""
        return 0 < self.maxsize <= self._store.depth()

    def stats(self) -> QueueStats:
        """Return a snapshot of the counters."""
        from .introspection import QueueStats

        size, received, dropped, waiting, deepest = self._store.counts()
        return QueueStats(size, self.maxsize, received, dropped, waiting, self.closed, deepest)

    def members(self) -> list[QueueMember]:
        """Return the members of a shared queue, this process included, as the hub has reported them last.

        The list is empty for a queue that is not shared over a link.
        """
        from .introspection import QueueMember

        return [QueueMember(*member) for member in self._store.members()]

    def close(self) -> None:
        """Collect nothing more, and wake all waiters. The messages in the queue can still be taken."""
        self._closed = True
        self._store.detach(id(self))
        if not self._store.closed:  # its messages belong to the other queues that share it
            self._items = deque()
            self._store.waiters.wake_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        shared = ", shared" if self.shared else ""
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        closed = ", closed" if self.closed else ""
        return f"<Queue {self.follows}{shared}, {self._store.counts()[0]} waiting{dropped}{closed}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copy would collect nothing

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Queue belongs to its process and cannot be pickled: make one where it is needed")


def check_durable(name: str, overflow: Overflow, identifier: Identifier) -> None:
    """Check the settings of a durable queue.

    Raises:
        ValueError: a setting is invalid.
    """
    if not _DURABLE.fullmatch(name):
        raise ValueError(f"the name of a durable queue has 1 to 64 letters, digits, - and _; not {name!r}")
    if overflow not in {"drop_oldest", "drop_newest"}:
        raise ValueError(f"a durable queue drops its oldest or newest message; overflow is not {overflow!r}")
    if identifier.is_local:
        raise ValueError(f"messages of {identifier} never leave the process, so they can't be stored")
