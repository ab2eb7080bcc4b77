"""Messages sent again, with the pauses between them that they had, or faster."""

from __future__ import annotations

from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from .render import error_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq import Bus, Message

__all__ = ["Replaying"]

REPORT_SECONDS: Final = 0.25
"""The interval of progress reports to pages, in seconds."""


class Replaying:
    """Sends messages again, on a thread of its own.

    Args:
        bus: gets them, with the very same payloads.
        messages: oldest first.
        speed: 1 for the pauses between them that they had, 10 for a tenth of these.
        changed: called on that thread when there is something new to show, and at the end.
    """

    def __init__(
        self, bus: Bus, messages: list[Message], speed: float, changed: Callable[[], object]
    ) -> None:
        self.bus = bus
        self.messages = messages
        self.speed = speed
        self.changed = changed
        self.sent = 0
        self.failed = 0
        """The number of messages for which a follower has failed."""
        self.error = ""
        """The latest of these errors."""
        self.running = True
        self.stopping = Event()
        self.thread = Thread(target=self.run, name="berrymq replay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Stop sending; do not wait for a follower that is running."""
        self.stopping.set()

    def run(self) -> None:
        """Send the messages when they are due; where the sender's clock was set back there is no pause."""
        due = reported_at = monotonic()
        before = self.messages[0].sent_at if self.messages else 0.0
        for message in self.messages:
            due += max(0.0, message.sent_at - before) / self.speed
            before = message.sent_at
            if self.stopping.wait(max(0.0, due - monotonic())):
                break
            try:
                self.bus.twitter(message.identifier, *message.args, **message.kwargs)
            except BaseException as error:  # noqa: BLE001  # a follower's SystemExit too
                self.failed += 1
                self.error = error_text(error)
            self.sent += 1
            if monotonic() >= reported_at + REPORT_SECONDS:
                reported_at = monotonic()
                self.changed()
        self.running = False
        self.changed()

    def progress(self) -> dict[str, Any]:
        """Return the progress in the form in which a page gets it."""
        return {
            "sent": self.sent,
            "of": len(self.messages),
            "speed": self.speed,
            "running": self.running,
            "failed": self.failed,
            "error": self.error,
        }
