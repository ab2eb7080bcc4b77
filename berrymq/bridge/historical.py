"""The three styles of the 2009 library, by its function names.

01, equals: `init_connection` on one side or both, `interconnect`. 02, send only: `connect_oneway`,
`send_message`. 03, queue: `connect_via_queue`, `get`, `get_nowait`. The functions without a connection
among their arguments act on the one that was made last; what the connecting functions return can be held
instead.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import berrymq
from berrymq.bus import Bus

from . import api
from .access_token import check_access_token
from .api import Link, link
from .client.dialing import NETWORK_ERRORS, explain, socket_url
from .client.remote_queue import RemoteQueue
from .discovery.candidates import find_hub
from .discovery.naming import default_node_name
from .discovery.pasted import without_token
from .errors import BridgeError, LinkError
from .loop import run
from .node import DEFAULT_TTL, Node

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from berrymq.identifiers import Identifier
    from berrymq.messages import Message

__all__ = [
    "Address",
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

Address = tuple[str, int] | str
"""``(host, port)``, or a URL."""


class OneWayLink(Link):
    """A link over which this process only sends: of what others say, nothing comes."""

    def send_message(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Say something at the other node, and to everybody behind it who follows it.

        Raises:
            PayloadError: an argument can't cross.
            LinkError: it was closed.
        """
        if self.closed:
            raise LinkError("this link is closed")
        self.node.bus.twitter(identifier, *args, **kwargs)


C = TypeVar("C", bound=OneWayLink | RemoteQueue)

_lock = threading.RLock()
_listening: list[Node] = []
_senders: list[OneWayLink | RemoteQueue] = []
"""What `send_message` may use, the latest last."""
_queues: list[RemoteQueue] = []


def init_connection(
    addr: Address = ("localhost", 0),
    *,
    access_token: str | None = None,
    name: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    hosts: Iterable[str] = (),
) -> Node:
    """Listen, so that others can connect to this process.

    Args:
        addr: where; port 0 lets the system choose one.
        access_token: what lets others in; random unless told. Processes of the same user find it by
            themselves.
        name: what others see as the source of this process's messages.
        ssl_context: the certificate, for TLS; needed to listen beyond loopback, unless
        insecure: says that plain text may cross the network all the same.
        hosts: further host names under which others come; with TLS, the one in the certificate first.

    Returns:
        The node, with ``url``, ``address`` and ``access_token``.

    Raises:
        LinkError: the address can't be had, or other machines could read what passes.
    """
    host, port = _host_and_port(addr)
    problem = check_access_token(access_token) if access_token is not None else None
    if problem is not None:
        raise LinkError(problem)
    node = api.node_of(berrymq.default_bus, name, None)
    if node.listener is not None:
        raise LinkError(f"this process listens already, at {node.url}; close_connection() ends that")
    if access_token is not None:
        node.access_token = access_token
    try:
        run(_listen(node, host, port, ssl_context=ssl_context, insecure=insecure, hosts=hosts))
    except BaseException:
        api.forget_unlinked(node)
        raise
    with _lock:
        _listening.append(node)
    return node


def interconnect(
    addr: Address,
    ttl: float = DEFAULT_TTL,
    access_token: str | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> Link:
    """Become equals with the node at *addr*: both get every message that they follow.

    Args:
        addr: where it listens.
        ttl: seconds for which both sides keep what could not be delivered when the link is cut.
        access_token: what lets us in; found by itself where the node is this user's, on this machine.
        ssl_context: what certificates are trusted; the system's unless told.

    Raises:
        LinkError: no link could be made; one line says why.
    """
    return link(_url(addr), access_token=access_token, ttl=ttl, ssl_context=ssl_context)


def connect_oneway(
    addr: Address,
    ttl: float = DEFAULT_TTL,
    access_token: str | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> OneWayLink:
    """Connect to the node at *addr* to send only; `send_message` does. Arguments as for `interconnect`."""
    made = api.open_link(
        OneWayLink,
        _url(addr),
        bus=Bus("one way"),
        access_token=access_token,
        ttl=ttl,
        ssl_context=ssl_context,
    )
    with _lock:
        _senders.append(made)
    return made


def connect_via_queue(
    addr: Address,
    identifier: str | Identifier,
    ttl: float = DEFAULT_TTL,
    access_token: str | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> RemoteQueue:
    """Have a queue at the node at *addr* collect what *identifier* matches; `get` takes from it.

    Args:
        addr: where it listens.
        identifier: what is collected.
        ttl: seconds for which the queue is kept when nobody asks.
        access_token: what lets us in; found by itself where the node is this user's, on this machine.
        ssl_context: what certificates are trusted; the system's unless told.

    Raises:
        LinkError: the node can't be reached; one line says why.
    """
    place = find_hub(_url(addr), access_token)
    assert place is not None  # a URL always is a place
    try:
        made = RemoteQueue(place, identifier, ttl=ttl, name=default_node_name(), ssl_context=ssl_context)
    except NETWORK_ERRORS as error:
        raise LinkError(explain(place, error)) from None
    made.asked = without_token(_url(addr))[0]
    with _lock:
        _queues.append(made)
        _senders.append(made)
    return made


def send_message(identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
    """Say something over the connection that `connect_oneway` or `connect_via_queue` made last.

    Raises:
        LinkError: there is none.
        PayloadError: an argument can't cross.
    """
    with _lock:
        made = _last(_senders)
    if made is None:
        raise LinkError(
            "nothing to send over: call connect_oneway(addr) or connect_via_queue(addr, identifier) first"
        )
    made.send_message(identifier, *args, **kwargs)


def get(block: bool = True, timeout: float | None = None) -> Message:
    """Take the next message of the queue that `connect_via_queue` made last; see `RemoteQueue.get`."""
    return _last_queue().get(block, timeout)


def get_nowait() -> Message:
    """Take the next message of the queue that `connect_via_queue` made last; raise `Empty` without one."""
    return _last_queue().get_nowait()


def close_connection(addr: Address | None = None) -> None:
    """Close the connections to *addr*, the listening at *addr*, or everything that this process has."""
    place = None if addr is None else api.place_of(without_token(_url(addr))[0])
    with _lock:
        connections: list[Link | RemoteQueue] = [*api.links(), *_queues]
        ending = [one for one in connections if place is None or place in _places_of(one)]
        leaving = [node for node in _listening if place is None or api.place_of(node.url) == place]
        _senders[:] = [one for one in _senders if one not in ending]
        _queues[:] = [one for one in _queues if one not in ending]
        _listening[:] = [node for node in _listening if node not in leaving]
    for one in ending:
        one.close()
    for node in leaving:
        run(_stop_listening(node))


def _places_of(connection: Link | RemoteQueue) -> set[tuple[object, str]]:
    """Where it leads, and what was asked for when it was made."""
    asked = connection.asked
    return {api.place_of(url) for url in (connection.url, asked) if url}


async def _listen(node: Node, host: str, port: int, **options: Any) -> None:
    from .server.listener import listen

    listener = await listen(node, host, port, **options)
    try:
        listener.publish("node")
    except BridgeError:
        await listener.stop()
        node.listener = None
        raise


async def _stop_listening(node: Node) -> None:
    if node.listener is not None:
        listener, node.listener = node.listener, None
        await listener.stop()
    api.forget_unlinked(node)


def _last_queue() -> RemoteQueue:
    with _lock:
        queue = _last(_queues)
    if queue is None:
        raise LinkError("no queue to take from: call connect_via_queue(addr, identifier) first")
    return queue


def _last(made: list[C]) -> C | None:
    """The one that was made last, of those that nobody has closed."""
    made[:] = [one for one in made if not one.closed]
    return made[-1] if made else None


def _host_and_port(addr: Address) -> tuple[str, int]:
    if isinstance(addr, str):
        from urllib.parse import urlsplit

        parts = urlsplit(socket_url(addr))
        return parts.hostname or "localhost", parts.port or 0
    pair: tuple[object, ...] = tuple(addr)
    match pair:
        case (str(host), int(port)) if 0 <= port <= 65535:
            return host, port
    raise LinkError(f"an address is (host, port) with a port from 0 to 65535, or a URL; not {addr!r}")


def _url(addr: Address) -> str:
    if isinstance(addr, str):
        return addr
    host, port = _host_and_port(addr)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _forget_in_child() -> None:
    """A forked child has none of its parent's connections."""
    global _lock, _listening, _senders, _queues  # noqa: PLW0603 - there is one of it in a process
    _lock = threading.RLock()
    _listening, _senders, _queues = [], [], []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
