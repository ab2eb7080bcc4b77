"""The watchdog over deliveries in other threads: a follower that does not return is named in the log.

It looks at every delivery thread and worker pool of this process once a second. When one delivery has run for
`HUNG_SECONDS`, these have another thread deliver the rest. Only messages for that very follower wait until it
returns, so that it gets them one at a time and in order.

Python can't end a thread, so one that hangs for ever stays; it is a daemon, and does not block the exit.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from .failures import log_warning
from .process import ForkSafeLock, process

if TYPE_CHECKING:
    from .messages import Message
    from .subscriptions import Subscription

__all__ = ["HUNG_SECONDS", "Watchdog", "log_hung", "watchdog"]

HUNG_SECONDS = 5
"""The seconds that a delivery may block others; counted in looks of the watchdog, since a clock may jump."""


class Watched(Protocol):
    """Runs deliveries in threads of its own: a `DeliveryThread` or a `WorkerPool`."""

    def look(self) -> bool:
        """Replace threads that hang; return False when there is nothing left to watch.

        Called with the lock of the watchdog held, so `Watchdog.watch` must not be called with a lock that it
        takes.
        """


class Watchdog:
    """A daemon thread that calls ``look()`` of what it watches, for as long as there is any.

    There is one instance, `watchdog`; its thread starts with the first `watch`.
    """

    interval = 1.0
    """Seconds between two looks."""

    def __init__(self) -> None:
        self._watched: WeakSet[Watched] = WeakSet()
        self._thread: threading.Thread | None = None
        self._lock = ForkSafeLock()
        process.on_fork(self.after_fork)

    def after_fork(self) -> None:
        """Watch nothing in a forked child, which has none of the parent's threads."""
        self._watched = WeakSet()
        self._thread = None

    def watch(self, deliverer: Watched) -> None:
        """Call ``deliverer.look()`` at each interval until it returns False; it is held weakly."""
        with self._lock:
            self._watched.add(deliverer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="berrymq watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Look at each interval, until there is nothing to watch; the target of the thread."""
        timer = threading.Event()
        while True:
            timer.wait(self.interval)
            # The lock is held during the looks: else a `watch` between a look and the removal would be lost.
            with self._lock:
                for one in list(self._watched):
                    if not one.look():
                        self._watched.discard(one)
                if not self._watched:
                    self._thread = None
                    return


watchdog = Watchdog()
"""The watchdog of this process."""


def log_hung(subscription: Subscription, message: Message) -> None:
    """Log a warning that names a follower which does not return."""
    log_warning(
        f"{subscription.describe()} has been running for {HUNG_SECONDS} s on the message {message.id!r}; "
        "other followers carry on, and its later messages wait until it returns or is cancelled"
    )
