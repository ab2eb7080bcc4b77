"""The shared queues of a room over NATS: what they have in common, and what is exchanged with the server.

A shared queue is a record, so each node stores what is published there (``recorder.py``), each message once,
in a stream of its own (``job_queue.py``). The jobs wait at the server.

The jobs that a killed process or hub held are given to others after `ACK_SECONDS`. Therefore members must not
take what they hold once the connection is cut: others may have it before the connection is up again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.json_checks import encode_json

from .jetstream import place_of
from .job_queue import (
    ACK_AGAIN_SECONDS,
    CONSUMER,
    DURABLE,
    OWN_SECONDS,
    PULL_SECONDS,
    SAFE_SECONDS,
    SHARED,
    JobQueue,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nats.aio.msg import Msg

    from berrymq.bridge.jobs.groups import Groups, KnownGroup
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.batches import Batch

    from .client import NatsClient
    from .records import Records

    ReadParts = Callable[[Batch, int], Awaitable[bytes | None]]
    """Returns the pieces of a large message, joined."""

__all__ = ["JobQueues"]

RESUME_SECONDS = 0.5
"""The wait after a cut before jobs are requested: what members here and elsewhere have taken is to be
acknowledged first."""
RECENT_SECONDS, MAX_RECENT = 3.0, 5_000
"""The age and the number of confirmed acknowledgements that are repeated after a cut."""
SYSTEM = "$"
"""Subjects that begin so are the server's: an answer there would be a call of it, made in our name."""
USED_SECONDS = 0.5
"""The time for others to answer whether they use a queue."""
NEW_SECONDS = 60.0
"""A stream that is younger may be without a consumer."""

_log = logging.getLogger("berrymq")


class JobQueues:
    """The groups of one room over NATS; see `berrymq.bridge.jobs.groups.Feeds`. Used on the I/O thread.

    Args:
        router: this node, or a hub.
        client: the connection.
        records: of the room.
        subject: where the nodes of the room ask each other about members.
        read_parts: reads the pieces of large messages.
    """

    def __init__(
        self, router: Router, client: NatsClient, records: Records, subject: str, read_parts: ReadParts
    ) -> None:
        self.router = router
        self.client = client
        self.records = records
        self.read_parts = read_parts
        self.inbox = ""
        """Where jobs and confirmations arrive; "" while there is no connection."""
        self._queues: dict[str, JobQueue] = {}
        """By the name of the stream."""
        self._acks: dict[int, tuple[str, str, float]] = {}
        """Unconfirmed acknowledgements by number: the stream, the subject, and when it was sent."""
        self.confirmed = asyncio.Event()
        """Set when nothing is unconfirmed any more."""
        self.groups: Groups | None = None
        """The groups that open feeds here."""
        self._confirmed: deque[tuple[int, tuple[str, str, float]]] = deque(maxlen=MAX_RECENT)
        """The latest confirmed ones; a server that was killed may have forgotten them."""
        self._returns: dict[int, JobQueue] = {}
        """The queues that wait for the confirmation that jobs were given back, by its number."""
        self._numbers = itertools.count(1)
        self._subject = subject
        self._receiving: asyncio.Task[None] | None = None
        self._told_at = 0.0
        self._warned = False
        self._closed = False
        records.on_change = self._records_changed

    def open(self, known: KnownGroup) -> JobQueue:
        """Return the feed of a group. The lock is held."""
        queue = JobQueue(self, known)
        self._queues[queue.stream] = queue
        queue.opened = not known.durable and not self.client.connected  # then it collects here at first
        queue.activate()
        self.router.loop.call(queue.begin)
        return queue

    def forget(self, queue: JobQueue) -> None:
        """Forget a feed that is closed."""
        if self._queues.get(queue.stream) is queue:
            del self._queues[queue.stream]

    def _records_changed(self) -> None:
        for queue in list(self._queues.values()):
            queue.activate()

    @property
    def is_idle(self) -> bool:
        """Whether the server has confirmed all that was taken; on any thread."""
        return not self._acks

    # -- the connection to NATS ------------------------------------------------------------------------------

    def up(self) -> None:
        """Receive jobs again, after NATS was connected."""
        self._told_at = self.router.loop.time()
        self.client.run(self._receive_all())

    async def _receive_all(self) -> None:
        task = asyncio.current_task()
        if self._receiving is not None:
            self._receiving.cancel()
        self._receiving = task
        try:
            async with (
                self.client.inbox(self._receive, below=".>") as inbox,
                self.client.inbox(self._answer, self._subject),
            ):
                self.inbox = inbox
                self._returns.clear()
                late = self.router.loop.time() - RECENT_SECONDS
                self._acks |= {number: ack for number, ack in self._confirmed if ack[2] > late}
                self._confirmed.clear()
                self._send_acks(float("inf"))
                for queue in list(self._queues.values()):
                    queue.begin()
                    self.router.loop.call_later(RESUME_SECONDS, queue.resume)
                await self._sweep()
                await asyncio.get_running_loop().create_future()  # until it is cancelled
        except LinkError as error:
            _log.debug("no jobs can be received: %s", error)

    def cut(self) -> None:
        """Hand out nothing that others may get before the connection is up."""
        self.inbox = ""
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None
        for queue in list(self._queues.values()):
            queue.pause()

    def tick(self) -> None:
        """Report to the server what is held here, each second."""
        now = self.router.loop.time()
        if not self.inbox:
            return
        if now - self._told_at > SAFE_SECONDS:  # this process was stopped, or very busy
            self.cut()
            self.up()
            return
        self._told_at = now
        self._send_acks(now - ACK_AGAIN_SECONDS)
        for queue in list(self._queues.values()):
            queue.tick(now)

    # -- messages --------------------------------------------------------------------------------------------

    async def _receive(self, message: Msg) -> None:
        """Handle a job, the end of a request, or a confirmation."""
        if message.reply.startswith("$JS.ACK."):
            tokens = message.reply.split(".")
            stream = tokens[2] if len(tokens) == 9 else tokens[4]  # later servers: after domain and account
            queue = self._queues.get(stream)
            if queue is None:
                self.client.publish(message.reply, b"-NAK")
            else:
                queue.arrived(message.data, message.headers or {}, message.reply)
            return
        kind, number = message.subject.rsplit(".", 2)[1:]
        if not number.isdecimal():
            return
        if kind == "deleted":
            self._confirm(int(number), message.data)
        elif kind == "ack":
            if (message.headers or {}).get("Status") != "503":  # its consumer has no leader for the moment
                self._confirm(int(number), message.data)
        elif kind == "nak":
            queue = self._returns.pop(int(number), None)
            if queue is not None:
                queue.returned(int(number))
        elif message.headers and message.headers.get("Status") not in {None, "100"}:
            for queue in self._queues.values():
                if queue.pull_ended(int(number), message.headers):
                    break

    async def _answer(self, message: Msg) -> None:
        """Answer a node that asks whether a group has members here."""
        queue = self._queues.get(message.data.decode(errors="replace"))
        reply = message.reply  # without one the server would end the connection
        if queue is not None and queue.is_used and reply and not reply.startswith(SYSTEM):
            self.client.publish(reply, b"")

    async def is_used_elsewhere(self, stream: str) -> bool:
        """Return whether another node or hub has members of a group."""
        with suppress(LinkError):
            return await self.client.request(self._subject, stream.encode(), USED_SECONDS) is not None
        return False

    def acknowledge(self, stream: str, reply: str) -> None:
        """Have the server forget a job, and repeat that until it has confirmed it."""
        number = next(self._numbers)
        self._acks[number] = stream, reply, 0.0
        if self.inbox:
            self._acks[number] = stream, reply, self.router.loop.time()
            self.client.publish(reply, b"+ACK", f"{self.inbox}.ack.{number}")

    def _confirm(self, number: int, answer: bytes) -> None:
        """Note that the server has forgotten a job."""
        if b'"code":503' in answer:
            return  # it has no leader for the moment
        confirmed = self._acks.pop(number, None)
        if confirmed is not None:
            self._confirmed.append((number, confirmed))
            if not self._acks:
                self.confirmed.set()

    def give_back(self, queue: JobQueue, replies: Sequence[str]) -> int:
        """Have the server give jobs to others; return the number by which `JobQueue.returned` is called."""
        number = next(self._numbers)
        self._returns[number] = queue
        for reply in replies[:-1]:
            self.client.publish(reply, b"-NAK")
        self.client.publish(replies[-1], b"-NAK", f"{self.inbox}.nak.{number}")
        return number

    def _send_acks(self, sent_before: float) -> None:
        for number in [number for number, (_, _, at) in self._acks.items() if at < sent_before]:
            self._send_ack(number)

    def _send_ack(self, number: int) -> None:
        """Delete a job that was acknowledged before, for the server may have forgotten that it was held."""
        stream, reply, _ = self._acks[number]
        self._acks[number] = stream, reply, self.router.loop.time()
        body = encode_json({"seq": place_of(reply)[1], "no_erase": True})
        self.client.publish(f"$JS.API.STREAM.MSG.DELETE.{stream}", body, f"{self.inbox}.deleted.{number}")

    async def settle(self) -> None:
        """Return when the server has what was published and taken here before, or after some time."""
        loop = asyncio.get_running_loop()
        stored = asyncio.Event()
        self.records.recorder.when_stored(stored.set)
        deadline = loop.time() + OWN_SECONDS
        while not (stored.is_set() and self.is_idle) and loop.time() < deadline:
            self.confirmed.clear()
            waiting = stored if not stored.is_set() else self.confirmed
            try:
                await asyncio.wait_for(waiting.wait(), deadline - loop.time())
            except TimeoutError:
                return

    def request(self, stream: str, batch: int, *, no_wait: bool = False) -> int:
        """Request jobs of a stream; return the number of the request."""
        number = next(self._numbers)
        params = {"batch": batch, "no_wait": True} if no_wait else {"batch": batch}
        body = encode_json({**params, "expires": int(PULL_SECONDS * 1e9)} if not no_wait else params)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{CONSUMER}"
        self.client.publish(subject, body, f"{self.inbox}.pull.{number}")
        return number

    # -- ends ------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Delete the streams of groups without a member for long, whose consumers the server has removed."""
        try:
            for record, stream in (await self.records.stored()).items():
                if (
                    (record.purpose == SHARED or record.purpose.startswith(DURABLE))
                    and not stream["state"].get("consumer_count", 1)
                    and stream["config"]["name"] not in self._queues
                    and _age_of(stream) > NEW_SECONDS
                    and not await self.is_used_elsewhere(stream["config"]["name"])
                ):
                    await self.records.drop(record)
        except LinkError as error:
            _log.debug("old queues on NATS can't be removed: %s", error)

    def refuse(self, known: KnownGroup, reason: str) -> None:
        """Close a group whose settings the server or other members do not allow."""
        with self.router.lock:
            if self.groups is not None:
                self.groups.refuse(known, reason)

    def warn(self, identifier: str) -> None:
        """Log once that the server has no JetStream."""
        if not self._warned:
            self._warned = True
            where = "each hub has its own" if self.router.is_hub else "each process gets all of its messages"
            _log.warning(
                "the shared queue of %r is not shared over NATS, where the server has no JetStream "
                "(start it with -js): %s",
                identifier,
                where,
            )

    def close(self) -> None:
        """Give back what is held."""
        self._closed = True
        for queue in list(self._queues.values()):
            queue.close()
        if self._receiving is not None:
            self._receiving.cancel()


def _age_of(stream: dict[str, Any]) -> float:
    """Return the age of a stream, in seconds; 0 if the server does not report it."""
    from datetime import datetime

    try:
        now, created = [datetime.fromisoformat(stream[key][:19] + "Z") for key in ("ts", "created")]
    except (KeyError, ValueError):
        return 0.0
    return (now - created).total_seconds()
