"""What came over links for this process and did not come before: it is decoded and handed to the bus.

Queues and views get it at once, followers in their turn on the bus's delivery thread. What waits for them is
counted: a node that is too far behind withholds its acknowledgements.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.payload import TYPE_MARK, decode_payload, encode_values
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.frames import (
    FrameError,
    ReadBatch,
    crossing_identifier,
    encode_json,
    parse_messages,
)
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES
from berrymq.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.protocol.frames import Batch, WireMessage
    from berrymq.gateway import Gateway

__all__ = ["Inbox"]

MAX_BACKLOG = 10_000
"""Deliveries that may wait for followers here before acknowledgements are withheld."""
MAX_BACKLOG_BYTES = 32 * 1024 * 1024


class Inbox:
    """Hands messages of links to a bus.

    Used by one thread at a time (`Node._deliver` sees to that), without the router's lock.

    Args:
        gateway: of the bus.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._undelivered: deque[tuple[int, int]] = deque()
        """How many deliveries and bytes each hand-over brought that is not finished yet."""
        self._deliveries = 0
        self._bytes = 0

    def is_behind(self) -> bool:
        """Whether followers here lag so far that peers should hold back."""
        backlog = self._gateway.backlog
        undelivered = self._undelivered
        while undelivered and self._deliveries - undelivered[0][0] >= backlog:
            count, size = undelivered.popleft()
            self._deliveries -= count
            self._bytes -= size
        return backlog > MAX_BACKLOG or (self._bytes > MAX_BACKLOG_BYTES and backlog > 0)

    def deliver(self, batch: Batch | ReadBatch, size: int) -> bool:
        """Hand a batch of so many bytes to the bus; return whether so much waits that `is_behind` may be."""
        try:
            identifier = crossing_identifier(batch.identifier)
            contents = batch.messages if isinstance(batch, ReadBatch) else read_batch(batch)
        except FrameError as error:
            peers_log.warning(
                "%d messages of %r can't be read and are left out: %s", batch.count, batch.source, error
            )
            return False
        handed = self._gateway.deliver(identifier, contents, batch.source, batch.origin)
        if handed:
            self._undelivered.append((handed, size))
            self._deliveries += handed
            self._bytes += size
        return self._deliveries > MAX_BACKLOG // 10 or self._bytes > MAX_BACKLOG_BYTES // 10

    def poll(self, batch: Batch | ReadBatch, name: str, answer: Callable[[bytes], object]) -> None:
        """Put a question to the followers here; `answer` is called once with theirs, on any thread."""

        def done(answers: list[Any], errors: list[Exception]) -> None:
            try:
                values = encode_values(answers)
            except PayloadError as error:
                values, errors = b"[]", [*errors, error]
            try:
                failed = encode_values(errors) if errors else b"[]"
                if len(values) + len(failed) > MAX_PAYLOAD_BYTES:
                    raise PayloadError("the answer", "it is larger than a message may be")  # noqa: TRY301
            except PayloadError as error:
                values, failed = b"[]", encode_values([error])
            answer(b"[%b,%b,%b]" % (encode_json(name), values, failed))

        try:
            identifier = crossing_identifier(batch.identifier)
            (message,) = batch.messages if isinstance(batch, ReadBatch) else read_batch(batch)
        except ValueError as error:
            done([], [RemoteError("ValueError", f"the question can't be read here: {error}")])
            return
        question = Message.received(
            identifier, message.args, message.kwargs, batch.source, message.sent_at, batch.origin
        )
        self._gateway.poll(question, done)


def read_batch(batch: Batch) -> list[WireMessage]:
    """Return the messages of a batch.

    Raises:
        FrameError: they can't be read.
    """
    messages = parse_messages(batch)
    data = bytes(batch.messages)
    if TYPE_MARK in data:
        for message in messages:
            read_types(message)
    return messages


def read_types(message: WireMessage) -> None:
    """Put the values of other types than JSON's in their places."""
    try:
        message.args, message.kwargs = decode_payload(list(message.args), message.kwargs)
    except ValueError as error:
        raise FrameError(str(error)) from None
