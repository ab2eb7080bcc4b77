"""``async def`` followers: on which loop they run, one message at a time.

Deliveries to one follower wait in a backlog, one for each event loop that it runs on. Each delivery gets a
task of its own, in the context of its publisher; the next one begins when that task is done, whether it
returned, failed or was cancelled. So a cancelled delivery cancels none of those behind it, and each of them
counts in the backlog of the bus until its task is done.

`LoopRunner` is the function that a subscription calls for an ``async def`` follower; `LoopBacklog` holds what
one loop has still to run, and `AsyncDelivery` is one item of it. This module is imported by the first such
follower, since it imports asyncio.

Threads: `LoopRunner.__call__`, `adopt` and `ask` run on the thread of the sender. Methods that say "on the
loop" run on the thread of the event loop alone. The lock guards the backlogs, and is not held while foreign
code runs.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

from .asking import RUNNING, Answer, begin_wait, end_wait
from .background import running_loop
from .errors import LoopError
from .failures import log_warning
from .subscribers import SKIPPED, ignore
from .subscriptions import reply_interrupted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from concurrent.futures import Future
    from types import FrameType

    from .background import Pending
    from .failures import OnError
    from .messages import Message
    from .subscriptions import Subscription

    Loop = asyncio.AbstractEventLoop

__all__ = ["LoopRunner"]


class AsyncDelivery:
    """One message for one follower, in the context of its publisher.

    Args:
        message: what is delivered.
        coroutine: what the follower has returned for it, if it is a plain function.
    """

    __slots__ = ("concurrent", "context", "coroutine", "message", "task")

    def __init__(self, message: Message, coroutine: Coroutine[Any, Any, Any] | None = None) -> None:
        self.message = message
        """Its callback, if any, takes the result or the error."""
        self.context = copy_context()
        """A copy of the publisher's context variables."""
        self.coroutine = coroutine
        """Returned by a plain function for the message; None when the follower is yet to be called."""
        self.concurrent = False
        """Whether it runs without waiting for other deliveries to the follower."""
        self.task: asyncio.Task[None] | None = None
        """None until it is created, on the loop."""

    def is_cancelled(self) -> bool:
        """Return whether the asker has cancelled the answer."""
        callback = self.message.callback
        return isinstance(callback, Answer) and callback.cancelled()

    def close(self) -> None:
        """Close a coroutine that was never started, which Python would warn of otherwise."""
        if self.coroutine is not None:
            self.coroutine.close()


class LoopBacklog:
    """The deliveries to one follower on one event loop; it exists while there are some.

    A delivery that may overlap with others has a backlog of its own.

    Args:
        runner: that of the follower.
        loop: the event loop.
    """

    __slots__ = ("__weakref__", "deliveries", "ended", "loop", "runner", "task")

    def __init__(self, runner: LoopRunner, loop: Loop) -> None:
        self.runner = runner
        self.loop = loop
        self.deliveries: deque[AsyncDelivery] = deque()
        """Those that have no task yet, oldest first; guarded by the lock of `runner`."""
        self.ended = False
        """Whether the loop has ended, and `LoopRunner.end` has reported the deliveries."""
        self.task: asyncio.Task[None] | None = None
        """That of the delivery that runs, or None; used on the loop alone."""


class LoopRunner:
    """Runs one ``async def`` follower on the loop of the thread that registered it.

    The loop is looked up at delivery. When none runs in that thread, it is the one that runs where the
    message is delivered. Everything of the follower happens on the loop, its guard included.

    Args:
        subscription: the follower.
        failed: takes the error of a delivery.
        answer: takes a message with a callback, and the result or the error.
        pending: counts the deliveries that are not finished.
    """

    def __init__(
        self,
        subscription: Subscription,
        failed: OnError,
        answer: Callable[[Message, Any, Exception | None], object],
        pending: Pending,
    ) -> None:
        loop = running_loop()
        self._home: ref[Loop] | None = None if loop is None else ref(loop)
        """The loop of the registering thread when it was last looked up; None before one was found."""
        self._subscription = subscription
        self._failed = failed
        self._send_answer = answer
        self._pending = pending
        self._lock = threading.RLock()  # a destructor may send in the middle of a `put`
        self._backlogs: WeakKeyDictionary[Loop, LoopBacklog] = WeakKeyDictionary()
        """The backlog of each loop that has deliveries, except concurrent ones."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Strong references to the running tasks."""

    def __call__(self, message: Message) -> None:
        """Schedule the follower for `message` on its loop, and return at once.

        Raises:
            LoopError: there is no loop to run it on.
        """
        self._begin(AsyncDelivery(message))

    def adopt(self, message: Message, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine that the follower, a plain function, returned for `message`.

        It does not wait for other deliveries: the function has already been called.

        Args:
            message: what the follower was called with.
            coroutine: what it returned.

        Raises:
            LoopError: there is no loop to run it on; the coroutine is closed.
        """
        try:
            self._begin(AsyncDelivery(message, coroutine))
        except Exception:
            coroutine.close()
            raise

    def ask(
        self, message: Message, blocking: bool, coroutine: Coroutine[Any, Any, Any] | None = None
    ) -> Answer:
        """Ask the follower; return the future of its answer, whose cancellation cancels the follower's task.

        Args:
            message: the question.
            blocking: whether the asker blocks its thread until the answer has come.
            coroutine: what the follower, if it is a plain function, has returned already.

        Raises:
            LoopError: there is no loop to run on, or the asker would block it.
        """
        loop = self.loop()
        if blocking and loop is running_loop():
            raise LoopError(
                f"ask() would wait for {self._subscription.name} on the event loop that it holds up: "
                "use 'await aask()'"
            )
        answer = Answer()
        delivery = AsyncDelivery(message.with_callback(answer), coroutine)
        edge = begin_wait(self._subscription)
        if edge is None:
            delivery.concurrent = True  # the follower waits for this question itself: run it as a recursion
        else:
            answer.add_done_callback(lambda _: end_wait(edge))

        def cancel_task(answer: Future[Any]) -> None:
            if answer.cancelled() and delivery.task is not None:
                if loop is running_loop():
                    delivery.task.cancel()
                    return
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(delivery.task.cancel)

        answer.add_done_callback(cancel_task)
        self._put(loop, delivery)
        return answer

    def _begin(self, delivery: AsyncDelivery) -> None:
        """Add a delivery on the loop of the follower; an asker gets the `LoopError`, too.

        Raises:
            LoopError: there is no loop to run it on.
        """
        message = delivery.message
        try:
            self._put(self.loop(), delivery)
        except Exception as error:
            if callable(message.callback):  # the asker is another process or thread, and would wait in vain
                self._send_answer(message, None, error)
            raise

    @property
    def home(self) -> Loop | None:
        """The loop of the registering thread when it was last looked up; None when it was collected."""
        return None if self._home is None else self._home()

    def loop(self) -> Loop:
        """Return the loop to run on.

        It is the first there is of:

        1. the home loop, when it runs;
        2. the loop that runs in the registering thread at present, which becomes the home loop;
        3. the home loop, when it is not closed: it runs again with the next ``run_until_complete``;
        4. the loop that runs in the calling thread.

        Raises:
            LoopError: there is none of these; the text has the reason and what to do.
        """
        home, here = self.home, running_loop()
        if home is not None and (home is here or home.is_running()):
            return home
        name = self._subscription.name
        found = loop_of_thread(self._subscription._thread(), here)
        if found is not None:
            self._home = ref(found)
            return found
        if home is not None and not home.is_closed():
            return home  # it will run again, as one does between two calls of `run_until_complete`
        if here is not None:
            return here
        if self._home is not None:
            raise LoopError(
                f"the event loop on which {name} was registered is closed: "
                "cancel the follower before its loop ends, or register it again on the new one"
            )
        raise LoopError(
            f"{name} is an 'async def' follower and no event loop runs in this thread, nor in the one that "
            "registered it: register it where its loop runs, or send from there"
        )

    def _put(self, loop: Loop, delivery: AsyncDelivery) -> None:
        """Add a delivery to the backlog of `loop`, and schedule its task unless one before it will.

        On the thread of the loop the task is created at once; from another thread, with
        `call_soon_threadsafe`.
        """
        fresh = LoopBacklog(self, loop)
        concurrent = delivery.concurrent or delivery.coroutine is not None or self._subscription.concurrent
        with self._lock:
            # In one step with the look-up, lest `_next` remove the backlog between the two.
            backlog = fresh if concurrent else self._backlogs.setdefault(loop, fresh)
            backlog.deliveries.append(delivery)
            self._pending.change(loop, +1)
        if backlog is not fresh:
            return  # its task is running, or scheduled, and `_next` will find the delivery
        if loop is running_loop():
            self._next(backlog)
            return
        try:
            loop.call_soon_threadsafe(self._next, backlog)
        except RuntimeError:  # closed since it was looked up
            self.end(backlog)

    def _next(self, backlog: LoopBacklog) -> None:
        """Start the task of the next delivery, or remove an empty backlog; on the loop."""
        with self._lock:
            if not backlog.deliveries:
                self._remove(backlog)  # it holds a strong reference to the loop
                return
            delivery = backlog.deliveries.popleft()
        watch_end(backlog)
        # In the publisher's context: a task takes a copy of the one that it is made in.
        task = backlog.task = delivery.task = delivery.context.run(
            backlog.loop.create_task, self._run(delivery)
        )
        self._tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(partial(self._done, backlog, delivery))
        if delivery.is_cancelled():
            task.cancel()  # by another thread, before the task existed

    def _done(self, backlog: LoopBacklog, delivery: AsyncDelivery, task: asyncio.Task[None]) -> None:
        """Report how a task ended, and start the next one; the callback of the task, on the loop.

        `_run` reports each `Exception` itself; what is left is a cancellation, `SystemExit` and the like.

        Args:
            backlog: the one that the delivery was taken from.
            delivery: what the task ran.
            task: the task, which is done.
        """
        message = delivery.message
        self._tasks.discard(task)
        if backlog.ended:
            return  # `end` has counted and reported this delivery
        backlog.task = None
        self._pending.change(backlog.loop, -1)
        error: BaseException | None
        try:
            error = task.exception()  # not an Exception, which `_run` has reported
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if error is not None and not delivery.is_cancelled():
            if message.callback is not None:
                reply_interrupted(message, error, self._send_answer)
            else:
                self._failed(self._subscription, message, error)
        delivery.close()
        self._next(backlog)

    def end(self, backlog: LoopBacklog) -> None:
        """Drop a backlog whose loop has ended: askers get an error, the log a warning.

        Called on the loop while it closes, or on a sender's thread that finds it closed.
        """
        with self._lock:
            lost = list(backlog.deliveries)
            backlog.deliveries.clear()
            self._remove(backlog)
            backlog.ended = True
        unfinished = len(lost)
        if backlog.task is not None:
            unfinished += 1
            backlog.task.cancel()
        self._pending.change(backlog.loop, -unfinished)
        error = LoopError("the event loop of the follower ended")
        for delivery in lost:
            delivery.close()
            if delivery.message.callback is not None:
                reply_interrupted(delivery.message, error, self._send_answer)
        if unfinished:
            log_warning(
                f"{unfinished} messages did not get through {self._subscription.describe()}: "
                "its event loop ended"
            )

    def _remove(self, backlog: LoopBacklog) -> None:
        """Remove a backlog that is empty or ended, with the lock held."""
        if self._backlogs.get(backlog.loop) is backlog:
            del self._backlogs[backlog.loop]

    async def _run(self, delivery: AsyncDelivery) -> None:
        """Call the follower and await its result; the body of the task of a delivery.

        It raises no `Exception`: the result or error goes to the callback of the message, or an error to
        `failed`.
        """
        message, callback = delivery.message, delivery.message.callback
        if not delivery.concurrent:
            RUNNING.set(self._subscription)
        result, failure = None, None
        try:
            function = self._subscription._function
            if function is ignore and delivery.coroutine is None:  # cancelled, or muted, since it was sent
                ignore(message)
                return
            result = function(message) if delivery.coroutine is None else delivery.coroutine
            if result is not SKIPPED:
                result = await result
        except Exception as error:  # noqa: BLE001  # a follower's, which has no caller: it is reported
            result, failure = None, error
        try:
            if callback is not None and (self._subscription._reply is not None or callable(callback)):
                self._send_answer(message, result, failure)
            elif failure is not None:
                self._failed(self._subscription, message, failure)
        except Exception as error:  # noqa: BLE001  # of a follower of the answer
            self._failed(self._subscription, message, error)


def watch_end(backlog: LoopBacklog) -> None:
    """Have `LoopRunner.end` called for `backlog` when its loop, which runs here, ends.

    An event loop has no callback for its end. But `asyncio.run` closes the asynchronous generators that were
    begun on it, as the last thing before it closes the loop itself.
    """
    loop: Any = backlog.loop
    backlogs: WeakSet[LoopBacklog]
    try:
        backlogs, _ = loop.__berrymq_backlogs__
    except AttributeError:
        backlogs = WeakSet()
        sentinel = until_end(backlogs)
        # On the loop, not in a table here: the generator holds a strong reference to the loop.
        loop.__berrymq_backlogs__ = backlogs, sentinel
        with suppress(StopIteration):
            sentinel.__anext__().send(None)  # the first step awaits nothing
    backlogs.add(backlog)


async def until_end(backlogs: WeakSet[LoopBacklog]) -> AsyncGenerator[None, None]:
    """Wait to be closed, then end the backlogs; a generator that serves as the callback of `watch_end`.

    Args:
        backlogs: filled by `watch_end` while the loop runs.
    """
    try:
        yield
    finally:
        for backlog in list(backlogs):
            backlog.runner.end(backlog)


def loop_of_thread(thread: threading.Thread | None, here: Loop | None) -> Loop | None:
    """Return the event loop that runs in `thread` at present, or None.

    Args:
        thread: that in which a follower was registered; None when it was collected.
        here: the loop that runs in the calling thread, if any.
    """
    if thread is threading.current_thread():
        return here
    if thread is None or not thread.is_alive():
        return None
    # asyncio shows the running loop only to its own thread. What other threads can see is the frame that runs
    # it: of `BaseEventLoop.run_forever`, or of `asyncio.Runner.run` around a loop not written in Python.
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name in ("run_forever", "run") and "self" in frame.f_code.co_varnames:
            found: object = frame.f_locals.get("self")
            if isinstance(found, asyncio.Runner):
                found = getattr(found, "_loop", None)
            if isinstance(found, asyncio.AbstractEventLoop) and found.is_running():
                return found
        frame = frame.f_back
    return None
