"""``async def`` followers: on which loop they run, one message at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .errors import LoopError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .followers import Subscription
    from .messages import Message

__all__ = ["LoopRunner", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, or None."""
    return asyncio._get_running_loop()


class LoopRunner:
    """Runs one ``async def`` follower on the loop of the thread that registered it.

    When no loop ran there at registration, it is the one that runs where a message is delivered. Messages wait for
    their turn, so that a follower sees one at a time and in order, unless it was declared concurrent.
    """

    def __init__(
        self, subscription: Subscription, failed: Callable[[Subscription, Message, Exception], object]
    ) -> None:
        self._subscription = subscription
        self._failed = failed
        self._home = running_loop()
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, deque[Message]] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, message: Message) -> None:
        """Have the follower run for `message`."""
        here = running_loop()
        loop = self._home or here
        if loop is None:
            raise LoopError(
                f"{self._subscription.name} is an 'async def' follower and no event loop runs in this thread: "
                "register it where its loop runs, or send from there"
            )
        if loop.is_closed():
            raise LoopError(
                f"the event loop on which {self._subscription.name} was registered is closed: "
                "cancel the follower when its loop ends, or register it again on the new one"
            )
        if loop is here:
            self._start(loop, message)
        else:
            loop.call_soon_threadsafe(self._start, loop, message)

    def _start(self, loop: asyncio.AbstractEventLoop, message: Message) -> None:
        if self._subscription.concurrent:
            self._spawn(loop, self._run(message))
            return
        waiting = self._waiting.get(loop)
        if waiting is not None:
            waiting.append(message)
            return
        self._waiting[loop] = deque((message,))
        self._spawn(loop, self._work(loop))

    def _spawn(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(work)
        self._tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting[loop]
        try:
            while waiting:
                await self._run(waiting.popleft())
        finally:
            del self._waiting[loop]

    async def _run(self, message: Message) -> None:
        subscription = self._subscription
        if not subscription.active:
            return
        try:
            await subscription.wrapped(message)
        except Exception as error:
            self._failed(subscription, message, error)
