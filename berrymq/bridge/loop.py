"""The one I/O thread of a process: an event loop of its own, started by the first link.

Nothing of the bridge runs on the loop of a kernel or of the program; a busy cell does not hold it up.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["end_if_idle", "io_loop", "run"]

P = ParamSpec("P")
T = TypeVar("T")

LINGER_SECONDS = 2.0
"""How long connections that were closed may take to go."""

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_selector: selectors.BaseSelector
_thread: threading.Thread


class DaemonThreads(ThreadPoolExecutor):
    """Runs each function on a daemon thread of its own: few, such as the look-up of a name.

    Those of the standard library end with the main thread, while links may go on in others.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function; the future gets what it returns or raises."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised by the future
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="berrymq-io-helper", daemon=True).start()
        return future


def io_loop() -> asyncio.AbstractEventLoop:
    """The loop of the I/O thread, which runs from the first call on."""
    global _loop, _selector, _thread  # noqa: PLW0603 - there is one of it in a process
    with _lock:
        if _loop is None:
            # A selector loop: tornado needs one on Windows, where it is not the default.
            _selector = selectors.DefaultSelector()
            loop = asyncio.SelectorEventLoop(_selector)
            loop.set_default_executor(DaemonThreads())
            _thread = threading.Thread(target=_serve, args=(loop,), name="berrymq-io", daemon=True)
            _thread.start()
            _loop = loop
        return _loop


def end_if_idle() -> bool:
    """End the I/O thread if nothing runs, listens or is connected there; the next link starts another.

    Returns whether there is no such thread any more.
    """
    global _loop  # noqa: PLW0603 - there is one of it in a process
    with _lock:
        if _loop is None:
            return True
        if not asyncio.run_coroutine_threadsafe(_becomes_idle(_selector), _loop).result():
            return False
        _loop.call_soon_threadsafe(_loop.stop)
        _loop = None
    _thread.join()
    return True


def run(coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run a coroutine on the I/O thread and wait for it here.

    An interrupt, a timeout and whatever else ends the waiting cancels it there.

    Raises:
        TimeoutError: it took longer than *timeout* seconds.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, io_loop())
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def _becomes_idle(selector: selectors.BaseSelector) -> bool:
    """Wait a little for what is being closed; False when something stays."""
    loop = asyncio.get_running_loop()
    until = loop.time() + LINGER_SECONDS
    while (
        len(asyncio.all_tasks()) > 1 or len(selector.get_map()) > 1
    ):  # this task; the pipe that wakes the loop
        if loop.time() > until:
            return False
        await asyncio.sleep(0.01)
    return True


def _forget_in_child() -> None:
    """A forked child has the loop object but not the thread: the next link starts anew."""
    global _loop, _lock  # noqa: PLW0603 - there is one of it in a process
    _lock = threading.Lock()
    _loop = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
