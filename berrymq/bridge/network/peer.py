"""A neighbour of a node: its session, and the connection that carries it at present."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from berrymq.bridge.protocol.frames import Announce, Frame
from berrymq.bridge.websocket import CloseCode

from .drops import Drops

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.processes import Process
    from berrymq.bridge.protocol.session import Session

__all__ = ["Peer", "Transport"]

PROCESS_CHECK_SECONDS = 1.0
"""How often it is looked whether the process of a neighbour whose connection was cut still runs."""

_log = logging.getLogger("berrymq")


class Transport(Protocol):
    """An open connection that carries frames."""

    def write(self, data: bytes) -> None:
        """Send one frame; never blocks, never raises."""

    def close(self, reason: str = "", code: CloseCode = CloseCode.NORMAL) -> None:
        """End the connection; may be called more than once."""


class Peer:
    """One neighbour. Lives on the loop of its node.

    Args:
        id: the neighbour's node id.
        name: what people call it.
        session: what its connections carry.
        room: the room it is in.
        sees_all: whether it is told of the nodes of every room, as hubs are.
        ttl: seconds for which the session waits for another connection once one was cut.
        process: the neighbour's; where that is seen to have ended, the session waits no longer.
        loop: the node's.
        on_frame: is called with each frame that has something to act on.
        on_change: is called when the connection came, went, or the session expired.
        is_behind: tells whether this process is behind with what it received.
        on_progress: is called when something came, after which there may be room to send more.
        stranded: tells how much of what waits here has no other way to go.
    """

    def __init__(
        self,
        id: str,
        session: Session,
        *,
        name: str,
        room: str | None,
        sees_all: bool,
        ttl: float,
        process: Process | None = None,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[Peer, Frame], None],
        on_change: Callable[[Peer], None],
        is_behind: Callable[[], bool],
        on_progress: Callable[[], None],
        stranded: Callable[[Peer], int],
    ) -> None:
        self.id = id
        self.name = name
        self.session = session
        self.room = room
        self.sees_all = sees_all
        self.ttl = ttl
        self.expired = False
        self.since = time.time()
        """When the link was made, in seconds since 1970."""
        self.cut_since: float | None = None
        """Since when it has had no connection, where it has none."""
        self.introduced = asyncio.Event()
        """Set once it has said who is there and who follows what."""
        self.cut = asyncio.Event()
        """Set while no connection carries the session."""
        self._process = process
        self._loop = loop
        self._on_frame = on_frame
        self._on_change = on_change
        self._is_behind = is_behind
        self._on_progress = on_progress
        self._stranded = stranded
        self._drops = Drops(loop, self._tell_drops)
        self._transport: Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        # From the start: it may be that no connection ever comes to carry it.
        self._expiry: asyncio.TimerHandle | None = loop.call_later(ttl, self._expire)
        self._process_check: asyncio.TimerHandle | None = None
        self._flushed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether a connection carries the session at this moment."""
        return self._transport is not None

    @property
    def transport(self) -> Transport | None:
        """The connection that carries the session at this moment."""
        return self._transport

    def attach(self, transport: Transport, peer_received: int) -> None:
        """Carry on over a new connection; one that is still there is given up.

        Raises:
            ValueError: the other side claims to have what was never sent.
        """
        self.session.check_received(peer_received)
        self._drop_transport("replaced by a new connection")
        self.session.attach(self._loop.time(), peer_received)
        self._transport = transport
        self.cut.clear()
        self.cut_since = None
        self._wait_no_longer()
        self._on_change(self)
        self.pump()

    def lost(self, transport: Transport) -> None:
        """A connection has ended; of no consequence if another one has taken its place."""
        if transport is not self._transport:
            return
        self._drop_transport("")
        self.cut_since = time.time()
        self._expiry = self._loop.call_later(self.ttl, self._expire)
        if self._process is not None:
            # Its sockets may be closed a moment before it has ended.
            self._process_check = self._loop.call_later(PROCESS_CHECK_SECONDS / 10, self._check_process)
        self._on_change(self)

    def receive(self, transport: Transport, frame: Frame) -> None:
        """Act on what came over a connection.

        Raises:
            ValueError: the other side does not keep to the protocol; the connection is to be closed.
        """
        if transport is not self._transport:
            return  # a connection that was replaced: the other side sends this again
        news = self.session.receive(frame, self._loop.time())
        if news is not None:
            self._on_frame(self, news)
        if isinstance(news, Announce) and not news.params.more:
            self.introduced.set()
        self.pump()
        self._on_progress()

    def heard(self, transport: Transport) -> None:
        """A sign of life came that is not a frame."""
        if transport is self._transport:
            self.session.heard(self._loop.time())

    def pump(self) -> None:
        """Write what can go now, and set the timer for what goes later."""
        transport = self._transport
        self._drops.note(self.session.overflowed)
        if transport is None:
            return
        self.session.behind = self._is_behind()
        for data in self.session.outgoing(self._loop.time()):
            transport.write(data)
        if self.session.is_flushed:
            self._flushed.set()
        self._set_timer()

    def _tell_drops(self, count: int) -> None:
        _log.warning("%d messages for %s were dropped: more of them waited than may", count, self.name)

    async def flush(self) -> None:
        """Wait until the other side has confirmed everything, or the session is over."""
        while not (self.session.is_flushed or self.expired):
            self._flushed.clear()
            await self._flushed.wait()

    def end(self, reason: str) -> int:
        """Give the session up; how many messages were dropped by that."""
        self.expired = True
        self._drop_transport(reason)
        self._wait_no_longer()
        if self._timer is not None:
            self._timer.cancel()
        self._flushed.set()
        return self.session.discard()

    def _wait_no_longer(self) -> None:
        for handle in (self._expiry, self._process_check):
            if handle is not None:
                handle.cancel()
        self._expiry = self._process_check = None

    def _check_process(self) -> None:
        assert self._process is not None
        if self._process.has_ended:
            self._give_up("has ended")
        else:
            self._process_check = self._loop.call_later(PROCESS_CHECK_SECONDS, self._check_process)

    def _expire(self) -> None:
        self._give_up(f"did not come back within {self.ttl:g} seconds")

    def _give_up(self, reason: str) -> None:
        dropped = self._stranded(self)
        self.end(reason)
        if dropped:
            _log.warning("%s %s: %d messages for it were dropped", self.name, reason, dropped)
        self._on_change(self)

    def _drop_transport(self, reason: str) -> None:
        transport, self._transport = self._transport, None
        self.cut.set()
        if transport is not None:
            self.session.detach()
            transport.close(reason)

    def _set_timer(self) -> None:
        due = self.session.deadline()
        if self.session.behind:
            due = min(due, self._loop.time() + 0.02)
        if self._timer is not None:
            if self._timer.when() <= due:
                return  # it fires early at worst, and is set anew then
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        transport = self._transport
        if transport is not None and self.session.is_dead(self._loop.time()):
            transport.close("silent for too long")
            self.lost(transport)
            return
        self.pump()
