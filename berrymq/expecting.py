"""Expecting: one message to wait for, which is collected from the creation of the expectation on.

Since collecting begins before the wait, a message that comes between an action and the wait for its effect
is not missed. An expectation is a queue for one message, and owns that queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .queues import Empty, Queue
from .subscribers import Handle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Any

    from .bus import Bus
    from .conditions import Condition
    from .identifiers import Identifier
    from .messages import Message

__all__ = ["Expectation"]


class Expectation(Handle):
    """A message to wait for; what `Bus.expect` returns.

    It may be waited for on any thread, by `wait`, with ``await``, or at the end of a ``with`` block::

        with expect("job:done", timeout=5) as done:
            start_job()
        print(done.message)

    Leaving the block by an exception cancels the expectation without waiting.

    Args:
        bus: where it is expected.
        identifier: what is expected, or a joint condition.
        guard: takes a message and decides whether it is the one.
        timeout: the most seconds to wait, from the beginning of the wait; None for no limit.
    """

    def __init__(
        self,
        bus: Bus,
        identifier: str | Identifier | Condition,
        guard: Callable[[Message], object] | None,
        timeout: float | None,
    ) -> None:
        self._queue = Queue(identifier, maxsize=1, overflow="drop_newest", guard=guard, bus=bus)
        self._timeout = timeout
        self._message: Message | None = None

    @property
    def message(self) -> Message:
        """The message that came.

        Raises:
            LookupError: none has come yet.
        """
        if self.done:
            return self.wait(0)
        raise LookupError(f"no message of {self._queue.follows} has come yet")

    @property
    def done(self) -> bool:
        """Whether the message has come."""
        return self._message is not None or not self._queue.empty()

    def wait(self, timeout: float | None = None) -> Message:
        """Wait for the message and return it; return the same one when called again.

        Args:
            timeout: the most seconds to wait; as given to `Bus.expect`, unless given here.

        Raises:
            TimeoutError: it has not come in time.
            QueueClosed: the expectation was cancelled, or its bus closed.
        """
        if self._message is None:
            seconds = self._timeout if timeout is None else timeout
            try:
                self._set_message(self._queue.get(timeout=seconds))
            except Empty:
                raise TimeoutError(f"no message for {self._queue.follows} within {seconds} s") from None
        assert self._message is not None
        return self._message

    async def wait_async(self) -> Message:
        """Wait for the message without blocking the event loop; ``await expectation`` does the same.

        Raises:
            TimeoutError: it has not come in time.
            QueueClosed: the expectation was cancelled, or its bus closed.
        """
        import asyncio

        if self._message is None:
            try:
                async with asyncio.timeout(self._timeout):
                    self._set_message(await self._queue.aget())
            except TimeoutError:
                raise TimeoutError(f"no message for {self._queue.follows} within {self._timeout} s") from None
        assert self._message is not None
        return self._message

    def __await__(self) -> Generator[Any, None, Message]:
        return self.wait_async().__await__()

    def cancel(self) -> None:
        """Collect no message any more, and end every wait. A message that has come stays available."""
        self._queue.close()

    def _set_message(self, message: Message) -> None:
        """Store the message, and collect no other."""
        self._message = message
        self._queue.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self.cancel()

    def __repr__(self) -> str:
        return f"<Expectation of {self._queue.follows}{', come' if self.done else ''}>"
