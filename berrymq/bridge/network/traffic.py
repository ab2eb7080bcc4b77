"""The messages that pass through a node: from its bus to its links, from link to link, and to its bus."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from berrymq.bridge.payload import encode
from berrymq.bridge.protocol.frames import LATEST, MAX_HOPS, SURVEY, SURVEYED, WireMessage
from berrymq.bridge.protocol.seen import Seen
from berrymq.coroutines import running_loop
from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier
from berrymq.process import process

from .arrivals import Arrivals
from .drops import Drops
from .lost_links import LostLinks
from .outbox import Outbox, Outgoing
from .questions import ANSWER, Questions
from .survey import passed_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from berrymq.bus import Bus
    from berrymq.messages import Message

    from .directory import Directory
    from .peer import Peer
    from .tally import Tally

__all__ = ["Traffic"]

MAX_OUTBOX = 100_000
"""Messages that may wait for the I/O thread."""

MAX_OUTBOX_BYTES = 64 * 1024 * 1024
"""How large the payloads of those may be together."""

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
        self.outbox = Outbox(
            self._wake,
            max_messages=MAX_OUTBOX,
            max_bytes=MAX_OUTBOX_BYTES,
            may_wait=lambda: running_loop() is not loop,
        )
        self._drops = Drops(loop, _tell_drops)
        self.questions = Questions()
        self.lost_links = LostLinks(peers, directory)
        self.arrivals = Arrivals(bus, self._answer)
        self._directory = directory
        self._peers = peers
        self._loop = loop
        self._forked = False
        self._sequence = 0
        self._seen = Seen()
        self._seen_again = Seen()
        self._stalled = False
        process.on_fork(self.after_fork)

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
        self._send(message)
        if self.tally is not None:
            self.tally.count(message)
        self.arrivals.deliver(message)

    def survey(self, node_id: str) -> Future[list[Any]]:
        """Ask a node what passes over its links; on the loop. See ``survey.py``."""
        future: Future[list[Any]] = Future()
        message = self._number(Outgoing(SURVEY, encode((), {}), time.time()), self._directory.own.name)
        message.to, message.question = node_id, message.sequence
        self.questions.ask(message.sequence, [node_id], future)
        self._send(message)
        return future

    async def flush_outbox(self) -> None:
        """Wait until what was said before is with the sessions of the links."""
        while self.outbox:  # noqa: ASYNC110 - `_drain` empties it, at the latest in its next turns
            await asyncio.sleep(FLUSH_POLL_SECONDS)

    def on_progress(self) -> None:
        """A link may have room again."""
        if self._stalled:
            self._drain()

    def _wake(self) -> None:
        self._call_on_loop(self._drain)

    def _call_on_loop(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            _log.debug("said after the end of the I/O loop")

    def _drain(self) -> None:
        most, most_bytes = DRAIN_SLICE, MAX_OUTBOX_BYTES
        if self.outbox.overflow == "block":
            for peer in self._peers.values():
                messages, size = peer.session.room
                most, most_bytes = min(most, messages), min(most_bytes, size)
        ready = self.outbox.take(most, most_bytes)
        self._drops.note(self.outbox.dropped)
        self._stalled = not ready  # then `on_progress` goes on, and until then the outbox fills
        ways: dict[str, list[Peer]] = {}
        name = self._directory.own.name
        for outgoing in ready:
            message = self._number(outgoing, name)
            if outgoing.answers is not None:
                message.question = message.sequence
                asked = self._directory.followers(message.identifier, message.room)
                self.questions.ask(message.sequence, asked, outgoing.answers, message.identifier)
            chosen = ways.get(message.identifier)
            if chosen is None:
                chosen = ways[message.identifier] = self._ways_of(message)
            for peer in chosen:
                peer.session.send(message)
        self._pump(itertools.chain(*ways.values()))
        if self.outbox and not self._stalled:
            self._loop.call_soon(self._drain)

    def _number(self, outgoing: Outgoing, source: str) -> WireMessage:
        self._sequence += 1
        own = self._directory.own
        return WireMessage(
            outgoing.identifier,
            Raw(outgoing.payload),
            source,
            min(max(outgoing.sent_at, 0.0), LATEST),  # what a clock says that is wrong, others refuse
            own.id,
            self._sequence,
            own.room,
            callback=outgoing.callback,
        )

    def _send(self, message: WireMessage) -> None:
        chosen = self._ways_of(message)
        for peer in chosen:
            peer.session.send(message)
        self._pump(chosen)

    def _ways_of(self, message: WireMessage, source: Peer | None = None) -> list[Peer]:
        """The links behind which somebody wants it; not the one that it came over."""
        peers = self._peers
        return [peer for way in self._directory.ways_of(message) if (peer := peers[way]) is not source]

    def _pump(self, peers: Iterable[Peer]) -> None:
        for peer in set(peers):
            peer.pump()

    # -- from elsewhere --------------------------------------------------------------------------------------

    def receive(self, source: Peer, batch: list[WireMessage]) -> None:
        """A neighbour hands on messages."""
        touched: set[Peer] = set()
        ways: dict[tuple[str, str | None, str | None], list[Peer]] = {}
        own = self._directory.own
        first_time = self._seen.first_time
        is_end = len(self._peers) == 1  # there is nobody to hand on to
        tally = self.tally
        for message in batch:
            if message.origin == own.id:
                continue
            if not first_time(message.origin, message.sequence):
                if message.again and own.hub and self._is_first_copy(message):
                    self._hand_on_again(message, source)
                continue
            try:
                if message.to == own.id:
                    self._take_own(message)
                    continue
                if not is_end and message.hops < MAX_HOPS and (own.hub or message.room == own.room):
                    key = message.identifier, message.room, message.to
                    chosen = ways.get(key)
                    if chosen is None:
                        chosen = ways[key] = self._ways_of(message, source)
                    self._hand_on(message, chosen)
                    touched.update(chosen)
                if message.to is None:
                    if tally is not None:
                        tally.count(message)
                    if message.room == own.room:
                        self.arrivals.deliver(message)
            except IdentifierError as error:
                _log.warning("a message of %s is left out: %s", message.source, error)
        self._pump(touched)

    def _take_own(self, message: WireMessage) -> None:
        """Something is for this node alone."""
        if message.identifier in (ANSWER, SURVEYED):
            self.questions.take(message)
        elif message.identifier == SURVEY and message.question is not None:
            rows = passed_here(self._peers, message.room)
            self._send_answer(message, encode((rows, []), {}), SURVEYED)

    def _is_first_copy(self, message: WireMessage) -> bool:
        """Whether what is said again, for that many times, has not been here as such before."""
        return self._seen_again.first_time(f"{message.origin} {message.again}", message.sequence)

    def _hand_on_again(self, message: WireMessage, source: Peer) -> None:
        """Give a copy to all who may have missed it; the ends of the network tell it by its number."""
        if message.hops < MAX_HOPS:
            ways = self._ways_of(message, source)
            self._hand_on(message, ways)
            self._pump(ways)

    def _hand_on(self, message: WireMessage, peers: list[Peer]) -> None:
        if not peers:
            return
        message.hops += 1
        message.payload = message.payload.copy()  # else what waits would hold the whole frame it came in
        for peer in peers:
            if peer.id != message.origin:
                peer.session.send(message)
                self.forwarded += 1

    def _answer(self, question: WireMessage, payload: bytes) -> None:
        """Send answers to the asker; called on any thread."""
        self._call_on_loop(self._send_answer, question, payload)

    def _send_answer(self, question: WireMessage, payload: bytes, identifier: str = ANSWER) -> None:
        message = self._number(Outgoing(identifier, payload, time.time()), self._directory.own.name)
        message.to, message.question, message.room = question.origin, question.question, question.room
        self._send(message)


def _tell_drops(count: int) -> None:
    _log.warning("%d messages were dropped before they could be sent: they are said too fast", count)
