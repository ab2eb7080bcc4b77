"""An asyncio event loop that is run by the I/O loop, in its thread.

nats-py needs asyncio, and the bridge has an I/O thread already; a second one would wake the first for every
message. The selector of the asyncio loop is itself a descriptor that can be polled (epoll, kqueue). The I/O
loop watches it, and runs one iteration whenever it is readable, a timer is due, or a callback was added.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVarTuple, Unpack, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextvars import Context

    from berrymq.bridge.transport.loop import IoLoop

__all__ = ["EmbeddedLoop", "can_be_embedded"]

Ts = TypeVarTuple("Ts")

ITERATIONS = 8
"""The number of iterations in one turn of the I/O loop, if callbacks go on adding callbacks."""


def can_be_embedded() -> bool:
    """Return whether the selector of this system can be polled itself: not on Windows."""
    return hasattr(selectors.DefaultSelector, "fileno")


class EmbeddedLoop(asyncio.SelectorEventLoop):
    """An event loop without a thread of its own. Used on the I/O thread alone.

    Args:
        io: runs it.
    """

    def __init__(self, io: IoLoop) -> None:
        self._pollable = selectors.DefaultSelector()
        self._io = io
        self._is_scheduled = False
        """A step was requested from the I/O loop."""
        self._in_step = False
        self._added = False
        """A callback was added since the iteration began."""
        super().__init__(self._pollable)
        io.watch(cast("socket.socket", self._pollable), lambda _: self._step())

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Schedule a callback, and an iteration."""
        handle = super().call_soon(callback, *args, context=context)
        self._added = True
        if not self._in_step:
            self._schedule()
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule a callback at a time, and an iteration then."""
        handle = super().call_at(when, callback, *args, context=context)
        self._io.call_later(max(0.0, when - self.time()), self._step)
        return handle

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._io.call(self._step)

    def _step(self) -> None:
        """Run the callbacks that are ready, and some of those that they add."""
        self._is_scheduled = False
        if self._in_step or self.is_closed():
            return
        self._in_step = True
        try:
            for _ in range(ITERATIONS):
                self._added = False
                super().call_soon(self.stop)
                self.run_forever()
                if not self._added:
                    return
        finally:
            self._in_step = False
        self._schedule()

    def end(self) -> None:
        """Cancel all tasks, let them end, and close."""
        if self.is_closed():
            return
        self._io.unwatch(cast("socket.socket", self._pollable))
        self._in_step = True
        for task in asyncio.all_tasks(self):
            task.cancel()
        for _ in range(ITERATIONS):
            super().call_soon(self.stop)
            self.run_forever()
        self.close()
