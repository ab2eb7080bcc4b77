"""The worker pool of a bus, for `Bus.set_multiplicity`: several threads, in parallel over followers.

With a pool, `Bus.twitter` submits one delivery for each follower and returns; links submit theirs with
`WorkerPool.submit_many`; questions use `WorkerPool.ask`. All of them share the backlog of a follower, so it
gets its messages one at a time and in order, whichever way they come.

One lock guards all state; it is never held while a follower runs.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from .asking import RUNNING, Answer, begin_wait, end_wait
from .watchdog import HUNG_SECONDS, log_hung, watchdog

if TYPE_CHECKING:
    from .delivery_thread import Deliveries, Delivery, Failed
    from .messages import Message
    from .subscriptions import Subscription

__all__ = ["WorkerPool"]


class WorkerPool:
    """Worker threads: followers run in parallel, each gets its messages one at a time and in order.

    A subscription with a backlog is once in `_ready`; a worker takes it, delivers one message, and appends it
    again when there are more. One that was declared concurrent is there once for each message.

    Args:
        failed: takes the error of a delivery.
        size: the number of threads.
        name: the first part of the threads' names.
    """

    def __init__(self, failed: Failed, size: int, name: str = "berrymq worker") -> None:
        self._failed = failed
        self._name = name
        self._lock = threading.RLock()  # a destructor may send in the middle of a `submit`
        self._work = threading.Condition(self._lock)
        """Notified when there is a delivery to run, or a worker has to end."""
        self._idle = threading.Condition(self._lock)
        """Notified when the backlog is empty, and when a worker has ended."""
        self._ready: deque[tuple[Subscription, Message | None]] = deque()
        """What a worker may take: a follower with a backlog and None, or a concurrent one and its message."""
        self._waiting: dict[Subscription, deque[Message]] = {}
        """The backlog of each follower that runs or has one, except concurrent ones."""
        self._running: set[Subscription] = set()
        """Followers that a worker or an asker has claimed."""
        self._backlog = 0
        """The number of deliveries that are not finished."""
        self._size = 0
        """The number of workers wanted."""
        self._threads: set[threading.Thread] = set()
        """The workers that exist, hung ones included, abandoned ones not."""
        self._closed = False
        self._current: dict[threading.Thread, Delivery] = {}
        """The delivery that each busy worker runs."""
        self._looks: dict[threading.Thread, tuple[Delivery, int]] = {}
        """For each busy worker: the delivery that the watchdog saw, and how often after the first time."""
        self._hung: set[threading.Thread] = set()
        """Workers whose follower does not return; for each of them there is one more worker."""
        self._abandoned: set[threading.Thread] = set()
        """Hung workers whose follower was cancelled: they end when it returns, if it does."""
        self.resize(size)

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished yet."""
        return self._backlog

    @property
    def size(self) -> int:
        """The number of workers; after `resize`, surplus ones still finish the delivery that they run."""
        return self._size

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is one of the workers."""
        return threading.current_thread() in self._threads

    def resize(self, size: int) -> None:
        """Start the missing workers; surplus ones end when they have finished the delivery that they run."""
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
        """Add one delivery for a publisher in this process; return at once.

        In a pool that was closed, the follower runs in this thread, and its errors are raised here.

        Args:
            subscription: the follower.
            message: what it gets.
        """
        with self._lock:
            if self._threads or not self._closed:
                self._append(subscription, message)
                return
        # The pool was closed between the publisher's look-up and now: it delivers in its own thread, as every
        # later publisher does, and its errors are raised to it.
        subscription.run(message)

    def _append(self, subscription: Subscription, message: Message) -> None:
        """Add one delivery, with the lock held."""
        self._backlog += 1
        if subscription.concurrent:
            self._ready.append((subscription, message))
        else:
            # In one step: creating the deque may run a destructor that submits, too.
            mine = deque((message,))
            waiting = self._waiting.setdefault(subscription, mine)
            if waiting is not mine:
                waiting.append(message)
                return
            self._ready.append((subscription, None))
        self._work.notify()

    def submit_many(self, deliveries: Deliveries) -> None:
        """Add deliveries of a link, which has no caller to raise errors to; return at once.

        In a pool that was closed, the followers run in this thread, and errors are reported.

        Args:
            deliveries: iterated over once, in this thread.
        """
        with self._lock:
            if self._threads or not self._closed:
                for subscription, message in deliveries:
                    self._append(subscription, message)
                return
        for subscription, message in deliveries:
            try:
                subscription.run(message)
            except Exception as error:  # noqa: BLE001  # a follower's: it is reported
                self._failed(subscription, message, error)

    def ask(self, subscription: Subscription, message: Message) -> Any:
        """Ask a follower after its backlog; return its answer, or a future of it.

        It is called in this thread unless another one runs it, so that a worker that asks needs no second
        worker: with as many askers as workers, all would wait for ever.

        Args:
            subscription: the follower.
            message: the question.

        Returns:
            The answer, when it ran here; an `Answer`, when another thread runs the follower at present.

        Raises:
            Exception: of the follower, when it ran here.
        """
        edge = begin_wait(subscription)
        if edge is None:  # it waits for this question itself: call it as a recursion
            return subscription._answer_here(message)
        if self._claim(subscription):
            # The backlog is delivered: nothing sent before the question is still waiting.
            token = RUNNING.set(subscription)
            try:
                return subscription._answer_here(message)
            finally:
                RUNNING.reset(token)
                self._release(subscription)
                end_wait(edge)
        answer = Answer()
        answer.add_done_callback(lambda _: end_wait(edge))
        self.submit(subscription, message.with_callback(answer))
        return answer

    def _claim(self, subscription: Subscription) -> bool:
        """Claim a follower for this thread and deliver its backlog, in which the question would be the last.

        Returns:
            False, with nothing done, when another thread runs the follower.
        """
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

    def _release(self, subscription: Subscription) -> None:
        """Release a follower that `_claim` or a worker has claimed, and ready it if it has a backlog."""
        with self._lock:
            self._running.discard(subscription)
            if self._waiting[subscription]:
                self._ready.append((subscription, None))
                self._work.notify()
            else:
                # Before the lock is released: the next submission must find the follower idle, and ready it.
                del self._waiting[subscription]

    def _deliver(self, subscription: Subscription, message: Message) -> None:
        """Run one delivery, and report its error."""
        token = RUNNING.set(subscription)
        try:
            subscription.run(message)
        except BaseException as error:  # noqa: BLE001  # even SystemExit: it has no caller, and the thread has to go on
            self._failed(subscription, message, error)
        finally:
            RUNNING.reset(token)

    def _finish_one(self) -> None:
        """Count one delivery as finished, with the lock held."""
        self._backlog -= 1
        if not self._backlog:
            self._idle.notify_all()
            self._work.notify_all()

    def _run(self) -> None:
        """Run deliveries until this worker has to end; the target of its thread."""
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
                claimed = message is None
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
                    if claimed:
                        self._release(subscription)
                    abandoned = me in self._abandoned
                    if not abandoned:
                        self._finish_one()
            if abandoned:
                self._abandoned.discard(me)
                return
            del subscription, message  # an idle worker holds no references

    def _surplus(self) -> bool:
        """Return whether this worker has to end; after `close`, not before the backlog is empty."""
        if self._closed:
            return not self._backlog
        return len(self._threads) > self._size + len(self._hung)

    def look(self) -> bool:
        """Replace workers that hang, for the watchdog, which calls it once a second.

        A worker hangs when `HUNG_SECONDS` looks after the first have found it with the same delivery: one
        more worker is started, and its follower is named in the log. One whose follower was cancelled is
        abandoned.

        Returns:
            False when there are no workers.
        """
        found = []
        with self._lock:
            looks, self._looks = self._looks, {}
            for thread, current in self._current.items():
                former, count = looks.get(thread, (None, -1))
                self._looks[thread] = current, (count + 1 if current is former else 0)
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
        """Count the delivery of a hung worker, and the backlog of its cancelled follower, as finished."""
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
        """Wait until the backlog is empty.

        Args:
            timeout: in seconds; None for no limit.

        Returns:
            False when the timeout passed first.

        Raises:
            RuntimeError: called on a worker, which would wait for itself.
        """
        if self.is_current:
            raise RuntimeError("drain() waits for the worker threads: it cannot be called on one of them")
        with self._lock:
            return self._idle.wait_for(lambda: not self._backlog, timeout)

    def close(self, wait: bool = True) -> None:
        """Finish the backlog and stop.

        Args:
            wait: whether to return only when every worker has ended; without effect on a worker itself.
        """
        with self._lock:
            self._closed = True
            self._work.notify_all()
            if wait and not self.is_current:  # a worker can't wait for itself
                self._idle.wait_for(lambda: not self._threads)
