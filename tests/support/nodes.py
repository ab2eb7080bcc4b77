"""Real nodes on loopback, all on one I/O loop, with their servers and the links between them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from berrymq import Bus
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.hub.router import Hub
from berrymq.bridge.node.connector import Connector
from berrymq.bridge.node.node import Node
from berrymq.bridge.server.server import Server
from berrymq.bridge.transport.loop import IoLoop
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.limits import Limits
    from tests.support.faults import FaultProxy

LIMIT = 20.0

R = TypeVar("R")


def wait(condition: Callable[[], object], what: str, timeout: float = LIMIT) -> None:
    """Wait for a state that tells nobody when it comes."""
    wait_until(condition, what, timeout=timeout, interval=0.002)


class Nodes:
    """Some nodes, their servers and the links between them; all end with the context.

    Args:
        size: how many nodes there are at first; they are named n0, n1, ...
        limits: bounds of their links.
    """

    def __init__(self, size: int = 0, *, limits: Limits | None = None) -> None:
        self.loop = IoLoop()
        self.all: list[Node] = []
        self.hubs: list[Hub] = []
        self.servers: dict[Router, Server] = {}
        self.connectors: list[Connector] = []
        self._size = size
        self._limits = limits
        self._thread = threading.Thread(target=self.loop.run, name="loop of the test", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for _ in range(self._size):
            self.add()
        return self

    def __exit__(self, *_: object) -> None:
        for connector in self.connectors:
            connector.close(flush=0)
        for server in self.servers.values():
            self.call(server.stop)
        for router in self.routers:
            self.call(router.close)
        for node in self.all:
            node.bus.close()
        self.loop.stop()
        self._thread.join(10)

    def __getitem__(self, index: int) -> Node:
        return self.all[index]

    @property
    def routers(self) -> list[Router]:
        """Nodes and hubs."""
        return [*self.hubs, *self.all]

    def call(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function on the loop and return what it returns."""
        done = threading.Event()
        outcome: list[R] = []

        def run() -> None:
            try:
                outcome.append(function(*args))
            finally:
                done.set()

        self.loop.call(run)
        assert done.wait(LIMIT), "the loop hangs"
        return outcome[0]

    def turn(self) -> None:
        """Wait until the loop has done what it had to do."""
        for _ in range(3):
            self.call(lambda: None)

    # -- making nodes ----------------------------------------------------------------------------------------

    def add(self, name: str | None = None, *, listening: bool = True, **options: Any) -> Node:
        """One more node."""
        name = name or f"n{len(self.all)}"
        node = Node(self.loop, Bus(name), name=name, limits=self._limits, **options)
        self.all.append(node)
        if listening:
            self.listen(node)
        return node

    def hub(self, name: str = "hub", **options: Any) -> Hub:
        """A hub, which listens."""
        hub = Hub(self.loop, name=name, limits=self._limits, **options)
        self.hubs.append(hub)
        self.listen(hub)
        return hub

    def listen(self, router: Router, host: str = "127.0.0.1", port: int = 0, **options: Any) -> Server:
        """Have a node listen."""
        server = Server(router, **options)
        server.start(host, port)
        self.servers[router] = server
        return server

    def place(self, router: Router, proxy: FaultProxy | None = None) -> Found:
        """Where a node is to be reached: directly, or behind a proxy."""
        server = self.servers[router]
        endpoint = proxy.endpoint if proxy is not None else Endpoint.parse(server.url)
        return Found(endpoint, server.access_token, "the test")

    def connector(
        self, one: Node, other: Router, proxy: FaultProxy | None = None, **options: Any
    ) -> Connector:
        """What keeps a link up, not opened yet."""
        place = self.place(other, proxy)
        connector = Connector(one, lambda: [place], **{"ttl": 1000.0, **options})
        self.connectors.append(connector)
        return connector

    def link(
        self, one: Node, other: Router, proxy: FaultProxy | None = None, *, ttl: float = 1000.0
    ) -> Connector:
        """Link one node to another one, through a proxy if one is given."""
        connector = self.connector(one, other, proxy, ttl=ttl)
        connector.open(10.0)
        return connector

    def peer(self, one: Router, other: Router) -> Peer:
        """The other side of a link, as one node sees it."""
        return one.peers[other.id]

    def listening_address(self, router: Router) -> tuple[str, int]:
        """Host and port of a node."""
        return self.servers[router].address

    # -- waiting ---------------------------------------------------------------------------------------------

    def settle(self, timeout: float = LIMIT, *, apart: str = "") -> None:
        """Wait until everybody knows what the others follow, and nothing is under way any more.

        Args:
            timeout: seconds.
            apart: the name of a peer that is left out, for it does not acknowledge.
        """

        def is_quiet() -> bool:
            self.turn()
            return all(self._is_quiet(router, apart) for router in self.routers)

        wait(lambda: is_quiet() and is_quiet(), "nothing is under way", timeout)

    def _is_quiet(self, router: Router, apart: str) -> bool:
        if isinstance(router, Node) and (router.outbox or router._interests_pending or router._arrived):
            return False
        if router.announcements.pending:
            return False
        return all(
            peer.stream.idle and peer.interest_announced and (peer.interest_known or router.is_hub)
            for peer in list(router.peers.values())
            if peer.connected and peer.name != apart
        )
