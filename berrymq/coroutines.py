"""``async def`` followers: on which loop they run, one message at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .errors import LoopError
from .followers import SKIPPED, answer_end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .failures import OnError
    from .followers import Subscription
    from .messages import Message

__all__ = ["LoopRunner", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or None."""
    return asyncio._get_running_loop()


class LoopRunner:
    """Runs one ``async def`` follower on the loop of the thread that registered it.

    When no loop ran there at registration, it is the one that runs where a message is delivered. Everything
    of the follower happens on the loop, its guard included. Messages wait for their turn, so that the
    follower sees one at a time and in order, unless it was declared concurrent.

    Args:
        subscription: the follower.
        failed: takes the error of a delivery.
        answer: takes a message with a callback, and what came of it: the result, or the error.
    """

    def __init__(
        self,
        subscription: Subscription,
        failed: OnError,
        answer: Callable[[Message, Any, Exception | None], object],
    ) -> None:
        self.home = running_loop()
        self._subscription = subscription
        self._failed = failed
        self._send_answer = answer
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, deque[Message]] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, message: Message) -> None:
        """Have the follower run for `message`."""
        try:
            loop = self.loop()
            if loop is running_loop():
                self._accept(loop, message)
            else:
                loop.call_soon_threadsafe(self._accept, loop, message)
        except Exception as error:
            if callable(message.callback):  # who asks is elsewhere, and would wait in vain
                self._send_answer(message, None, error)
            raise

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop to run on; raises `LoopError` when there is none."""
        loop = self.home or running_loop()
        name = self._subscription.name
        if loop is None:
            raise LoopError(
                f"{name} is an 'async def' follower and no event loop runs in this thread: "
                "register it where its loop runs, or send from there"
            )
        if loop.is_closed():
            raise LoopError(
                f"the event loop on which {name} was registered is closed: "
                "cancel the follower before its loop ends, or register it again on the new one"
            )
        return loop

    async def answer(self, message: Message) -> Any:
        """Run the follower here and now, and return its result."""
        outcome = self._subscription.call(message)
        return SKIPPED if outcome is SKIPPED else await outcome

    def _accept(self, loop: asyncio.AbstractEventLoop, message: Message) -> None:
        if self._subscription.concurrent:
            self._spawn(loop, self._run(message))
            return
        # In one step: making the deque may run a destructor that sends, too.
        mine = deque((message,))
        waiting = self._waiting.setdefault(loop, mine)
        if waiting is mine:
            self._spawn(loop, self._work(loop))
        else:
            waiting.append(message)

    def _spawn(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(work)
        self._tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting[loop]
        try:
            while waiting:
                await self._run(waiting.popleft())
        except BaseException as error:
            for message in tuple(waiting):  # their turn does not come
                if message.callback is not None:
                    answer_end(message, error, self._send_answer)
            raise
        finally:
            del self._waiting[loop]

    async def _run(self, message: Message) -> None:
        try:
            if message.callback is None:
                await self.answer(message)
            else:
                await self._answer_callback(message)
        except Exception as error:  # noqa: BLE001  # a follower's, and nobody awaits it: it is reported
            self._failed(self._subscription, message, error)

    async def _answer_callback(self, message: Message) -> None:
        trouble = None
        try:
            result = await self.answer(message)
        except Exception as error:  # noqa: BLE001  # a follower's: it is the answer
            result, trouble = None, error
        except BaseException as error:
            answer_end(message, error, self._send_answer)
            raise
        self._send_answer(message, result, trouble)
