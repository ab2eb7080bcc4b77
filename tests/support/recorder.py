"""What a follower received, for a thread that waits for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from berrymq import Bus, Message


class Recorder:
    """Follows an identifier and keeps what comes, in the order of its arrival.

    Args:
        bus: where it follows.
        identifier: what it follows.
    """

    def __init__(self, bus: Bus, identifier: str = "test:*") -> None:
        self.messages: list[Message] = []
        self._changed = threading.Condition()
        self.subscription = bus.follow(identifier, self._take, direct=True)

    def _take(self, message: Message) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    @property
    def values(self) -> list[Any]:
        """The first argument of each message."""
        return [message.args[0] for message in self.messages]

    @property
    def sent(self) -> list[tuple[str | None, Any]]:
        """The source and the first argument of each message."""
        return [(message.source, message.args[0]) for message in self.messages]

    def of(self, source: str | None) -> list[Any]:
        """The first argument of each message of one sender."""
        return [message.args[0] for message in self.messages if message.source == source]

    def wait_for(self, count: int, timeout: float = 30.0) -> list[Any]:
        """Wait until so many messages have come; return the first argument of each."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.messages) >= count, timeout)
            assert came, f"{len(self.messages)} of {count} messages came; the last ones: {self.values[-5:]}"
            return self.values

    def have(self, count: int, timeout: float = 30.0) -> list[Any]:
        """Wait until so many messages have come; return source and first argument of each."""
        self.wait_for(count, timeout)
        return self.sent


def read_past(bus: Bus, identifier: str) -> list[Message]:
    """Return the messages that are kept; they are not followed any more then."""
    found: list[Message] = []
    follower = bus.follow(identifier, found.append, past=True, direct=True)
    replay = follower._replay
    wait_until(lambda: replay is None or not replay._holds_received, "the end of the past", interval=0.002)
    follower.cancel()
    return found
