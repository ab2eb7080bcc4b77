"""What comes from elsewhere and is followed in this process: it is read, and given to the bus.

Queues and views have it at once. What waits for followers is counted, for a node that is too far behind
withholds its acknowledgements.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from berrymq.bridge.errors import RemoteError
from berrymq.bridge.payload import decode, encode
from berrymq.identifiers import Identifier
from berrymq.messages import Message
from berrymq.routes import crosses

from .questions import put_to_bus

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.protocol.frames import WireMessage
    from berrymq.bus import Bus

__all__ = ["Arrivals"]

MAX_BACKLOG = 10_000
"""Deliveries that may wait for followers here before acknowledgements are withheld."""
MAX_BACKLOG_BYTES = 32 * 1024 * 1024
"""How large the payloads of those may be together."""

MAX_WANTED = 4096
"""Identifiers for which it is remembered whether somebody here follows them."""

_log = logging.getLogger("berrymq")


class Arrivals:
    """Gives messages from elsewhere to a bus. Lives on the loop of a node.

    Args:
        bus: the bus of this process.
        answer: is called, on any thread, with a question and the payload of its answer.
    """

    def __init__(self, bus: Bus, answer: Callable[[WireMessage, bytes], object]) -> None:
        self._bus = bus
        self._answer = answer
        self._undelivered: deque[int] = deque()
        """The sizes of the payloads that wait for followers, one for each delivery."""
        self._undelivered_bytes = 0
        self._wanted: dict[str, Identifier | None] = {}

    def interests_changed(self) -> None:
        """Other identifiers are followed here; called on any thread."""
        self._wanted = {}

    def is_behind(self) -> bool:
        """Whether followers here lag so far that the neighbours should hold back."""
        backlog, sizes = self._bus.gateway.deliverer.backlog, self._undelivered
        while len(sizes) > backlog:  # what came first is delivered first
            self._undelivered_bytes -= sizes.popleft()
        return backlog > MAX_BACKLOG or self._undelivered_bytes > MAX_BACKLOG_BYTES

    def deliver(self, message: WireMessage) -> None:
        """Give a message to the followers here, if there are any; a question is answered in any case."""
        text = message.identifier
        try:
            identifier = self._wanted[text]
        except KeyError:
            identifier = self._look_up(text)
        if identifier is None:
            if message.question is not None:
                self._answer(message, encode(([], []), {}))
            return
        try:
            args, kwargs = decode(message.payload)
            callback = None if message.callback is None else Identifier.parse(message.callback)
            if callback is not None and not crosses(callback):
                raise ValueError(f"its answers were to go to {callback}, which is local")  # noqa: TRY301
        except ValueError as error:
            _log.warning("%s of %s can't be read and is left out: %s", identifier, message.source, error)
            if message.question is not None:
                problem = RemoteError("ValueError", f"the question can't be read here: {error}")
                self._answer(message, encode(([], [problem]), {}))
            return
        received = Message.make(
            identifier,
            args,
            kwargs,
            source=message.source,
            sent_at=message.sent_at,
            origin=message.origin,
            callback=callback,
        )
        deliverer = self._bus.gateway.deliverer
        before = deliverer.backlog
        if message.question is None:
            self._bus.gateway.receive([received])
        else:
            put_to_bus(self._bus, received, lambda payload: self._answer(message, payload))
        size = len(message.payload)
        for _ in range(deliverer.backlog - before):  # none for queues and views, which have it already
            self._undelivered.append(size)
            self._undelivered_bytes += size
            size = 0  # several followers share it

    def _look_up(self, text: str) -> Identifier | None:
        """The identifier, if somebody here follows it; what only passes through is never decoded."""
        wanted = self._wanted
        if len(wanted) >= MAX_WANTED:
            wanted.clear()
        identifier = Identifier.parse(text)
        may_come = crosses(identifier)
        if not may_come:
            _log.warning(
                "messages of the local identifier %s come from elsewhere and are left out", identifier
            )
        is_wanted = may_come and any(own.matches(identifier) for own in self._bus.gateway.interests())
        found = wanted[text] = identifier if is_wanted else None
        return found
