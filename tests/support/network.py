"""Nodes and hubs without a network: a virtual clock, and wires that deliver when they are told to.

Everything is real but sockets and threads: the server's conversations, the connectors, the routers. Nothing
happens by itself, so a test decides in which order things happen, and the same test always does the same.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw

from berrymq import Bus
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.hub.router import Hub
from berrymq.bridge.node.connector import Connector
from berrymq.bridge.node.node import Node
from berrymq.bridge.protocol import json_checks, jsonrpc
from berrymq.bridge.protocol.events import CloseCode, Closed, Piece, Text
from berrymq.bridge.protocol.handshake import node_id_of
from berrymq.bridge.protocol.offers import PIECE_HEAD
from berrymq.bridge.server.conversation import Conversation
from berrymq.bridge.server.host_and_origin import HostPolicy
from berrymq.bridge.server.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.events import Event
    from berrymq.bridge.protocol.frames import Frame
    from berrymq.bridge.protocol.limits import Limits
    from berrymq.bridge.transport.budget import Budget
    from berrymq.bridge.transport.loop import IoLoop

TOKEN = "the-access-token-of-the-network"
PING = object()
PIECE = object()


def pieces_of(message: bytes) -> list[Piece]:
    """The events of a binary message that arrives in two parts."""
    number, offset = PIECE_HEAD.unpack_from(message)
    data = memoryview(message)[PIECE_HEAD.size :]
    half = len(data) // 2
    parts = [(0, data[:half]), (half, data[half:])] if half else [(0, data)]
    return [Piece(number, offset, len(data), start, part) for start, part in parts]


class VirtualTimer:
    """A call that waits for its time."""

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        self.function = None

    def run(self) -> None:
        function, self.function = self.function, None
        if function is not None:
            function(*self.args)


class VirtualLoop:
    """As much of the I/O loop as routers need. Time passes in `advance`."""

    is_current = True

    def __init__(self) -> None:
        self.spin_until = 0.0
        self._now = 1000.1
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, VirtualTimer]] = []

    def time(self) -> float:
        return self._now

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> VirtualTimer:
        timer = VirtualTimer(function, args)
        heapq.heappush(self._timers, (self._now + seconds, next(self._numbers), timer))
        return timer

    def call(self, function: Callable[..., object], *args: Any) -> None:
        self.call_later(0.0, function, *args)

    call_from_signal = call

    def watch(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("there are no sockets here")

    unwatch = watch

    def run_due(self) -> None:
        """Run what is due now, and what becomes due by that."""
        runs = 0
        while self._timers and self._timers[0][0] <= self._now:
            heapq.heappop(self._timers)[2].run()
            runs += 1
            assert runs < 100_000, "something calls itself without end"

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as while a machine sleeps."""
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass, and run what becomes due in its order."""
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now = max(self._now, self._timers[0][0])
            self.run_due()
        self._now = until


class WireEnd:
    """One end of a wire, in the place of a `Channel`."""

    def __init__(self, loop: VirtualLoop, on_event: Callable[[Event], object]) -> None:
        self.on_event = on_event
        self.other: WireEnd
        self.arriving: deque[Any] = deque()
        """What is on its way to this end."""
        self.closed = False
        self.close_code: int | None = None
        """With what this end was closed from here."""
        self.connection = self
        self.is_websocket = True
        self.opened_at = self.received_at = self.written_at = loop.time()
        self.said: list[Frame] = []
        """All that was sent from here."""
        self._loop = loop
        self._closed_reported = False

    # What a channel offers.

    def send_text(self, text: bytes) -> None:
        self.send_texts([text])

    def send_texts(self, texts: Iterable[Frame]) -> None:
        for text in texts:
            if not self.closed:
                self.said.append(text)
                self.other.arriving.append(text)

    def take_pieces(self) -> None:
        """Binary messages are told from texts here in any case."""

    def send_piece(self, head: bytes, data: bytes) -> None:
        if not self.closed:
            self.other.arriving.append((PIECE, head + data))

    def when_written(self, send: Callable[[], object]) -> None:
        send()

    def act(self, action: Callable[[Any], object]) -> None:
        action(self)

    def close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        if not self.closed:
            self.closed, self.close_code = True, int(code)
            self.other.arriving.append(Closed(code, reason))
            self._loop.call(self._tell, Closed())

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.other.arriving.append(Closed())
            self._loop.call(self._tell, Closed())

    @property
    def reader(self) -> WireEnd:
        return self

    def pump(self, *args: Any, **kwargs: Any) -> bool:
        return False

    def keep(self, size: int) -> None:
        pass

    # What a connection offers to those who `act` on it.

    def trust(self) -> None:
        pass

    def ping(self) -> None:
        if not self.closed:
            self.other.arriving.append(PING)

    # What a test does.

    def take_one(self) -> None:
        """Let the next thing arrive."""
        arrived = self.arriving.popleft()
        if self.closed:
            return
        self.received_at = self._loop.time()
        if isinstance(arrived, Closed):
            self.closed = True
            self._tell(arrived)
        elif arrived is PING:
            self.other.received_at = self._loop.time()
        elif arrived[0] is PIECE:
            for piece in pieces_of(arrived[1]):
                self.on_event(piece)
        else:
            self.on_event(Text(arrived if isinstance(arrived, bytes) else b"".join(arrived)))

    def cut(self) -> None:
        """The connection is gone, with all that was on its way to this end."""
        self.arriving.clear()
        self.closed = True
        self._tell(Closed())

    def _tell(self, event: Closed) -> None:
        if not self._closed_reported:
            self._closed_reported = True
            self.on_event(event)


class VirtualDialled:
    """A connection that a connector has just made; its calls are answered at once."""

    def __init__(self, network: Network, server: Server) -> None:
        self.node_id, self.is_hub = server.router.id, server.router.is_hub
        self._number = itertools.count(1)
        self._network = network
        self.conversation = conversation = Conversation(server)
        conversation.authenticated = conversation.is_websocket = True
        self.here = WireEnd(network.loop, lambda event: None)
        self.there = WireEnd(network.loop, conversation.on_event)
        self.here.other, self.there.other = self.there, self.here
        conversation.channel = self.there  # type: ignore[assignment]
        network.wires += [self.here, self.there]

    def call(self, method: str, params: dict[str, Any]) -> Raw:
        """Call a method of the other side."""
        self.there.on_event(Text(jsonrpc.request(method, params, next(self._number))))
        _, result = jsonrpc.parse_reply(self.here.arriving.popleft())
        if isinstance(result, Exception):
            raise result
        return result

    def hand_over(self, loop: IoLoop, on_event: Callable[[Event], object]) -> WireEnd:
        """Have what comes go to the connector from now on."""
        self.here.on_event = on_event
        return self.here

    def close(self) -> None:
        self.here.close()


class VirtualConnector(Connector):
    """A connector that dials when a test says so."""

    wire: WireEnd | None = None

    def _reconnect(self) -> None:
        pass

    def dial(self, network: Network, server: Server) -> None:
        """Connect, as the dialling thread would do it."""
        dialled = VirtualDialled(network, server)
        found = Found(Endpoint.parse(("127.0.0.1", 1)), TOKEN, "test")
        key = self.key_for(found, dialled)  # type: ignore[arg-type]
        if self._is_linked_already(dialled, key):  # type: ignore[arg-type]
            return
        answer = self._interconnect(dialled, key)  # type: ignore[arg-type]
        self._attach(dialled, answer, key, False, Future())  # type: ignore[arg-type]
        self.wire = dialled.here


class VirtualNode(Node):
    """A node that writes in the loop's turns alone, not when the real clock says that it was idle."""

    idle_seconds = float("inf")


class Network:
    """Some nodes and hubs, and the links between them."""

    def __init__(self, *, limits: Limits | None = None, ttl: float = 1000.0) -> None:
        self.loop = VirtualLoop()
        self.nodes: list[VirtualNode] = []
        self.hubs: list[Hub] = []
        self.servers: dict[Router, Server] = {}
        self.wires: list[WireEnd] = []
        self.connectors: list[VirtualConnector] = []
        self._limits = limits
        self._ttl = ttl

    def close(self) -> None:
        """End everything."""
        for node in self.nodes:
            node.close()
            node.bus.close()
        self.loop.run_due()

    # -- nodes -----------------------------------------------------------------------------------------------

    def node(self, name: str | None = None, *, room: str | None = None, **options: Any) -> VirtualNode:
        """One more node, which nobody is linked to."""
        name = name or f"n{len(self.nodes)}"
        key = f"the secret key of {name}"
        loop = cast("IoLoop", self.loop)
        node = VirtualNode(loop, Bus(name), name=name, room=room, key=key, limits=self._limits, **options)
        self.nodes.append(node)
        self._serve(node)
        return node

    def hub(self, budget: Budget | None = None) -> Hub:
        """One more hub."""
        number = len(self.hubs)
        hub = Hub(
            cast("IoLoop", self.loop),
            name="hub",
            key=f"the secret key of hub {number}",
            limits=self._limits,
            budget=budget,
        )
        self.hubs.append(hub)
        self._serve(hub)
        return hub

    def _serve(self, router: Router) -> None:
        server = self.servers[router] = Server(router, access_token=TOKEN)
        server.policy = HostPolicy.of("localhost", [], [])

    def link(self, node: Node, router: Router) -> VirtualConnector:
        """Link a node to a hub or to another node."""
        connector = VirtualConnector(node, list, ttl=self._ttl)
        connector.dial(self, self.servers[router])
        self.connectors.append(connector)
        self.loop.run_due()
        return connector

    def cut(self, connector: VirtualConnector, *, there_first: bool = False) -> None:
        """The connection of a link ends, with all that was on its way; both sides notice."""
        wire, connector.wire = connector.wire, None
        if wire is not None:
            ends = (wire.other, wire) if there_first else (wire, wire.other)
            for end in ends:
                end.cut()
            self.wires = [end for end in self.wires if not end.closed]

    def resume(self, connector: VirtualConnector, router: Router) -> None:
        """A new connection for a link, to where it led or elsewhere."""
        if connector.wire is None or connector.wire.closed:
            connector.dial(self, self.servers[router])

    def kill(self, hub: Hub) -> None:
        """A hub ends without a word, with all that it held."""
        for connector in self.connectors:
            wire = connector.wire
            if wire is not None and wire.other in {peer.channel for peer in hub.peers.values()}:
                wire.other.closed = True
                self.cut(connector)
        del self.servers[hub]
        for peer in hub.peers.values():
            peer.channel = None
            peer.cancel_timers()
        hub.peers.clear()

    # -- time ------------------------------------------------------------------------------------------------

    def busy(self) -> list[WireEnd]:
        """The ends at which something waits to arrive."""
        return [end for end in self.wires if end.arriving and not end.closed]

    def step(self, choice: int = 0) -> bool:
        """Let one thing arrive somewhere; whether there was one."""
        self.loop.run_due()
        busy = self.busy()
        if busy:
            busy[choice % len(busy)].take_one()
        self.loop.run_due()
        for node in self.nodes:
            node.bus.drain(10.0)
        return bool(busy)

    def settle(self, seconds: float = 1.0) -> int:
        """Let everything arrive that is sent within some time; return how much that was."""
        count = 0
        until = self.loop.time() + seconds
        while self.loop.time() < until:
            while self.step(count):
                count += 1
                assert count < 100_000, "it does not fall silent"
            self.loop.advance(0.005)
        return count


class Member:
    """One who speaks the wire and sends what the test tells it to, in order or not.

    Args:
        network: where.
        router: what it is linked to.
        name: what it is called.
        key: what its id is made of.
        id: the id that it claims, with a key for this link alone.
        room: where it is.
        resume: what it says that it carries on.
        pulls: whether it pulls buffers.
    """

    def __init__(
        self,
        network: Network,
        router: Router,
        name: str = "mallory",
        *,
        key: str | None = None,
        id: str | None = None,
        room: str | None = None,
        resume: dict[str, Any] | None = None,
        pulls: bool = False,
    ) -> None:
        key = key or f"the secret key of {name}"
        self.id = id or node_id_of(key)
        self.name = name
        self.router = router
        self.heard: list[dict[str, Any]] = []
        """Every frame that came, acknowledged as it came."""
        self.closed: Closed | None = None
        self.acknowledges = True
        self.n = 0
        self._network = network
        dialled = VirtualDialled(network, network.servers[router])
        self.wire = dialled.here
        self.wire.on_event = self._take
        params: dict[str, Any] = {"name": name, "key": key, "room": room, "pull": pulls}
        if id is not None:
            params["id"] = id
        if resume is not None:
            params["resume"] = resume
        self.answer: dict[str, Any] = json.loads(bytes(dialled.call("interconnect", params)))

    @property
    def peer(self) -> Peer:
        """What the other side has of it."""
        return self.router.peers[self.id]

    def _take(self, event: Event) -> None:
        if isinstance(event, Closed):
            self.closed = event
        elif isinstance(event, Text):
            frame = json.loads(event.data)
            if isinstance(frame, list):  # the answers to a batch of calls
                return
            self.heard.append(frame)
            if "n" in frame.get("params", {}) and self.acknowledges:
                self.send("ack", ack=frame["params"]["n"])

    def send(self, method: str, **params: Any) -> None:
        """Send a notification as it is, on the wire."""
        self.send_bytes(json_checks.encode_json({"jsonrpc": "2.0", "method": method, "params": params}))

    def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        self.wire.send_text(data)

    def frame(self, method: str, **params: Any) -> None:
        """Send a frame with its number."""
        self.n += 1
        self.send(method, n=self.n, ack=0, **params)

    def batch(self, identifier: str, *messages: Any, **fields: Any) -> Raw:
        """A batch; who published it and how many there are is the truth, unless told otherwise."""
        parts = {"origin": self.id, "source": self.name, "first": 1, "count": len(messages), **fields}
        return Raw(json_checks.encode_json([identifier, *parts.values(), messages]))

    def publish(self, identifier: str, *values: Any, **fields: Any) -> None:
        """Send messages, each with one argument."""
        messages = [[1.0, [value], {}] for value in values]
        self.frame("messages", batches=[self.batch(identifier, *messages, **fields)])

    def of(self, method: str) -> list[dict[str, Any]]:
        """The params of the frames of one kind that came."""
        return [frame["params"] for frame in self.heard if frame.get("method") == method]

    @property
    def values(self) -> list[Any]:
        """The first argument of each message that came."""
        return [
            message[1][0]
            for params in self.of("messages")
            for batch in params["batches"]
            for message in batch[5]
        ]
