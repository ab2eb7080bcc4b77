"""The records of a room on NATS: which messages are stored on JetStream, and for what.

A record is an identifier and a purpose, such as ``kept``. It has a stream of its own, whose metadata describe
it, so it outlives every process. Each node on NATS, and each hub for its nodes, stores what it publishes
(``recorder.py``), so each message is stored once.

Whether all nodes know a record, and have stored what they have published, is asked over the streams of the
mesh (``record``, ``recorded``). So an answer has its place among the messages: everything that the node had
published before is stored, and has arrived if it is passed on live.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from berrymq.bridge.errors import LinkError
from berrymq.bridge.node.questions import GRACE_SECONDS
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.json_checks import FrameError, encode_json
from berrymq.bridge.protocol.record_frames import RECORD, RECORDED, RecordParams
from berrymq.identifiers import Identifier

from .client import UnavailableError
from .jetstream import JetStream, NoJetStreamError, stream_of
from .recorder import Recorder
from .wire import room_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.limits import LinkStats
    from berrymq.bridge.protocol.record_frames import RecordFrame

    from .client import NatsClient

__all__ = ["PIECES", "Record", "Records"]

PIECES = "pieces"
"""The purpose of the stream of what is too large for one message of NATS."""
PIECES_BYTES = 512 * 1024 * 1024
"""The limit of that stream."""

MAX_RECORDS = 1_000
"""In one room."""
SETTLE_SECONDS = 30.0
"""The time limit for other nodes to answer: they may have much to store before."""
SILENT_SECONDS = 3.0
"""After so long without an answer even to pings, a node is not waited for."""
PING_SECONDS = 1.0
PRUNE_SECONDS = 0.1
LIST_SECONDS = 1.0
"""The wait before the records are listed again, after that has failed."""

_ALL = Identifier.parse("*:*")

_log = logging.getLogger("berrymq")


class Record(NamedTuple):
    """An identifier whose messages are stored, and the purpose."""

    purpose: str
    identifier: Identifier

    @property
    def key(self) -> tuple[str, str]:
        """The purpose, and the identifier as text."""
        return self.purpose, self.identifier.text


class Query:
    """A question to the other nodes.

    Args:
        waiting: the nodes that have not answered yet.
        records: what they have to know, each with whether it is stored.
    """

    def __init__(self, waiting: set[Peer], records: list[tuple[Record, bool]]) -> None:
        self.waiting = waiting
        self.records = records
        self.answered: set[Peer] = set()
        self.is_own_stored = False
        self.progress = asyncio.Event()
        """Set by each answer."""

    def own_is_stored(self) -> None:
        """Note that what this node had published is stored."""
        self.is_own_stored = True
        self.progress.set()


class Records:
    """The records of one room. Used on the I/O thread, except as noted.

    Args:
        router: this node, or a hub.
        client: the connection.
        room: the name of the room.
        peers: returns all known nodes, also disconnected ones, each with the time when something was received
            from it last, by the loop's clock.
        stats: counts what can't be stored as dropped.
    """

    def __init__(
        self,
        router: Router,
        client: NatsClient,
        room: str | None,
        peers: Callable[[], list[tuple[Peer, float]]],
        stats: LinkStats,
    ) -> None:
        self._token = token = room_token(room)
        self.jetstream = JetStream(client)
        self.pieces = stream_of(token, PIECES, _ALL)
        """The name and the beginning of the subjects of the stream of pieces."""
        self.recorder = Recorder(router, client, self.pieces[1], self._list_again, stats)
        self.listed = False
        """Whether the records were listed; also true without JetStream, where there can be none."""
        self.on_change: Callable[[], object] = lambda: None
        """Called when the known records have changed. The lock is held."""
        self._router = router
        self._client = client
        self._room = router.room(room)
        self._peers = peers
        self._known: dict[tuple[str, str], Record] = {}
        self._changes = 0
        """The number of changes that this node or another one has made."""
        self._followed: set[Identifier] = set()
        self._numbers = itertools.count(1)
        self._queries: dict[int, Query] = {}
        self._lists = False
        self._closed = False
        self._up_at = 0.0
        """When NATS was connected last, by the loop's clock."""
        client.on_ack = self.recorder.acknowledged

    def stream_of(self, record: Record) -> tuple[str, str]:
        """Return the name and the beginning of the subjects of the stream of a record."""
        return stream_of(self._token, record.purpose, record.identifier)

    def is_known(self, record: Record) -> bool:
        """Return whether the messages of a record are stored, as far as is known here."""
        return record.key in self._known

    def all_of(self, purpose: str) -> list[Record]:
        """Return the records of a purpose, as far as they are known here."""
        return [one for one in self._known.values() if one.purpose == purpose]

    # -- the connection to NATS ------------------------------------------------------------------------------

    def up(self) -> None:
        """List the records, and publish again what was not acknowledged; called when NATS is connected."""
        self._up_at = self._router.loop.time()
        self.recorder.up()
        self._list_again()

    def _list_again(self) -> None:
        if not self._lists and not self._closed:
            self._lists = True
            self._client.run(self._list())

    async def _list(self) -> None:
        changes = self._changes
        try:
            found = {record.key: record for record in await self.stored() if record.purpose != PIECES}
        except NoJetStreamError:
            self.listed = True
            if self._known:  # JetStream is still starting, or on another server of the cluster
                self._router.loop.call_later(LIST_SECONDS, self._list_again)
        except LinkError as error:
            _log.debug("the records on NATS can't be listed: %s", error)
            self._router.loop.call_later(LIST_SECONDS, self._list_again)
        else:
            if self._changes == changes:
                with self._router.lock:
                    self._set(found)
                self.listed = True
            else:  # the list may be older than a change by another node
                self._router.loop.call(self._list_again)
        finally:
            self._lists = False

    async def stored(self) -> dict[Record, dict[str, Any]]:
        """Return the records that JetStream has, each with configuration and state of its stream.

        Raises:
            LinkError: there is no JetStream, or no answer.
        """
        found = {}
        for stream in await self.jetstream.streams(f"bmq.{self._token}.*.*.>"):
            metadata = stream["config"].get("metadata") or {}
            try:
                record = Record(metadata["bmq-purpose"], crossing_identifier(metadata["bmq-identifier"]))
            except (KeyError, FrameError):
                continue
            if self.stream_of(record)[0] == stream["config"]["name"]:
                found[record] = stream
        return found

    # -- declaring -------------------------------------------------------------------------------------------

    async def declare(self, record: Record, by: str, config: dict[str, Any]) -> None:
        """Store the messages of an identifier from now on.

        When it returns, all linked nodes know the record.

        Args:
            record: the identifier and purpose.
            by: the name of the requester.
            config: of its stream; an existing one is updated.

        Raises:
            LinkError: there is no JetStream, or it refuses or does not answer.
        """
        if record.key not in self._known and len(self._known) >= MAX_RECORDS:
            raise LinkError(
                f"at most {MAX_RECORDS:,} identifiers are stored on NATS; one with a wildcard is one"
            )
        pieces = Record(PIECES, _ALL)
        await self._create(pieces, by, {"max_bytes": PIECES_BYTES})
        await self._create(record, by, config)
        await self._announce(record, is_stored=True)

    async def _create(self, record: Record, by: str, config: dict[str, Any]) -> None:
        name, beginning = self.stream_of(record)
        metadata = {
            "bmq-purpose": record.purpose,
            "bmq-identifier": record.identifier.text,
            "bmq-by": by,
            "bmq-since": repr(time()),
        }
        former = next((one for known, one in (await self.stored()).items() if known == record), None)
        if former is not None:
            known = former["config"]["metadata"]
            metadata = {key: text for key, text in known.items() if key.startswith("bmq-")}
        await self.jetstream.create(
            {
                "name": name,
                "subjects": [f"{beginning}.>"],
                "discard": "old",
                "allow_direct": True,
                "metadata": metadata,
                **config,
            }
        )

    async def drop(self, record: Record) -> bool:
        """Delete a record with its messages, and store no further ones; return False if there was none.

        Raises:
            LinkError: there is no JetStream, or no answer.
        """
        found = await self.jetstream.delete(self.stream_of(record)[0])
        await self._announce(record, is_stored=False)
        return found

    async def _announce(self, record: Record, *, is_stored: bool) -> None:
        with self._router.lock:
            self._change([(record, is_stored)])
        await self.settle([(record, is_stored)])

    def _change(self, changes: Iterable[tuple[Record, bool]]) -> None:
        self._changes += 1
        known = dict(self._known)
        for record, is_stored in changes:
            if not is_stored:
                known.pop(record.key, None)
            elif len(known) < MAX_RECORDS:
                known[record.key] = record
        self._set(known)

    def _set(self, known: dict[tuple[str, str], Record]) -> None:
        """Store what these match, and announce that to the nodes of a hub. The lock is held."""
        if known == self._known or self._closed:
            return
        self._known = known
        self.recorder.set_streams({self.stream_of(one)[1]: one.identifier for one in known.values()})
        followed = {one.identifier for one in known.values()}
        self._room.unfollow(self.recorder, self._followed - followed)
        self._room.follow(self.recorder, followed - self._followed)
        self._router.announcements.schedule(self._room, followed ^ self._followed)
        self._followed = followed
        self.on_change()
        self._router.recording_changed()

    # -- the other nodes -------------------------------------------------------------------------------------

    async def settle(
        self, records: Iterable[tuple[Record, bool]] = (), *, without: Iterable[Peer] = ()
    ) -> set[Peer]:
        """Return when all nodes know these records, and all that they and this one had published is stored.

        Args:
            records: each with whether it is stored or not any more.
            without: nodes that are not asked.

        Returns:
            The nodes that have not answered in time.

        Raises:
            UnavailableError: NATS is cut.
        """
        router, loop = self._router, asyncio.get_running_loop()
        router.announcements.send()  # before the question, so the answers come after it
        number, asked = next(self._numbers), set(self._present()) - {*without}
        query = self._queries[number] = Query(set(asked), list(records))
        self.recorder.when_stored(query.own_is_stored)
        with router.lock:
            for peer in query.waiting:
                self._ask(peer, number, query)
            router.flush_all()
        asked_at = pinged_at = loop.time()
        try:
            while query.waiting or not query.is_own_stored:
                now = loop.time()
                if not self._client.connected:
                    raise UnavailableError(f"the connection to NATS at {self._client.address} is cut")
                if now - asked_at > SETTLE_SECONDS:
                    break
                query.waiting &= set(self._present(now - asked_at))
                if now - pinged_at > PING_SECONDS:
                    pinged_at = now
                    self._ping(query.waiting)
                query.progress.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(query.progress.wait(), PRUNE_SECONDS)
        finally:
            del self._queries[number]
        return asked - query.answered

    def _present(self, waited: float = 0.0) -> list[Peer]:
        """Return the other nodes, except those that were silent or disconnected for a while.

        Their processes may have ended, or may be stopped.

        Args:
            waited: the seconds since the question was asked.
        """
        now = self._router.loop.time()
        present = []
        for peer, received_at in self._peers():
            channel = peer.channel
            if channel is None:  # it may be about to connect
                is_present = now - max(peer.since, received_at, self._up_at) < GRACE_SECONDS
            else:
                is_present = min(waited, now - channel.received_at) < SILENT_SECONDS
            if is_present:
                present.append(peer)
        return present

    @staticmethod
    def _ping(peers: Iterable[Peer]) -> None:
        """Ping nodes that have not answered: one whose answer takes long answers the ping."""
        for peer in peers:
            if peer.channel is not None:
                peer.channel.act(lambda channel: channel.ping())

    def _ask(self, peer: Peer, number: int, query: Query) -> None:
        records = [(one.purpose, one.identifier.text, is_stored) for one, is_stored in query.records]
        peer.stream.send(RECORD, b'"query":%d,"records":%b' % (number, encode_json(records)))
        self._router.flush_later(peer)

    def greet(self, peer: Peer) -> None:
        """Send a node the records, at the beginning of the stream to it. The lock is held."""
        if self._known:
            self._ask(peer, 0, Query(set(), [(one, True) for one in self._known.values()]))
        for number, query in self._queries.items():
            if peer in query.waiting:  # the question was lost with the former stream
                self._ask(peer, number, query)
        self._router.flush(peer)

    def handle(self, peer: Peer, params: RecordFrame) -> None:
        """Process a frame of another node; on the thread that reads, with the lock held.

        Raises:
            FrameError: an identifier is malformed.
        """
        if isinstance(params, RecordParams):
            changes = [
                (Record(purpose, crossing_identifier(text)), is_stored)
                for purpose, text, is_stored in params.records
            ]
            self._router.loop.call(self._handle_question, peer, params.query, changes)
        else:
            self._router.loop.call(self._handle_answer, peer, params.query)

    def _handle_question(self, peer: Peer, number: int, changes: list[tuple[Record, bool]]) -> None:
        if changes:
            with self._router.lock:
                self._change(changes)
        if number:
            self._answer(peer, number)

    def _handle_answer(self, peer: Peer, number: int) -> None:
        query = self._queries.get(number)
        if query is not None:
            query.waiting.discard(peer)
            query.answered.add(peer)
            query.progress.set()

    def _answer(self, peer: Peer, number: int) -> None:
        """Answer when everything is stored; before that, announce to the nodes of a hub what to send."""

        def answer() -> None:
            with self._router.lock:
                peer.stream.send(RECORDED, b'"query":%d' % number)
                self._router.flush(peer)

        self._router.announcements.send()
        self.recorder.when_stored(answer)

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self) -> int:
        """Store nothing more; return the number of messages that were not stored."""
        with self._router.lock:
            self._room.unfollow(self.recorder, self._followed)
            self._followed, self._known, self._closed = set(), {}, True
        return self.recorder.close()
