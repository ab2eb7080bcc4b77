"""Which thread runs the deliveries of a bus that have no caller, and how many there are."""

from __future__ import annotations

import sys
import threading
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from .failures import log_trouble
from .leaving import Step, at_exit
from .workers import Deliverer, DeliveryThread, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .failures import OnError
    from .followers import Subscription

__all__ = ["Background"]


AT_EXIT = 5.0
"""For how many seconds the interpreter waits for deliveries when it leaves."""

_started: WeakSet[Background] = WeakSet()


class Pending:
    """Counts the deliveries that ``async def`` followers were given and have not finished."""

    def __init__(self) -> None:
        self.backlog = 0
        self.loops: dict[int, int] = {}
        """The same by event loop, as its `id`."""
        self._none = threading.Condition(threading.RLock())  # a destructor may send in the middle of this

    def change(self, loop: object, by: int) -> None:
        """Count some more, or less, on `loop`."""
        with self._none:
            self.backlog += by
            left = self.loops.get(id(loop), 0) + by
            if left:
                self.loops[id(loop)] = left
            else:
                self.loops.pop(id(loop), None)
            if not self.backlog:
                self._none.notify_all()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until there are none; False when `timeout` passed first."""
        if self.backlog and id(running_loop()) in self.loops:
            raise RuntimeError(
                "drain() would wait for 'async def' followers on the event loop that it holds up: "
                "call it in another thread, as with 'await asyncio.to_thread(bus.drain)'"
            )
        with self._none:
            return self._none.wait_for(lambda: not self.backlog, timeout)

    def after_fork(self) -> None:
        """Count nothing in a forked child: the loops are the parent's."""
        self.__init__()  # type: ignore[misc]  # the same as a new one, which the followers would not know


class Background:
    """The worker threads of one bus: none, until something has to be delivered by one.

    Args:
        name: what the threads are called after.
        failed: takes the error of a delivery.
        subscriptions: gives all that use these threads.
    """

    def __init__(
        self, name: str, failed: OnError, subscriptions: Callable[[], Iterable[Subscription]]
    ) -> None:
        self.chosen: Deliverer | None = None
        self._failed = failed
        self._subscriptions = subscriptions
        self._name = name
        self._thread: DeliveryThread | None = None
        self._pool: WorkerPool | None = None
        self._lock = threading.RLock()
        self.pending = Pending()

    @property
    def deliverer(self) -> Deliverer:
        """What was chosen; else the pool; else the one thread."""
        return self.chosen or self._pool or self._thread or self._make_thread()

    def _make_thread(self) -> DeliveryThread:
        with self._lock:
            if self._thread is None:
                self._finish_at_exit()
                self._thread = DeliveryThread(self._failed, f"{self._name} delivery")
            return self._thread

    def _finish_at_exit(self) -> None:
        # Worker threads are daemons, so that one that hangs does not keep the interpreter from leaving.
        finish_at_exit()
        _started.add(self)

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
        return [one for one in (self.pending, self._pool, self._thread, self.chosen) if one is not None]

    def set_multiplicity(self, number: int) -> None:
        """See `Bus.set_multiplicity`."""
        if number < 0:
            raise ValueError(f"multiplicity is a number of threads, or 0 for none, not {number}")
        with self._lock:
            former = self._pool
            if number and former is not None:
                former.resize(number)
                return
            self._pool = None
            if number:
                self._finish_at_exit()
                self._pool = WorkerPool(self._failed, number, f"{self._name} worker")
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
            pool = self._pool
            subscription.use_pool(None if pool is None else pool.submit)

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
        thread = self._thread
        if thread is not None:
            thread.close()

    def after_fork(self) -> None:
        """Do without the parent's threads: what waited for them is theirs to do."""
        self._lock = threading.RLock()
        self.pending.after_fork()
        self._thread = None
        former, self._pool = self._pool, None
        if former is not None:
            self.set_multiplicity(former.size)


def running_loop() -> object:
    """Return the event loop that runs in this thread, or None, without loading `asyncio` for that."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


@cache
def finish_at_exit() -> None:
    """Have `finish_all` called, once, when the interpreter leaves."""
    at_exit(Step.DELIVERIES, finish_all)


def finish_all() -> None:
    """Let all worker threads finish what they have to do before the interpreter leaves, for a while."""
    until = monotonic() + AT_EXIT
    for background in list(_started):
        if not background.drain(max(0.0, until - monotonic())):
            log_trouble(
                "the interpreter leaves", TimeoutError(f"{background.backlog} deliveries are not finished")
            )
