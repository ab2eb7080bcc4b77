"""Where deliveries without a caller run: one thread in order, or a pool of workers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from .followers import Subscription
from .messages import Message

__all__ = ["Deliverer", "DeliveryThread", "WorkerPool"]

Delivery = tuple[Subscription, Message]
Failed = Callable[[Subscription, Message, BaseException], object]


class Deliverer(Protocol):
    """Runs deliveries for a bus, somewhere and some time. A bus takes any object like this."""

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet."""

    def submit(self, subscription: Subscription, message: Message) -> None:
        """Take over one delivery; it returns at once."""

    def submit_many(self, deliveries: Iterable[Delivery]) -> None:
        """Take over several deliveries, as one; it returns at once."""

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is submitted and unfinished; False when `timeout` seconds passed first."""

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted and stop; with `wait`, return when that is done."""


class WorkerPool:
    """Some threads. Different followers run in parallel, each gets its messages one at a time and in order.

    A subscription with messages waiting stands once in `_ready`; a worker takes it, runs one message, and
    puts it back at the end when more wait. What is declared concurrent stands there once for each message.
    """

    def __init__(self, failed: Failed, size: int, name: str = "berrymq worker") -> None:
        self._failed = failed
        self._name = name
        self._lock = threading.RLock()  # a destructor may send in the middle of a `submit`
        self._work = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._ready: deque[tuple[Subscription, Message | None]] = deque()
        self._waiting: dict[Subscription, deque[Message]] = {}
        self._backlog = 0
        self._size = 0
        self._threads: set[threading.Thread] = set()
        self._closed = False
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
        """Grow, or shrink: workers too many leave when they have finished what they run."""
        with self._lock:
            self._size = size
            missing = size - len(self._threads)
            fresh = [
                threading.Thread(target=self._run, name=f"{self._name} {index + 1}", daemon=True)
                for index in range(len(self._threads), len(self._threads) + missing)
            ]
            self._threads.update(fresh)
            self._work.notify_all()
        for thread in fresh:
            thread.start()

    def submit(self, subscription: Subscription, message: Message) -> None:
        """Take over one delivery; it returns at once."""
        with self._lock:
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
            for subscription, message in deliveries:
                self.submit(subscription, message)

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
                in_row = message is None
                if message is None:
                    message = self._waiting[subscription].popleft()
            try:
                subscription.run(message)
            except BaseException as error:  # noqa: BLE001  # no caller to hand SystemExit to, and the thread has to go on
                self._failed(subscription, message, error)
            finally:
                with self._lock:
                    if in_row:
                        if self._waiting[subscription]:
                            self._ready.append((subscription, None))
                            self._work.notify()
                        else:
                            del self._waiting[subscription]
                    self._backlog -= 1
                    if not self._backlog:
                        self._idle.notify_all()
                        self._work.notify_all()
            del subscription, message  # an idle worker keeps nothing alive

    def _surplus(self) -> bool:
        """True when this worker has to leave. At a close, the last ones stay until nothing waits."""
        if self._closed:
            return not self._backlog
        return len(self._threads) > self._size

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is submitted and unfinished; False when `timeout` passed first."""
        if threading.current_thread() in self._threads:
            raise RuntimeError("drain() waits for the worker threads: it cannot be called on one of them")
        with self._lock:
            return self._idle.wait_for(lambda: not self._backlog, timeout)

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted and stop; with `wait`, return when every worker has left."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            if wait and threading.current_thread() not in self._threads:  # a worker cannot wait for itself
                self._idle.wait_for(lambda: not self._threads)


class DeliveryThread:
    """One daemon thread that runs deliveries in the order of their submission.

    It starts with the first one, and leaves when there has been none for a while, or after `close`; the next
    starts another.
    """

    idle_timeout = 5.0
    """For how many seconds an idle thread waits before it leaves."""

    def __init__(self, failed: Failed, name: str = "berrymq delivery") -> None:
        self._failed = failed
        self._name = name
        self._lock = threading.RLock()  # a destructor may send in the middle of a `submit`
        self._work = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._items: deque[Delivery] = deque()
        self._current: Delivery | None = None
        """What runs, so that `backlog` counts it; what ran last, until the thread finds nothing more to do."""
        self._thread: threading.Thread | None = None
        self._waiting = False
        self._closed = False

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet."""
        return len(self._items) + (self._current is not None)

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
            elif self._thread is None and self._items:
                self._closed = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        take = self._items.popleft
        while self._wait_for_work():
            # No lock per delivery: this thread is the only one that takes, and taking is atomic.
            while True:
                try:
                    self._current = subscription, message = take()
                except IndexError:
                    break
                try:
                    subscription.run(message)
                except BaseException as error:  # noqa: BLE001  # no caller to hand SystemExit to, and the thread has to go on
                    self._failed(subscription, message, error)
            subscription = message = None  # type: ignore[assignment]  # an idle thread keeps nothing alive

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
            thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()
