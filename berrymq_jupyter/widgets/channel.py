"""What goes between one view here and its appearances on pages: numbered updates, and snapshots after a gap.

A page may show a view twice, or not at all; it may open long after the messages came, and the connection may
lose what was sent. So each update has a number. A page that misses one, or that has just opened, says "hello"
and gets a snapshot, which is bounded and stands for everything before it.

While nobody has said hello, each update is a snapshot, at a lower pace: in a busy cell of a kernel without
subshells a page cannot be heard, and still should see what happens. The same lower pace holds once a page has
been silent for long: it may be closed, and then a server keeps what is sent for later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Channel"]

PERIOD: Final = 0.1
"""Seconds between two updates, at least."""
NEVER: Final = float("-inf")
SLOW_PERIOD: Final = 0.5
"""The same for a page that cannot be heard."""
SILENCE: Final = 20.0
"""Seconds after which a page that said nothing is taken for gone. Pages that get updates speak every 5
seconds.
"""


class Channel:
    """Numbers and paces what is sent, and knows when a snapshot is due."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self.send = send
        """Sends JSON text to the pages."""
        self.number = 0
        self.snapshot_due = True
        self.heard_at: float | None = None
        self.heard_times = 0
        self.sent_at = NEVER

    def hello(self, now: float) -> None:
        """A page opened, or missed something: the next update is a snapshot, and follows at once."""
        self.heard(now)
        self.snapshot_due = True
        self.sent_at = NEVER

    def heard(self, now: float) -> None:
        """A page spoke."""
        self.heard_at = now
        self.heard_times += 1

    def goodbye(self) -> None:
        """A page closed its last view. Ask whether others still show one."""
        self.post({"t": "anyone"})

    def wait(self, now: float) -> float:
        """Return for how many seconds the next update has to wait; 0 if it may be sent now."""
        silent = self.heard_at is None or now - self.heard_at > SILENCE
        return max(0.0, self.sent_at + (SLOW_PERIOD if silent else PERIOD) - now)

    def update(self, kind: str, body: dict[str, Any], now: float) -> int:
        """Send a numbered update; return its size."""
        self.number += 1
        self.sent_at = now
        if self.heard_at is not None and body.get("full", True):  # not if a hello came meanwhile
            self.snapshot_due = False
        return self.post({"t": kind, "n": self.number, "heard": self.heard_times, **body})

    def post(self, body: dict[str, Any]) -> int:
        """Send something without a number: an answer that stands for itself. Return its size."""
        text = msgspec.json.encode(body).decode()
        self.send(text)
        return len(text)
