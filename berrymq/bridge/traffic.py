"""The messages that pass through a node: from its bus to its links, from link to link, and to its bus."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from berrymq import forking
from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier
from berrymq.messages import Message
from berrymq.routes import crosses

from .errors import RemoteError
from .outbox import Outbox, Outgoing
from .payload import decode, encode
from .protocol.frames import MAX_HOPS, WireMessage
from .protocol.seen import Seen
from .questions import ANSWER, Questions, put_to_bus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berrymq.bus import Bus

    from .directory import Directory
    from .peer import Peer
    from .tally import Tally

__all__ = ["Traffic"]

MAX_OUTBOX = 100_000
"""Messages that may wait for the I/O thread."""

MAX_OUTBOX_BYTES = 64 * 1024 * 1024
"""How large the payloads of those may be together."""

MAX_BACKLOG = 10_000
"""Deliveries that may wait for followers here before acknowledgements are withheld."""

MAX_WANTED = 4096
"""Identifiers for which it is remembered whether somebody here follows them."""

DRAIN_SLICE = 2_000
"""Messages taken from the outbox before the loop may do something else."""

FLUSH_POLL_SECONDS = 0.001
"""How often it is looked whether the outbox is empty."""

_log = logging.getLogger("berrymq")


class Traffic:
    """What passes through one node. Lives on its loop, but for `send`, which the bus calls on any thread.

    Args:
        bus: the bus of this process.
        directory: who follows what, and where the ways lead.
        peers: the neighbours, by node id.
        loop: the node's.
    """

    def __init__(
        self, bus: Bus, directory: Directory, peers: Mapping[str, Peer], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.forwarded = 0
        """Messages that were handed on for others."""
        self.tally: Tally | None = None
        """Counts what passes, while somebody looks."""
        self.outbox = Outbox(self._wake, max_messages=MAX_OUTBOX, max_bytes=MAX_OUTBOX_BYTES)
        self.questions = Questions()
        self._bus = bus
        self._directory = directory
        self._peers = peers
        self._loop = loop
        self._forked = False
        self._sequence = 0
        self._seen = Seen()
        self._stalled = False
        self._wanted: dict[Identifier, bool] = {}
        forking.track(self)

    def after_fork(self) -> None:
        """Send nothing in a forked child: it has none of its parent's links."""
        self._forked = True

    # -- from here -------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Called by the bus, on any thread, with each message that somebody elsewhere follows.

        It waits for nothing, unless the outbox's ``overflow`` says so.

        Raises:
            PayloadError: an argument can't cross.
        """
        if not self._forked:
            callback = message.callback
            self.outbox.put(
                Outgoing(
                    message.id,
                    encode(message.args, message.kwargs),
                    message.sent_at,
                    str(callback) if isinstance(callback, Identifier) else None,
                )
            )

    def ask(self, message: Message, timeout: float | None) -> Future[list[Any]]:  # noqa: ARG002 - the asker's
        """Called by the bus, on any thread, with a question that somebody elsewhere may answer.

        Raises:
            PayloadError: an argument can't cross.
        """
        future: Future[list[Any]] = Future()
        if self._forked:
            future.set_result([])
            return future
        payload = encode(message.args, message.kwargs)
        self.outbox.put(Outgoing(message.id, payload, message.sent_at, answers=future))
        return future

    def say(self, identifier: str, payload: bytes, source: str) -> None:
        """Send a message on behalf of a client that has no link of its own; here as well."""
        message = self._number(Outgoing(identifier, payload, time.time()), source)
        for peer in self._route(message):
            peer.pump()
        if self.tally is not None:
            self.tally.count(message)
        self._deliver(message)

    async def flush_outbox(self) -> None:
        """Wait until what was said before is with the sessions of the links."""
        while self.outbox:  # noqa: ASYNC110 - `_drain` empties it, at the latest in its next turns
            await asyncio.sleep(FLUSH_POLL_SECONDS)

    def on_progress(self) -> None:
        """A link may have room again."""
        if self._stalled:
            self._drain()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:
            _log.debug("said after the end of the I/O loop")

    def _drain(self) -> None:
        most, most_bytes = DRAIN_SLICE, MAX_OUTBOX_BYTES
        if self.outbox.overflow == "block":
            for peer in self._peers.values():
                messages, size = peer.session.room
                most, most_bytes = min(most, messages), min(most_bytes, size)
        ready = self.outbox.take(most, most_bytes)
        self._stalled = not ready  # then `on_progress` goes on, and until then the outbox fills
        touched: set[Peer] = set()
        for outgoing in ready:
            message = self._number(outgoing, self._directory.own.name)
            if outgoing.answers is not None:
                message.question = message.sequence
                asked = self._directory.followers(message.identifier, message.room)
                self.questions.ask(message.sequence, asked, outgoing.answers)
            touched.update(self._route(message))
        for peer in touched:
            peer.pump()
        if self.outbox and not self._stalled:
            self._loop.call_soon(self._drain)

    def _number(self, outgoing: Outgoing, source: str) -> WireMessage:
        self._sequence += 1
        own = self._directory.own
        return WireMessage(
            outgoing.identifier,
            Raw(outgoing.payload),
            source,
            outgoing.sent_at,
            own.id,
            self._sequence,
            own.room,
            callback=outgoing.callback,
        )

    def _route(self, message: WireMessage, source: Peer | None = None) -> list[Peer]:
        """Put it into the sessions of the links behind which somebody wants it; not where it came from."""
        peers = self._peers
        chosen = [peers[node_id] for node_id in self._directory.ways_of(message) if node_id != message.origin]
        if source in chosen:
            chosen.remove(source)
        if source is not None and chosen:
            message.payload = message.payload.copy()  # else what waits would hold the whole frame it came in
        for peer in chosen:
            peer.session.send(message)
        return chosen

    # -- from elsewhere --------------------------------------------------------------------------------------

    def receive(self, source: Peer, batch: list[WireMessage]) -> None:
        """A neighbour hands on messages."""
        touched: set[Peer] = set()
        own = self._directory.own
        tally = self.tally
        for message in batch:
            if message.origin == own.id or not self._seen.first_time(message.origin, message.sequence):
                continue
            try:
                if message.to == own.id:
                    self.questions.take(message)
                    continue
                if message.hops < MAX_HOPS:
                    message.hops += 1
                    chosen = self._route(message, source)
                    self.forwarded += len(chosen)
                    touched.update(chosen)
                if message.to is None:
                    if tally is not None:
                        tally.count(message)
                    if message.room == own.room:
                        self._deliver(message)
            except IdentifierError as error:
                _log.warning("a message of %s is left out: %s", message.source, error)
        for peer in touched:
            peer.pump()

    def interests_changed(self) -> None:
        """Other identifiers are followed here; called on any thread."""
        self._wanted = {}

    def is_behind(self) -> bool:
        """Whether followers here lag so far that the neighbours should hold back."""
        return self._bus.deliverer.backlog > MAX_BACKLOG

    def _deliver(self, message: WireMessage) -> None:
        identifier = Identifier.parse(message.identifier)
        if not crosses(identifier):
            _log.warning("%s of %s is local and is left out", identifier, message.source)
            return
        if message.question is None and not self._is_wanted(identifier):
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
        if message.question is None:
            self._bus.receive(received)
        else:
            put_to_bus(self._bus, received, lambda payload: self._answer(message, payload))

    def _answer(self, question: WireMessage, payload: bytes) -> None:
        """Send answers to the asker; called on any thread."""
        self._loop.call_soon_threadsafe(self._send_answer, question.origin, question.question, payload)

    def _send_answer(self, asker: str, number: int | None, payload: bytes) -> None:
        message = self._number(Outgoing(ANSWER, payload, time.time()), self._directory.own.name)
        message.to, message.question = asker, number
        for peer in self._route(message):
            peer.pump()

    def _is_wanted(self, identifier: Identifier) -> bool:
        """Whether somebody here follows it; what only passes through is never decoded."""
        wanted = self._wanted
        answer = wanted.get(identifier)
        if answer is None:
            if len(wanted) >= MAX_WANTED:
                wanted.clear()
            answer = wanted[identifier] = any(own.matches(identifier) for own in self._bus.interests())
        return answer
