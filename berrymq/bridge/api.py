"""The links of this process, for people: `link` and what it returns.

Everything here may be called on any thread; the work is done on the I/O thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import berrymq
from berrymq.process import Step, process

from .client.connector import Connector
from .client.dialing import socket_url
from .discovery.candidates import Found, candidates
from .discovery.naming import default_node_name
from .discovery.pasted import without_token
from .discovery.places import origin
from .errors import LinkError
from .loop import io_loop, run
from .network.outbox import Overflow
from .node import DEFAULT_TTL, Node
from .protocol.accounts import LinkStats

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from types import TracebackType

    from berrymq.bus import Bus

    from .network.directory import NodeInfo

__all__ = [
    "Link",
    "close_links",
    "flush",
    "forget_unlinked",
    "link",
    "links",
    "node_of",
    "open_link",
    "place_of",
]

L = TypeVar("L", bound="Link")

State = Literal["connecting", "linked", "closed"]

_log = logging.getLogger("berrymq")

EXIT_FLUSH_SECONDS = 2.0
"""How long the interpreter's exit may wait for what was said last."""


class Link:
    """A live connection of this process to another node, most often a hub.

    It is kept up until it is closed: when the connection is cut it comes back by itself, and nothing is
    lost as long as that takes less than the link's ``ttl``. Usable in ``with``, whose end closes it, unless
    `link` has given it to somebody else as well.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._pid = os.getpid()
        self.given = 1
        """How often `link` has given it."""
        self.asked: str | None = None
        """The URL that was asked for, without a token; None where the hub was to be found."""

    def leads_to(self, url: str) -> bool:
        """Whether it leads there, or was made by asking for that address, by whichever of its names.

        Raises:
            LinkError: it is not the URL of a node.
        """
        return place_of(without_token(url)[0]) in {place_of(one) for one in (self.url, self.asked) if one}

    @property
    def node(self) -> Node:
        """This process, as a node on the network."""
        return self._connector.node

    @property
    def name(self) -> str:
        """The name under which the others see this process."""
        return self.node.name

    @property
    def room(self) -> str | None:
        """The room: only nodes in the same one hear each other."""
        return self.node.room

    @property
    def url(self) -> str:
        """Where it leads."""
        found = self._connector.found
        return found.url if found is not None else ""

    @property
    def found_by(self) -> str:
        """How that place was found, in words."""
        found = self._connector.found
        return found.found_by if found is not None else ""

    @property
    def state(self) -> State:
        """``"linked"``; ``"connecting"`` while it is cut; ``"closed"``."""
        if self.closed:
            return "closed"
        connector = self._connector
        return "linked" if connector.peer is not None and connector.peer.connected else "connecting"

    @property
    def closed(self) -> bool:
        """True after `close`, and in a forked child, for it is the parent's."""
        return self._connector.closed or self._is_inherited

    def nodes(self) -> list[NodeInfo]:
        """Who can be reached, this process first."""
        return self.node.nodes()

    def stats(self) -> LinkStats:
        """What passed over the link so far."""
        peer = self._connector.peer
        stats = peer.session.stats if peer is not None else LinkStats()
        stats.dropped += self.node.traffic.outbox.dropped
        return stats

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the other side has everything that was said; False after *timeout* seconds."""
        if self._is_inherited:
            return True
        try:
            run(self._flush(), timeout)
        except TimeoutError:
            return False
        return True

    @property
    def _is_inherited(self) -> bool:
        """In a forked child: the link is its parent's, whose socket it must not touch."""
        return self._pid != os.getpid()

    async def _flush(self) -> None:
        await self.node.traffic.flush_outbox()
        if self._connector.peer is not None:
            await self._connector.peer.flush()

    def close(self, flush: float = EXIT_FLUSH_SECONDS) -> int:
        """End the link, for all whom `link` has given it, after up to *flush* seconds for what was said last.

        Returns:
            How many messages the other side did not get.
        """
        with _turns_of(self.node.bus).closing:
            with _lock:
                if self in _links:
                    _links.remove(self)
            if self.closed:
                return 0
            return run(_close(self._connector, flush))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _turns_of(self.node.bus).closing:
            self.given -= 1
            if self.given <= 0:
                self.close()

    def __repr__(self) -> str:
        return f"<Link {self.name!r} {self.state} {self.url} ({self.found_by})>"


def place_of(url: str) -> tuple[object, str]:
    """What is the same for all names of the place that a URL leads to.

    Raises:
        LinkError: it is not the URL of a node.
    """
    return origin(url), urlsplit(socket_url(url)).path


_lock = threading.RLock()
_links: list[Link] = []
_nodes: dict[tuple[Bus, str | None], Node] = {}
_turns: WeakKeyDictionary[Bus, _Turns] = WeakKeyDictionary()


class _Turns:
    """Who makes a link of a bus waits for others who do, and for those who close one.

    So it is there, or not, and nothing between. Who closes one waits for none that is being made.
    """

    def __init__(self) -> None:
        self.making = threading.RLock()
        self.closing = threading.RLock()


def _turns_of(bus: Bus) -> _Turns:
    with _lock:
        return _turns.setdefault(bus, _Turns())


def links() -> list[Link]:
    """The open links of this process, oldest first."""
    with _lock:
        return list(_links)


def link(
    url: str | None = None,
    *,
    access_token: str | None = None,
    name: str | None = None,
    room: str | None = None,
    bus: Bus | None = None,
    timeout: float = 15.0,
    ttl: float = DEFAULT_TTL,
    overflow: Overflow | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Link:
    """Join a hub, or any node that listens. Linking again to the same place gives the link that is there.

    Args:
        url: where it is, or that of any page of a Jupyter server, with its ``?token=`` where it is not this
            user's on this machine; without one the hub is found, and started if there is none (see
            ``discovery/candidates.py`` for the order).
        access_token: lets this process in; found by itself where the node is this user's on this machine.
        name: what the others see as the source of messages; the notebook's or script's name unless told.
        room: only nodes in the same room hear each other. Not told, it is the room of the link that is there
            already, and else none; ``""`` is none in any case.
        bus: whose messages cross; the default bus unless told.
        timeout: seconds to wait for the link.
        ttl: seconds for which both sides keep what could not be delivered when the link is cut.
        overflow: what happens to what this process says faster than it can be sent: ``"drop_oldest"`` drops
            and counts it, ``"block"`` has the sender wait. It is one for all links in a room; not told, it
            stays as it is, at first ``"drop_oldest"``.
        ssl_context: what certificates are trusted; the system's unless told.

    Raises:
        LinkError: no link could be made; one line says why, and what to do.
    """
    return open_link(
        Link,
        url,
        access_token=access_token,
        name=name,
        room=room,
        bus=bus or berrymq.default_bus,
        timeout=timeout,
        ttl=ttl,
        overflow=overflow,
        ssl_context=ssl_context,
    )


def open_link(
    kind: type[L],
    url: str | None,
    *,
    bus: Bus,
    access_token: str | None = None,
    name: str | None = None,
    room: str | None = None,
    timeout: float = 15.0,
    ttl: float = DEFAULT_TTL,
    overflow: Overflow | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> L:
    """What `link` does, for each kind of link."""
    if overflow is not None and overflow not in get_args(Overflow):
        raise ValueError(f"overflow is one of {', '.join(map(repr, get_args(Overflow)))}, not {overflow!r}")
    if url is not None and not isinstance(url, str):
        raise LinkError(f"a place is told by its URL, such as 'http://localhost:8137', not by {url!r}")
    asked = None if url is None else without_token(url)[0]
    if asked is not None:
        socket_url(asked)
    turns = _turns_of(bus)
    with turns.making:
        with turns.closing:
            there = _link_that_is_there(kind, asked, bus, room)
            if there is not None:
                if name is not None and name != there.name:
                    raise LinkError(
                        f"this process is linked already, as {there.name!r}; "
                        "close that link to change the name"
                    )
                there.given += 1
        if there is None:
            node = _node_to_open(bus, name, room or None)
            try:
                connector = run(_open(node, url, access_token, ttl, ssl_context), timeout)
            except TimeoutError:
                raise LinkError(
                    f"no link after {timeout:g} seconds; is {asked or 'the hub'} overloaded or stopped?"
                ) from None
            made = kind(connector)
            made.asked = asked
            there = _keep(made)
        if overflow is not None:
            there.node.traffic.outbox.overflow = overflow
    return there


def _keep(made: L) -> L:
    """Note a new link; the one there was, where that leads to the same node by another of its names."""
    connector = made._connector
    for one in links():
        if type(one) is type(made) and one.node is made.node and one._connector.peer is connector.peer:
            run(_close(connector, 0))
            one.asked = one.asked or made.asked
            one.given += 1
            return one
    with _lock:
        _links.append(made)
    process.finish_in_children()
    return made


def close_links() -> int:
    """Close all links of this process; how many messages did not get through."""
    return sum([one.close() for one in links()])


def flush(timeout: float | None = None) -> bool:
    """Wait until the other sides of all links have everything; False after *timeout* seconds."""
    until = None if timeout is None else time.monotonic() + timeout
    return all(one.flush(None if until is None else max(0.0, until - time.monotonic())) for one in links())


def _link_that_is_there(kind: type[L], url: str | None, bus: Bus, room: str | None) -> L | None:
    found = [
        one
        for one in links()
        if isinstance(one, kind)
        and one.node.bus is bus
        and (one._connector.leads_to_hub or one.asked is None if url is None else one.leads_to(url))
    ]
    for one in found:
        if one.room == (room or None):
            return one
    return found[0] if found and room is None else None  # whoever names no room leaves none


def node_of(bus: Bus, name: str | None, room: str | None) -> Node:
    """The node of a bus in a room: one for all its links, or its own messages would come back to it."""
    with _lock:
        node = _nodes.get((bus, room))
        if node is not None and name is not None and name != node.name:
            raise LinkError(f"this process is on the network already, as {node.name!r}")
        if node is None:
            node = Node(bus, name=name or default_node_name(), room=room, loop=io_loop())
            _nodes[bus, room] = node
        return node


def _node_to_open(bus: Bus, name: str | None, room: str | None) -> Node:
    """The same, kept from being forgotten until `_open` is done with it."""
    with _lock:
        node = node_of(bus, name, room)
        node.opening += 1
        return node


def forget_unlinked(node: Node) -> None:
    """Let a node go that has neither a link nor listens; the next link makes another one."""
    with _lock:
        is_linked = node.peers or any(one.node is node for one in _links)
        if not is_linked and node.listener is None and not node.opening:
            if _nodes.get((node.bus, node.room)) is node:
                del _nodes[node.bus, node.room]
            node.detach_bus()


async def _open(
    node: Node, url: str | None, access_token: str | None, ttl: float, ssl_context: ssl.SSLContext | None
) -> Connector:
    connector = Connector(node, lambda: _places(url, access_token), ttl=ttl, ssl_context=ssl_context)
    try:
        await connector.open()
    except BaseException:
        _opened(node)
        forget_unlinked(node)
        raise
    _opened(node)
    return connector


def _opened(node: Node) -> None:
    with _lock:
        node.opening -= 1


async def _close(connector: Connector, flush: float) -> int:
    try:
        return await connector.close(flush)
    finally:
        forget_unlinked(connector.node)


def _places(url: str | None, access_token: str | None) -> Iterator[Found]:
    """Where to link to; without a URL, a hub is started when none of the others answered."""
    yield from candidates(url, access_token)
    if url is None:
        from .hub.starting import start_hub

        yield start_hub()


def _close_at_exit() -> None:
    dropped = sum([one.close(EXIT_FLUSH_SECONDS) for one in links()])
    if dropped:
        _log.warning("%d messages did not get through before this process ended", dropped)


def _forget_in_child() -> None:
    """A forked child has none of its parent's links."""
    global _lock, _links, _nodes, _turns  # noqa: PLW0603 - there is one of it in a process
    _lock = threading.RLock()
    _links, _nodes, _turns = [], {}, WeakKeyDictionary()


process.at_exit(Step.LINKS, _close_at_exit)
process.on_fork(_forget_in_child)
