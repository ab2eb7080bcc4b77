"""The delivery thread of a bus: it runs the deliveries of links, one at a time and in order.

A link hands over the messages of a batch in one call, `DeliveryThread.submit_many`; the thread runs the
followers, so that a slow one does not stall the link's event loop. While it is idle it may wait on the link's
socket itself (`Waiter`): a message is then read and delivered by one thread.

Here too is the interface of a deliverer, which a worker pool and the main thread of a notebook share.

Invariants: `submit_many`, `drain` and `close` may be called on any thread. Only the present delivery thread,
`_thread`, takes deliveries, so that part works without the lock. The lock is never held while a follower
runs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from .failures import log_error
from .subscriptions import PLAIN, Subscription
from .watchdog import HUNG_SECONDS, log_hung, watchdog

if TYPE_CHECKING:
    from .messages import Message

__all__ = ["Deliverer", "Deliveries", "Delivery", "DeliveryThread", "Failed", "Waiter"]

Delivery = tuple[Subscription, "Message"]
"""A subscription, and the message that it gets."""
Failed = Callable[[Subscription, "Message", BaseException], object]
"""Reports the error of a delivery that has no caller."""


class Deliveries(Protocol):
    """Several deliveries, to be iterated over once; each may be made when its turn comes."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Delivery]:
        """Yield them in order."""


class Deliverer(Protocol):
    """Runs deliveries outside the sender's thread; ``bus.gateway.deliverer`` takes any such object.

    Implementations are `DeliveryThread`, `WorkerPool`, and the main thread of a notebook
    (`berrymq_jupyter.main_thread`). All methods may be called on any thread.
    """

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet."""

    def submit_many(self, deliveries: Deliveries) -> None:
        """Add deliveries, to be run in order by ``subscription.run(message)``; return at once.

        Args:
            deliveries: iterated over once, perhaps later and on another thread.
        """

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the backlog is empty.

        Args:
            timeout: in seconds; None for no limit.

        Returns:
            False when the timeout passed first.
        """

    def close(self, wait: bool = True) -> None:
        """Finish the backlog and stop.

        Args:
            wait: whether to return only when that is done.
        """


class Waiter(Protocol):
    """What a delivery thread waits on while it is idle: a link.

    A message that comes over that link is then read and delivered by one thread, without a wake-up.
    """

    def wait(self, has_work: Callable[[], bool], timeout: float) -> bool:
        """Wait for `has_work`, `wake` or the timeout; called on the delivery thread.

        Args:
            has_work: returns whether there is something to deliver; checked whenever the wait is interrupted.
            timeout: in seconds.

        Returns:
            False, at once, if it can't wait: the link is closed, or another thread waits on it.
        """

    def wake(self) -> None:
        """End the waiting; may be called on any thread."""


class DeliveryThread:
    """One daemon thread that runs deliveries in the order of their submission.

    It starts with the first delivery, and ends when there has been none for `idle_timeout`, or after `close`;
    the next delivery starts another. A delivery that hangs is left to its thread, and a new thread runs the
    rest; see `look`.

    Args:
        failed: takes the error of a delivery; called on the delivery thread.
        name: of the thread.
    """

    idle_timeout = 5.0
    """The seconds that an idle thread waits before it ends."""

    def __init__(self, failed: Failed, name: str = "berrymq delivery") -> None:
        self._failed = failed
        self._name = name
        self._lock = threading.RLock()  # a destructor may send in the middle of a `submit`
        self._work = threading.Condition(self._lock)
        """Notified when the thread has something to do."""
        self._idle = threading.Condition(self._lock)
        """Notified when the backlog may be empty."""
        self._batches: deque[Iterator[Delivery]] = deque()
        """Submitted, and not begun."""
        self._batch: Iterator[Delivery] = iter(())
        """The batch whose deliveries are run; a thread that replaces a hung one continues it."""
        self._submitted = 0
        """The number of deliveries submitted so far; changed with the lock held."""
        self._taken = 0
        """Of those submitted; changed by the delivery thread alone, so without the lock."""
        self._current: Delivery | None = None
        """The delivery that runs, which `backlog` counts; the last one, until the thread becomes idle."""
        self._thread: threading.Thread | None = None
        """The present thread, or None. A thread that finds another one here has been replaced."""
        self._waiting = False
        """Whether the thread waits on `_work` and has not been notified yet."""
        self._closed = False
        self.waiter: Waiter | None = None
        """What to wait on while there is nothing to deliver."""
        self._in_waiter = False
        """Whether the thread waits on `waiter`, or is about to."""
        self._hung: dict[Subscription, deque[Message]] = {}
        """Messages for followers that hang; the hung thread delivers them when it returns."""
        self._looks: tuple[Delivery | None, int] = (None, 0)
        """The delivery that the watchdog saw running, and how many times in a row."""

    @property
    def backlog(self) -> int:
        """How many deliveries are submitted and not finished, except to cancelled followers that hang."""
        hung = sum([1 + len(waiting) for one, waiting in self._hung.copy().items() if one.active])
        return self._submitted - self._taken + (self._current is not None) + hung

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the delivery thread."""
        return threading.current_thread() is self._thread

    def has_work(self) -> bool:
        """Return whether there is something to deliver, or the thread has to end."""
        return self._submitted != self._taken or self._closed

    def submit_many(self, deliveries: Deliveries) -> None:
        """Add deliveries with one lock and one wake-up; start the thread if there is none; return at once.

        After `close` it starts a thread again, so that a late message is delivered.

        Args:
            deliveries: iterated over on the delivery thread.
        """
        with self._lock:
            self._batches.append(iter(deliveries))
            self._submitted += len(deliveries)
            if self._waiting:
                self._waiting = False
                self._work.notify()
                return
            if self._in_waiter:
                if threading.current_thread() is not self._thread:
                    self._wake_waiter()
                return
            if self._thread is not None or not self._batches:
                return
            self._closed = False
            self._start()
        # Without the lock: the watchdog calls `look`, which takes this lock, while it holds its own.
        watchdog.watch(self)

    def _start(self) -> None:
        """Start a thread, with the lock held."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Run deliveries until the thread has to end; its target."""
        me = threading.current_thread()
        take = self._batches.popleft
        hung = self._hung
        while self._wait_for_work():
            # No lock per delivery, which would cost more than the call of a small follower: only this thread
            # takes deliveries, and `popleft` is atomic. The watchdog may have replaced it during a delivery,
            # so it checks `_thread` before it takes the next.
            while True:
                delivery = next(self._batch, None)
                if delivery is None:
                    try:
                        self._batch = take()
                    except IndexError:
                        break
                    continue
                self._current = subscription, message = delivery  # before it counts as taken, for `drain`
                self._taken += 1
                if hung and self._postpone(subscription, message):
                    continue
                try:
                    if message._callback is None:  # `Subscription.run`, without the call
                        call = subscription._call
                        result = call(message)
                        if result is not None and type(result) not in PLAIN:
                            subscription._check_result(result, message)
                    else:
                        subscription.run(message)
                except BaseException as error:  # noqa: BLE001  # even SystemExit: it has no caller, and the thread has to go on
                    self._failed(subscription, message, error)
                if self._thread is not me:
                    self._catch_up(subscription)
                    return
            delivery = subscription = message = result = None  # type: ignore[assignment]  # an idle thread holds no references

    def _wait_for_work(self) -> bool:
        """Wait for deliveries, on the link if there is one, else on the condition.

        Returns:
            False when the thread has to end: it was idle for `idle_timeout`, or closed.
        """
        while True:
            with self._lock:
                if self._submitted != self._taken:
                    return True
                self._current = None
                self._idle.notify_all()
                waiter = self.waiter
                if self._closed or waiter is None:
                    if not self._wait_idle():
                        return False
                    continue
                self._in_waiter = True
            try:
                waited = waiter.wait(self.has_work, self.idle_timeout)
            except Exception as error:  # noqa: BLE001  # an error in a link must not end all deliveries
                log_error("the delivery thread can't wait on the link", error)
                waited, self.waiter = False, None
            finally:
                # Without the lock: a thread that still reads True calls `wake` once too often, which is
                # harmless; its deliveries are found in the next round.
                self._in_waiter = False
            if not waited:  # the link is closed, or another thread waits on it
                with self._lock:
                    if self._submitted == self._taken and not self._wait_idle():
                        return False

    def _wait_idle(self) -> bool:
        """Wait for `submit_many`, with the lock held; return False when the thread has to end."""
        # A submission clears `_waiting`: of several before this thread has the lock again, only the first one
        # notifies it.
        self._waiting = not self._closed
        if self._closed or (not self._work.wait(self.idle_timeout) and self._submitted == self._taken):
            self._waiting = False
            self._thread = None
            return False
        self._waiting = False
        return True

    def set_waiter(self, waiter: Waiter | None) -> None:
        """Wait on `waiter` from now on, on no link for None; end a wait on the former one."""
        with self._lock:
            if self._in_waiter:
                self._wake_waiter()
            self.waiter = waiter
            if self._waiting:
                self._waiting = False
                self._work.notify()

    def _wake_waiter(self) -> None:
        """Make the thread return from `Waiter.wait`, unless it is the one that calls."""
        waiter = self.waiter
        if waiter is not None and not self.is_current:
            waiter.wake()

    def _postpone(self, subscription: Subscription, message: Message) -> bool:
        """Add a message to the backlog of a follower that hangs; return False when it does not hang."""
        with self._lock:
            waiting = self._hung.get(subscription)
            if waiting is None:
                return False
            if subscription.active:
                waiting.append(message)
            return True

    def _catch_up(self, subscription: Subscription) -> None:
        """Deliver what came for a follower while it hung, on the thread that it hung on, which ends then."""
        while True:
            with self._lock:
                waiting = self._hung[subscription]
                if not waiting:
                    del self._hung[subscription]
                    self._idle.notify_all()
                    return
                message = waiting.popleft()
            try:
                subscription.run(message)
            except BaseException as error:  # noqa: BLE001  # as in `_run`
                self._failed(subscription, message, error)

    def look(self) -> bool:
        """Replace the thread if its delivery hangs; called by the watchdog once a second.

        A delivery hangs when `HUNG_SECONDS` looks in a row have found it. The new thread runs the rest,
        except for messages to the follower that hangs: these wait in `_hung`, and the hung thread delivers
        them, in order, when the follower returns. Those of a cancelled follower are discarded.

        Returns:
            Whether there is still something to watch.
        """
        with self._lock:
            for one, waiting in self._hung.items():
                if not one.active:
                    waiting.clear()
            if any(not one.active for one in self._hung):
                self._idle.notify_all()
            current, (former, count) = self._current, self._looks
            self._looks = current, (count + 1 if current is former and current is not None else 0)
            if current is not None and self._looks[1] >= HUNG_SECONDS:
                subscription, message = current
                # The hung thread sees that `_thread` is another one when it returns, and takes nothing more.
                self._looks = None, 0
                self._hung[subscription] = deque()
                self._current = None
                self._start()
            else:
                return self._thread is not None or bool(self._hung)
        log_hung(subscription, message)
        return True

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the backlog is empty.

        Args:
            timeout: in seconds; None for no limit.

        Returns:
            False when the timeout passed first.

        Raises:
            RuntimeError: called on the delivery thread, which would wait for itself.
        """
        if self.is_current:
            raise RuntimeError("drain() waits for the delivery thread: it cannot be called on it")
        with self._lock:
            return self._idle.wait_for(lambda: not self.backlog, timeout)

    def close(self, wait: bool = True) -> None:
        """Finish the backlog and stop.

        Args:
            wait: whether to return only when the thread has ended; without effect on the delivery thread
                itself.
        """
        with self._lock:
            self._closed = True
            self._work.notify_all()
            if self._in_waiter:
                self._wake_waiter()
        while wait:
            thread = self._thread
            if thread is None or thread is threading.current_thread():
                return
            thread.join()  # then check again: a thread that hung was replaced
