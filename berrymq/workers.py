"""Deliveries without a caller: one thread in order, or a pool of workers; and what a bus has of them.

A follower that does not return must not keep the others from their messages. So a watchdog looks at what
runs: a delivery that has run for `HUNG_SECONDS` is named in the log, and another thread goes on with the
rest. What comes for that very follower waits until it returns, so that it sees its messages one at a time and
in order.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from .failures import log_trouble, log_warning
from .process import Step, process
from .subscriptions import PLAIN, Subscription

if TYPE_CHECKING:
    from .messages import Message

__all__ = ["Background", "Deliverer", "DeliveryThread", "Pending", "WorkerPool"]

Delivery = tuple[Subscription, "Message"]
Failed = Callable[[Subscription, "Message", BaseException], object]

HUNG_SECONDS = 5
"""For how many seconds one delivery may keep the others waiting."""
EXIT_SECONDS = 5.0
"""For how many seconds the interpreter waits for deliveries when it shuts down."""


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


# -- one thread ----------------------------------------------------------------------------------------------


class DeliveryThread:
    """One daemon thread that runs deliveries in the order of their submission.

    It starts with the first one, and ends when there has been none for a while, or after `close`; the next
    starts another.

    Args:
        failed: takes the error of a delivery.
        name: of the thread.
    """

    idle_timeout = 5.0
    """For how many seconds an idle thread waits before it ends."""

    def __init__(self, failed: Failed, name: str = "berrymq delivery") -> None:
        self._failed = failed
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
        self._hung: dict[Subscription, deque[Message]] = {}
        """Messages for followers that hang; the hung thread goes on with them when it returns."""
        self._looks: tuple[Delivery | None, int] = (None, 0)

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet, those of cancelled hung ones aside."""
        hung = sum([1 + len(waiting) for one, waiting in self._hung.copy().items() if one.active])
        return len(self._items) + (self._current is not None) + hung

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
            if self._thread is not None or not self._items:
                return
            self._closed = False
            self._start()
        watchdog.watch(self)  # without the lock: the watchdog takes it while it holds its own

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
        with self._lock:
            while not self._items:
                self._current = None
                self._idle.notify_all()
                self._waiting = not self._closed
                if self._closed or (not self._work.wait(self.idle_timeout) and not self._items):
                    self._waiting = False
                    self._thread = None
                    return False
            self._waiting = False
            return True

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
    """

    def __init__(self, failed: Failed, size: int, name: str = "berrymq worker") -> None:
        from . import turns

        self._turns = turns
        self._failed = failed
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
        watchdog.watch(self)

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
        turns = self._turns
        edge = turns.begin_wait(subscription)
        if edge is None:  # it waits for this very question: as one recursion
            return subscription._answer_here(message)
        if self._take_turn(subscription):
            token = turns.RUNNING.set(subscription)
            try:
                return subscription._answer_here(message)
            finally:
                turns.RUNNING.reset(token)
                self._end_turn(subscription)
                turns.end_wait(edge)
        from .answers import Answer

        answer = Answer()
        answer.add_done_callback(lambda _: turns.end_wait(edge))
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
        token = self._turns.RUNNING.set(subscription)
        try:
            subscription.run(message)
        except BaseException as error:  # noqa: BLE001  # no caller to hand SystemExit to, and the thread has to go on
            self._failed(subscription, message, error)
        finally:
            self._turns.RUNNING.reset(token)

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


# -- the watchdog --------------------------------------------------------------------------------------------


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


def log_hung(subscription: Subscription, message: Message) -> None:
    """Name a follower that does not return."""
    log_warning(
        f"{subscription.describe()} has run for {HUNG_SECONDS} s for the message {message.id!r}: the others "
        "go on without it; what else comes for it waits until it returns, or is cancelled"
    )


# -- what a bus has of them ----------------------------------------------------------------------------------


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
        self.chosen: Deliverer | None = None
        """What delivers for links instead of the threads here."""
        self.pending = Pending()
        self._failed = failed
        self._subscriptions = subscriptions
        self._name = name
        self._thread: DeliveryThread | None = None
        self._pool: WorkerPool | None = None
        self._lock = threading.RLock()

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
        # Worker threads are daemons, so that one that hangs does not keep the interpreter from shutting down.
        process.at_exit(Step.DELIVERIES, self.finish)
        process.finish_in_children()

    def finish(self) -> None:
        """Finish what there is to deliver before the interpreter shuts down, within `EXIT_SECONDS`."""
        threads = [one for one in self._all() if one is not self.pending]  # event loops have ended already
        until = monotonic() + EXIT_SECONDS
        late = [one for one in threads if not one.drain(max(0.0, until - monotonic()))]
        if late:
            log_trouble(
                "the interpreter shuts down", TimeoutError(f"{self.backlog} deliveries are not finished")
            )

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
        return [one for one in (self._pool, self._thread, self.chosen, self.pending) if one is not None]

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
        thread = self._thread
        if thread is not None:
            thread.close()

    def after_fork(self) -> None:
        """Do without the parent's threads: what waited for them is theirs to do."""
        self._lock = threading.RLock()
        self.pending.reset()
        self._thread = None
        former, self._pool = self._pool, None
        if former is not None:
            self.set_multiplicity(former.size)
