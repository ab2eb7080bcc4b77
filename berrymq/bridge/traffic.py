"""The messages that pass through a node: from its bus to its links, from link to link, and to its bus."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING

from msgspec import Raw

from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier
from berrymq.messages import Message

from .outbox import Outbox, Outgoing
from .payload import decode, encode
from .protocol.frames import MAX_HOPS, WireMessage
from .protocol.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berrymq.bus import Bus

    from .directory import Directory
    from .peer import Peer

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
        self.outbox = Outbox(self._wake, max_messages=MAX_OUTBOX, max_bytes=MAX_OUTBOX_BYTES)
        self._bus = bus
        self._directory = directory
        self._peers = peers
        self._loop = loop
        self._pid = os.getpid()
        self._sequence = 0
        self._seen = Seen()
        self._stalled = False
        self._wanted: dict[Identifier, bool] = {}

    # -- from here -------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Called by the bus, on any thread, with each message that somebody elsewhere follows.

        It waits for nothing, unless the outbox's ``overflow`` says so.

        Raises:
            PayloadError: an argument can't cross.
        """
        if self._pid == os.getpid():  # a forked child has none of its parent's links
            self.outbox.put(Outgoing(message.id, encode(message.args, message.kwargs), message.sent_at))

    def say(self, identifier: str, payload: bytes, source: str) -> None:
        """Send a message on behalf of a client that has no link of its own; here as well."""
        message = self._number(Outgoing(identifier, payload, time.time()), source)
        for peer in self._route(message):
            peer.pump()
        self._deliver(message)

    async def flush_outbox(self) -> None:
        """Wait until what was said before is with the sessions of the links."""
        while self.outbox:  # noqa: ASYNC110 - `_drain` empties it, at the latest in its next turns
            await asyncio.sleep(0)

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
        self._stalled = self.outbox.overflow == "block" and any(
            peer.session.is_full for peer in self._peers.values()
        )
        if self._stalled:
            return  # `on_progress` goes on, and until then the outbox fills
        touched: set[Peer] = set()
        for outgoing in self.outbox.take(DRAIN_SLICE):
            touched.update(self._route(self._number(outgoing, self._directory.own.name)))
        for peer in touched:
            peer.pump()
        if self.outbox:
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
        )

    def _route(self, message: WireMessage, source: Peer | None = None) -> list[Peer]:
        """Put it into the sessions of the links behind which somebody wants it; not where it came from."""
        peers = self._peers
        chosen = [
            peers[node_id]
            for node_id in self._directory.routes(message.identifier, message.room)
            if node_id != message.origin
        ]
        if source in chosen:
            chosen.remove(source)
        for peer in chosen:
            peer.session.send(message)
        return chosen

    # -- from elsewhere --------------------------------------------------------------------------------------

    def receive(self, source: Peer, batch: list[WireMessage]) -> None:
        """A neighbour hands on messages."""
        touched: set[Peer] = set()
        own = self._directory.own
        for message in batch:
            if message.origin == own.id or not self._seen.first_time(message.origin, message.sequence):
                continue
            try:
                if message.hops < MAX_HOPS:
                    message.hops += 1
                    chosen = self._route(message, source)
                    self.forwarded += len(chosen)
                    touched.update(chosen)
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
        if identifier.is_local or not self._is_wanted(identifier):
            return
        try:
            args, kwargs = decode(message.payload)
        except ValueError as error:
            _log.warning("%s of %s can't be read and is left out: %s", identifier, message.source, error)
            return
        self._bus.receive(
            Message.make(
                identifier,
                args,
                kwargs,
                source=message.source,
                sent_at=message.sent_at,
                origin=message.origin,
            )
        )

    def _is_wanted(self, identifier: Identifier) -> bool:
        """Whether somebody here follows it; what only passes through is never decoded."""
        wanted = self._wanted
        answer = wanted.get(identifier)
        if answer is None:
            if len(wanted) >= MAX_WANTED:
                wanted.clear()
            answer = wanted[identifier] = any(own.matches(identifier) for own in self._bus.interests())
        return answer
