"""Deliveries without a caller: one thread in order, or a pool of workers.

A follower that does not return must not keep the others from their messages. So a watchdog looks at what
runs: a delivery that has run for `HUNG_SECONDS` is named in the log, and another thread goes on with the
rest. What comes for that very follower waits until it returns, so that it sees its messages one at a time and
in order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from .failures import log_trouble, log_warning
from .subscriptions import PLAIN, Subscription

if TYPE_CHECKING:
    from .messages import Message

__all__ = ["Deliverer", "Delivery", "DeliveryThread", "Failed", "Waiter", "WorkerPool"]

Delivery = tuple[Subscription, "Message"]
Failed = Callable[[Subscription, "Message", BaseException], object]
Watch = Callable[[Any], object]

HUNG_SECONDS = 5
"""For how many seconds one delivery may keep the others waiting."""


class Deliverer(Protocol):
    """Runs deliveries for a bus, somewhere and some time; ``bus.gateway.deliverer`` takes any such object."""

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet."""

    def submit(self, subscription: Subscription, message: Message) -> None:
        """Take over one delivery, that is to call ``subscription.run(message)``; it returns at once."""

    def submit_many(self, deliveries: Iterable[Delivery]) -> None:
        """Take over several deliveries, as one; it returns at once."""

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is submitted and unfinished; False when `timeout` seconds passed first."""

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted and stop; with `wait`, return when that is done."""


class Waiter(Protocol):
    """Where a delivery thread waits while it has nothing to do: on a link.

    What comes over the link is then read and delivered by this thread alone.
    """

    def wait(self, has_work: Callable[[], bool], timeout: float) -> bool:
        """Wait until there is work, or `wake` is called, or so many seconds have passed.

        False, at once, where there is nothing to wait for.
        """

    def wake(self) -> None:
        """End the waiting; on any thread."""


# -- one thread ----------------------------------------------------------------------------------------------


class DeliveryThread:
    """One daemon thread that runs deliveries in the order of their submission.

    It starts with the first one, and ends when there has been none for a while, or after `close`; the next
    starts another.

    Args:
        failed: takes the error of a delivery.
        name: of the thread.
        watch: is called with this when there is something to `look` at.
    """

    idle_timeout = 5.0
    """For how many seconds an idle thread waits before it ends."""

    def __init__(self, failed: Failed, name: str = "berrymq delivery", watch: Watch = lambda _: None) -> None:
        self._failed = failed
        self._watch = watch
        self._name = name
        self._lock = threading.RLock()  # a destructor may send in the middle of a `submit`
        self._work = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._items: deque[Delivery] = deque()
        self._current: Delivery | None = None
        """What runs, so that `backlog` counts it; the last one, until the thread finds nothing to do."""
        self._thread: threading.Thread | None = None
        self._waiting = False
        self._closed = False
        self.waiter: Waiter | None = None
        """Where to wait while there is nothing to deliver; see `Waiter`."""
        self._elsewhere = False
        self._hung: dict[Subscription, deque[Message]] = {}
        """Messages for followers that hang; the hung thread goes on with them when it returns."""
        self._looks: tuple[Delivery | None, int] = (None, 0)

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet, those of cancelled hung ones aside."""
        hung = sum([1 + len(waiting) for one, waiting in self._hung.copy().items() if one.active])
        return len(self._items) + (self._current is not None) + hung

    def has_work(self) -> bool:
        """Whether there is something to deliver, or the thread has to end."""
        return bool(self._items) or self._closed

    def submit(self, subscription: Subscription, message: Message) -> None:
        """Take over one delivery; it returns at once."""
        self.submit_many(((subscription, message),))

    def submit_many(self, deliveries: Iterable[Delivery]) -> None:
        """Take over several deliveries with one lock and one wake-up; it returns at once."""
        with self._lock:
            self._items.extend(deliveries)
            if self._waiting:
                self._waiting = False
                self._work.notify()
                return
            if self._elsewhere:
                if threading.current_thread() is not self._thread:
                    self._leave_waiter()
                return
            if self._thread is not None or not self._items:
                return
            self._closed = False
            self._start()
        self._watch(self)  # without the lock: the watchdog takes it while it holds its own

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        me = threading.current_thread()
        take = self._items.popleft
        hung = self._hung
        while self._wait_for_work():
            # No lock per delivery: this thread is the only one that takes, and taking is atomic. When it is
            # taken for hung it is replaced, and looks whether it was after each delivery.
            while True:
                try:
                    self._current = subscription, message = take()
                except IndexError:
                    break
                if hung and self._postpone(subscription, message):
                    continue
                try:
                    if message._callback is None:  # `Subscription.run`, without the call
                        call = subscription._call
                        result = call(message)
                        if result is not None and type(result) not in PLAIN:
                            subscription._look_at(result, message)
                    else:
                        subscription.run(message)
                except BaseException as error:  # noqa: BLE001  # no caller to hand SystemExit to, and the thread has to go on
                    self._failed(subscription, message, error)
                if self._thread is not me:
                    self._catch_up(subscription)
                    return
            subscription = message = result = None  # type: ignore[assignment]  # an idle thread keeps nothing alive

    def _wait_for_work(self) -> bool:
        """Wait for deliveries; False when the thread has to end."""
        while True:
            with self._lock:
                if self._items:
                    return True
                self._current = None
                self._idle.notify_all()
                waiter = self.waiter
                if self._closed or waiter is None:
                    if not self._wait_here():
                        return False
                    continue
                self._elsewhere = True
            try:
                waited = waiter.wait(self.has_work, self.idle_timeout)
            except Exception as error:  # noqa: BLE001  # a mistake in there must not end all deliveries
                log_trouble("the delivery thread can't wait on the link", error)
                waited, self.waiter = False, None
            finally:
                self._elsewhere = False
            if not waited:  # there is nothing to wait for in that place just now
                with self._lock:
                    if not self._items and not self._wait_here():
                        return False

    def _wait_here(self) -> bool:
        """Wait to be told of deliveries, with the lock held; False when the thread has to end."""
        self._waiting = not self._closed
        if self._closed or (not self._work.wait(self.idle_timeout) and not self._items):
            self._waiting = False
            self._thread = None
            return False
        self._waiting = False
        return True

    def set_waiter(self, waiter: Waiter | None) -> None:
        """Wait there from now on; None: nowhere but here."""
        with self._lock:
            if self._elsewhere:
                self._leave_waiter()
            self.waiter = waiter
            if self._waiting:
                self._waiting = False
                self._work.notify()

    def _leave_waiter(self) -> None:
        """Have the thread come back from where it waits."""
        waiter = self.waiter
        if waiter is not None:
            waiter.wake()

    def _postpone(self, subscription: Subscription, message: Message) -> bool:
        """Have a message wait for the return of a follower that hangs; False when it does not."""
        with self._lock:
            waiting = self._hung.get(subscription)
            if waiting is None:
                return False
            if subscription.active:
                waiting.append(message)
            return True

    def _catch_up(self, subscription: Subscription) -> None:
        """Go on with what came for a follower while it hung, on its own thread, and then end that."""
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
            except BaseException as error:  # noqa: BLE001  # as above
                self._failed(subscription, message, error)

    def look(self) -> bool:
        """Be looked at by the watchdog, once a second; False when there is nothing to look at any more."""
        with self._lock:
            for one, waiting in self._hung.items():
                if not one.active:
                    waiting.clear()
            if any(not one.active for one in self._hung):
                self._idle.notify_all()
            current, (seen, count) = self._current, self._looks
            self._looks = current, (count + 1 if current is seen and current is not None else 0)
            if current is not None and self._looks[1] >= HUNG_SECONDS:
                subscription, message = current
                self._looks = None, 0
                self._hung[subscription] = deque()
                self._current = None
                self._start()
            else:
                return self._thread is not None or bool(self._hung)
        log_hung(subscription, message)
        return True

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is submitted and unfinished; False when `timeout` passed first."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("drain() waits for the delivery thread: it cannot be called on it")
        with self._lock:
            return self._idle.wait_for(lambda: not self.backlog, timeout)

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted and stop; with `wait`, return when that is done."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            if self._elsewhere:
                self._leave_waiter()
        while wait:
            thread = self._thread
            if thread is None or thread is threading.current_thread():
                return
            thread.join()  # and look again: one that hangs meanwhile is replaced


# -- a pool --------------------------------------------------------------------------------------------------


class WorkerPool:
    """Some threads. Different followers run in parallel, each gets its messages one at a time and in order.

    A subscription with messages waiting stands once in `_ready`; a worker takes it, runs one message, and
    puts it back at the end when more wait. What is declared concurrent stands there once for each message.

    Args:
        failed: takes the error of a delivery.
        size: how many threads.
        name: what they are called after.
        watch: is called with this when there is something to `look` at.
    """

    def __init__(
        self, failed: Failed, size: int, name: str = "berrymq worker", watch: Watch = lambda _: None
    ) -> None:
        from . import answers  # which few programs need, and loads much

        self._answers = answers
        self._failed = failed
        self._watch = watch
        self._name = name
        self._lock = threading.RLock()  # a destructor may send in the middle of a `submit`
        self._work = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._ready: deque[tuple[Subscription, Message | None]] = deque()
        self._waiting: dict[Subscription, deque[Message]] = {}
        """Messages by follower, for each that runs or has messages, concurrent ones aside."""
        self._running: set[Subscription] = set()
        self._backlog = 0
        self._size = 0
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._current: dict[threading.Thread, Delivery] = {}
        self._looks: dict[threading.Thread, tuple[Delivery, int]] = {}
        self._hung: set[threading.Thread] = set()
        """Workers that do not return; another one stands in for each."""
        self._abandoned: set[threading.Thread] = set()
        """Hung workers whose follower was cancelled: they end when they return, if they do."""
        self.resize(size)

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet."""
        return self._backlog

    @property
    def size(self) -> int:
        """How many workers there are, or will be once those too many have finished what they run."""
        return self._size

    def resize(self, size: int) -> None:
        """Grow, or shrink: workers too many end when they have finished what they run."""
        with self._lock:
            self._size = size
            missing = size + len(self._hung) - len(self._threads)
            fresh = [
                threading.Thread(target=self._run, name=f"{self._name} {index + 1}", daemon=True)
                for index in range(len(self._threads), len(self._threads) + missing)
            ]
            self._threads.update(fresh)
            self._work.notify_all()
        for thread in fresh:
            thread.start()
        self._watch(self)

    def submit(self, subscription: Subscription, message: Message) -> None:
        """Take over one delivery; it returns at once."""
        with self._lock:
            if self._threads or not self._closed:
                self._append(subscription, message)
                return
        # A publisher that looked the follower up before the pool was closed: it delivers by itself, as those
        # after it do.
        subscription.run(message)

    def _append(self, subscription: Subscription, message: Message) -> None:
        self._backlog += 1
        if subscription.concurrent:
            self._ready.append((subscription, message))
        else:
            # In one step: making the deque may run a destructor that submits, too.
            mine = deque((message,))
            waiting = self._waiting.setdefault(subscription, mine)
            if waiting is not mine:
                waiting.append(message)
                return
            self._ready.append((subscription, None))
        self._work.notify()

    def submit_many(self, deliveries: Iterable[Delivery]) -> None:
        """Take over several deliveries; it returns at once."""
        with self._lock:
            if self._threads or not self._closed:
                for subscription, message in deliveries:
                    self._append(subscription, message)
                return
        for subscription, message in deliveries:
            try:
                subscription.run(message)
            except Exception as error:  # noqa: BLE001  # of a link, which is no caller to raise it to
                self._failed(subscription, message, error)

    def ask(self, subscription: Subscription, message: Message) -> Any:
        """Return the answer of a follower in its turn, or a future of it.

        It is asked in this thread when it does not run elsewhere, so that a worker that asks needs no other.
        """
        answers = self._answers
        edge = answers.begin_wait(subscription)
        if edge is None:  # it waits for this very question: as one recursion
            return subscription._answer_here(message)
        if self._take_turn(subscription):
            token = answers.RUNNING.set(subscription)
            try:
                return subscription._answer_here(message)
            finally:
                answers.RUNNING.reset(token)
                self._end_turn(subscription)
                answers.end_wait(edge)
        answer = answers.Answer()
        answer.add_done_callback(lambda _: answers.end_wait(edge))
        self.submit(subscription, message.with_callback(answer))
        return answer

    def _take_turn(self, subscription: Subscription) -> bool:
        """Claim a follower for this thread, and deliver its backlog first; False when another runs it."""
        with self._lock:
            if subscription in self._running:
                return False
            if subscription in self._waiting:
                self._ready.remove((subscription, None))
            else:
                self._waiting[subscription] = deque()
            self._running.add(subscription)
        while True:
            with self._lock:
                waiting = self._waiting[subscription]
                if not waiting:
                    return True
                message = waiting.popleft()
            self._deliver(subscription, message)
            with self._lock:
                self._finish_one()

    def _end_turn(self, subscription: Subscription) -> None:
        with self._lock:
            self._running.discard(subscription)
            if self._waiting[subscription]:
                self._ready.append((subscription, None))
                self._work.notify()
            else:
                del self._waiting[subscription]

    def _deliver(self, subscription: Subscription, message: Message) -> None:
        token = self._answers.RUNNING.set(subscription)
        try:
            subscription.run(message)
        except BaseException as error:  # noqa: BLE001  # no caller to hand SystemExit to, and the thread has to go on
            self._failed(subscription, message, error)
        finally:
            self._answers.RUNNING.reset(token)

    def _finish_one(self) -> None:
        self._backlog -= 1
        if not self._backlog:
            self._idle.notify_all()
            self._work.notify_all()

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                while not self._ready and not self._surplus():
                    self._work.wait()
                if self._surplus() or not self._ready:
                    self._threads.discard(me)
                    self._idle.notify_all()
                    return
                subscription, message = self._ready.popleft()
                in_turn = message is None
                if message is None:
                    message = self._waiting[subscription].popleft()
                    self._running.add(subscription)
                self._current[me] = subscription, message
            try:
                self._deliver(subscription, message)
            finally:
                with self._lock:
                    del self._current[me]
                    self._hung.discard(me)
                    if in_turn:
                        self._end_turn(subscription)
                    abandoned = me in self._abandoned
                    if not abandoned:
                        self._finish_one()
            if abandoned:
                self._abandoned.discard(me)
                return
            del subscription, message  # an idle worker keeps nothing alive

    def _surplus(self) -> bool:
        """True when this worker has to end. At a close, the last ones stay until nothing waits."""
        if self._closed:
            return not self._backlog
        return len(self._threads) > self._size + len(self._hung)

    def look(self) -> bool:
        """Be looked at by the watchdog, once a second; False when there is nothing to look at any more."""
        found = []
        with self._lock:
            looks, self._looks = self._looks, {}
            for thread, current in self._current.items():
                seen, count = looks.get(thread, (None, -1))
                self._looks[thread] = current, (count + 1 if current is seen else 0)
                if self._looks[thread][1] == HUNG_SECONDS:
                    self._hung.add(thread)
                    found.append(current)
            for thread in [one for one in self._hung if not self._current[one][0].active]:
                self._abandon(thread)
            size = self._size
        for subscription, message in found:
            log_hung(subscription, message)
        if found:
            self.resize(size)
        return bool(self._threads)

    def _abandon(self, thread: threading.Thread) -> None:
        """Count a hung worker, and the backlog of its cancelled follower, as finished."""
        self._hung.discard(thread)
        self._threads.discard(thread)
        self._abandoned.add(thread)
        waiting = self._waiting.get(self._current[thread][0])
        if waiting:
            self._backlog -= len(waiting)
            waiting.clear()
        self._finish_one()
        self._idle.notify_all()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is submitted and unfinished; False when `timeout` passed first."""
        if threading.current_thread() in self._threads:
            raise RuntimeError("drain() waits for the worker threads: it cannot be called on one of them")
        with self._lock:
            return self._idle.wait_for(lambda: not self._backlog, timeout)

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted and stop; with `wait`, return when every worker has ended."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            if wait and threading.current_thread() not in self._threads:  # a worker can't wait for itself
                self._idle.wait_for(lambda: not self._threads)


def log_hung(subscription: Subscription, message: Message) -> None:
    """Name a follower that does not return."""
    log_warning(
        f"{subscription.describe()} has been running for {HUNG_SECONDS} s on the message {message.id!r}; "
        "other followers carry on, and its later messages wait until it returns or is cancelled"
    )
