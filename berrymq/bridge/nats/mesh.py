"""The nodes of a room on NATS: they find each other, and each pair keeps one stream up.

A node sends ``hello`` to all when it joins and every few seconds. Of two nodes the one with the smaller id
opens the connection between them (``open``), the other one accepts (``opened``); both report how much of the
former stream they have, so it resumes, or starts again where one of them has none. Whatever is lost, a
message of NATS or the whole server, cuts the connection, and it is opened again.
"""

from __future__ import annotations

import secrets
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from berrymq.bridge.errors import LinkError
from berrymq.bridge.node.questions import SPIN_SECONDS
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.events import CloseCode, Closed, Text
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import LinkStats
from berrymq.bridge.transport.channel import TURN_SECONDS

from .channel import MeshChannel
from .client import MIN_PAYLOAD, NatsClient
from .history import NatsHistory
from .jobs import JobQueues
from .publisher import Publisher, messages_frame
from .records import Records
from .wire import (
    Notice,
    Part,
    decode,
    encode_notice,
    room_token,
    subject_of,
)

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.events import Event

    from .address import NatsAddress

__all__ = ["FIRST_SECONDS", "POLL_SECONDS", "Mesh", "Remote"]

FIRST_SECONDS = 0.15
"""How long a new node waits for others to answer its ``hello``."""
POLL_SECONDS = 0.005
"""The interval in which it looks whether these are linked."""
TICK_SECONDS = 1.0
"""The interval of checks: connections that are to be opened again, and what was published last."""
HELLO_SECONDS = 10.0
"""The interval of ``hello``."""
MISSING_SECONDS = 0.5
"""How long an earlier part may be missing: it may have taken the other subject."""
REOPEN_SECONDS = 0.05
"""The wait before a connection is opened again that was cut by one of its ends."""
STORE_SECONDS = 2.0
"""How long leaving waits at most for everything to be stored."""
GONE_SECONDS = 3600.0
"""A node from which nothing was received for so long is forgotten."""
UNLINKED_SECONDS = 30.0
"""The same for one that has never been linked: its next ``hello`` makes it known again."""

MAX_REMOTES = 1_000
"""The number of other nodes in a room; more are left out until some have gone."""
MAX_MEMBERS = 100
"""The number of nodes of a hub that others know by name."""
QUESTION_MARKS = (b'"method":"ask"', b'"method":"answer"')
"""The members of a frame by which questions and answers are recognised: soon after one comes the next."""
MARK_BYTES = 256
MAX_UNHANDLED_BYTES = 16 * 1024 * 1024
"""How much is read before it is handled."""
ASKED_SECONDS = 1.0
"""The time after a question or an answer within which the next one is expected."""


class Remote:
    """Another node in the room."""

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name
        self.received_at = 0.0
        self.epoch = ""
        """That of the connection which this side opens."""
        self.stream = ""
        """The epoch at which the present stream began; "" before the first."""
        self.channel: MeshChannel | None = None
        self.peer: Peer | None = None
        self.members: tuple[str, ...] = ()
        """Of a hub: the names of its nodes in the room."""
        self.greeted = False
        """Whether it knows this node."""


class Mesh:
    """This node among those of one room on NATS. Used on the I/O thread, except as noted.

    Frames may be read by a thread that waits for an answer (`pump`), and published by any. All else is left
    to the I/O thread, in order: what arrives after a notice is handled after it.

    Args:
        router: this node, or a hub.
        address: the NATS system.
        room: the room.
        name: shown to others; by default that of the router.
        ttl: seconds for which a node that was cut off is remembered.
        ssl_context: trusted certificates; by default the system's.
    """

    def __init__(
        self,
        router: Router,
        address: NatsAddress,
        room: str | None,
        *,
        name: str = "",
        ttl: float,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.router = router
        self.loop = router.loop
        self.stats = LinkStats()
        """Counters of all its streams together."""
        self._id = router.id
        self._name = name or router.name
        self._room = room
        self._token = room_token(room)
        self._ttl = ttl
        self._remotes: dict[str, Remote] = {}
        self._asked_at = float("-inf")
        """When a question or an answer arrived last."""
        self._unhandled: deque[bytes] = deque()
        """Received, and to be handled on the I/O thread. Used by the thread that reads."""
        self._unhandled_bytes = 0
        self._rest_is_scheduled = False
        self._closed = self._leaving = False
        self._greeted_at = 0.0
        self._greeted_with: tuple[str, ...] = ()
        self._ticks = False
        self._client = NatsClient(
            router.loop,
            address,
            name=self._name,
            ssl_context=ssl_context,
            on_up=self._up,
            on_cut=self._all_cut,
            on_message=self._receive,
        )
        self.publisher = Publisher(self.loop, self._client, self._token, self._id, self._remotes)
        """Publishes the frames of all channels."""
        self.records = Records(router, self._client, room, self._known_peers, self.stats)
        """What is stored of the room's messages."""
        self.history = NatsHistory(router, self._client, self.records)
        self.jobs = JobQueues(
            router, self._client, self.records, subject_of(self._token, "queues"), self.history.parts
        )

    def _known_peers(self) -> list[tuple[Peer, float]]:
        return [
            (one.peer, one.received_at)
            for one in self._remotes.values()
            if one.peer is not None and self.router.peers.get(one.peer.id) is one.peer
        ]

    @property
    def connected(self) -> bool:
        """Whether NATS is connected."""
        return self._client.connected

    @property
    def problem(self) -> str:
        """Why NATS is not connected, as a sentence; "" if it is."""
        return self._client.problem

    @property
    def peers(self) -> list[Peer]:
        """The other nodes that have been linked, those that are cut off included; on any thread."""
        return [one.peer for one in list(self._remotes.values()) if one.peer is not None]

    @property
    def is_settled(self) -> bool:
        """Whether all known nodes are linked and have announced what they follow, and the records are known.

        On any thread.
        """
        return self.records.listed and all(
            one.peer is not None and one.peer.connected and one.peer.interest_known
            for one in list(self._remotes.values())
        )

    # -- the connection to NATS ------------------------------------------------------------------------------

    def start(self, done: Callable[[Exception | None], object]) -> None:
        """Connect; on any thread. It may be called again after it has failed.

        Args:
            done: called on the I/O thread with None, or with the error.
        """
        subjects = [subject_of(self._token), subject_of(self._token, self._id)]
        self.loop.call(self._client.start, subjects, done)
        if not self._ticks:
            self._ticks = True
            self.loop.call_later(TICK_SECONDS, self._tick)

    def _up(self) -> None:
        self._greet(answer=True)
        self.records.up()
        self.jobs.up()
        for remote in self._remotes.values():
            self._open(remote)

    def _greet(self, remote: Remote | None = None, *, answer: bool) -> None:
        notice = Notice("hello", self._id, self._name, answer=answer, members=self._members())
        if remote is None:
            self._greeted_at = self.loop.time()
            self._greeted_with = notice.members
            self._client.publish(subject_of(self._token), encode_notice(notice))
        else:
            self._notify(remote, notice)

    def _members(self) -> tuple[str, ...]:
        """Return the names of the nodes that a hub has in the room."""
        peers = list(self.router.peers.values())
        names = [one.name for one in peers if one.role == "member" and one.room.name == self._room]
        members, size = [], 0
        for name in sorted(names)[:MAX_MEMBERS]:
            size += 2 * len(name.encode()) + 3  # quotes and backslashes take two
            if size > MIN_PAYLOAD // 2:
                break
            members.append(name)
        return tuple(members)

    def members_changed(self) -> None:
        """Announce which nodes a hub has in the room, if that has changed."""
        if self.connected and self._members() != self._greeted_with:
            self._greet(answer=False)

    def _notify(self, remote: Remote, notice: Notice) -> None:
        self._client.publish(subject_of(self._token, remote.id), encode_notice(notice))

    def _all_cut(self) -> None:
        self.jobs.cut()
        for remote in self._remotes.values():
            if remote.channel is not None:
                self._detach(remote.channel, Closed())

    def _tick(self) -> None:
        if self._closed:
            return
        now = self.loop.time()
        if self.connected:
            self.records.recorder.tick()
            self.jobs.tick()
            if now - self._greeted_at > HELLO_SECONDS:
                self._greet(answer=False)
            for remote in list(self._remotes.values()):
                channel = remote.channel
                if channel is None:
                    self._open(remote)
                elif channel.written_at > now - 2 * TICK_SECONDS:
                    self.ping(channel)
        for remote in list(self._remotes.values()):
            gone = UNLINKED_SECONDS if remote.peer is None else GONE_SECONDS
            if remote.channel is None and now - remote.received_at > gone:
                self._forget(remote)
        self.loop.call_later(TICK_SECONDS, self._tick)

    # -- opening ---------------------------------------------------------------------------------------------

    def _open(self, remote: Remote) -> None:
        """Open the connection, if this side is the one that opens it."""
        if self._closed or remote.channel is not None or self._id > remote.id:
            return
        remote.epoch = secrets.token_hex(8)
        peer = remote.peer
        resumes = peer is not None and self.router.peers.get(peer.id) is peer
        self._notify(
            remote,
            Notice(
                "open",
                self._id,
                self._name,
                remote.epoch,
                remote.stream if resumes else "",
                peer.stream.received if peer is not None and resumes else None,
                self.router.pop_missed(remote.id),
                memory=self.router.memories.probe(),
            ),
        )

    def _accept(self, remote: Remote, notice: Notice) -> None:
        """Answer an ``open`` of the other side, and attach."""
        if self._id < remote.id or not notice.epoch:
            return
        router = self.router
        with router.lock:
            peer = self._peer_of(remote)
            resumes = (
                notice.received is not None
                and notice.stream == remote.stream != ""
                and peer.stream.can_resume(notice.received)
            )
            answer = Notice(
                "opened",
                self._id,
                self._name,
                notice.epoch,
                remote.stream if resumes else notice.epoch,
                peer.stream.received if resumes else None,
                router.pop_missed(remote.id),
                memory=router.memories.probe(),
                shares=router.memories.can_open(notice.memory),
            )
        peer.stream.offers.shares_memory, peer.stream.offers.pulls = answer.shares, True
        self._notify(remote, answer)
        self._attach(remote, notice, notice.received if resumes else None, answer.stream)

    def _opened(self, remote: Remote, notice: Notice) -> None:
        """Attach after the other side has accepted the connection."""
        if not notice.epoch or notice.epoch != remote.epoch:
            return
        remote.epoch = ""
        with self.router.lock:
            peer = self._peer_of(remote)
            resumes = notice.received is not None and notice.stream == remote.stream
            if resumes and not peer.stream.can_resume(notice.received or 0):
                remote.stream = ""  # then the next one starts again
                return
        peer.stream.offers.shares_memory, peer.stream.offers.pulls = notice.shares, True
        self._attach(remote, notice, notice.received if resumes else None, notice.stream)

    def _peer_of(self, remote: Remote) -> Peer:
        """Return the peer of a node, a new one if the former one has expired. The router's lock is held."""
        peer, router = remote.peer, self.router
        if peer is None or router.peers.get(peer.id) is not peer:
            id = remote.id if self._room is None or not router.is_hub else f"{remote.id}.{self._token}"
            peer = router.add_peer(id, remote.name, self._room, "mesh", key=remote.id, ttl=self._ttl)
            peer.use_stats(self.stats)
            peer.on_record = partial(self.records.handle, peer)
            peer.expires = True
            peer.members = remote.members
            remote.peer, remote.stream = peer, ""
        return peer

    def _attach(self, remote: Remote, notice: Notice, received: int | None, stream: str) -> None:
        peer = remote.peer
        assert peer is not None
        former = remote.channel
        if former is not None:
            former.end()
            self.router.connection_lost(peer, former, Closed())  # type: ignore[arg-type]
        if notice.lost:
            peer.stream.stats.lost += notice.lost
            peers_log.warning("%d messages were dropped at %r while it was cut off", notice.lost, remote.name)
        channel = remote.channel = MeshChannel(self, remote, notice.epoch)
        channel.on_event = lambda event: self._on_event(channel, event)
        remote.stream = stream
        try:
            self.router.attach(peer, channel, received)  # type: ignore[arg-type]
        except FrameError as error:
            remote.stream = ""
            channel.close(CloseCode.PROTOCOL_ERROR, str(error))
            return
        if received is None:
            with self.router.lock:
                self.records.greet(peer)

    # -- the end of a connection -----------------------------------------------------------------------------

    def _on_event(self, channel: MeshChannel, event: Event) -> None:
        """Handle what is no frame: nothing else is sent here."""
        if isinstance(event, Closed):
            self._detach(channel, event)
        elif isinstance(event, Text):
            channel.close(CloseCode.PROTOCOL_ERROR, "that is no frame of a link")
            self._detach(channel, Closed())

    def _detach(self, channel: MeshChannel, event: Closed) -> None:
        remote = channel.remote
        channel.end()
        if remote.channel is not channel:
            return
        remote.channel = None
        if remote.peer is not None:
            self.router.connection_lost(remote.peer, channel, event)  # type: ignore[arg-type]

    def cut(self, channel: MeshChannel) -> None:
        """End a connection in which something is missing, and open it again."""
        self._detach(channel, Closed())
        self.closed_here(channel, CloseCode.GOING_AWAY, "something is missing")

    def closed_here(self, channel: MeshChannel, code: CloseCode, reason: str) -> None:
        """Let the other side know that a connection has ended, and open the next one."""
        remote = channel.remote
        self._notify(
            remote,
            Notice("cut", self._id, epoch=channel.epoch, code=int(code), reason=reason[:200]),
        )
        if remote.channel is channel:
            remote.channel = None
        self.loop.call_later(REOPEN_SECONDS, self._open_again, remote)

    def _open_again(self, remote: Remote) -> None:
        if self._remotes.get(remote.id) is remote:
            self._open(remote)

    def _forget(self, remote: Remote) -> None:
        self._remotes.pop(remote.id, None)
        peer = remote.peer
        if peer is not None and self.router.peers.get(peer.id) is peer:
            self.router.remove_peer(peer, "it has left")

    # -- receiving -------------------------------------------------------------------------------------------

    def pump(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        *,
        wake: socket.socket | None = None,
        spin_until: float = 0.0,
    ) -> bool:
        """Receive on this thread, which waits for the result; see `Channel.pump`.

        A delivery thread only does while questions arrive. To change the reader for each batch of messages
        costs more than to wake the thread, the more so in a process with busy threads.
        """
        is_asker = wake is None
        if self._unhandled or not (is_asker or self._asked_at > self.loop.time() - ASKED_SECONDS):
            return False

        def is_over() -> bool:
            return is_done() or bool(self._unhandled)

        try:
            return self._client.pump(is_over, deadline, wake=wake, spin_until=spin_until)
        finally:
            if self._unhandled:
                self._schedule_rest()

    def _receive(self, data: bytes) -> None:
        """Handle what was published, for this node or for all; on the thread that reads.

        The I/O thread reads on before it handles what it has read: so answers of JetStream do not wait behind
        many messages, nor do other connections.
        """
        if self._closed:
            return
        is_io = self.loop.is_current
        if not (is_io or self._unhandled or data[:1] == b"{"):
            self._handle(data)
            return
        self._unhandled.append(data)
        self._unhandled_bytes += len(data)
        if is_io and self._unhandled_bytes > MAX_UNHANDLED_BYTES:  # then the server has to wait
            self._handle_next()
        self._schedule_rest()

    def _schedule_rest(self) -> None:
        if not self._rest_is_scheduled:
            self._rest_is_scheduled = True
            self.loop.call(self._handle_rest)

    def _handle_rest(self) -> None:
        """Handle what was read, for a while; if another thread reads just now, it calls this later."""
        self._rest_is_scheduled = False
        if self._unhandled and self._client.as_reader(self._handle_slice) and self._unhandled:
            self._schedule_rest()

    def _handle_slice(self) -> None:
        until = self.loop.time() + TURN_SECONDS
        while self._unhandled and self.loop.time() < until:
            self._handle_next()

    def _handle_next(self) -> None:
        data = self._unhandled[0]
        self.loop.run_guarded(self._handle, (data,))
        self._unhandled.popleft()
        self._unhandled_bytes -= len(data)

    def _handle(self, data: bytes) -> None:
        try:
            message = decode(data)
        except FrameError as error:
            peers_log.warning("a message on NATS is ignored: %s", str(error)[:200])
            return
        if isinstance(message, Notice):
            if message.id != self._id:
                self._handle_notice(message)
            return
        remote = self._remotes.get(message.sender)
        channel = remote.channel if remote is not None else None
        if remote is None or channel is None:
            return
        remote.received_at = now = self.loop.time()
        if any(mark in data[:MARK_BYTES] for mark in QUESTION_MARKS):
            self._asked_at = now
            if self.router.is_hub:
                self.loop.spin_until = now + SPIN_SECONDS
        try:
            if isinstance(message, Part):
                if message.epoch == channel.epoch:
                    channel.arrive(
                        message.number, message.data, is_last=message.is_last, is_binary=message.is_binary
                    )
            elif (mine := message.receivers.get(channel.epoch)) is not None:
                number, n, ack = mine
                frame = messages_frame(n, ack, message.rest)
                channel.arrive(number, frame)
        except FrameError as error:
            peers_log.warning("the connection to %r is cut: %r", remote.name, str(error)[:200])
            channel.abort()
        budget = self.router.budget
        if budget.held > budget.limit:
            budget.relieve(now)

    def _handle_notice(self, notice: Notice) -> None:
        remote = self._remotes.get(notice.id)
        if remote is None:
            if notice.kind not in ("hello", "open"):
                return
            if len(self._remotes) >= MAX_REMOTES:
                peers_log.warning("a node on NATS is left out: there are %d in the room", MAX_REMOTES)
                return
            remote = self._remotes[notice.id] = Remote(notice.id, notice.name)
        remote.received_at = self.loop.time()
        remote.name = notice.name or remote.name
        if notice.kind == "hello":
            self._hello(remote, notice)
        elif notice.kind == "open":
            self._accept(remote, notice)
        elif notice.kind == "opened":
            self._opened(remote, notice)
        elif notice.kind == "bye":
            self._forget(remote)
        else:
            self._handle_connection(remote, notice)

    def _hello(self, remote: Remote, notice: Notice) -> None:
        """Open the connection to a node, or send it a ``hello``, so that it opens one."""
        remote.members = notice.members[:MAX_MEMBERS]
        if remote.peer is not None:
            remote.peer.members = remote.members
        if notice.answer or not remote.greeted:
            remote.greeted = True
            if self._id < remote.id:
                self._open(remote)
            elif remote.channel is None or notice.answer:
                self._greet(remote, answer=False)

    def _handle_connection(self, remote: Remote, notice: Notice) -> None:
        """Handle a notice about one connection."""
        channel = remote.channel
        if channel is None or notice.epoch != channel.epoch:
            if notice.kind == "ping":  # of one that has ended here
                self._notify(remote, Notice("cut", self._id, epoch=notice.epoch, code=CloseCode.GOING_AWAY))
            return
        channel.received_at = self.loop.time()
        if notice.kind == "ping":
            if notice.number > channel.arrived:
                self.expect(channel, notice.number)
            self._notify(remote, Notice("pong", self._id, epoch=channel.epoch))
        elif notice.kind == "cut":
            self._detach(channel, Closed(notice.code, notice.reason))
            self.loop.call_later(REOPEN_SECONDS, self._open_again, remote)

    def expect(self, channel: MeshChannel, number: int) -> None:
        """Cut a connection if something that was published in it is still missing after a while."""
        self.loop.call_later(MISSING_SECONDS, self._check, channel, number)

    def _check(self, channel: MeshChannel, number: int) -> None:
        if not channel.closed and channel.arrived < number:
            self.cut(channel)

    def ping(self, channel: MeshChannel) -> None:
        """Have the other side of a connection answer, and check that it has everything."""
        self._notify(channel.remote, Notice("ping", self._id, epoch=channel.epoch, number=channel.published))

    # -- the end ---------------------------------------------------------------------------------------------

    def leave(self, done: Callable[[int], object]) -> None:
        """Leave the room, after at most `STORE_SECONDS` for what is not stored yet.

        Args:
            done: called at the end, with the number of messages that were not delivered.
        """
        if self._leaving:
            done(0)
            return
        self._leaving = True
        if not self.connected or self.records.recorder.is_idle:
            self._leave(done)
            return
        leave = partial(self._leave, done)
        self.records.recorder.when_stored(leave)
        self.loop.call_later(STORE_SECONDS, leave)

    def _leave(self, done: Callable[[int], object]) -> None:
        if self._closed:
            return
        with self.router.lock:
            for remote in self._remotes.values():
                if remote.peer is not None and remote.channel is not None:
                    remote.peer.acknowledge()
        self.publisher.publish()
        self._closed = True
        self._client.publish(subject_of(self._token), encode_notice(Notice("bye", self._id)))
        self.jobs.close()
        lost = self.records.close()
        if lost:
            peers_log.warning("%d messages were not stored on NATS before it was left", lost)
        for remote in list(self._remotes.values()):
            if remote.channel is not None:
                remote.channel.end()
            peer = remote.peer
            if peer is not None and self.router.peers.get(peer.id) is peer:
                lost += self.router.remove_peer(peer, "closed")
        self._client.close(lambda: done(lost))

    def close_in_child(self) -> None:
        """Close the descriptor in a forked child, which has none of its parent's connections."""
        self._client.close_in_child()


def check_platform() -> None:
    """Check that NATS can be used here.

    Raises:
        LinkError: it can't.
    """
    from .asyncio_loop import can_be_embedded

    if not can_be_embedded():
        raise LinkError("links over NATS need a system with epoll or kqueue, which Windows lacks")
