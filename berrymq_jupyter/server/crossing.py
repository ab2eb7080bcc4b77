"""The way between the loop of the Jupyter server and that of its hub.

The hub works on the I/O thread, so that what passes there does not hold up the server's own answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from berrymq.bridge.network.peer import Transport

__all__ = ["Crossing", "answer_of", "tell"]

T = TypeVar("T")


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

    def close(self, reason: str = "") -> None:
        """End the connection."""
        tell(self._loop, self._transport.close, reason)
