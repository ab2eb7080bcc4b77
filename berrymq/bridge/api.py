"""The links of this process: `Link`, and the functions that make and list links.

`link` finds or starts the hub (``discovery/``), has a `Connector` keep the connection (``node/``), and
registers a `Link` in the `Runtime` of this process. ``berrymq.link`` and ``berrymq.links`` are these
functions; the styles of 2009 build on `open_link`.

Everything here may be called on any thread. Two locks of each bus order it: one is held while a link is
made, one while it is closed (`LinkLocks`).
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args

import msgspec

import berrymq
from berrymq.identifiers import Identifier
from berrymq.printable import printable

from .discovery.finding import find
from .errors import LinkError
from .local_nodes import forget_unlinked, node_in_use
from .nats.address import NatsAddress, parse_link_address
from .node.connector import Connector
from .node.outbox import Overflow
from .node.status import NodeInfo
from .runtime import EXIT_FLUSH_SECONDS, runtime
from .transport.dialling import NETWORK_ERRORS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from types import TracebackType

    from berrymq.bus import Bus

    from .discovery.endpoint import Address, Endpoint
    from .discovery.finding import Found
    from .nats.connector import NatsConnector
    from .node.node import Node
    from .protocol.limits import LinkStats

__all__ = ["DEFAULT_TTL", "Link", "close_links", "flush", "link", "links", "open_link"]

L = TypeVar("L", bound="Link")

State = Literal["connecting", "linked", "closed"]
"""The values of `Link.state`."""

DEFAULT_TTL = 1000.0
"""Seconds for which the other side keeps a link that is cut."""

CALL_TIMEOUT_SECONDS = 2.0
"""The timeout for the hub's list of nodes and its status."""


class Link:
    """A link of this process to another node, most often a hub; made by `link`.

    It stays open until closed: after a cut it reconnects, and nothing is lost if that takes less than its
    ``ttl``. As a context manager it closes at the end of the block, unless `link` has returned it to other
    callers too::

        with link() as hub:
            twitter("train:epoch", 3)
            hub.flush(5)

    A forked child does not inherit links: they are closed there, and open in the parent.

    Args:
        connector: keeps the connection.
    """

    def __init__(self, connector: Connector | NatsConnector) -> None:
        self._connector = connector
        self._pid = os.getpid()
        self._known_nodes: list[NodeInfo] = []
        self._is_unanswered = False
        """The other side did not answer the last call in time."""
        self._holders = 1
        """The number of times that `link` has returned it."""
        self.asked: Endpoint | NatsAddress | None = None
        """The address that was requested; None for the hub that was found."""

    def leads_to(self, address: Address) -> bool:
        """Return whether it leads to an address, or was requested by it, under any of its names.

        Args:
            address: a URL or ``(host, port)``.

        Raises:
            LinkError: `address` is none.
        """
        return parse_link_address(address) in {self.asked, self._endpoint}

    @property
    def _endpoint(self) -> Endpoint | NatsAddress | None:
        """The address that it leads to; None while that is not known."""
        found = self._connector.found
        return found.endpoint if found is not None else None

    @property
    def node(self) -> Node:
        """This process, as a node on the network."""
        return self._connector.node

    @property
    def name(self) -> str:
        """The name under which other nodes see this process."""
        return self.node.name

    @property
    def room(self) -> str | None:
        """The room: only nodes in the same room reach each other."""
        return self.node.home.name

    @property
    def url(self) -> str:
        """The URL of the other side; "" while it is not known."""
        found = self._connector.found
        return found.endpoint.url if found is not None else ""

    @property
    def found_by(self) -> str:
        """How the other side was found, such as "connection file"; "" while it is not known."""
        found = self._connector.found
        return found.found_by if found is not None else ""

    @property
    def state(self) -> State:
        """``"linked"``; ``"connecting"`` while the connection is cut; ``"closed"``."""
        if self.closed:
            return "closed"
        return "linked" if self._connector.connected else "connecting"

    @property
    def closed(self) -> bool:
        """Whether it was closed; also True in a forked child, since the link is its parent's."""
        return self._connector.closed or self._is_inherited

    @property
    def silent_seconds(self) -> float:
        """Seconds since the other side last answered, or the connection was cut; 0 while it answers."""
        peer = self._connector.peer
        if peer is None or self.closed:
            return 0.0
        now = self.node.loop.time()
        channel = peer.channel
        if channel is None:
            return now - peer.since
        silent = now - channel.received_at
        normal = CALL_TIMEOUT_SECONDS if self._is_unanswered else 2 * self.node.limits.keepalive
        return silent if silent >= normal else 0.0

    @property
    def leads_to_hub(self) -> bool:
        """Whether the other side is a hub."""
        peer = self._connector.peer
        return peer is not None and peer.role == "hub"

    @property
    def has_history(self) -> bool:
        """Whether messages can be kept over it: by a hub, or on NATS."""
        return self.leads_to_hub or isinstance(self._endpoint, NatsAddress)

    def is_followed(self, identifier: str | Identifier) -> bool:
        """Return whether an identifier is followed over any link of this process; known without a call.

        Args:
            identifier: of a message, or a pattern.

        Raises:
            IdentifierError: it is none.
        """
        return self.node.is_followed(Identifier.parse(identifier))

    def followers_of(self, identifier: str | Identifier) -> list[NodeInfo]:
        """Return the other nodes that follow an identifier, as far as `nodes` lists it.

        Asks the other side, as `nodes` does, so it may take up to `CALL_TIMEOUT_SECONDS`.

        Args:
            identifier: of a message, or a pattern.

        Raises:
            IdentifierError: it is none.
        """
        known = Identifier.parse(identifier)
        return [
            node
            for node in self.nodes()
            if not node.here and any(Identifier.parse(text).matches(known) for text in node.follows)
        ]

    def nodes(self) -> list[NodeInfo]:
        """Return the reachable nodes in this room, this process first.

        While `silent_seconds` is not 0, the last known ones are returned. It waits for the other side for up
        to `CALL_TIMEOUT_SECONDS`.
        """
        node = self.node
        follows = tuple(sorted([identifier.text for identifier in node.bus.gateway.interests()]))
        here = NodeInfo(node.name, node.id, self.room, follows, hub=False, here=True)
        peer = self._connector.peer
        if (
            peer.expires if peer is not None else self._connector.connected
        ):  # the other side has made the link, and accepts no calls over it; or there are several, on NATS
            self._known_nodes = [one for one in node.nodes(self.room) if not one.here]
        elif self.state == "linked":
            try:
                raw = self._call("nodes")
                found = msgspec.json.decode(raw, type=list[NodeInfo])
                self._known_nodes = [
                    msgspec.structs.replace(one, here=False) for one in found if one.id != node.id
                ]
            except (*NETWORK_ERRORS, msgspec.MsgspecError):
                pass  # cut just now, or unanswered: the last known ones are the best answer
        return [here, *self._known_nodes]

    def status(self) -> dict[str, Any]:
        """Return the other side's own report: its nodes and traffic counters, as described in WIRE.md.

        Raises:
            LinkError: it did not answer within `CALL_TIMEOUT_SECONDS`.
        """
        try:
            raw = self._call("status")
            return msgspec.json.decode(raw, type=dict[str, Any])
        except (*NETWORK_ERRORS, msgspec.MsgspecError) as error:
            raise LinkError(f"the other side did not report its status: {error}") from None

    def newest(self, identifiers: list[str]) -> list[dict[str, Any] | None]:
        """Return the newest message of each identifier that passed the hub in this room; see WIRE.md.

        Args:
            identifiers: at most 200.

        Returns:
            For each its ``args`` and ``kwargs`` as JSON values; for one of more than about 2,000 bytes
            ``begins``, the beginning of its ``args`` as text; None if none is known.

        Raises:
            LinkError: the other side did not answer within `CALL_TIMEOUT_SECONDS`, or is no hub.
        """
        try:
            raw = self._call("newest", {"identifiers": identifiers})
            return msgspec.json.decode(raw, type=list[dict[str, Any] | None])
        except (*NETWORK_ERRORS, msgspec.MsgspecError) as error:
            raise LinkError(f"the other side did not report the newest messages: {error}") from None

    def _call(self, method: str, params: dict[str, Any] | None = None) -> msgspec.Raw:
        """Call a method of the other side, and record whether it answered.

        Raises:
            OSError, LinkError, RpcError: see `NETWORK_ERRORS`.
        """
        self._is_unanswered = True
        raw = self._connector.call(method, params or {}, CALL_TIMEOUT_SECONDS)
        self._is_unanswered = False
        return raw

    def stats(self) -> LinkStats:
        """Return a copy of the counters since the link was made; ``dropped`` includes those of the outbox."""
        peer = self._connector.peer
        stats = peer.stream.snapshot() if peer is not None else replace(self._connector.stats)
        stats.dropped += self.node.outbox.dropped
        return stats

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the other side has everything that was published.

        "Has" means that its process has acknowledged it; a hub passes it on after that.

        Args:
            timeout: seconds; None waits without limit.

        Returns:
            False at the timeout, else True, also on a closed link.
        """
        if self.closed:
            return True
        return self._connector.flush(None if timeout is None else monotonic() + timeout)

    @property
    def _is_inherited(self) -> bool:
        """In a forked child: the link is its parent's, whose socket must not be touched."""
        return self._pid != os.getpid()

    def close(self, flush: float = EXIT_FLUSH_SECONDS) -> int:
        """Close the link for all callers that have it, after up to *flush* seconds for the last messages.

        Calling it again does nothing. The node of this process ends with its last link, unless it listens.

        Args:
            flush: seconds to wait until the other side has everything.

        Returns:
            The number of messages that the other side did not get.
        """
        state = runtime()
        with state.locks_of(self.node.bus).closing:
            with state.lock:
                if self in state.links:
                    state.links.remove(self)
            if self.closed:
                return 0
            try:
                return self._connector.close(flush)
            finally:
                forget_unlinked(self.node)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with runtime().locks_of(self.node.bus).closing:
            self._holders -= 1
            if self._holders <= 0:
                self.close()

    def __repr__(self) -> str:
        return printable(f"<Link {self.name!r} {self.state} {self.url} ({self.found_by})>")


def links() -> list[Link]:
    """Return the open links of this process, oldest first."""
    state = runtime()
    with state.lock:
        return list(state.links)


def link(
    url: Address | None = None,
    *,
    access_token: str | None = None,
    name: str | None = None,
    room: str | None = None,
    bus: Bus | None = None,
    timeout: float = 15.0,
    ttl: float = DEFAULT_TTL,
    overflow: Overflow | None = None,
    strict: bool | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Link:
    """Join the hub, or link to any listening node. A second call for the same node returns the same link.

    ::

        link()                                          # this machine's hub
        link("https://lab.example.org/berrymq/", access_token=token)
        link(room="experiment 7")

    Args:
        url: address of the node, or of any Jupyter page (with its ``?token=``, or `access_token`); or
            ``nats://…``, for the nodes on a NATS server (see the README); by default this machine's hub,
            which is started if there is none.
        access_token: lets this process in; found automatically for this user's nodes on this machine.
        name: source shown on its messages; by default the notebook's or script's name.
        room: only nodes in the same room reach each other. None keeps the existing link's room, ``""`` means
            no room.
        bus: the bus to link; by default the default bus.
        timeout: seconds to wait for the link.
        ttl: seconds for which the other side keeps undelivered messages after a cut.
        overflow: policy when publishing outruns sending: ``"drop_oldest"`` drops and counts, ``"block"`` has
            the sender wait. Shared by all links in a room; None keeps the current one, initially
            ``"drop_oldest"``.
        strict: whether publishing a value that can't cross is a `PayloadError`. Else the other side gets an
            `Opaque` in its place, and a warning is logged once for each identifier and type. Shared by all
            links in a room; None keeps the current one, initially False.
        ssl_context: trusted certificates; by default the system's.

    Returns:
        The open link, whose ``with`` block, or `Link.close`, ends it.

    Raises:
        LinkError: no link could be made; one line says why, and what to do.
        ValueError: `overflow` is not one of the two.
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
        strict=strict,
        ssl_context=ssl_context,
    )


def open_link(
    kind: type[L],
    address: Address | None,
    *,
    bus: Bus,
    access_token: str | None = None,
    name: str | None = None,
    room: str | None = None,
    timeout: float = 15.0,
    ttl: float = DEFAULT_TTL,
    overflow: Overflow | None = None,
    strict: bool | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> L:
    """Make a link of one kind (`Link` or a subclass), or return the existing one.

    One thread at a time makes a link of a bus; the others wait, and then find it. The node of the bus is held
    in use during that, so that no other thread closes it between its creation and its first link.

    Args:
        kind: the class; an existing link counts if it is an instance.
        address: of the node; None for the hub.
        bus: the bus to link.
        access_token: see `link`, as for the rest.
        name: the name of the node.
        room: its room.
        timeout: seconds.
        ttl: seconds.
        overflow: the policy.
        strict: whether to raise for values that can't cross.
        ssl_context: trusted certificates.

    Raises:
        LinkError: no link could be made in time, or one under another name exists.
        ValueError: `overflow` is unknown.
    """
    if overflow is not None and overflow not in get_args(Overflow):
        raise ValueError(f"overflow is one of {', '.join(map(repr, get_args(Overflow)))}, not {overflow!r}")
    asked = None if address is None else parse_link_address(address)
    deadline = monotonic() + timeout
    locks = runtime().locks_of(bus)
    with _locked(locks.making, deadline):
        with _locked(locks.closing, deadline):
            existing = _existing_link(kind, asked, bus, room)
            if existing is not None:
                if name is not None and name != existing.name:
                    raise LinkError(
                        f"this process is linked already, as {existing.name!r}; "
                        "close that link to change the name"
                    )
                existing._holders += 1
        if existing is None:
            with node_in_use(bus, name, room or None) as node:

                def endpoints() -> Iterator[Found]:
                    left = None if connector.found is not None else max(0.0, deadline - monotonic())
                    return _endpoints(address, access_token, left)

                connector: Connector | NatsConnector
                if isinstance(asked, NatsAddress):
                    from .nats.connector import NatsConnector

                    connector = NatsConnector(node, asked, ttl=ttl, ssl_context=ssl_context)
                else:
                    connector = Connector(node, endpoints, ttl=ttl, ssl_context=ssl_context)
                try:
                    connector.open(max(0.0, deadline - monotonic()))
                except BaseException:
                    connector.close(0)
                    raise
                made = kind(connector)
                made.asked = asked
                existing = _register(made)
        if overflow is not None:
            existing.node.outbox.overflow = overflow
        if strict is not None:
            existing.node.strict = strict
    return existing


@contextmanager
def _locked(lock: threading.RLock, deadline: float) -> Iterator[None]:
    """Hold a lock, which other threads have to release before the deadline.

    Raises:
        LinkError: they did not.
    """
    if not lock.acquire(timeout=min(max(0.0, deadline - monotonic()), threading.TIMEOUT_MAX)):
        raise LinkError("no link in time: another thread is still making or closing one")
    try:
        yield
    finally:
        lock.release()


def _register(made: L) -> L:
    """Register a new link and return it, or the existing one to the same node under another name."""
    state = runtime()
    connector = made._connector
    for one in links():
        if (
            type(one) is type(made)
            and one.node is made.node
            and connector.peer is not None  # on NATS there is none, and no other name for the same place
            and one._connector.peer is connector.peer
        ):
            one.asked = one.asked or made.asked
            one._holders += 1
            one._connector.take_over(connector)
            return one
    with state.lock:
        state.links.append(made)
    return made


def close_links() -> int:
    """Close all links of this process; return how many messages did not get through."""
    return sum([one.close() for one in links()])


def flush(timeout: float | None = None) -> bool:
    """Wait until the other sides of all links have everything that was published.

    Args:
        timeout: seconds for all of them; None waits without limit.

    Returns:
        False at the timeout, else True, also without links.
    """
    until = None if timeout is None else monotonic() + timeout
    return all(one.flush(None if until is None else max(0.0, until - monotonic())) for one in links())


def _existing_link(
    kind: type[L], asked: Endpoint | NatsAddress | None, bus: Bus, room: str | None
) -> L | None:
    """Return the open link to a node, or None.

    Args:
        kind: its class.
        asked: the node; None for the hub, however it was found.
        bus: the linked bus.
        room: the room; None accepts a link in any room, if there is none without one.
    """
    found = [
        one
        for one in links()
        if isinstance(one, kind)
        and one.node.bus is bus
        and (one.leads_to_hub or one.asked is None if asked is None else asked in {one.asked, one._endpoint})
    ]
    for one in found:
        if one.room == (room or None):
            return one
    return found[0] if found and room is None else None  # a call without a room does not leave one


def _endpoints(address: Address | None, access_token: str | None, timeout: float | None) -> Iterator[Found]:
    """Yield the endpoints to link to; without an address, start the hub if no other one answered.

    Args:
        address: of the node; None for the hub.
        access_token: the secret for that address.
        timeout: seconds for all of it; None for as long as the start of a hub may take.
    """
    began = monotonic()
    tried = []
    for found in find(address, access_token):
        tried.append(found)
        yield found
    if address is None:
        from .discovery.starting import START_SECONDS, start_hub

        left = START_SECONDS if timeout is None else max(0.0, timeout - (monotonic() - began))
        yield start_hub(unanswered=tried, timeout=min(left, START_SECONDS))
