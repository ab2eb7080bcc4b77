"""The queue that a node holds for a client, which takes messages from it by ``get``.

Batches are held as they came, so that a thousand messages of one sender are one object, which other queues
and links share. Only the batch that is being taken is split into messages. The last message is held too,
since its client may not have received the answer (``sessions.py`` sends it again).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from berrymq.bridge.protocol.batches import Batch, LargeBatchBytes, parse_batch
from berrymq.bridge.protocol.fields import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.transport.budget import Budget

    from .downloads import Downloads
    from .retained import Retained

__all__ = ["Mailbox", "read_message", "read_messages"]

MAX_MESSAGES = 10_000
"""The capacity; on overflow the oldest messages are dropped, and their number is reported to the client."""
MAX_BYTES = 64 * 1024 * 1024
"""As if nothing were shared with others."""

BATCH_BYTES, MESSAGE_BYTES = 200, 120
"""The approximate overhead of a batch, and of each message of the batch that is being read."""


class _Queued(Struct, array_like=True):
    """A message as it is encoded in a batch.

    The arguments stay undecoded: they are copied into the answer.
    """

    sent_at: Moment
    args: Raw
    kwargs: Raw


_parse_messages = msgspec.json.Decoder(list[Raw]).decode
_parse_message = msgspec.json.Decoder(_Queued).decode


class _Waiting:
    """A buffered batch."""

    __slots__ = ("beside", "count", "data", "skip")

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self.beside = data.memory.data if isinstance(data, LargeBatchBytes) else b""
        """The buffers that came with it, as far as they lie in this process."""
        self.count = count
        """The number of its messages that are left."""
        self.skip = 0
        """The number of its messages that were dropped, at its start."""


class Mailbox:
    """A queue of batches as they are on the wire. Used on the loop alone.

    The bytes of a batch are shared with other queues and links; it is decoded when its first message is
    taken.

    Args:
        follows: the identifier that it collects, as text.
        budget: counts what is held.
        downloads: hold large buffers, which the client downloads; None for no large ones.
    """

    least_seconds = 0.0
    """The minimum timeout of a call of ``get``, in seconds."""

    def __init__(self, follows: str, budget: Budget, downloads: Downloads | None = None) -> None:
        self._downloads = downloads
        self.follows = follows
        self.dropped = 0
        """The number of messages that were dropped here so far."""
        self.last: dict[str, Any] | None = None
        """The last message taken, for a client that did not receive it; None without one, or if memory was
        short."""
        self.on_arrival: Callable[[], object] | None = None
        """Called when a message arrives, for a waiting call of ``get``."""
        self._batches: deque[_Waiting] = deque()
        self._count = 0
        self._current: tuple[_Waiting, Batch] | None = None
        """The batch that is being taken. It is held until the next one is, for `last` is a part of it."""
        self._messages: deque[Raw] = deque()
        """The messages of it that are left."""
        self._text_bytes = 0
        """Of the buffers in `last`."""
        self._account = budget.open(self.shed)

    def __len__(self) -> int:
        return self._count + len(self._messages)

    @property
    def held_bytes(self) -> int:
        """The bytes held, some of them shared with others."""
        return self._account.held

    def accept(self, batch: bytes, count: int) -> None:
        """Add a batch; on overflow drop the oldest messages and count them.

        Args:
            batch: its bytes, see `Subscriber`.
            count: the number of its messages.
        """
        waiting = _Waiting(batch, count)
        self._batches.append(waiting)
        self._count += count
        self._account.hold(batch)
        if waiting.beside:
            self._account.hold(waiting.beside)
        self._account.grow(BATCH_BYTES)
        while len(self) > MAX_MESSAGES:
            self._drop_oldest(len(self) - MAX_MESSAGES)
        while self.held_bytes > MAX_BYTES and self._drop_for_bytes(spare=1):
            pass
        if self.on_arrival is not None and len(self):
            self.on_arrival()

    def begin_with(self, past: list[Retained]) -> None:
        """Put retained messages before those that have arrived, except those that are among them."""
        arrived, self._batches, self._count = self._batches, deque(), 0
        heads = [parse_batch(one.data) for one in arrived]
        for _, count, data in past:
            head = parse_batch(data)
            if not any(
                one.origin == head.origin and 0 <= head.first - one.first < one.count for one in heads
            ):
                self.accept(data, count)
        self._batches += arrived
        self._count += sum([one.count for one in arrived])

    def take(self) -> dict[str, Any] | None:
        """Return the next message, None without one; drop and count malformed ones.

        A batch whose messages are malformed counts as dropped: a hub does not decode what passes.
        """
        while self._messages or self._batches:
            if not self._messages:
                self._begin_next()
                continue
            assert self._current is not None
            head = self._current[1]
            message = read_message(head, self._messages.popleft(), self._current[0].data, self._downloads)
            self._account.grow(-MESSAGE_BYTES)
            if message is None:
                self.dropped += 1
                continue
            self.last = message
            self._text_bytes = sum([len(form or "") for form in message.get("buffers", ())])
            self._account.grow(self._text_bytes)
            return message
        return None

    def acknowledge(self) -> None:
        """Note that the client has the last message."""

    def _begin_next(self) -> None:
        """Decode the next batch."""
        self._end_current()
        waiting = self._batches.popleft()
        self._count -= waiting.count
        head = parse_batch(waiting.data)
        messages = read_messages(head)
        if not messages:
            self.dropped += waiting.count
        self._messages.extend(messages[waiting.skip :])
        self._current = waiting, head
        self._account.grow(MESSAGE_BYTES * len(self._messages))

    def _end_current(self) -> int:
        """Release the batch that is being taken; return how many of its messages were left."""
        if self._current is None:
            return 0
        left = len(self._messages)
        self._account.grow(-MESSAGE_BYTES * left)
        self._messages.clear()
        self._release(self._current[0])
        self._account.grow(-self._text_bytes)
        self._text_bytes = 0
        self._current = self.last = None
        return left

    def _release(self, waiting: _Waiting) -> None:
        self._account.release(waiting.data)
        if waiting.beside:
            self._account.release(waiting.beside)
        self._account.grow(-BATCH_BYTES)

    def _drop_oldest(self, most: int) -> None:
        """Drop up to *count* messages of the oldest batch that has some.

        Args:
            most: the number of messages; fewer are dropped if the batch has fewer.
        """
        if self._messages:
            count = min(most, len(self._messages))
            for _ in range(count):
                self._messages.popleft()
            self._account.grow(-MESSAGE_BYTES * count)
        else:
            waiting = self._batches[0]
            count = min(most, waiting.count)
            waiting.count -= count
            waiting.skip += count
            self._count -= count
            if not waiting.count:
                self._release(self._batches.popleft())
        self.dropped += count

    def _drop_for_bytes(self, spare: int = 0) -> bool:
        """Drop the oldest batch, if there are more than *spare*; return False if nothing could be dropped."""
        if self._current is not None:
            self.dropped += self._end_current()
        elif len(self._batches) > spare:
            waiting = self._batches[0]
            self._drop_oldest(waiting.count)
        else:
            return False
        return True

    def shed(self, target: int) -> None:
        """Drop the oldest messages until no more bytes than *target* are held.

        Called by the budget.
        """
        while self.held_bytes > target and self._drop_for_bytes():
            pass

    def close(self) -> int:
        """Drop all messages; return their number.

        The account is closed with it.
        """
        left = len(self)
        self._end_current()
        while self._batches:
            self._release(self._batches.popleft())
        self._count = 0
        self._account.close()
        return left


def read_messages(batch: Batch) -> list[Raw]:
    """Split the messages of a batch; return none if they are malformed."""
    try:
        return _parse_messages(batch.messages)
    except (msgspec.DecodeError, RecursionError):
        return []


def read_message(
    head: Batch, raw: Raw, data: bytes = b"", downloads: Downloads | None = None
) -> dict[str, Any] | None:
    """Return a message as an object for clients; None if it is malformed, which a hub does not check.

    Args:
        head: its batch.
        raw: the message.
        data: the bytes of its batch, if its buffers are wanted.
        downloads: hold those that are too large for texts; None for none.
    """
    try:
        message = _parse_message(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if bytes(memoryview(message.args)[:1]) != b"[" or bytes(memoryview(message.kwargs)[:1]) != b"{":
        return None
    fields: dict[str, Any] = {
        "id": head.identifier,
        "args": message.args,
        "kwargs": message.kwargs,
        "source": head.source,
        "sent_at": message.sent_at,
    }
    if isinstance(data, LargeBatchBytes):
        fields["buffers"] = data.memory.texts() if downloads is None else downloads.forms(data.memory)
    return fields
