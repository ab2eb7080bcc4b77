"""One shared queue over NATS: a stream on JetStream, from whose consumer the members on all machines take.

A hub, or a node on NATS without a hub, requests as many jobs as its members have credit for, and puts them
into its own `Group`, which assigns them. So the order of a group is that of its stream, and what a hub does
for its nodes holds over NATS too. But a job for a consumer which waits no longer passes through there: it is
given back at once, and until it is back others may get the next one.

The life of a job, after it was stored:

    requested    `JobQueue._pulls`: for consumers that wait, and a few jobs ahead
    held         `JobQueue._places`, by its number in the group; reported to the server every second
    taken        acknowledged, until the server has confirmed that (``jobs.py``)
    given back   the server gives it to others at once, before later ones; so are unwanted jobs

Until the stream is there, and on a server without JetStream, a group collects in its process as at a hub
without NATS. What it has then, it puts into the stream.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from collections import OrderedDict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from berrymq.bridge.errors import LinkError
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.group_frames import GroupState
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.printable import printable

from .blobs import number_of_parts, read_blob, read_head
from .client import UnavailableError
from .jetstream import JetStreamError, NoJetStreamError
from .records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from berrymq.bridge.jobs.groups import KnownGroup

    from .jobs import JobQueues

__all__ = ["JobQueue"]

SHARED, DURABLE = "queue", "durable-"
"""The purposes of the records: of shared queues, and, with the name behind it, of durable ones."""
CONSUMER = "members"
"""The consumer that all members of a group have in common."""
ACK_SECONDS = 5.0
"""The server gives a job to others when it was neither acknowledged nor reported as held for so long."""
SAFE_SECONDS = 4.0
"""For so long after a report it certainly does not; the difference allows for the way to the server."""
ACK_AGAIN_SECONDS = 2.0
"""The time after which an unconfirmed acknowledgement is repeated."""
PULL_SECONDS = 5.0
"""The time for which a request for jobs is valid. It can't be taken back: a job that comes for a consumer
that waits no longer is given back, which takes a moment."""
OWN_SECONDS = 0.5
"""How long a question waits at most for the server to confirm what was published and taken here before."""
REOPEN_SECONDS = 1.0
IDLE_SECONDS = 0.04
"""Jobs that members do not want any more are given back when none has taken a job for so long."""
MAX_BATCH, MAX_BATCH_BYTES = 256, 4 * 1024 * 1024
"""The jobs that are requested and have not arrived, at most."""
MAX_ASKED = 200
"""The questions about a group that the server is asked at a time; more are answered with what is known."""
MAX_DONE = 10_000
"""Jobs of a group that are remembered as taken; a server that was killed may deliver them again."""
SHARED_SECONDS, DURABLE_SECONDS = 86_400, 30 * 86_400
"""How long the jobs of a group wait without any member."""
DUPLICATE_SECONDS = 1_000
"""How long the server recognises a job that it gets again, because its confirmation was lost in a cut; by
default nodes remember each other for as long."""
QUEUE_BYTES = 256 * 1024 * 1024
"""What is stored of the jobs of a group; beyond that the oldest are dropped."""

_log = logging.getLogger("berrymq")


class Place(NamedTuple):
    """A job that is held."""

    reply: str
    """The subject for its acknowledgement."""
    key: tuple[str, int]
    """Its origin and sequence number."""
    at: float
    """When it arrived, or was reported to the server as held last."""


class _RefusedError(Exception):
    """A group has other settings elsewhere."""


class JobQueue:
    """One group over NATS; see `berrymq.bridge.jobs.groups.Feed`. Used on the I/O thread.

    Args:
        queues: those of the room.
        known: the group.
    """

    def __init__(self, queues: JobQueues, known: KnownGroup) -> None:
        self.active = False
        self.opened = False
        purpose = DURABLE + known.durable if known.durable else SHARED
        self.record = Record(purpose, known.identifier)
        self.stream, self._subjects = queues.records.stream_of(self.record)
        self._queues = queues
        self._known = known
        self._group = group = known.group
        group.is_fed = False  # it may have had another feed
        group.on_finished = self._finished
        group.on_dropped = self._dropped
        self._places: dict[int, Place] = {}
        self._returning = 0
        """The number of the last return of jobs, until the server has confirmed it; else 0."""
        self._returned_at = 0.0
        self._returned: list[Place] = []
        """Jobs to be given back when the connection is up."""
        self._done: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._pulls: OrderedDict[int, tuple[int, float]] = OrderedDict()
        """Requests by number: how many jobs have not arrived, and when it was sent."""
        self._arrived: deque[tuple[bytes, Mapping[str, str], str]] = deque()
        self._reading = False
        self._job_bytes = 1_000.0
        """The average size of the last jobs."""
        self._balances = False
        self._taken_at = float("-inf")
        """When a member has taken a job last."""
        self._fetching = 0
        """Questions for which jobs are fetched that no member has credit for."""
        self._asked = 0
        """Questions that are not answered yet."""
        self._pull_ended = asyncio.Event()
        self._begins = False
        self._is_ready = False
        """Whether the consumer exists."""
        self._paused = False
        """Whether the connection was cut, and jobs are not requested again yet."""
        self.closed = False
        self._state = GroupState()

    # -- opening ---------------------------------------------------------------------------------------------

    def activate(self) -> None:
        """Collect in the stream as soon as all that is published here goes there. The lock is held."""
        is_known = self._queues.records.is_known(self.record)
        if is_known == self.active or self.closed:
            return
        self.active = self._group.is_fed = is_known
        self._known.collect(not is_known)
        if is_known:
            self._group.stop_deduplicating()  # a job that NATS delivers again was not taken
            self._give_back()
        else:  # the stream was deleted
            self._is_ready = False
            self._queues.router.loop.call(self.begin)

    def begin(self) -> None:
        """Create the stream and the consumer, if they do not exist."""
        if not (self._begins or self._is_ready or self.closed) and self._queues.inbox:
            self._begins = True
            self._run(self._begin())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._queues.client.run(work)

    async def _begin(self) -> None:
        known = self._known
        try:
            await self._declare()
        except NoJetStreamError as error:
            if known.durable:
                self._queues.refuse(known, f"a durable queue needs JetStream: {error}")
            else:
                self._queues.warn(known.identifier.text)
                self._answer()
        except _RefusedError as error:
            self._queues.refuse(known, str(error))
        except LinkError as error:
            if not isinstance(error, UnavailableError):  # such as a limit; a cut is logged already
                peers_log.warning("the shared queue of %s can't be opened: %s", known.identifier.text, error)
            self._queues.router.loop.call_later(REOPEN_SECONDS, self.begin)
        else:
            self._is_ready = True
            self._answer()
            self.changed()
        finally:
            self._begins = False

    def _answer(self) -> None:
        """Answer those that have joined."""
        with self._queues.router.lock:
            if not self.opened and not self.closed:
                self.opened = True
                self._known.feed_opened()

    async def _declare(self) -> None:
        """Create the stream and the consumer, if they are not there with the same settings.

        Raises:
            NoJetStreamError: there is no JetStream.
            LinkError: it refuses, or does not answer.
            _RefusedError: others use the group with other settings.
        """
        records, group = self._queues.records, self._group
        jetstream = records.jetstream
        seconds = DURABLE_SECONDS if self._known.durable else SHARED_SECONDS
        config = {
            "retention": "workqueue",
            "max_msgs": group.maxsize or -1,
            "discard": "new" if group.overflow == "drop_newest" else "old",
            "max_bytes": QUEUE_BYTES,
        }
        former = (await records.stored()).get(self.record)
        is_new = former is None
        if former is not None and not self._known.any_settings:
            theirs = {key: former["config"][key] for key in config}
            if theirs != config:
                if await self._queues.is_used_elsewhere(self.stream):
                    raise _RefusedError(
                        f"the shared queue of {self._known.identifier} has maxsize="
                        f"{max(0, theirs['max_msgs'])} and overflow="
                        f"{'drop_newest' if theirs['discard'] == 'new' else 'drop_oldest'!r} in other "
                        "processes: all that share it have the same settings"
                    )
                is_new = True
        if is_new or not records.is_known(self.record):
            if former is not None and self._known.any_settings:
                config = {key: former["config"][key] for key in config}
            config["duplicate_window"] = DUPLICATE_SECONDS * 1_000_000_000
            await records.declare(self.record, self._queues.router.name, config)
        consumer = {
            "durable_name": CONSUMER,
            "ack_policy": "explicit",
            "ack_wait": int(ACK_SECONDS * 1e9),
            "deliver_policy": "all",
            "max_ack_pending": -1,
            "max_waiting": 4_096,
            "max_deliver": -1,
            "inactive_threshold": seconds * 1_000_000_000,
        }
        await jetstream.call(
            f"CONSUMER.DURABLE.CREATE.{self.stream}.{CONSUMER}",
            {"stream_name": self.stream, "config": consumer},
        )

    @property
    def is_used(self) -> bool:
        """Whether it has members here."""
        return bool(self._group.members)

    # -- jobs ------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Request jobs for the credit of the members, and give back those that no member wants; soon."""
        if not self._balances and self.active:
            self._balances = True
            self._queues.router.loop.call(self._balance)

    def _balance(self) -> None:
        self._balances = False
        if self.closed or not self.active:
            return
        with self._queues.router.lock:
            if self._group.waiting and not self._fetching:
                idle = self._queues.router.loop.time() - self._taken_at
                if idle < IDLE_SECONDS:  # members may soon want it, and have taken what comes after it
                    self._queues.router.loop.call_later(IDLE_SECONDS - idle, self.changed)
                else:
                    self._give_back()
            credit = self._group.credit
        if not self._is_ready or self._paused or self._returning or not self._queues.inbox:
            return
        most = max(1, min(MAX_BATCH, int(MAX_BATCH_BYTES / self._job_bytes)))
        missing = min(credit - self._group.waiting, most) - self._requested()
        if missing > 0:
            self._request(missing)

    def _requested(self) -> int:
        return sum([left for left, _ in self._pulls.values()]) + len(self._arrived)

    def _request(self, batch: int, *, no_wait: bool = False) -> int:
        number = self._queues.request(self.stream, batch, no_wait=no_wait)
        self._pulls[number] = batch, self._queues.router.loop.time()
        return number

    def pull_ended(self, number: int, headers: Mapping[str, str]) -> bool:
        """Note that a request has ended; return False if it is none of this group."""
        if self._pulls.pop(number, None) is None:
            return False
        self._pull_ended.set()
        status = headers.get("Status")
        if status == "503" or (status == "409" and "Deleted" in headers.get("Description", "")):
            self._is_ready = False
            self._queues.router.loop.call_later(REOPEN_SECONDS, self.begin)
        self.changed()
        return True

    def arrived(self, data: bytes, headers: Mapping[str, str], reply: str) -> None:
        """Put a job into the group, after those that have arrived before."""
        for number, (left, at) in self._pulls.items():
            if left > 1:
                self._pulls[number] = left - 1, at
            else:
                del self._pulls[number]
                self._pull_ended.set()
            break
        if self._reading or number_of_parts(headers):
            self._arrived.append((data, headers, reply))
            if not self._reading:
                self._reading = True
                self._run(self._read_all())
        else:
            self._accept(data, headers, reply, None)

    async def _read_all(self) -> None:
        try:
            while self._arrived:
                job = self._arrived[0]
                data, headers, reply = job
                parts, is_given_back = None, False
                if (number := number_of_parts(headers)) and self._queues.inbox:
                    try:
                        parts = await self._queues.read_parts(read_head(data, headers), number)
                    except (FrameError, LinkError) as error:
                        _log.debug("the pieces of a job can't be read: %s", error)
                        is_given_back = isinstance(error, LinkError)
                if not self._arrived or self._arrived[0] is not job:  # it was paused
                    continue
                self._arrived.popleft()
                if is_given_back:
                    self._queues.client.publish(reply, b"-NAK")
                else:
                    self._accept(data, headers, reply, parts)
        finally:
            self._reading = False
            self._pull_ended.set()

    def _accept(self, data: bytes, headers: Mapping[str, str], reply: str, parts: bytes | None) -> None:
        queues = self._queues
        self._job_bytes += (len(data) + len(parts or b"") - self._job_bytes) / 8
        if self.closed or self._paused:
            queues.client.publish(reply, b"-NAK")
            return
        try:
            batch = read_head(data, headers)
            if not self._known.identifier.matches(crossing_identifier(batch.identifier)):
                raise FrameError(f"{printable(batch.identifier)} is no job of this queue")  # noqa: TRY301
            whole = read_blob(data, headers, parts)
        except FrameError as error:
            peers_log.warning("a job of %r can't be read and is left out: %s", self._known.name, error)
            queues.acknowledge(self.stream, reply)
            return
        key = batch.origin, batch.first
        if key in self._done:  # the server had forgotten that
            queues.acknowledge(self.stream, reply)
            self.changed()
            return
        with queues.router.lock:
            self._places[self._group.next_number] = Place(reply, key, queues.router.loop.time())
            self._group.accept(whole, 1)
            queues.router.flush_all()

    def _finished(self, number: int) -> None:
        """Acknowledge a job that was taken. The lock is held."""
        place = self._places.pop(number, None)
        self._taken_at = self._queues.router.loop.time()
        if place is not None:
            self._done[place.key] = None
            if len(self._done) > MAX_DONE:
                self._done.popitem(last=False)
            self._queues.acknowledge(self.stream, place.reply)

    def _dropped(self, number: int) -> None:
        """Give back a job for which there is no memory. The lock is held."""
        if (place := self._places.pop(number, None)) is not None:
            self._return([place])

    def _give_back(self) -> None:
        """Give back what no member here wants. The lock is held."""
        places = []
        for number, data in self._group.withdraw():
            place = self._places.pop(number, None)
            if place is not None:
                places.append(place)
            else:  # it was collected here, before the stream existed
                self.put(data)
        self._return(places)

    def _return(self, places: list[Place]) -> None:
        if self._paused:
            self._returned += places
            return
        if places:
            self._returning = self._queues.give_back(self, [place.reply for place in places])
            self._returned_at = self._queues.router.loop.time()

    def returned(self, number: int) -> None:
        """Request jobs again, once the server has confirmed that it has those that were given back."""
        if number == self._returning:
            self._returning = 0
            self.changed()

    def put(self, jobs: bytes) -> None:
        """Store a batch of jobs for this group alone."""
        try:
            self._queues.records.recorder.store(self._subjects, jobs)
        except FrameError as error:
            peers_log.warning("jobs of %r can't be read and are left out: %s", self._known.name, error)

    # -- cuts ------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Prevent members from taking what they hold: others may get it before the connection is up."""
        self._paused = True
        self._returning = 0
        self._pulls.clear()
        self._arrived.clear()
        with self._queues.router.lock:
            if self.active:
                self._known.expire()

    def resume(self) -> None:
        """Give back what members had not taken, unless others may have it already; and request jobs again."""
        if not self._paused or self.closed or not self._queues.inbox:
            return
        with self._queues.router.lock:
            if self.active:
                for member in list(self._group.members):
                    self._group.give_back(member)
                self._give_back()
            self._paused = False
            late = self._queues.router.loop.time() - SAFE_SECONDS
            returned, self._returned = self._returned, []
            self._return([place for place in returned if place.at > late])
        self.changed()

    def tick(self, now: float) -> None:
        """Report to the server what is held here, and discard requests without an answer."""
        if self._paused:
            return
        for number, place in self._places.items():
            self._places[number] = place._replace(at=now)
            self._queues.client.publish(place.reply, b"+WPI")
        for _, _, reply in self._arrived if self._reading else ():  # their pieces are still to be read
            self._queues.client.publish(reply, b"+WPI")
        late = now - PULL_SECONDS - ACK_SECONDS
        for number in [number for number, (_, at) in self._pulls.items() if at < late]:
            del self._pulls[number]
        if self._returned_at < now - ACK_AGAIN_SECONDS:
            self._returning = 0
        self.changed()

    # -- questions -------------------------------------------------------------------------------------------

    def state(self) -> GroupState:
        """Return the counters of the group as they were last, with the members here."""
        here, there = self._group.state(), self._state
        return GroupState(
            there.waiting,
            there.held,
            there.received,
            self._queues.records.recorder.refused[self._subjects],
            there.deepest,
            max(there.consumers, here.consumers),
            here.members,
        )

    def ask(self, now: int, first: int, answer: Callable[[list[bytes]], object]) -> None:
        """Get jobs for one member at once, and the state; see `Feed`."""
        if self._queues.inbox and self._is_ready and self._asked < MAX_ASKED:
            self._asked += 1
            self._run(self._ask(now, first, answer))
        else:
            answer([])

    async def _ask(self, now: int, first: int, answer: Callable[[list[bytes]], object]) -> None:
        jobs: list[bytes] = []
        try:
            await self._queues.settle()
            self._fetching += 1
            try:
                if now:
                    await self._fetch(min(now, MAX_BATCH))
                jobs = await self._inspect(first)
            finally:
                self._fetching -= 1
        except LinkError as error:
            _log.debug("the shared queue of %s does not answer: %s", self._known.name, error)
        finally:
            self._asked -= 1
        with self._queues.router.lock:
            answer(jobs)
            self._queues.router.flush_all()
        self.changed()

    async def _fetch(self, most: int) -> None:
        """Move jobs that wait at the server into the group, beyond the credit of its members."""
        loop = asyncio.get_running_loop()
        number = self._request(most, no_wait=True)
        deadline = loop.time() + OWN_SECONDS
        while (number in self._pulls or self._reading) and (left := deadline - loop.time()) > 0:
            self._pull_ended.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._pull_ended.wait(), left)

    async def _inspect(self, first: int) -> list[bytes]:
        """Read the state, and return the next jobs, which stay at the server."""
        jetstream = self._queues.records.jetstream
        info, consumer = await asyncio.gather(
            jetstream.call(f"STREAM.INFO.{self.stream}"),
            jetstream.call(f"CONSUMER.INFO.{self.stream}.{CONSUMER}"),
        )
        held, stored = consumer["num_ack_pending"], info["state"]["messages"]
        self._state = GroupState(
            max(0, stored - held),
            min(held, stored),
            info["state"]["last_seq"],
            0,
            max(self._state.deepest, stored),
            consumer["num_waiting"],
        )
        found: list[bytes] = []
        sequence = consumer["delivered"]["stream_seq"] + 1
        while len(found) < first:
            try:
                result = await jetstream.call(
                    f"STREAM.MSG.GET.{self.stream}", {"seq": sequence, "next_by_subj": f"{self._subjects}.>"}
                )
                message = result["message"]
                sequence = message["seq"] + 1
                headers = _headers_of(b64decode(message.get("hdrs", "")))
                found.append(read_blob(b64decode(message["data"]), headers, None))
            except (JetStreamError, FrameError, KeyError, ValueError):
                break
        return found

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what is held. The lock is held."""
        if self.closed:
            return
        self.closed = True
        if not self._paused:
            for _, place in sorted(self._places.items()):
                self._queues.client.publish(place.reply, b"-NAK")
        self._places.clear()
        self._pulls.clear()
        self._queues.forget(self)


def _headers_of(text: bytes) -> dict[str, str]:
    """Return the headers of a stored message."""
    lines = text.decode(errors="replace").split("\r\n")[1:]
    pairs = [line.partition(":") for line in lines if ":" in line]
    return {name: value.strip() for name, _, value in pairs}
