"""Real nodes on loopback, all in one loop, and what they hear."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from berrymq import Bus
from berrymq.bridge.client.connector import Connector
from berrymq.bridge.discovery.candidates import Found
from berrymq.bridge.loop import end_if_idle, run
from berrymq.bridge.node import Node
from berrymq.bridge.server.listener import listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berrymq import Message
    from berrymq.bridge.protocol.accounts import Limits

LIMIT = 20.0


class Ears:
    """Takes down what a node hears of an identifier."""

    def __init__(self, node: Node, identifier: str = "test:*") -> None:
        self.messages: list[Message] = []
        self._changed = asyncio.Event()
        self._subscription = node.bus.follow(identifier, self._take, direct=True)

    def _take(self, message: Message) -> None:
        self.messages.append(message)
        self._changed.set()

    @property
    def values(self) -> list[Any]:
        """The first argument of each message."""
        return [message.args[0] for message in self.messages]

    def of(self, source: str | None) -> list[Any]:
        """The first argument of each message of one sender."""
        return [message.args[0] for message in self.messages if message.source == source]

    async def have(self, count: int) -> list[Any]:
        """Wait until so many messages have come."""
        async with asyncio.timeout(LIMIT):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.values


class Nodes:
    """Some listening nodes and the links between them; all end with the context."""

    def __init__(self, size: int = 0, *, limits: Limits | None = None) -> None:
        self.all: list[Node] = []
        self.connectors: list[Connector] = []
        self._size = size
        self._limits = limits

    async def __aenter__(self) -> Self:
        for _ in range(self._size):
            await self.add()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connector in self.connectors:
            await connector.close(flush=0)
        for node in self.all:
            await node.close()
            node.bus.close()

    def __getitem__(self, index: int) -> Node:
        return self.all[index]

    async def add(self, name: str | None = None, *, listening: bool = True, **options: Any) -> Node:
        """One more node."""
        node = Node(Bus(), name=name or f"n{len(self.all)}", limits=self._limits, **options)
        self.all.append(node)
        if listening:
            await listen(node)
        return node

    async def link(self, one: Node, other: Node, url: str | None = None, *, ttl: float = 1000.0) -> Connector:
        """Let one node dial the other one, at another address of it when that is given."""
        place = Found(url or other.url, other.access_token, "the test")
        connector = Connector(one, lambda: [place], ttl=ttl)
        self.connectors.append(connector)
        await connector.open()
        return connector

    async def know_all(self, *nodes: Node) -> None:
        """Wait until each of these knows what all others of them follow now."""
        nodes = nodes or tuple(self.all)
        await until(
            lambda: all(
                there.record_of(node.id) == node.record and set(node.record.follows) == interests(node)
                for node in nodes
                for there in nodes
            ),
            "everybody knows everybody",
        )

    async def are_silent(self) -> None:
        """Wait until nothing is said on any link."""

        def count() -> list[tuple[int, ...]]:
            return [
                (peer.session._window.last, peer.session.received, peer.session.stats.in_flight)
                for node in self.all
                for peer in node.neighbours
            ]

        async with asyncio.timeout(LIMIT):
            before = None
            while (now := count()) != before or not self._flushed():
                before = now
                await asyncio.sleep(0.05)

    def _flushed(self) -> bool:
        return all(peer.session.is_flushed for node in self.all for peer in node.neighbours)


@contextmanager
def listening_node(bus: Bus, name: str) -> Iterator[Node]:
    """A node on the I/O thread that listens; both end with the context."""

    async def begin() -> Node:
        node = Node(bus, name=name)
        await listen(node)
        return node

    node = run(begin())
    yield node
    run(node.close())
    end_if_idle()


def interests(node: Node) -> set[str]:
    """What a node's bus follows, as its record says it."""
    return {str(identifier) for identifier in node.bus.gateway.interests()}


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for what happens on the loop without an event of its own."""
    try:
        async with asyncio.timeout(LIMIT):
            while not condition():  # noqa: ASYNC110 - there is none
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise TimeoutError(f"not within {LIMIT:g} s: {what}") from None
