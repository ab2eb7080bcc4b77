"""What delivers for one bus in other threads, and the watchdog over it."""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from .failures import log_warning
from .process import Step, process
from .workers import DeliveryThread, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .subscriptions import Subscription
    from .workers import Deliverer, Failed, Waiter

__all__ = ["Background", "Pending"]

EXIT_SECONDS = 5.0
"""For how many seconds the interpreter waits for deliveries when it shuts down."""


class Watchdog:
    """Looks, once a second, at everything that runs deliveries in this process, while there is any."""

    seconds = 1.0

    def __init__(self) -> None:
        self._watched: WeakSet[DeliveryThread | WorkerPool] = WeakSet()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        process.on_fork(self.reset)

    def reset(self) -> None:
        """Start anew in a forked child, which has none of the parent's threads."""
        self._watched = WeakSet()
        self._thread = None
        self._lock = threading.RLock()

    def watch(self, deliverer: DeliveryThread | WorkerPool) -> None:
        """Look at `deliverer` until it says that there is nothing to look at."""
        with self._lock:
            self._watched.add(deliverer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="berrymq watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self.seconds)
            with self._lock:  # so that what begins to be watched just now stays so
                for one in list(self._watched):
                    if not one.look():
                        self._watched.discard(one)
                if not self._watched:
                    self._thread = None
                    return


watchdog = Watchdog()


class Pending:
    """Counts the deliveries that ``async def`` followers were given and have not finished."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count nothing, as in a forked child: the loops are the parent's."""
        self.backlog = 0
        self._loops: dict[int, int] = {}
        """The same by event loop, as its `id`."""
        self._none = threading.Condition(threading.RLock())  # a destructor may send in the middle of this

    def change(self, loop: object, by: int) -> None:
        """Count some more, or less, on `loop`."""
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
        """Wait until there are none; False when `timeout` passed first."""
        if self.backlog and id(running_loop()) in self._loops:
            raise RuntimeError(
                "drain() would wait for 'async def' followers on the event loop that it holds up: "
                "call it in another thread, as with 'await asyncio.to_thread(bus.drain)'"
            )
        with self._none:
            return self._none.wait_for(lambda: not self.backlog, timeout)


def running_loop() -> object:
    """Return the event loop that runs in this thread, or None, without loading `asyncio` for that."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


class Background:
    """What delivers for one bus in other threads: nothing, until something has to be.

    Args:
        name: what the threads are called after.
        failed: takes the error of a delivery.
        subscriptions: gives all that use these threads.
    """

    def __init__(
        self, name: str, failed: Failed, subscriptions: Callable[[], Iterable[Subscription]]
    ) -> None:
        self._chosen: Deliverer | None = None
        self.pending = Pending()
        self._failed = failed
        self._subscriptions = subscriptions
        self._name = name
        self._pool: WorkerPool | None = None
        self._lock = threading.RLock()
        self._thread = DeliveryThread(self._failed, f"{name} delivery", self._started)
        self.deliverer: Deliverer = self._thread
        """What runs the deliveries of links: what was chosen; else the pool; else the one thread."""

    def choose(self, deliverer: Deliverer | None) -> None:
        """Have `deliverer` deliver for links instead of the threads here; None: these again."""
        with self._lock:
            self._chosen = deliverer
            self._set_deliverer()

    def _set_deliverer(self) -> None:
        self.deliverer = self._chosen or self._pool or self._thread

    def _started(self, thread: DeliveryThread) -> None:
        self._finish_at_exit()
        watchdog.watch(thread)

    def wait_with(self, waiter: Waiter | None) -> None:
        """Have the delivery thread wait on a link while it has nothing to do; None: no longer."""
        self._thread.set_waiter(waiter)

    def _finish_at_exit(self) -> None:
        # Worker threads are daemons, so that one that hangs does not keep the interpreter from shutting down.
        process.at_exit(Step.DELIVERIES, self.finish)
        process.finish_in_children()

    def finish(self) -> None:
        """Finish what there is to deliver before the interpreter shuts down, within `EXIT_SECONDS`."""
        threads = [one for one in self._all() if one is not self.pending]  # event loops have ended already
        until = monotonic() + EXIT_SECONDS
        late = [one for one in threads if not one.drain(max(0.0, until - monotonic()))]
        if late:
            log_warning(f"shutting down with {self.backlog} deliveries unfinished")

    @property
    def multiplicity(self) -> int:
        """How many worker threads there are; 0 when followers run in the sender's thread."""
        pool = self._pool
        return 0 if pool is None else pool.size

    @property
    def backlog(self) -> int:
        """How many deliveries wait or run: here, with a deliverer that was chosen, and on event loops."""
        return sum([one.backlog for one in self._all()])

    def _all(self) -> list[Deliverer | Pending]:
        return [one for one in (self._pool, self._thread, self._chosen, self.pending) if one is not None]

    def set_multiplicity(self, number: int) -> None:
        """See `Bus.set_multiplicity`."""
        if number < 0:
            raise ValueError(f"multiplicity is a number of threads, or 0 for none, not {number}")
        with self._lock:
            former = self._pool
            if number and former is not None:
                former.resize(number)
                return
        if former is not None and threading.current_thread() not in former._threads:
            # So that no follower runs here while a worker still has an older message of it.
            former.drain()
        with self._lock:
            self._pool = None
            if number:
                self._finish_at_exit()
                self._pool = WorkerPool(self._failed, number, f"{self._name} worker", watchdog.watch)
            self._set_deliverer()
        for subscription in self._subscriptions():
            self._place(subscription)
        if former is not None:
            former.close()

    def adopt(self, subscription: Subscription) -> None:
        """Have a new subscription use the pool, if there is one."""
        if self._pool is not None:
            self._place(subscription)

    def _place(self, subscription: Subscription) -> None:
        with self._lock:  # so that the pool of now is what stays
            subscription._use_pool(self._pool)

    def drain(self, timeout: float | None = None) -> bool:
        """See `Bus.drain`."""
        until = None if timeout is None else monotonic() + timeout
        while True:
            for one in self._all():
                left = None if until is None else max(0.0, until - monotonic())
                if not one.drain(left):
                    return False
            # What ran on one may have submitted to another.
            if not self.backlog:
                return True

    def close(self) -> None:
        """End all threads, when they have finished what they have to do."""
        self.set_multiplicity(0)
        self._thread.close()

    def after_fork(self) -> None:
        """Do without the parent's threads: what waited for them is theirs to do."""
        self._lock = threading.RLock()
        self.pending.reset()
        self._thread = DeliveryThread(self._failed, f"{self._name} delivery", self._started)
        former, self._pool = self._pool, None
        self._set_deliverer()
        if former is not None:
            self.set_multiplicity(former.size)
