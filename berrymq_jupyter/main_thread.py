"""Deliver messages of links on the kernel's main thread: `%link --deliver main`.

A message that comes over a link is delivered on a thread of the bus. Code that must run on the main thread,
such as that of most plotting and GUI toolkits, needs `%link --deliver main`.

`MainThreadDeliverer` is the `Deliverer` that the bus then uses. How it reaches the main thread depends on the
front end: the event loop of a kernel, the prompt of a terminal, or no more than the end of each cell
(`scheduler_of`).
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from berrymq import Message
    from berrymq.delivery_thread import Deliveries
    from berrymq.subscriptions import Subscription

    Failed = Callable[[Subscription, Message, BaseException], object]
    Schedule = Callable[[Callable[[], None]], None]

# Seconds for which deliveries may keep the main thread from other requests.
TURN = 0.05


class MainThreadDeliverer:
    """Runs deliveries on the main thread whenever that is free: between cells, and while a cell awaits.

    Args:
        failed: takes the error of a delivery.
        schedule: calls a function on the main thread soon; may be called on any thread.
    """

    def __init__(self, failed: Failed, schedule: Schedule) -> None:
        self._failed = failed
        self._schedule = schedule
        self._items: deque[tuple[Subscription, Message]] = deque()
        self._changed = threading.Condition(threading.RLock())  # a destructor may send in `submit_many`
        self._scheduled = False
        """Whether a turn is scheduled, or has not emptied the backlog yet."""
        self._busy = False
        """Whether a delivery runs."""

    @property
    def backlog(self) -> int:
        """The number of deliveries that were submitted and are not finished."""
        return len(self._items) + self._busy

    def submit_many(self, deliveries: Deliveries) -> None:
        """Add deliveries with one wake-up; return at once.

        Args:
            deliveries: read here, in this thread.
        """
        with self._changed:
            self._items.extend(deliveries)
            if self._scheduled or not self._items:
                return
            self._scheduled = True
        self._schedule(self.turn)

    def turn(self) -> None:
        """Run queued deliveries on the main thread; after `TURN` seconds let other requests go first."""
        end = monotonic() + TURN
        with interruptible():
            while self._run_one():
                if monotonic() > end:
                    self._schedule(self.turn)
                    return

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the backlog is empty; on the main thread itself, run it.

        Args:
            timeout: in seconds; None for no limit. It does not end deliveries that run on the main thread.

        Returns:
            False if the timeout passes first.
        """
        if threading.current_thread() is threading.main_thread():
            while self._run_one():  # no other thread would
                pass
            return not self.backlog
        with self._changed:
            return self._changed.wait_for(lambda: not self.backlog, timeout)

    def close(self, wait: bool = True) -> None:
        """Finish the backlog; with `wait`, return when that is done."""
        if threading.current_thread() is threading.main_thread():
            while self._run_one():
                pass
        elif wait:
            self.drain()

    def _run_one(self) -> bool:
        """Run the oldest delivery; return False when none may run now."""
        with self._changed:
            if (
                self._busy
            ):  # a follower runs an event loop of its own: its next message waits until it returns
                return False
            if not self._items:
                self._scheduled = False
                self._changed.notify_all()
                return False
            subscription, message = self._items.popleft()
            self._busy = True
        try:
            subscription.run(message)
        except BaseException as error:  # noqa: BLE001 - no caller to hand an interrupt to
            self._failed(subscription, message, error)
        finally:
            self._busy = False
        return True


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the interrupt button stop what runs; a kernel ignores it between cells."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def scheduler_of(shell: InteractiveShell) -> Schedule:
    """Return a function that schedules functions on the main thread of this shell.

    Args:
        shell: of a kernel, of a terminal, or embedded in something else.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        schedule: Schedule = kernel.io_loop.add_callback
        return schedule
    prompt = getattr(shell, "pt_app", None)
    return Prompt(prompt.app) if prompt is not None else after_the_cell


def after_the_cell(function: Callable[[], None]) -> None:
    """Do nothing: without a loop that could call `function`, the turn after each cell has to suffice."""


class Prompt:
    """Calls functions on the main thread of a terminal IPython while it is in its prompt."""

    def __init__(self, app: Any) -> None:
        self._app = app  # of prompt_toolkit

    def __call__(self, function: Callable[[], None]) -> None:
        """Call `function` now if there is a prompt, else when the next one begins; perhaps twice."""
        loop = self._app.loop
        if loop is None:
            self._app.pre_run_callables.append(function)
            loop = self._app.loop  # the prompt may have begun since
        if loop is not None:
            with suppress(RuntimeError):  # it is ending: a cell begins, and a turn follows each
                loop.call_soon_threadsafe(function)
