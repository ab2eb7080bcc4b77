"""What a node collects for a client that takes it by ``get``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from berrymq.bridge.protocol.frames import Moment, parse_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.transport.budget import Budget

__all__ = ["Mailbox"]

MAX_MESSAGES = 10_000
"""How many wait; then the oldest are dropped, and the client is told how many those were."""
MAX_BYTES = 64 * 1024 * 1024

ITEM_BYTES = 400
"""What one message takes beside its payload, about."""


class _Queued(Struct, array_like=True):
    """A message as it stands in a batch."""

    sent_at: Moment
    args: Raw
    kwargs: Raw


_parse_messages = msgspec.json.Decoder(list[_Queued]).decode


class Mailbox:
    """A queue of messages as they are written on the wire. Used on the loop alone.

    Args:
        follows: the identifier that it collects, as text.
        budget: counts what is held.
    """

    def __init__(self, follows: str, budget: Budget) -> None:
        self.follows = follows
        self.dropped = 0
        self.on_arrival: Callable[[], object] | None = None
        """Called when there is something to take, for one who waits."""
        self._items: deque[tuple[dict[str, Any], int]] = deque()
        self._bytes = 0
        self._budget = budget
        budget.holders[self] = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def held_bytes(self) -> int:
        """How many bytes it holds."""
        return self._bytes

    def accept(self, batch: bytes, count: int) -> None:
        """Take in a batch; what overflows is dropped and counted, the oldest first."""
        head = parse_batch(batch)
        try:
            messages = _parse_messages(head.messages)
        except (msgspec.DecodeError, RecursionError):
            self.dropped += count
            return
        for message in messages:
            args, kwargs = bytes(message.args), bytes(message.kwargs)
            if args[:1] != b"[" or kwargs[:1] != b"{":  # whoever sent that has never checked what it sends
                self.dropped += 1
                continue
            fields = {
                "id": head.identifier,
                "args": Raw(args),
                "kwargs": Raw(kwargs),
                "source": head.source,
                "sent_at": message.sent_at,
            }
            size = len(args) + len(kwargs) + ITEM_BYTES
            self._items.append((fields, size))
            self._bytes += size
            self._budget.grow(size)
        while len(self._items) > MAX_MESSAGES or (self._bytes > MAX_BYTES and len(self._items) > 1):
            self._drop_oldest()
        if self.on_arrival is not None and self._items:
            self.on_arrival()

    def take(self) -> dict[str, Any] | None:
        """The next message, None if there is none."""
        if not self._items:
            return None
        fields, size = self._items.popleft()
        self._bytes -= size
        self._budget.grow(-size)
        return fields

    def shed(self, target: int) -> None:
        """Drop the oldest messages until no more bytes than that are held."""
        while self._items and self._bytes > target:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, size = self._items.popleft()
        self._bytes -= size
        self._budget.grow(-size)
        self.dropped += 1

    def close(self) -> int:
        """Give up what waits; return how many messages those were."""
        left = len(self._items)
        self._budget.grow(-self._bytes)
        self._items.clear()
        self._bytes = 0
        self._budget.holders.pop(self, None)
        return left
