"""``async def`` followers: on which loop they run, one message at a time.

Messages for one follower wait in a line, one for each event loop that it runs on. A message gets a task of
its own, in the context of its publisher; the next one begins when that task is done, however it ended. So a
cancelled message takes none of those behind it along, and every one of them is counted in the backlog of the
bus until its task is done.
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

from .answers import RUNNING, Answer, begin_wait, end_wait
from .errors import LoopError
from .failures import log_warning
from .subscriptions import SKIPPED, answer_end, nothing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from concurrent.futures import Future
    from types import FrameType

    from .background import Pending
    from .failures import OnError
    from .messages import Message
    from .subscriptions import Subscription

    Loop = asyncio.AbstractEventLoop

__all__ = ["LoopRunner", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or None."""
    return asyncio._get_running_loop()


class Turn:
    """One message for one follower, in the context of its publisher.

    Args:
        message: what is delivered.
        coroutine: what the follower has returned for it, if it is a plain function.
    """

    __slots__ = ("apart", "context", "coroutine", "message", "task")

    def __init__(self, message: Message, coroutine: Coroutine[Any, Any, Any] | None = None) -> None:
        self.message = message
        self.context = copy_context()
        self.coroutine = coroutine
        self.apart = False
        """Whether it waits for no other message of the follower."""
        self.task: asyncio.Task[None] | None = None

    def is_given_up(self) -> bool:
        """Whether the asker waits no more."""
        callback = self.message.callback
        return isinstance(callback, Answer) and callback.cancelled()

    def close(self) -> None:
        """End a coroutine that was not begun."""
        if self.coroutine is not None:
            self.coroutine.close()


class Line:
    """The messages of one follower that wait for one event loop, for as long as there are some."""

    __slots__ = ("__weakref__", "ended", "loop", "runner", "task", "turns")

    def __init__(self, runner: LoopRunner, loop: Loop) -> None:
        self.runner = runner
        self.loop = loop
        self.turns: deque[Turn] = deque()
        self.ended = False
        self.task: asyncio.Task[None] | None = None


class LoopRunner:
    """Runs one ``async def`` follower on the loop of the thread that registered it.

    The loop is looked up at delivery. When none runs in that thread, it is the one that runs where the
    message is delivered. Everything of the follower happens on the loop, its guard included.

    Args:
        subscription: the follower.
        failed: takes the error of a delivery.
        answer: takes a message with a callback, and what came of it: the result, or the error.
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
        self._subscription = subscription
        self._failed = failed
        self._send_answer = answer
        self._pending = pending
        self._lock = threading.RLock()  # a destructor may send in the middle of a `put`
        self._lines: WeakKeyDictionary[Loop, Line] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, message: Message) -> None:
        """Have the follower run for `message`."""
        self._begin(Turn(message))

    def adopt(self, message: Message, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Have a coroutine run that the follower, a plain function, returned for `message`."""
        try:
            self._begin(Turn(message, coroutine))
        except Exception:
            coroutine.close()
            raise

    def ask(
        self, message: Message, blocking: bool, coroutine: Coroutine[Any, Any, Any] | None = None
    ) -> Answer:
        """Put a question to the follower; return the future of its answer, which cancels it when cancelled.

        Args:
            message: the question.
            blocking: whether the asker's thread does nothing else until the answer is there.
            coroutine: what the follower, if it is a plain function, has returned already.
        """
        loop = self.loop()
        if blocking and loop is running_loop():
            raise LoopError(
                f"ask() would wait for {self._subscription.name} on the event loop that it holds up: "
                "use 'await aask()'"
            )
        answer = Answer()
        turn = Turn(message.with_callback(answer), coroutine)
        edge = begin_wait(self._subscription)
        if edge is None:
            turn.apart = True  # the follower waits for this very question: as one recursion
        else:
            answer.add_done_callback(lambda _: end_wait(edge))

        def give_up(answer: Future[Any]) -> None:
            if answer.cancelled() and turn.task is not None:
                if loop is running_loop():
                    turn.task.cancel()
                    return
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(turn.task.cancel)

        answer.add_done_callback(give_up)
        self._put(loop, turn)
        return answer

    def _begin(self, turn: Turn) -> None:
        message = turn.message
        try:
            self._put(self.loop(), turn)
        except Exception as error:
            if callable(message.callback):  # who asks is elsewhere, and would wait in vain
                self._send_answer(message, None, error)
            raise

    @property
    def home(self) -> Loop | None:
        """The loop that ran in the thread of the registration when that was last looked up."""
        return None if self._home is None else self._home()

    def loop(self) -> Loop:
        """The loop to run on; raises `LoopError` when there is none."""
        home, here = self.home, running_loop()
        if home is not None and (home is here or home.is_running()):
            return home
        name = self._subscription.name
        found = loop_of_thread(self._subscription._thread(), here)
        if found is not None:
            self._home = ref(found)
            return found
        if home is not None and not home.is_closed():
            return home  # it runs again, as one does between two calls of `run_until_complete`
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

    def _put(self, loop: Loop, turn: Turn) -> None:
        fresh = Line(self, loop)
        apart = turn.apart or turn.coroutine is not None or self._subscription.concurrent
        with self._lock:
            # In one step with the look-up: a line that is done is not found by the next message.
            line = fresh if apart else self._lines.setdefault(loop, fresh)
            line.turns.append(turn)
            self._pending.change(loop, +1)
        if line is not fresh:
            return  # its task is running, or scheduled, and `_next` will find the turn
        if loop is running_loop():
            self._next(line)
            return
        try:
            loop.call_soon_threadsafe(self._next, line)
        except RuntimeError:  # closed since it was looked up
            self.end(line)

    def _next(self, line: Line) -> None:
        """Start the task of the next message; on the loop."""
        with self._lock:
            if not line.turns:
                self._forget(line)  # it refers to the loop, which nothing here keeps alive
                return
            turn = line.turns.popleft()
        watch_end(line)
        # In the publisher's context: a task takes a copy of the one that it is made in.
        task = line.task = turn.task = turn.context.run(line.loop.create_task, self._run(turn))
        self._tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(partial(self._done, line, turn))
        if turn.is_given_up():
            task.cancel()  # just now, on another thread, which has not seen the task

    def _done(self, line: Line, turn: Turn, task: asyncio.Task[None]) -> None:
        message = turn.message
        self._tasks.discard(task)
        if line.ended:
            return
        line.task = None
        self._pending.change(line.loop, -1)
        error: BaseException | None
        try:
            error = task.exception()  # not an Exception, which `_run` has reported
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if error is not None and not turn.is_given_up():
            if message.callback is not None:
                answer_end(message, error, self._send_answer)
            else:
                self._failed(self._subscription, message, error)
        turn.close()
        self._next(line)

    def end(self, line: Line) -> None:
        """Give up what waits in `line`: its loop has ended."""
        with self._lock:
            lost = list(line.turns)
            line.turns.clear()
            self._forget(line)
            line.ended = True
        unfinished = len(lost)
        if line.task is not None:
            unfinished += 1
            line.task.cancel()
        self._pending.change(line.loop, -unfinished)
        error = LoopError("the event loop of the follower ended")
        for turn in lost:
            turn.close()
            if turn.message.callback is not None:
                answer_end(turn.message, error, self._send_answer)
        if unfinished:
            log_warning(
                f"{unfinished} messages did not get through {self._subscription.describe()}: "
                "its event loop ended"
            )

    def _forget(self, line: Line) -> None:
        if self._lines.get(line.loop) is line:
            del self._lines[line.loop]

    async def _run(self, turn: Turn) -> None:
        message, callback = turn.message, turn.message.callback
        if not turn.apart:
            RUNNING.set(self._subscription)
        result, trouble = None, None
        try:
            function = self._subscription._function
            if function is nothing and turn.coroutine is None:  # cancelled, or muted, since it was sent
                nothing(message)
                return
            result = function(message) if turn.coroutine is None else turn.coroutine
            if result is not SKIPPED:
                result = await result
        except Exception as error:  # noqa: BLE001  # a follower's, which has no caller: it is reported
            result, trouble = None, error
        try:
            if callback is not None and (self._subscription._reply is not None or callable(callback)):
                self._send_answer(message, result, trouble)
            elif trouble is not None:
                self._failed(self._subscription, message, trouble)
        except Exception as error:  # noqa: BLE001  # of a follower of the answer
            self._failed(self._subscription, message, error)


def watch_end(line: Line) -> None:
    """Have the line told when its loop, which runs here, ends.

    An event loop has no callback for its end. But `asyncio.run` closes the asynchronous generators that were
    begun on it, as the last thing before it closes the loop itself.
    """
    loop: Any = line.loop
    lines: WeakSet[Line]
    try:
        lines, _ = loop.__berrymq_lines__
    except AttributeError:
        lines = WeakSet()
        sentinel = until_end(lines)
        # On the loop, not in a table here: the generator refers to the loop and would keep it alive.
        loop.__berrymq_lines__ = lines, sentinel
        with suppress(StopIteration):
            sentinel.__anext__().send(None)  # the first step awaits nothing
    lines.add(line)


async def until_end(lines: WeakSet[Line]) -> AsyncGenerator[None, None]:
    """Wait to be closed, then end the lines."""
    try:
        yield
    finally:
        for line in list(lines):
            line.runner.end(line)


def loop_of_thread(thread: threading.Thread | None, here: Loop | None) -> Loop | None:
    """Return the event loop that runs in `thread` now, or None."""
    if thread is threading.current_thread():
        return here
    if thread is None or not thread.is_alive():
        return None
    # Which loop runs is known to its own thread alone. What others can see is the frame that runs it: of
    # `BaseEventLoop.run_forever`, or of `asyncio.Runner.run` around a loop that is not written in Python.
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
