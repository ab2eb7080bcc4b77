"""The log of what peers cause: few lines of each kind in some time, so that no peer can fill a disk.

The logger is ``berrymq.peers``. Within `SECONDS` at most `MOST_LINES` lines of the same format are passed.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic

__all__ = ["peers_log"]

SECONDS = 10.0
"""The interval, in seconds."""
MOST_LINES = 3
"""The number of lines of each kind in the number of seconds; the next line counts those that were suppressed.
"""


class RateLimit(logging.Filter):
    """Passes few records of each kind: of those with the same format. May be used on any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int, int]] = {}
        """By format: the start of the interval, the lines passed since, and the lines suppressed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes; append the number of those suppressed before it."""
        now = monotonic()
        with self._lock:
            since, passed, left_out = self._kinds.get(record.msg, (now, 0, 0))
            if now - since > SECONDS:
                since, passed = now, 0
            if passed >= MOST_LINES:
                self._kinds[record.msg] = since, passed, left_out + 1
                return False
            self._kinds[record.msg] = since, passed + 1, 0
        if left_out:
            record.msg = f"{record.msg} ({left_out} more lines like this one were left out)"
        return True

    def forget(self) -> None:
        """Forget all counts."""
        with self._lock:
            self._kinds.clear()


rate_limit = RateLimit()
peers_log = logging.getLogger("berrymq.peers")
"""For warnings that peers cause. The format is the kind, so it contains nothing that a peer has sent."""
peers_log.addFilter(rate_limit)
