"""Stores what a node publishes in the streams of its room's records, exactly once, also after a cut.

A recorder is a subscriber of its room, as a peer on NATS is: it gets what is published here, not what others
publish. Each message is published on JetStream under the id ``ORIGIN:NUMBER``, and held until JetStream has
acknowledged it. After a cut it is published again; JetStream ignores what it has.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from berrymq.bridge.protocol.batches import (
    LargeBatchBytes,
    batch_head,
    encode_batch,
    parse_batch,
    parse_raws,
)
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.printable import printable

from .blobs import Blob, blob_of, parts_of
from .jetstream import subject_of_message
from .wire import token_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.limits import LinkStats
    from berrymq.identifiers import Identifier

    from .client import NatsClient

__all__ = ["Recorder"]

MAX_HELD_BYTES = 64 * 1024 * 1024
"""The limit of what is held until JetStream has acknowledged it; beyond that the oldest are dropped."""
ENTRY_BYTES = 600
"""The approximate memory for a message that is held beside its bytes."""
WINDOW, WINDOW_BYTES = 1_000, 4 * 1024 * 1024
"""The limits of what is in flight to JetStream: messages, and their bytes."""
ACK_SECONDS = 5.0
"""The time after which an unacknowledged message is published again."""
RETRY_SECONDS = 0.5
"""The wait after JetStream could not take a message for the moment."""
WARN_SECONDS = 5.0
MAX_ROUTES = 4_096

UNAVAILABLE = {429, 503}
"""Codes of temporary errors: too much at once, or no leader."""
FULL = 507
"""Our code for a permanent error that JetStream also reports as 503: the stream is full, and discards new
messages."""

_log = logging.getLogger("berrymq")


class Entry(NamedTuple):
    """Something to be published on JetStream."""

    stream: str
    """The beginning of its subjects."""
    subject: str
    id: str
    blob: Blob


class Recorder:
    """Publishes the messages of records, and holds them until they are stored.

    `accept` may be called on any thread, the rest on the I/O thread alone.

    Args:
        router: this node, or a hub.
        client: the connection.
        pieces: the beginning of the subjects of what is too large for one message.
        on_missing: called when a stream does not exist.
        stats: counts what can't be stored as dropped.
    """

    role = "mesh"
    """The role of a peer on NATS: messages of such peers are not passed to it."""

    def __init__(
        self,
        router: Router,
        client: NatsClient,
        pieces: str,
        on_missing: Callable[[], object],
        stats: LinkStats,
    ) -> None:
        self.refused: Counter[str] = Counter()
        """The number of messages for which a stream was full, by the beginning of its subjects."""
        self.streams: dict[str, Identifier] = {}
        """What is stored, by the beginning of the subjects."""
        self._loop = router.loop
        self._client = client
        self._pieces = pieces
        self._on_missing = on_missing
        self._account = router.budget.open(self._shed)
        self._arrived: deque[bytes] = deque()
        self._is_scheduled = False
        self._taking = 0
        """Not 0 while entries are made of what has arrived."""
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        """What is not stored yet, by its number here."""
        self._unsent: deque[int] = deque()
        self._in_flight: dict[int, float] = {}
        """When each was published."""
        self._in_flight_bytes = 0
        self._number = 0
        self._waiting: list[tuple[int, Callable[[], object]]] = []
        self._routes: dict[str, list[tuple[str, str]]] = {}
        self._warned_at = float("-inf")
        self._dropped = 0
        """The number of messages that could not be stored since the last warning."""
        self._stats = stats

    def set_streams(self, streams: dict[str, Identifier]) -> None:
        """Store messages in these streams from now on, and discard what is not yet stored in others.

        Args:
            streams: the identifier of each, by the beginning of its subjects.
        """
        self._take()
        gone = [number for number, one in self._entries.items() if one.stream not in {*streams, self._pieces}]
        self.streams = streams
        self._routes.clear()
        for number in gone:
            self._remove(number)
        self._check_waiting()

    # -- what is published here ------------------------------------------------------------------------------

    def accept(self, batch: bytes, count: int) -> None:  # noqa: ARG002 - as any subscriber
        """Store a batch; see `Subscriber`. On any thread."""
        self._arrived.append(batch)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call(self._publish)

    def store(self, stream: str, batch: bytes) -> None:
        """Store a batch in one stream alone.

        Args:
            stream: the beginning of its subjects.
            batch: its messages.

        Raises:
            FrameError: it is malformed.
        """
        self._take()
        identifier = crossing_identifier(parse_batch(batch).identifier)
        self._add(batch, [(stream, subject_of_message(stream, identifier))])
        self._send()

    def _publish(self) -> None:
        self._is_scheduled = False
        self._take()
        self._send()

    def _take(self) -> None:
        """Make entries of what has arrived."""
        self._taking += 1
        try:
            while self._arrived:
                data = self._arrived.popleft()
                try:
                    self._add(data)
                except FrameError as error:
                    self._drop(1, str(error))
        finally:
            self._taking -= 1
        if self._account.held > MAX_HELD_BYTES:
            self._shed(MAX_HELD_BYTES * 15 // 16)

    def _add(self, data: bytes, routes: list[tuple[str, str]] | None = None) -> None:
        batch = parse_batch(data)
        if routes is None:
            routes = self._routes.get(batch.identifier)
        if routes is None:
            routes = self._find(batch.identifier)
        if not routes:
            return
        head = batch_head(batch.identifier, batch.origin, batch.source)
        memory = data.memory if isinstance(data, LargeBatchBytes) else None
        for number, raw in enumerate(parse_raws(batch.messages), batch.first):
            whole = encode_batch(head, number, [bytes(raw)], 1)
            id = f"{batch.origin}:{number}"
            blob = blob_of(whole, memory)
            size = self._client.max_payload
            for place, part in enumerate(parts_of(blob, size)):
                subject = f"{self._pieces}.{token_of(batch.origin)}.{number}.{place}"
                self._hold(Entry(self._pieces, subject, f"{id}:{place}", part))
            for stream, subject in routes:
                self._hold(Entry(stream, subject, id, blob.shortened(size)))

    def _find(self, text: str) -> list[tuple[str, str]]:
        identifier = crossing_identifier(text)
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        found = self._routes[text] = [
            (stream, subject_of_message(stream, identifier))
            for stream, one in self.streams.items()
            if one.matches(identifier)
        ]
        return found

    def _hold(self, entry: Entry) -> None:
        self._number += 1
        self._entries[self._number] = entry
        self._unsent.append(self._number)
        self._account.grow(len(entry.blob.data) + ENTRY_BYTES)

    # -- JetStream -------------------------------------------------------------------------------------------

    def _send(self) -> None:
        client = self._client
        if not client.connected:
            return
        now = self._loop.time()
        while self._unsent and len(self._in_flight) < WINDOW and self._in_flight_bytes < WINDOW_BYTES:
            number = self._unsent.popleft()
            entry = self._entries.get(number)
            if entry is None or number in self._in_flight:
                continue
            self._in_flight[number] = now
            self._in_flight_bytes += len(entry.blob.data)
            headers = {"Nats-Msg-Id": entry.id, **entry.blob.headers}
            client.publish(entry.subject, entry.blob.data, f"{client.acks}.{number}", headers)

    def acknowledged(self, number: int, data: bytes) -> None:
        """Process an answer of JetStream.

        Args:
            number: of the entry.
            data: the answer; empty if there is no stream of its subject.
        """
        entry = self._entries.get(number)
        if entry is None:
            return
        code, text = _refusal_of(data)
        if code in UNAVAILABLE:
            self._forget_flight(number)
            self._loop.call_later(RETRY_SECONDS, self._again, number)
            if not data:
                self._on_missing()
            return
        if code == FULL:
            self.refused[entry.stream] += 1
        elif code:
            self._drop(1, text)
        self._remove(number)
        self._check_waiting()
        self._send()

    def _again(self, number: int) -> None:
        if number in self._entries and number not in self._in_flight:
            self._unsent.appendleft(number)
            self._send()

    def _remove(self, number: int) -> None:
        self._forget_flight(number)
        entry = self._entries.pop(number)
        self._account.grow(-len(entry.blob.data) - ENTRY_BYTES)

    def _forget_flight(self, number: int) -> None:
        if self._in_flight.pop(number, None) is not None:
            self._in_flight_bytes -= len(self._entries[number].blob.data)

    def up(self) -> None:
        """Publish everything again that was not acknowledged, after NATS was connected.

        What was cut for the limit of a former server, and exceeds that of this one, is dropped.
        """
        self._in_flight.clear()
        self._in_flight_bytes = 0
        size = self._client.max_payload
        too_large = [number for number, one in self._entries.items() if not one.blob.fits(size)]
        for number in too_large:
            self._remove(number)
        if too_large:
            self._drop(len(too_large), f"the server takes {size:,} bytes at most")
            self._check_waiting()
        self._unsent = deque(self._entries)
        self._send()

    def tick(self) -> None:
        """Publish again what was not acknowledged within `ACK_SECONDS`."""
        late = self._loop.time() - ACK_SECONDS
        for number in [number for number, sent_at in self._in_flight.items() if sent_at < late]:
            self._forget_flight(number)
            self._unsent.append(number)
        self._send()

    # -- ends ------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether everything is stored; on any thread."""
        return not self._arrived and not self._taking and not self._entries  # in the order of their way

    @property
    def capacity(self) -> int:
        """The number of messages that can be accepted without dropping any; on any thread."""
        return max(0, (MAX_HELD_BYTES // 2 - self._account.held) // ENTRY_BYTES)

    def when_stored(self, done: Callable[[], object]) -> None:
        """Call a function as soon as everything is stored that has been published until now."""
        self._take()
        self._send()
        self._waiting.append((self._number, done))
        self._check_waiting()

    def _check_waiting(self) -> None:
        first = next(iter(self._entries), self._number + 1)
        ready = [done for number, done in self._waiting if number < first]
        if ready:
            self._waiting = [one for one in self._waiting if one[0] >= first]
            for done in ready:
                done()

    def _shed(self, target: int) -> None:
        """Drop the oldest until no more bytes than *target* are held."""
        if not self._loop.is_current:
            self._loop.call(self._shed, target)
            return
        dropped = 0
        while self._entries and self._account.held > target:
            self._remove(next(iter(self._entries)))
            dropped += 1
        if dropped:
            self._drop(dropped, "JetStream is too slow, or unavailable")
            self._check_waiting()

    def _drop(self, count: int, reason: str) -> None:
        self._stats.dropped += count
        self._dropped += count
        now = self._loop.time()
        if now - self._warned_at > WARN_SECONDS:
            self._warned_at = now
            _log.warning("%d messages were not stored on NATS: %s", self._dropped, printable(reason))
            self._dropped = 0

    def close(self) -> int:
        """Discard what is held; return the number of messages that were not stored."""
        lost = len({entry.id for entry in self._entries.values()})
        self._entries.clear()
        self._unsent.clear()
        self._arrived.clear()
        self._account.close()
        self._check_waiting()
        return lost


class _Refusal(msgspec.Struct):
    code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Refusal | None = None


def _refusal_of(data: bytes) -> tuple[int, str]:
    """Return code and text of an answer of JetStream; 0 if the message is stored."""
    if not data:
        return 503, ""
    if b'"error"' not in data:
        return 0, ""
    try:
        error = msgspec.json.decode(data, type=_Answer).error
    except msgspec.MsgspecError:
        return 500, "the answer of JetStream can't be read"
    if error is None:
        return 0, ""
    if error.code == 503 and error.description.startswith("maximum "):
        return FULL, error.description
    return error.code or 500, error.description
