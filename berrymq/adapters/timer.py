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

    Ticks do not drift. Those that followers were too slow for are dropped, and their numbers are skipped.
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
        """Stop, and wait for a tick that is being sent."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
