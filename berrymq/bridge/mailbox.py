"""What waits at a node for one client that takes it by ``get``: messages as they are written on the wire."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from berrymq.process import ForkSafeLock, process
from berrymq.routes import crosses
from berrymq.targets import QueueTarget

from .message_fields import message_fields

if TYPE_CHECKING:
    from berrymq.bus import Bus
    from berrymq.identifiers import Identifier
    from berrymq.messages import Message

__all__ = ["Mailbox"]

MAX_MESSAGES = 10_000
"""How many wait; then the oldest make room, and the client is told how many those were."""
MAX_BYTES = 64 * 1024 * 1024
"""How large their payloads may be together. One always may wait, however large."""

_log = logging.getLogger("berrymq")


class Mailbox:
    """Collects what an identifier matches. It is emptied on the loop and filled on any thread.

    An argument that can't be written is a `PayloadError` at who says it, as with a link.

    Args:
        identifier: what it follows.
        bus: where it collects.
        loop: the node's.
        owner: the name of the client, for people.
    """

    def __init__(self, identifier: Identifier, bus: Bus, loop: asyncio.AbstractEventLoop, owner: str) -> None:
        self.follows = str(identifier)
        """The identifier, as text."""
        self.dropped = 0
        """Messages that made room for others."""
        self.closed = False
        self._items: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._lock = ForkSafeLock()
        self._loop = loop
        self._came = asyncio.Event()
        self._waiting = 0
        target = QueueTarget(self._put, f"queue of {owner}", None)
        self._subscription = bus._subscribe(identifier, target, direct=True)
        process.on_fork(self.after_fork)

    def after_fork(self) -> None:
        """Collect nothing in a forked child: the client is not its."""
        self._subscription.cancel()

    def __len__(self) -> int:
        return len(self._items)

    def take(self) -> dict[str, Any] | None:
        """The next message, None if there is none. See `message_fields`."""
        with self._lock:
            if not self._items:
                return None
            fields = self._items.popleft()
            self._bytes -= _size(fields)
            return fields

    async def wait(self, seconds: float) -> None:
        """Wait until there is a message or this is closed, so long at most; it takes nothing."""
        self._waiting += 1  # before it looks: who puts something down looks for it afterwards
        try:
            async with asyncio.timeout(seconds):
                while not (self._items or self.closed):
                    self._came.clear()
                    if not self._items:
                        await self._came.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Collect nothing more; who waits is woken."""
        self.closed = True
        self._subscription.cancel()
        self._came.set()

    def _put(self, message: Message) -> None:
        """Called by the bus, on any thread."""
        if not crosses(message.identifier):
            return  # `*:*` matches what is local as well
        fields = message_fields(message)
        with self._lock:
            self._items.append(fields)
            self._bytes += _size(fields)
            while len(self._items) > MAX_MESSAGES or (self._bytes > MAX_BYTES and len(self._items) > 1):
                self._bytes -= _size(self._items.popleft())
                self.dropped += 1
        if self._waiting:
            try:
                self._loop.call_soon_threadsafe(self._came.set)
            except RuntimeError:
                _log.debug("said after the end of the I/O loop")


def _size(fields: dict[str, Any]) -> int:
    return len(fields["args"]) + len(fields["kwargs"])
