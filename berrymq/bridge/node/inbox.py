"""Messages that arrived over links for this process and are no duplicates: decoded and delivered to the bus.

Queues and views receive them at once, followers in order on the bus's delivery thread. Their backlog is
counted: a node that is too far behind withholds its acknowledgements.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.payload import TYPE_MARK, decode_payload, encode_values
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.batches import ReadBatch, parse_messages
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.json_checks import FrameError, encode_json
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES
from berrymq.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.protocol.batches import Batch, WireMessage
    from berrymq.gateway import Gateway

__all__ = ["Inbox"]

MAX_BACKLOG = 10_000
"""The backlog of deliveries to followers here from which acknowledgements are withheld."""
MAX_BACKLOG_BYTES = 32 * 1024 * 1024


class Inbox:
    """Delivers messages of links to a bus.

    Used by one thread at a time (`Node._deliver` ensures that), without the router's lock.

    Args:
        gateway: of the bus.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._undelivered: deque[tuple[int, int]] = deque()
        """The deliveries and bytes of each batch that followers have not finished."""
        self._deliveries = 0
        self._bytes = 0

    def is_behind(self) -> bool:
        """Return whether the backlog is so large that peers should be held back."""
        backlog = self._gateway.backlog
        undelivered = self._undelivered
        while undelivered and self._deliveries - undelivered[0][0] >= backlog:
            count, size = undelivered.popleft()
            self._deliveries -= count
            self._bytes -= size
        return backlog > MAX_BACKLOG or (self._bytes > MAX_BACKLOG_BYTES and backlog > 0)

    def deliver(self, batch: Batch | ReadBatch, size: int) -> bool:
        """Deliver a batch of *size* bytes to the bus; return whether `is_behind` should be checked."""
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

    def poll(self, batch: Batch, name: str, answer: Callable[[bytes], object]) -> None:
        """Put a question to the followers here.

        Args:
            batch: the question, as one message.
            name: the name of this node, with which the answers are marked.
            answer: called once with the encoded answers, on any thread.
        """

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
            (message,) = read_batch(batch)
        except ValueError as error:
            done([], [RemoteError("ValueError", f"the question can't be read here: {error}")])
            return
        question = Message.received(
            identifier, message.args, message.kwargs, batch.source, message.sent_at, batch.origin
        )
        self._gateway.poll(question, done)


def read_batch(batch: Batch) -> list[WireMessage]:
    """Return the decoded messages of a batch.

    Raises:
        FrameError: they are malformed.
    """
    messages = parse_messages(batch)
    data = bytes(batch.messages)
    if TYPE_MARK in data:
        for message in messages:
            read_types(message)
    return messages


def read_types(message: WireMessage) -> None:
    """Decode the values whose types JSON lacks."""
    try:
        message.args, message.kwargs = decode_payload(list(message.args), message.kwargs)
    except ValueError as error:
        raise FrameError(str(error)) from None
