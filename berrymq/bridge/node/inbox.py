"""What came over links for this process: decoded, and handed to the bus.

Queues and views get it at once, followers in their turn on the bus's delivery thread. What waits for them is
counted: a node that is too far behind withholds its acknowledgements.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.payload import TYPE_MARK, decode_payload, encode_values
from berrymq.bridge.protocol.frames import FrameError, encode_json, parse_messages
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES
from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier
from berrymq.messages import Message

from .room import crossing_identifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.protocol.frames import Batch, WireMessage
    from berrymq.gateway import Gateway

__all__ = ["Inbox"]

MAX_BACKLOG = 10_000
"""Deliveries that may wait for followers here before acknowledgements are withheld."""
MAX_BACKLOG_BYTES = 32 * 1024 * 1024

_log = logging.getLogger("berrymq")


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

    def deliver(self, arrived: list[tuple[Batch, bytes]]) -> int:
        """Hand batches to the bus; return how many messages could not be read."""
        messages: list[Message] = []
        size = unread = 0
        for batch, data in arrived:
            size += len(data)
            try:
                messages += read_batch(batch, data)
            except (FrameError, IdentifierError) as error:
                unread += batch.count
                _log.warning(
                    "%d messages of %r can't be read and are left out: %s", batch.count, batch.source, error
                )
        handed = self._gateway.receive(messages)
        if handed:
            self._undelivered.append((handed, size))
            self._deliveries += handed
            self._bytes += size
        return unread

    def poll(self, batch: Batch, data: bytes, name: str, answer: Callable[[bytes], object]) -> None:
        """Put a question to the followers here; `answer` is called once with theirs, on any thread."""

        def done(answers: list[Any], errors: list[Exception]) -> None:
            try:
                values = encode_values(answers)
            except PayloadError as error:
                values, errors = b"[]", [*errors, error]
            try:
                failed = encode_values(errors)
                if len(values) + len(failed) > MAX_PAYLOAD_BYTES:
                    raise PayloadError("the answer", "it is larger than a message may be")  # noqa: TRY301
            except PayloadError as error:
                values, failed = b"[]", encode_values([error])
            answer(b"[%b,%b,%b]" % (encode_json(name), values, failed))

        try:
            (message,) = read_batch(batch, data)
        except (ValueError, IdentifierError) as error:
            done([], [RemoteError("ValueError", f"the question can't be read here: {error}")])
            return
        self._gateway.poll(message, done)


def read_batch(batch: Batch, data: bytes) -> list[Message]:
    """The messages of a batch.

    Raises:
        FrameError: they can't be read.
        IdentifierError: their identifier is none.
    """
    identifier = Identifier.parse(batch.identifier)
    source, origin = batch.source, batch.origin
    received = parse_messages(batch)
    if TYPE_MARK in data:
        return [read_typed(identifier, message, source, origin) for message in received]
    make = Message.received
    return [
        make(
            identifier,
            message.args,
            message.kwargs,
            source,
            message.sent_at,
            origin,
            None if message.callback is None else crossing_identifier(message.callback),
        )
        for message in received
    ]


def read_typed(identifier: Identifier, message: WireMessage, source: str, origin: str) -> Message:
    """A message in which there may be values of other types than JSON's."""
    try:
        args, kwargs = decode_payload(list(message.args), message.kwargs)
    except ValueError as error:
        raise FrameError(str(error)) from None
    callback = None if message.callback is None else crossing_identifier(message.callback)
    return Message.received(identifier, args, kwargs, source, message.sent_at, origin, callback)
