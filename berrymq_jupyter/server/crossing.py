"""The way between the loop of the Jupyter server and that of its hub.

The hub works on the I/O thread, so that what passes there does not hold up the server's own answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from berrymq.bridge.websocket import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from berrymq.bridge.network.peer import Transport

__all__ = ["Crossing", "Inflow", "answer_of", "tell"]

T = TypeVar("T")

MAX_AHEAD_BYTES = 4 * 1024 * 1024
"""How much of a connection the server reads ahead of its hub."""

FRAME_BYTES = 1024
"""What a frame takes at least, however short it is."""


async def answer_of(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on another loop, and wait for it on this one."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    """Have a function called on another loop; in vain when that has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


class Crossing:
    """A connection of the server, as the hub sees it: what is done to it is done on the server's loop.

    Args:
        transport: the connection.
        loop: the loop on which it lives.
    """

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop

    def write(self, data: bytes) -> None:
        """Send one frame."""
        tell(self._loop, self._transport.write, data)

    def close(self, reason: str = "", code: CloseCode = CloseCode.NORMAL) -> None:
        """End the connection."""
        tell(self._loop, self._transport.close, reason, code)


class Inflow:
    """What the server has read of a connection and the hub has yet to take.

    Args:
        loop: the hub's.
        receive: takes one frame or call, on that loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Callable[[str | bytes], object]) -> None:
        self._loop = loop
        self._receive = receive
        # Each is changed on one thread alone, the server's and the hub's.
        self._read = self._taken = 0

    def pass_on(self, message: str | bytes) -> asyncio.Future[None] | None:
        """Hand a frame to the hub; where that is behind, something to wait for before more is read."""
        size = len(message) + FRAME_BYTES
        self._read += size
        tell(self._loop, self._take, message, size)
        if self._read - self._taken <= MAX_AHEAD_BYTES:
            return None
        here = asyncio.get_running_loop()
        caught_up: asyncio.Future[None] = here.create_future()
        tell(self._loop, tell, here, _resolve, caught_up)  # behind all that was handed over before
        return caught_up

    def _take(self, message: str | bytes, size: int) -> None:
        self._taken += size
        self._receive(message)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
