"""The history of a room on NATS: what is kept is a record, and is read from its stream.

Two questions to the other nodes (`Records.settle`) make a replay followed by live messages complete. After
the first one, everything that they published before they knew what the reader follows is stored; the rest
arrives live. The answers to the second one arrive after the live copies of what was read. So, as at a hub,
messages that arrive live before the result may also be in it, and those that arrive after it are not.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from berrymq.bridge.buffers import Own
from berrymq.bridge.errors import LinkError
from berrymq.bridge.node.retained import objects_of
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.batches import LargeBatchBytes
from berrymq.bridge.protocol.json_checks import FrameError

from .blobs import number_of_parts, read_blob, read_head
from .client import UnavailableError
from .jetstream import NoJetStreamError, filters_of
from .records import Record
from .wire import token_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from berrymq.bridge.buffers import Memory
    from berrymq.bridge.node.downloads import Downloads
    from berrymq.bridge.node.retained import Retained
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.offers import Offers
    from berrymq.identifiers import Identifier

    from .client import NatsClient
    from .jetstream import Stored
    from .records import Records

    Done = Callable[[Any], object]
    """Called on the I/O thread with the result, or a `LinkError`."""

__all__ = ["NatsHistory"]

KEPT = "kept"
"""The purpose of a record whose messages are kept."""
KEPT_BYTES = 256 * 1024 * 1024
"""The limit of the stored messages of one `keep`; beyond that the oldest are removed."""
MAX_READ, MAX_READ_BYTES = 100_000, 64 * 1024 * 1024
"""The limits of one read: the newest messages, and their bytes."""
READ_TURN = 200
"""The number of messages after which reading yields to other work."""
MAX_PIECES_BYTES = 256 * 1024 * 1024
"""The limit of the pieces of one read; older messages that have pieces arrive as an `Opaque`."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_SECONDS = 1e11
"""Seconds since 1970 that are taken for a time."""
MAX_SHOWN = 200
"""The limit of identifiers in a status."""

TRY_SECONDS = 10.0
"""How long a call is repeated while NATS is disconnected, or its servers elect a leader."""
RETRY_SECONDS = 0.2

_log = logging.getLogger("berrymq")


class NatsHistory:
    """Keeps messages of one room, and reads them. Used on the I/O thread alone.

    Args:
        router: this node, or a hub.
        client: the connection.
        records: of the room.
    """

    def __init__(self, router: Router, client: NatsClient, records: Records) -> None:
        self._memories = router.memories
        self._open_memory = router.memories.open if router.is_hub else Own  # a hub passes it on
        self._client = client
        self._records = records
        self._jetstream = records.jetstream
        self._warned = False

    def keep(self, identifier: Identifier, last: int, by: str, done: Done) -> None:
        """Retain the newest messages of each identifier that matches, from now on; 0 as *last* ends that."""
        self._run(lambda: self._keep(identifier, last, by), done)

    def kept(self, done: Done) -> None:
        """Pass what is retained to *done*, as the wire's ``kept`` returns it."""
        self._run(self._kept, done)

    def history(
        self,
        identifier: Identifier,
        last: int | None,
        after: int,
        done: Done,
        *,
        to: Offers | None,
        downloads: Downloads,
    ) -> None:
        """Pass the messages that an identifier matches to *done*, as the wire's ``history`` returns them."""

        async def read() -> dict[str, Any]:
            await self._records.settle()
            found = await self._read(identifier, last)
            later = [one for one in found if one[0] > after]
            messages, more = objects_of(later, MAX_ANSWER_BYTES, to=to, downloads=downloads)
            return {"messages": messages, "more": more}

        self._run(read, done)

    def past(self, identifier: Identifier, last: int | None, done: Done) -> None:
        """Pass the retained messages that an identifier matches to *done*, in order, for a live subscriber.

        The interest of the subscriber is announced before. Live messages after the call of *done* are not
        among them.
        """

        async def read() -> list[Retained]:
            late = await self._records.settle()
            found = await self._read(identifier, last)
            if found:
                await self._records.settle(without=late)
            return found

        self._run(read, done)

    # -- calls -----------------------------------------------------------------------------------------------

    def _run(self, call: Callable[[], Awaitable[Any]], done: Done) -> None:
        """Run a call, repeat it while NATS is disconnected, and pass on its result."""

        async def run() -> None:
            outcome: Any = None
            try:
                outcome = await self._persist(call)
            except LinkError as error:
                outcome = error
            except asyncio.CancelledError:
                outcome = LinkError(self._client.problem or "the link to NATS is closed")
                raise
            finally:
                done(outcome)

        if not self._client.run(run()):
            done(LinkError(self._client.problem))

    async def _persist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TRY_SECONDS
        while True:
            try:
                return await call()
            except (UnavailableError, NoJetStreamError) as error:
                is_back_soon = isinstance(error, UnavailableError) or self._records.all_of(KEPT)
                if not is_back_soon or loop.time() > deadline:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _keep(self, identifier: Identifier, last: int, by: str) -> str:
        record = Record(KEPT, identifier)
        if not last:
            if not await self._records.drop(record):
                raise LinkError(f"{identifier.text} is not kept here")
            return "stored"
        former = (await self._records.stored()).get(record)
        if former is not None:
            last = max(last, former["config"]["max_msgs_per_subject"])
        await self._records.declare(record, by, {"max_msgs_per_subject": last, "max_bytes": KEPT_BYTES})
        return "stored"

    async def _kept(self) -> dict[str, Any]:
        keeps: list[dict[str, Any]] = []
        identifiers: list[dict[str, Any]] = []
        more = 0
        for record, stream in (await self._records.stored()).items():
            if record.purpose != KEPT:
                continue
            state, metadata = stream["state"], stream["config"]["metadata"]
            count = state.get("num_subjects", 0)
            keeps.append(
                {
                    "identifier": record.identifier.text,
                    "last": stream["config"]["max_msgs_per_subject"],
                    "by": metadata.get("bmq-by", "")[:255],
                    "since": _seconds_of(metadata.get("bmq-since", "")),
                    "identifiers": count,
                    "count": state["messages"],
                    "bytes": state["bytes"],
                    "dropped": 0,
                }
            )
            shown = await self._shown(record, MAX_SHOWN - len(identifiers))
            identifiers += shown
            more += max(0, count - len(shown))
        return {"keeps": keeps, "identifiers": identifiers, "identifiers_more": more, "dropped": 0}

    async def _shown(self, record: Record, most: int) -> list[dict[str, Any]]:
        """Return the identifiers that are kept for a record, with their latest messages' sizes and times."""
        shown = []
        for count, stored in await self._jetstream.latest(*self._records.stream_of(record), most):
            with self._unreadable():
                batch = read_head(stored.data, stored.headers)
                shown.append(
                    {
                        "id": batch.identifier,
                        "count": count,
                        "bytes": count * len(stored.data),
                        "first_at": None,
                        "last_at": stored.at / 1e6,
                        "dropped": 0,
                    }
                )
        return shown

    # -- reading ---------------------------------------------------------------------------------------------

    async def _read(self, identifier: Identifier, last: int | None) -> list[Retained]:
        """Return the newest messages that an identifier matches, each once, in order."""
        most = min(MAX_READ, MAX_READ if last is None else last)
        found: dict[tuple[str, int], Message] = {}
        try:
            records = await self._records.stored()
        except NoJetStreamError as error:
            if self._records.all_of(KEPT):
                raise
            if not self._warned:
                self._warned = True
                _log.warning("past messages are not available: %s", error)
            return []  # nothing can have been kept
        for record, stream in records.items() if most else ():
            if record.purpose != KEPT or not stream["state"]["messages"]:
                continue
            name, beginning = self._records.stream_of(record)
            is_wanted = record.identifier.matches(identifier)  # else it may have published wildcards
            for subjects in filters_of(beginning, identifier, published_wildcards=not is_wanted):
                for number, stored in enumerate(
                    await self._jetstream.newest(name, subjects, most, MAX_READ_BYTES)
                ):
                    await self._yield_turn(number)
                    with self._unreadable():
                        batch = read_head(stored.data, stored.headers)
                        found.setdefault((batch.origin, batch.first), Message(stored, batch))
                found = newest_of(found, MAX_READ, MAX_READ_BYTES)
        newest = in_order(list(found.values()))[-most:]
        pieces = 0
        read: list[Retained] = []
        for place, one in enumerate(reversed(newest)):
            await self._yield_turn(place)
            number = number_of_parts(one.stored.headers)
            parts = None
            if number and pieces + number * self._client.max_payload <= MAX_PIECES_BYTES:
                parts = await self.parts(one.batch, number)
                pieces += len(parts or b"")
            with self._unreadable():
                data = read_blob(one.stored.data, one.stored.headers, parts, self._open_memory)
                if isinstance(data, LargeBatchBytes):
                    self._memories.hold(cast("Memory", data.memory))
                read.append((one.stored.at, 1, data))
        read.reverse()
        return read

    @staticmethod
    async def _yield_turn(number: int) -> None:
        """Yield to other work of the I/O thread after each `READ_TURN` messages."""
        if number % READ_TURN == READ_TURN - 1:
            await asyncio.sleep(0)

    async def parts(self, batch: Batch, number: int) -> bytes | None:
        """Return the pieces of a message, joined; None if some are gone.

        Args:
            batch: the message.
            number: the number of its pieces.
        """
        name, beginning = self._records.pieces
        subjects = f"{beginning}.{token_of(batch.origin)}.{batch.first}.*"
        parts = await self._jetstream.newest(name, subjects, number, MAX_PIECES_BYTES)
        by_place = {part.subject.rpartition(".")[2]: part.data for part in parts}
        if len(by_place) < number:
            return None
        return b"".join([by_place.get(str(place), b"") for place in range(number)])

    @contextmanager
    def _unreadable(self) -> Iterator[None]:
        """Skip a message that can't be read, and log it."""
        try:
            yield
        except FrameError as error:
            peers_log.warning("a message that is stored on NATS can't be read: %s", error)


def _seconds_of(text: str) -> float:
    """Return a time from the metadata of a stream, which others may have written; 0 if it is none."""
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds < MAX_SECONDS else 0.0


class Message(NamedTuple):
    """A stored message."""

    stored: Stored
    batch: Batch


def newest_of(
    found: dict[tuple[str, int], Message], most: int, most_bytes: int
) -> dict[tuple[str, int], Message]:
    """Return the messages that were stored last, so that many streams take no more memory than one.

    Args:
        found: the messages.
        most: the limit of messages.
        most_bytes: the limit of their bytes.
    """
    size = sum([len(one.stored.data) for one in found.values()])
    if len(found) <= most and size <= most_bytes:
        return found
    ordered = sorted(found.items(), key=lambda item: (item[1].stored.at, item[1].stored.sequence))
    surplus = max(0, len(ordered) - most)
    size -= sum([len(one.stored.data) for _, one in ordered[:surplus]])
    while size > most_bytes and surplus < len(ordered) - 1:
        size -= len(ordered[surplus][1].stored.data)
        surplus += 1
    return dict(ordered[surplus:])


def in_order(messages: list[Message]) -> list[Message]:
    """Return messages in the order of storing, and those of each origin in the order of publishing.

    Messages that were stored again after a cut, or in several streams, may lie in another order.
    """
    places = sorted(messages, key=lambda one: (one.stored.at, one.stored.sequence))
    by_origin: dict[str, Iterator[Message]] = {}
    for origin, group in groupby(
        sorted(messages, key=lambda one: (one.batch.origin, one.batch.first)), lambda one: one.batch.origin
    ):
        by_origin[origin] = iter(list(group))
    return [next(by_origin[one.batch.origin]) for one in places]
