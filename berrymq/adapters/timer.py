"""Messages at a regular interval."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from .base import Adapter

if TYPE_CHECKING:
    from berrymq.bus import Bus

__all__ = ["Timer"]


class Timer(Adapter):
    """Sends ``NAME:tick`` every `interval` seconds, numbered from 1 on, from a thread of its own.

    Ticks do not drift: the n-th one is due n intervals after the start. Those that followers were too slow
    for are dropped, and their numbers are skipped.

    ::

        with Timer(0.5, name="poll"):       # poll:tick(1), poll:tick(2), ...
            ...

    Args:
        interval: in seconds, above 0.
        name: the name of the messages.
        bus: where they are sent; None for the default bus.

    Raises:
        ValueError: `interval` is not above 0.

    Attributes:
        interval: in seconds.
    """

    def __init__(self, interval: float, name: str = "timer", *, bus: Bus | None = None) -> None:
        if interval <= 0:
            raise ValueError(f"interval is a number of seconds above 0, not {interval}")
        super().__init__(name, bus)
        self.interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"berrymq timer {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Send the ticks until `stop`, in the thread of the timer."""
        start = monotonic()
        number = 1
        while not self._stopped.wait(max(0.0, start + number * self.interval - monotonic())):
            self.send("tick", number)
            number = max(number, int((monotonic() - start) / self.interval)) + 1

    def stop(self) -> None:
        """Stop, and wait for a tick that is being sent, unless a follower of the tick calls."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
