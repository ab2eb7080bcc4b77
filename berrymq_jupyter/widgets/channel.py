"""The channel between one view and its appearances on pages: numbered updates, and snapshots after a gap.

A page may show a view twice, or not at all; it may open long after the messages, and the connection may lose
updates. So each update has a number. A page that misses one, or that has just opened, sends "hello" and gets
a snapshot, which is bounded and replaces everything before it.

Before the first hello, each update is a snapshot, at a lower rate: in a busy cell of a kernel without
subshells a page's messages are not read, and it still should show what happens. The same lower rate applies
once a page has been silent for long: it may be closed, and then a server buffers what is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Channel"]

PERIOD: Final = 0.1
"""The least interval of updates, in seconds."""
NEVER: Final = float("-inf")
SLOW_PERIOD: Final = 0.5
"""The same for a page whose messages are not read."""
SILENCE: Final = 20.0
"""Seconds of silence after which a page counts as closed. Pages that get updates send something every 5
seconds."""


class Channel:
    """Numbers and paces updates, and decides when a snapshot is due.

    It has no thread and no clock: its view calls it, on the pump or for a page's message, under the guard of
    the view.

    Args:
        send: sends JSON text to the pages.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self.send = send
        """Sends JSON text to the pages."""
        self.number = 0
        """That of the last update."""
        self.snapshot_due = True
        """Whether the next update has to be a snapshot."""
        self.received_at: float | None = None
        """When a page last sent something; None if none ever did."""
        self.heard_times = 0
        """How often a page has sent something; each update has it, so pages know what has arrived."""
        self.sent_at = NEVER
        """When the last update was sent."""

    def hello(self, now: float) -> None:
        """Handle a page that has opened, or missed an update: send a snapshot without delay.

        Args:
            now: in seconds, of any monotonic clock; the same for all methods.
        """
        self.heard(now)
        self.snapshot_due = True
        self.sent_at = NEVER

    def heard(self, now: float) -> None:
        """Handle a sign of life of a page."""
        self.received_at = now
        self.heard_times += 1

    def goodbye(self) -> None:
        """Handle a page that has closed its last view: ask whether others still show one."""
        self.post({"t": "anyone"})

    def wait(self, now: float) -> float:
        """Return the seconds until the next update may be sent; 0 for now."""
        silent = self.received_at is None or now - self.received_at > SILENCE
        return max(0.0, self.sent_at + (SLOW_PERIOD if silent else PERIOD) - now)

    def update(self, kind: str, body: dict[str, Any], now: float) -> int:
        """Send a numbered update; return its size.

        Args:
            kind: the kind of update, for the page.
            body: its content; ``full`` says whether it is a snapshot.
            now: in seconds.

        Returns:
            The length of the JSON text, in characters.
        """
        self.number += 1
        self.sent_at = now
        if self.received_at is not None and body.get("full", True):  # not if another hello arrived in between
            self.snapshot_due = False
        return self.post({"t": kind, "n": self.number, "heard": self.heard_times, **body})

    def post(self, body: dict[str, Any]) -> int:
        """Send a message without a number, such as an answer. Return its size."""
        text = msgspec.json.encode(body).decode()
        self.send(text)
        return len(text)
