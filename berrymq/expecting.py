"""Waiting for one message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .queues import Empty, Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Any, Self

    from .conditions import Condition
    from .exchange import Exchange
    from .identifiers import Identifier
    from .messages import Message

__all__ = ["Expectation"]


class Expectation:
    """A message that is expected. It counts from the making of this on, not from the waiting."""

    def __init__(
        self,
        exchange: Exchange,
        identifier: str | Identifier | Condition,
        guard: Callable[[Message], object] | None,
        timeout: float | None,
    ) -> None:
        self._queue = Queue(identifier, maxsize=1, overflow="drop_newest", guard=guard, bus=exchange)
        self._timeout = timeout
        self._message: Message | None = None

    @property
    def message(self) -> Message:
        """The message that came; raises `LookupError` before."""
        if self.done:
            return self.wait(0)
        raise LookupError(f"no message of {self._queue.follows} has come yet")

    @property
    def done(self) -> bool:
        """True when the message has come."""
        return self._message is not None or not self._queue.empty()

    def wait(self, timeout: float | None = None) -> Message:
        """Wait for the message; `TimeoutError` when it does not come in time."""
        if self._message is None:
            seconds = self._timeout if timeout is None else timeout
            try:
                self._keep(self._queue.get(timeout=seconds))
            except Empty:
                raise TimeoutError(f"no message of {self._queue.follows} came within {seconds} s") from None
        return self._kept()

    async def wait_async(self) -> Message:
        """Wait for the message without holding up the event loop; ``await expectation`` does the same."""
        import asyncio

        if self._message is None:
            try:
                async with asyncio.timeout(self._timeout):
                    self._keep(await self._queue.aget())
            except TimeoutError:
                raise TimeoutError(
                    f"no message of {self._queue.follows} came within {self._timeout} s"
                ) from None
        return self._kept()

    def __await__(self) -> Generator[Any, None, Message]:
        return self.wait_async().__await__()

    def cancel(self) -> None:
        """Expect it no more."""
        self._queue.close()

    def _keep(self, message: Message) -> None:
        self._message = message
        self._queue.close()

    def _kept(self) -> Message:
        assert self._message is not None
        return self._message

    def __enter__(self) -> Self:
        return self

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
