"""Deliveries outside the sender's thread: what runs them for one bus, how many there are, and their end.

A message that comes over a link has no thread of a caller to run its followers in. It goes to the deliverer
of the bus, the first there is of: the one chosen with `Background.choose` (a notebook's main thread), the
worker pool of `Bus.set_multiplicity`, or one delivery thread. Deliveries to ``async def`` followers run on
their event loops and are only counted here, by `Pending`.

Each `Bus` has one `Background`. Its methods may be called on any thread; `drain` and `close` refuse or skip
the threads that they would wait for.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

from .failures import log_warning
from .process import ForkSafeLock, Step, process

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from .delivery_thread import Deliverer, DeliveryThread, Failed, Waiter
    from .subscriptions import Subscription
    from .worker_pool import WorkerPool

__all__ = ["Background", "Pending", "running_loop"]

EXIT_SECONDS = 5.0
"""The most seconds that the interpreter waits for deliveries when it shuts down."""


class Pending:
    """Counts the unfinished deliveries to ``async def`` followers, of one bus over all event loops.

    Senders add on any thread, and loops subtract; the counts change under one lock.
    """

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Count nothing, as in a forked child: the loops are the parent's."""
        self.backlog = 0
        """The number of unfinished deliveries over all loops."""
        self._loops: dict[int, int] = {}
        """The backlog of each event loop, by its `id`."""
        self._none = threading.Condition(threading.RLock())  # a destructor may send in the middle of `change`

    def change(self, loop: object, by: int) -> None:
        """Add `by`, which may be negative, to the backlog of `loop`, and wake `drain` when all are empty."""
        with self._none:
            self.backlog += by
            left = self._loops.get(id(loop), 0) + by
            if left:
                self._loops[id(loop)] = left
            else:
                self._loops.pop(id(loop), None)
            if not self.backlog:
                self._none.notify_all()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the backlog is empty.

        Args:
            timeout: in seconds; None for no limit.

        Returns:
            False when the timeout passed first.

        Raises:
            RuntimeError: this thread runs an event loop that has to run for the backlog to become empty.
        """
        # Only its own loop would be blocked: on another one, or in a plain thread, waiting is fine.
        if self.backlog and id(running_loop()) in self._loops:
            raise RuntimeError(
                "drain() would wait for 'async def' followers on the event loop that it holds up: "
                "call it in another thread, as with 'await asyncio.to_thread(bus.drain)'"
            )
        with self._none:
            return self._none.wait_for(lambda: not self.backlog, timeout)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, or None; `asyncio` is not loaded for that.

    As long as `asyncio` is not loaded no loop of it can run. `get_running_loop` would raise for "none", which
    costs more than a small delivery.
    """
    loaded = sys.modules.get("asyncio")
    loop: asyncio.AbstractEventLoop | None = None if loaded is None else loaded._get_running_loop()
    return loop


class Background:
    """The deliverers of one bus. Each thread is started by the first delivery that needs it.

    Args:
        name: the first part of the threads' names.
        failed: takes the error of a delivery.
        subscriptions: returns the subscriptions of the bus, which use the worker pool.
    """

    def __init__(
        self, name: str, failed: Failed, subscriptions: Callable[[], Iterable[Subscription]]
    ) -> None:
        self.current: Deliverer | None = None
        """The present `deliverer`; None until it is needed, and again after a change."""
        self._chosen: Deliverer | None = None
        """What `choose` was given."""
        self.pending = Pending()
        """Counts the deliveries on event loops."""
        self._failed = failed
        self._subscriptions = subscriptions
        self._name = name
        self._thread: DeliveryThread | None = None
        """The delivery thread; None until the first delivery that needs it."""
        self._pool: WorkerPool | None = None
        """The worker pool; None while the multiplicity is 0."""
        self._waiter: Waiter | None = None
        """The link that the delivery thread waits on while it is idle."""
        self._lock = ForkSafeLock()

    @property
    def deliverer(self) -> Deliverer:
        """What runs the deliveries of links: what was chosen, else the worker pool, else one thread.

        The first use creates the thread object; `current` caches the result for the hot path of the bus.
        """
        with self._lock:
            self.current = self._chosen or self._pool or self._thread or self._make_thread()
            return self.current

    def choose(self, deliverer: Deliverer | None) -> None:
        """Have `deliverer` run the deliveries of links, as a notebook's main thread may.

        Args:
            deliverer: used from the next delivery on; what the former one has in its backlog stays there.
                None returns to the worker pool or the delivery thread.
        """
        with self._lock:
            self._chosen, self.current = deliverer, None

    def _make_thread(self) -> DeliveryThread:
        """Return the delivery thread; the first call creates it."""
        from .delivery_thread import DeliveryThread

        with self._lock:
            if self._thread is None:
                self._finish_at_exit()
                self._thread = DeliveryThread(self._failed, f"{self._name} delivery")
                self._thread.waiter = self._waiter
            return self._thread

    def wait_with(self, waiter: Waiter | None) -> None:
        """Have the delivery thread wait on a link while it is idle.

        Args:
            waiter: the link; None for none. It also applies to a thread that is created later.
        """
        with self._lock:
            self._waiter = waiter
            if self._thread is not None:
                self._thread.set_waiter(waiter)

    def _finish_at_exit(self) -> None:
        """Have `finish` called when this process ends."""
        # Worker threads are daemons, so that one that hangs does not block the shutdown of the interpreter.
        process.at_exit(Step.DELIVERIES, self.finish)
        process.finish_in_children()

    def finish(self) -> None:
        """Finish the backlog when the interpreter shuts down, in at most `EXIT_SECONDS`, or log the rest.

        An exit handler: event loops have ended already, so what they had left is not waited for.
        """
        threads = [
            one for one in self._deliverers() if one is not self.pending
        ]  # event loops have ended already
        until = monotonic() + EXIT_SECONDS
        late = [one for one in threads if not one.drain(max(0.0, until - monotonic()))]
        if late:
            log_warning(f"shutting down with {self.backlog} deliveries unfinished")

    @property
    def multiplicity(self) -> int:
        """The number of worker threads; 0 when followers run in the sender's thread."""
        pool = self._pool
        return 0 if pool is None else pool.size

    @property
    def backlog(self) -> int:
        """How many deliveries are unfinished: here, with a deliverer that was chosen, and on event loops."""
        return sum([one.backlog for one in self._deliverers()])

    def _deliverers(self) -> list[Deliverer | Pending]:
        """Return all that may have a backlog, in the order in which `drain` waits for them."""
        return [one for one in (self._pool, self._thread, self._chosen, self.pending) if one is not None]

    def set_multiplicity(self, number: int) -> None:
        """Start, resize or end the worker pool; see `Bus.set_multiplicity`.

        A pool that ends is drained before the subscriptions change over, so that no follower
        gets a newer message while a worker still has an older one for it.

        Args:
            number: of worker threads; 0 to deliver in the sender's thread.

        Raises:
            ValueError: `number` is negative.
        """
        if number < 0:
            raise ValueError(f"multiplicity is a number of threads, or 0 for none, not {number}")
        with self._lock:
            former = self._pool
            if number and former is not None:
                former.resize(number)
                return
        if former is not None and not former.is_current:
            # Before the change: else a follower could run here while a worker has an older message for it.
            former.drain()
        with self._lock:
            self._pool = self.current = None
            if number:
                from .worker_pool import WorkerPool

                self._finish_at_exit()
                self._pool = WorkerPool(self._failed, number, f"{self._name} worker")
        for subscription in self._subscriptions():
            self._assign_pool(subscription)
        if former is not None:
            former.close()

    def adopt(self, subscription: Subscription) -> None:
        """Have a new subscription use the worker pool, if there is one."""
        if self._pool is not None:
            self._assign_pool(subscription)

    def _assign_pool(self, subscription: Subscription) -> None:
        """Have a subscription use the present worker pool."""
        with self._lock:  # else a thread with an older pool could overwrite the present one
            subscription._use_pool(self._pool)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the backlog of every deliverer is empty; see `Bus.drain`.

        Args:
            timeout: seconds for all together; None for no limit.

        Returns:
            False when the timeout passed first.

        Raises:
            RuntimeError: called on a thread, or on the loop, that has a backlog to finish.
        """
        until = None if timeout is None else monotonic() + timeout
        while True:
            for one in self._deliverers():
                left = None if until is None else max(0.0, until - monotonic())
                if not one.drain(left):
                    return False
            # A delivery of one deliverer may have submitted to another that was drained before.
            if not self.backlog:
                return True

    def close(self) -> None:
        """Finish the backlog and end all threads; return when they have ended."""
        self.set_multiplicity(0)
        thread = self._thread
        if thread is not None:
            thread.close()

    def after_fork(self) -> None:
        """Discard the parent's threads and their backlog in a forked child; the parent delivers it.

        A worker pool is created again with the same number of threads.
        """
        self.pending.after_fork()
        self._thread = self.current = None
        former, self._pool = self._pool, None
        if former is not None:
            self.set_multiplicity(former.size)
