"""The log of what peers cause: a few lines of each kind at a time, so that no peer can fill a disk."""

from __future__ import annotations

import logging
import threading
from time import monotonic

__all__ = ["peers_log"]

SECONDS = 10.0
MOST_LINES = 3
"""So many lines of each kind are logged in so many seconds; the next one says how many were left out."""


class Few(logging.Filter):
    """Lets few records of each kind pass: of those with the same format."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int, int]] = {}
        """By format: since when lines are counted, how many passed since then, and how many were left out."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one passes; it may get a remark about those before it."""
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
        """Begin anew."""
        with self._lock:
            self._kinds.clear()


few = Few()
peers_log = logging.getLogger("berrymq.peers")
"""For warnings about what a peer did. The format is the kind, so nothing of a peer's goes into it."""
peers_log.addFilter(few)
