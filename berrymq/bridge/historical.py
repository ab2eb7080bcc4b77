"""The three styles of the 2009 library, by its function names.

01, equals: `init_connection` on one side or both, `interconnect`. 02, send only: `connect_oneway`,
`send_message`. 03, queue: `connect_via_queue`, `get`, `get_nowait`. Functions without a connection among
their arguments act on the latest one; the objects that the connecting functions return can be used instead.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import berrymq
from berrymq.bus import Bus

from . import api
from .access_token import check_access_token
from .api import DEFAULT_TTL, Link, link
from .discovery import connection_file
from .discovery.endpoint import Endpoint
from .discovery.finding import find
from .discovery.naming import default_node_name
from .errors import BridgeError, LinkError
from .local_nodes import forget_unlinked, node_in_use
from .nats.address import parse_link_address
from .remote_queue import RemoteQueue
from .runtime import EXIT_FLUSH_SECONDS, runtime
from .server.server import Server
from .transport.dialling import NETWORK_ERRORS, more_specific

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from berrymq.identifiers import Identifier
    from berrymq.messages import Message

    from .discovery.endpoint import Address
    from .nats.address import NatsAddress
    from .node.node import Node

STOP_SECONDS = 5.0
"""The timeout for closing a port on the I/O thread."""

__all__ = [
    "ListeningNode",
    "OneWayLink",
    "close_connection",
    "connect_oneway",
    "connect_via_queue",
    "get",
    "get_nowait",
    "init_connection",
    "interconnect",
    "send_message",
]


class OneWayLink(Link):
    """A link over which this process only sends, and receives no messages."""

    def send_message(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Publish a message at the other node and the nodes behind it that follow it.

        Raises:
            PayloadError: an argument can't cross.
            LinkError: the link is closed.
        """
        if self.closed:
            raise LinkError("this link is closed")
        self.node.bus.twitter(identifier, *args, **kwargs)

    def close(self, flush: float = EXIT_FLUSH_SECONDS) -> int:
        """Close the link; see `Link.close`."""
        runtime().forget(self)
        return super().close(flush)


class Listening:
    """A node of this process with the server that listens for it."""

    def __init__(self, node: Node, server: Server, file: connection_file.ConnectionFile) -> None:
        self.node = node
        self.server = server
        self.file = file


class ListeningNode:
    """This process as a node that others can connect to; see `init_connection`."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    @property
    def name(self) -> str:
        """The source that others see on this process's messages."""
        return self._listening.node.name

    @property
    def url(self) -> str:
        """The URL at which it listens."""
        return self._listening.server.url

    @property
    def address(self) -> tuple[str, int]:
        """The host and port at which it listens."""
        return self._listening.server.address

    @property
    def access_token(self) -> str:
        """The secret that clients need."""
        return self._listening.server.access_token

    def close(self) -> None:
        """Stop listening."""
        stop_listening(self._listening)

    def __repr__(self) -> str:
        return f"<ListeningNode {self.name!r} at {self.url}>"


C = TypeVar("C", bound=OneWayLink | RemoteQueue)


def init_connection(
    addr: Address = ("localhost", 0),
    *,
    access_token: str | None = None,
    name: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    hosts: Iterable[str] = (),
) -> ListeningNode:
    """Listen, so that others can connect to this process.

    Args:
        addr: host and port; with port 0 the system chooses one.
        access_token: the secret that clients need; random by default. Processes of the same user find it
            automatically.
        name: the source that others see on this process's messages.
        ssl_context: TLS certificate; required beyond loopback unless `insecure` is set.
        insecure: allow plain text beyond loopback.
        hosts: further host names of this node; with TLS the certificate's name first.

    Returns:
        The node, with ``url``, ``address`` and ``access_token``.

    Raises:
        LinkError: the address is unavailable, or would be reachable without TLS.
    """
    host, port = _host_and_port(addr)
    problem = check_access_token(access_token) if access_token is not None else None
    if problem is not None:
        raise LinkError(f"{problem}; leave it out to have one made")
    state = runtime()
    with node_in_use(berrymq.default_bus, name, None) as node:
        for one in state.listening:
            if one.node is node:
                raise LinkError(
                    f"this process listens already, at {one.server.url}; close_connection() ends that"
                )
        server = Server(
            node, access_token=access_token, ssl_context=ssl_context, insecure=insecure, hosts=hosts
        )
        try:
            server.start(host, port)
            file = connection_file.publish(
                url=server.url, access_token=server.access_token, name=node.name, kind="node"
            )
        except BridgeError:
            node.loop.call(server.stop)
            raise
        listening = Listening(node, server, file)
        with state.lock:
            state.listening.append(listening)
    file.keep_renewed(node.loop.call_later)
    return ListeningNode(listening)


def interconnect(
    addr: Address,
    ttl: float = DEFAULT_TTL,
    access_token: str | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> Link:
    """Link to the node at *addr*; each side receives what it follows.

    Args:
        addr: its host and port, or URL.
        ttl: seconds for which the other side keeps undelivered messages after a cut.
        access_token: its secret; found automatically for this user's nodes on this machine.
        ssl_context: trusted certificates; by default the system's.

    Raises:
        LinkError: no link could be made; one line says why.
    """
    return link(addr, access_token=access_token, ttl=ttl, ssl_context=ssl_context)


def connect_oneway(
    addr: Address,
    ttl: float = DEFAULT_TTL,
    access_token: str | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> OneWayLink:
    """Connect to the node at *addr* to send only, with `send_message`. Arguments as for `interconnect`."""
    made = api.open_link(
        OneWayLink,
        addr,
        bus=Bus("one way"),
        access_token=access_token,
        ttl=ttl,
        ssl_context=ssl_context,
    )
    state = runtime()
    with state.lock:
        state.connections.append(made)
    return made


def connect_via_queue(
    addr: Address,
    identifier: str | Identifier,
    ttl: float = DEFAULT_TTL,
    access_token: str | None = None,
    *,
    shared: bool = False,
    past: int = 0,
    ssl_context: ssl.SSLContext | None = None,
) -> RemoteQueue:
    """Open a queue at the node at *addr* that collects messages; `get` takes them from it.

    Args:
        addr: its host and port, or URL.
        identifier: the messages to collect.
        ttl: seconds for which the queue is kept without a call.
        access_token: its secret; found automatically for this user's nodes on this machine.
        shared: take turns with all shared queues of the identifier at that hub. A message that `get` has
            returned counts as taken with the next call of it, or with `close`.
        past: begin with so many of the newest messages that are retained there; see `keep`.
        ssl_context: trusted certificates; by default the system's.

    Raises:
        LinkError: the node can't be reached; one line says why.
    """
    problem: str | None = None
    for found in find(addr, access_token):
        try:
            made = RemoteQueue(
                found,
                identifier,
                ttl=ttl,
                name=default_node_name(),
                shared=shared,
                past=past,
                ssl_context=ssl_context,
            )
        except NETWORK_ERRORS as error:
            problem = more_specific(problem, found, error)
            continue
        made.asked = Endpoint.parse(addr)
        state = runtime()
        with state.lock:
            state.connections.append(made)
        return made
    raise LinkError(problem or "there is no node to connect to") from None


def send_message(identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
    """Publish a message over the latest connection of `connect_oneway` or `connect_via_queue`.

    Raises:
        LinkError: there is none.
        PayloadError: an argument can't cross.
    """
    made = _last(OneWayLink, RemoteQueue)
    if made is None:
        raise LinkError(
            "nothing to send over: call connect_oneway(addr) or connect_via_queue(addr, identifier) first"
        )
    made.send_message(identifier, *args, **kwargs)


def get(block: bool = True, timeout: float | None = None) -> Message:
    """Return the next message of the latest queue of `connect_via_queue`; see `RemoteQueue.get`."""
    return _last_queue().get(block, timeout)


def get_nowait() -> Message:
    """Return the next message of the latest queue of `connect_via_queue`; raise `Empty` without one."""
    return _last_queue().get_nowait()


def close_connection(addr: Address | None = None) -> None:
    """Close the links and listeners at *addr*; without one, all of this process."""
    endpoint = None if addr is None else parse_link_address(addr)
    state = runtime()
    with state.lock:
        queues = [one for one in state.connections if isinstance(one, RemoteQueue)]
        connections: list[Link | RemoteQueue] = [*state.links, *queues]
        ending = [one for one in connections if endpoint is None or endpoint in _endpoints_of(one)]
        leaving = [
            one for one in state.listening if endpoint is None or Endpoint.parse(one.server.url) == endpoint
        ]
    for one in ending:
        one.close()
    for listening in leaving:
        stop_listening(listening)


def stop_listening(listening: Listening) -> None:
    """Close the port and every connection that was accepted over it."""
    state = runtime()
    with state.lock:
        if listening not in state.listening:
            return
        state.listening.remove(listening)
    listening.file.remove()
    done = threading.Event()
    listening.node.loop.call(_stop, listening, done)
    if not listening.node.loop.is_current:
        done.wait(STOP_SECONDS)  # then another program may listen at that port


def _stop(listening: Listening, done: threading.Event) -> None:
    node = listening.node
    try:
        listening.server.stop()
        for peer in list(node.peers.values()):
            if peer.expires:
                node.remove_peer(peer, "the node listens no more")
        forget_unlinked(node)
    finally:
        done.set()


def _endpoints_of(connection: Link | RemoteQueue) -> set[Endpoint | NatsAddress]:
    """Return where a connection leads, and the address that was requested for it."""
    found = [parse_link_address(connection.url)] if connection.url else []
    return {*found, *([connection.asked] if connection.asked else [])}


def _last_queue() -> RemoteQueue:
    queue = _last(RemoteQueue)
    if queue is None:
        raise LinkError("no queue to take from: call connect_via_queue(addr, identifier) first")
    return queue


def _last(*kinds: type[C]) -> C | None:
    """Return the latest connection of these kinds."""
    state = runtime()
    with state.lock:
        made = [one for one in state.connections if isinstance(one, kinds) and not one.closed]
    return made[-1] if made else None


def _host_and_port(addr: Address) -> tuple[str, int]:
    """Return where to listen; port 0 is allowed."""
    if isinstance(addr, str):
        endpoint = Endpoint.parse(addr)
        return endpoint.host, endpoint.port
    pair: tuple[object, ...] = tuple(addr)
    match pair:
        case (str(host), int(port)) if 0 <= port <= 65535:
            return host, port
    raise LinkError(f"an address is (host, port) with a port from 0 to 65535, or a URL; not {addr!r}")
