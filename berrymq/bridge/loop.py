"""The one I/O thread of a process: an event loop of its own, started by the first link.

Nothing of the bridge runs on the loop of a kernel or of the program; a busy cell does not hold it up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["io_loop", "run"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def io_loop() -> asyncio.AbstractEventLoop:
    """The loop of the I/O thread, which runs from the first call on."""
    global _loop  # noqa: PLW0603 - there is one of it in a process
    with _lock:
        if _loop is None:
            # A selector loop: tornado needs one on Windows, where it is not the default.
            loop = asyncio.SelectorEventLoop()
            threading.Thread(target=_serve, args=(loop,), name="berrymq-io", daemon=True).start()
            _loop = loop
        return _loop


def run(coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run a coroutine on the I/O thread and wait for it here.

    An interrupt or a timeout cancels it there.

    Raises:
        TimeoutError: it took longer than *timeout* seconds.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, io_loop())
    try:
        return future.result(timeout)
    except (concurrent.futures.TimeoutError, KeyboardInterrupt):
        future.cancel()
        raise


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _forget_in_child() -> None:
    """A forked child has the loop object but not the thread: the next link starts anew."""
    global _loop, _lock  # noqa: PLW0603 - there is one of it in a process
    _lock = threading.Lock()
    _loop = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
