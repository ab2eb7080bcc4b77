"""Nodes without a network: a virtual clock, and wires that deliver when they are told to.

Everything of a node is real but its connections, and nothing happens by itself; so a test decides in which
order things happen, and the same test always does the same.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from berrymq.bridge.node import Node
from berrymq.bridge.protocol.accounts import Limits
from berrymq.bridge.protocol.frames import NodeRecord, decode_frame
from berrymq.bridge.protocol.session import Session

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from berrymq.bridge.network.peer import Peer
    from berrymq.bridge.processes import Process

MOMENT = 0.001


class Handle:
    """A callback that waits for its time."""

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._cancelled = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self._cancelled = True

    def run(self) -> None:
        if not self._cancelled:
            self._callback(*self._args)


class VirtualLoop:
    """As much of an event loop as a node needs. Time passes in `advance`."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._count = itertools.count()
        self._handles: list[tuple[float, int, Handle]] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Handle:
        handle = Handle(when, callback, args)
        heapq.heappush(self._handles, (when, next(self._count), handle))
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Handle:
        return self.call_at(self._now + delay, callback, *args)

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Handle:
        return self.call_at(self._now, callback, *args)

    call_soon_threadsafe = call_soon

    def run_due(self) -> None:
        """Run what is due now."""
        runs = 0
        while self._handles and self._handles[0][0] <= self._now:
            heapq.heappop(self._handles)[2].run()
            runs += 1
            assert runs < 100_000, "something calls itself without end"

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as while a machine sleeps."""
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass, and run what becomes due in its order."""
        until = self._now + seconds
        while self._handles and self._handles[0][0] <= until:
            self._now = max(self._now, self._handles[0][0])
            self.run_due()
        self._now = until


class Plug:
    """One end of a wire: the transport of a peer."""

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self.other: Plug
        self.arriving: deque[bytes | None] = deque()
        """What is on its way to this end; None is the end of the connection."""
        self.closed = False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.other.arriving.append(data)

    def close(self, reason: str = "", code: int = 1000) -> None:
        if not self.closed:
            self.closed = True
            self.arriving.clear()
            self.other.arriving.append(None)

    def take_one(self) -> bool:
        """Let the next thing arrive; whether there was one."""
        if self.closed or not self.arriving or self.peer is None:
            return False
        data = self.arriving.popleft()
        if data is None:
            self.closed = True
            self.peer.lost(self)
        else:
            self.peer.receive(self, decode_frame(data))
        return True


class Network:
    """Some nodes, and the links between them."""

    def __init__(self, size: int = 0, *, limits: Limits | None = None, ttl: float = 1000.0) -> None:
        self.loop = VirtualLoop()
        self.nodes: list[Node] = []
        self.ttl = ttl
        self.limits = limits or Limits()
        self._plugs: dict[tuple[Node, Node], Plug] = {}
        self._sessions = itertools.count(1)
        for _ in range(size):
            self.add()

    def add(self, name: str | None = None, **options: Any) -> Node:
        """One more node, which nobody is linked to."""
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        node = Node(name=name or f"node {len(self.nodes)}", loop=loop, limits=self.limits, **options)
        self.nodes.append(node)
        return node

    # -- links -----------------------------------------------------------------------------------------------

    def linked(self, one: Node, other: Node) -> bool:
        """Whether a session joins them, cut or not."""
        return one.peer(other.id) is not None or other.peer(one.id) is not None

    def link(self, dialler: Node, listener: Node, process: Process | None = None) -> None:
        """What `interconnect` and its caller do; the process is the dialler's."""
        own = dialler.record
        record = NodeRecord(
            own.id, own.name, own.version, own.room, own.hub, own.follows, neighbours=(listener.id,)
        )
        session = f"session {next(self._sessions)}"
        now = self.loop.time()
        there = listener.add_peer(record, Session(session, now, self.limits), self.ttl, process)
        answer = listener.record
        theirs, ours = self._wire(listener, dialler)
        theirs.peer = there
        there.attach(theirs, 0)
        here = dialler.add_peer(answer, Session(session, now, self.limits), self.ttl)
        here.attach(ours, 0)
        ours.peer = here

    def unlink(self, one: Node, other: Node) -> None:
        """One side closes the link; the other is told as soon as that arrives."""
        for here, there in ((one, other), (other, one)):
            peer = here.peer(there.id)
            if peer is not None:
                here.remove_peer(peer)

    def cut(self, one: Node, other: Node) -> None:
        """The connection ends, with all that was on its way; both sides notice."""
        for here, there in ((one, other), (other, one)):
            plug = self._plugs.pop((here, there), None)
            if plug is not None and plug.peer is not None:
                plug.arriving.clear()
                plug.closed = True
                plug.peer.lost(plug)

    def resume(self, dialler: Node, listener: Node) -> bool:
        """A new connection for a session that was cut; whether there was one."""
        here, there = dialler.peer(listener.id), listener.peer(dialler.id)
        if here is None or there is None or here.session.id != there.session.id or here.connected:
            return False
        claimed, confirmed = here.session.received, there.session.received
        theirs, ours = self._wire(listener, dialler)
        theirs.peer, ours.peer = there, here
        there.attach(theirs, claimed)
        here.attach(ours, confirmed)
        return True

    def _wire(self, one: Node, other: Node) -> tuple[Plug, Plug]:
        left, right = Plug(), Plug()
        left.other, right.other = right, left
        self._plugs[one, other], self._plugs[other, one] = left, right
        return left, right

    # -- time ------------------------------------------------------------------------------------------------

    def busy(self) -> list[Plug]:
        """The ends at which something waits to arrive, in an order that does not depend on memory."""
        return [plug for plug in self._plugs.values() if plug.arriving and not plug.closed]

    def plug(self, receiver: Node, sender: Node) -> Plug:
        """The end of a link at which one node gets what another one sends."""
        return self._plugs[receiver, sender]

    def arrive_but(self, slow: list[Plug]) -> None:
        """Let everything arrive but at these ends."""
        self.loop.run_due()
        while busy := [plug for plug in self.busy() if plug not in slow]:
            busy[0].take_one()
            self.loop.run_due()

    def step(self, choice: int = 0) -> bool:
        """Let one frame arrive somewhere; whether there was one."""
        self.loop.run_due()
        busy = self.busy()
        if not busy:
            return False
        busy[choice % len(busy)].take_one()
        self.loop.run_due()
        return True

    def settle(self, seconds: float = 1.0) -> int:
        """Let everything arrive that is said within some time; how many frames that were."""
        frames = 0
        until = self.loop.time() + seconds
        while self.loop.time() < until:
            while self.step(frames):
                frames += 1
                assert frames < 100_000, "it does not fall silent"
            self.loop.advance(0.01)
        return frames
