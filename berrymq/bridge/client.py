"""Keeping a link up from the side that dials: find the other side, connect, and resume after every cut."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketError, websocket_connect

from .discovery import Found
from .errors import LinkError, RpcError
from .peer import Peer
from .protocol import jsonrpc
from .protocol.frames import NodeRecord, decode_frame
from .protocol.session import Session
from .sockets import MAX_FRAME_BYTES, SUBPROTOCOL, ignore_closed

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Connector", "socket_url"]

CONNECT_SECONDS = 5.0
"""How long one attempt to connect may take."""
LONGEST_WAIT = 2.0
"""The longest time between two attempts, in seconds."""
STEADY_SECONDS = 2.0
"""After a link that held this long, the first attempt is made at once."""

_log = logging.getLogger("berrymq")
_NETWORK_ERRORS = (OSError, HTTPClientError, HTTPStreamClosedError, HTTPTimeoutError, WebSocketError, TimeoutError)


class _Interconnected(msgspec.Struct):
    session: Annotated[str, Meta(min_length=1, max_length=255)]
    resumed: bool
    received: Annotated[int, Meta(ge=0)]
    node: NodeRecord


def socket_url(url: str) -> str:
    """The WebSocket below a node's URL: ``http://host:1234/`` gives ``ws://host:1234/ws``.

    Raises:
        LinkError: it is not the URL of a node.
    """
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
        parts = urlsplit("")
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname or not port_is_fine:
        raise LinkError(f"{url!r} is not the URL of a node; write one like 'http://localhost:8137' or 'wss://host/berrymq/'")
    if parts.username or parts.password:
        raise LinkError("a URL takes no user name and password; give the access token as access_token=")
    path = parts.path if parts.path.endswith("/ws") else parts.path.rstrip("/") + "/ws"
    return urlunsplit((scheme, parts.netloc, path, "", ""))


class Connector:
    """One link of a node, kept up from this side until it is closed.

    Lives on the loop of its node.

    Args:
        node: whose link it is.
        find: gives the places to try, likeliest first; it is asked again at each attempt and may block.
        ttl: seconds for which the other side keeps the session when the link is cut.
        ssl_context: what certificates are trusted; the system's unless told.
    """

    def __init__(
        self,
        node: Node,
        find: Callable[[], Iterable[Found]],
        *,
        ttl: float,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.node = node
        self.peer: Peer | None = None
        self.found: Found | None = None
        """Where the link leads to at present, or led to last."""
        self._find = find
        self._ttl = ttl
        self._ssl_context = ssl_context
        self._cut = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    async def open(self) -> None:
        """Make the link, trying each place once; from then on it is kept up.

        Raises:
            LinkError: no place could be linked to; the text says what was tried.
        """
        await self._try_all()
        # Until the other side has said who follows what, a message for them would go nowhere.
        assert self.peer is not None
        try:
            await asyncio.wait_for(self.peer.introduced.wait(), CONNECT_SECONDS)
        except TimeoutError:
            _log.debug("node %s has not said who is there", self.peer.id)
        self._task = asyncio.ensure_future(self._keep_up())

    async def close(self, flush: float = 2.0) -> int:
        """End the link; how many messages the other side did not get, after waiting up to *flush* seconds for it."""
        if self.closed:
            return 0
        self.closed = True
        if self._task is not None:
            self._task.cancel()
        peer = self.peer
        if peer is None or self.node.peer(peer.id) is not peer:
            return 0
        if peer.connected and flush > 0:
            try:
                await asyncio.wait_for(peer.flush(), flush)
            except TimeoutError:
                pass
        if peer.transport is not None:
            peer.transport.write(jsonrpc.request("close_connection", [peer.session.id], 0))
        return self.node.remove_peer(peer)

    async def _keep_up(self) -> None:
        loop = self.node.loop
        wait = 0.0
        linked_at = loop.time()
        while True:
            await self._cut.wait()
            if loop.time() - linked_at > STEADY_SECONDS:
                wait = 0.0
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(max(0.05, wait * 2), LONGEST_WAIT)
            try:
                await self._try_all()
                linked_at = loop.time()
            except LinkError as error:
                _log.debug("still cut: %s", error)

    async def _try_all(self) -> None:
        """Link to the first place that answers; where the link led before comes first."""
        problems = []
        tried = set()
        places = iter(itertools.chain([self.found] if self.found is not None else [], self._find()))
        while (place := await asyncio.to_thread(next, places, None)) is not None:
            if place.url in tried:
                continue
            tried.add(place.url)
            problem = await self._try(place)
            if problem is None:
                return
            problems.append(problem)
        raise LinkError("; ".join(problems) or "no hub was found")

    async def _try(self, place: Found) -> str | None:
        """Link to one place; what went wrong, if anything did."""
        try:
            await asyncio.wait_for(self._connect(place), CONNECT_SECONDS)
        except HTTPClientError as error:
            if error.code in (401, 403):
                return f"{place.url} refused the access token" if place.access_token else f"{place.url} wants an access token"
            return f"{place.url} is no berryMQ node: it answered {error.code} {error.message}"
        except TimeoutError:
            return f"{place.url} did not answer within {CONNECT_SECONDS:g} seconds"
        except RpcError as error:
            return f"{place.url} refused the link: {error.message}"
        except LinkError as error:
            return str(error)
        except ssl.SSLError as error:
            return f"{place.url} has a certificate that is not trusted: {error.reason}"
        except _NETWORK_ERRORS as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return f"nothing answers at {place.url} ({reason})"
        self.found = place
        return None

    async def _connect(self, place: Found) -> None:
        headers = {"Authorization": f"Bearer {place.access_token}"} if place.access_token else {}
        request = HTTPRequest(
            socket_url(place.url), headers=headers, connect_timeout=CONNECT_SECONDS, ssl_options=self._ssl_context
        )
        connection = _Connection()
        connection.socket = await websocket_connect(
            request,
            on_message_callback=connection.on_message,
            max_message_size=MAX_FRAME_BYTES,
            subprotocols=[SUBPROTOCOL],
        )
        try:
            answer = await self._interconnect(connection)
            self._carry_on(connection, answer)
        except BaseException:
            connection.close("the link was not made")
            raise

    async def _interconnect(self, connection: _Connection) -> _Interconnected:
        own = self.node.record
        session = self.peer.session if self.peer is not None and not self.peer.expired else None
        result = await connection.call(
            "interconnect",
            {
                "node": own.name,
                "room": own.room,
                "follows": own.follows,
                "id": own.id,
                "hub": own.hub,
                "version": own.version,
                "session": session.id if session is not None else None,
                "received": session.received if session is not None else 0,
                "ttl": self._ttl,
            },
        )
        try:
            return msgspec.json.decode(result, type=_Interconnected)
        except msgspec.DecodeError as error:
            raise LinkError(f"the other side does not speak this protocol: {error}") from None

    def _carry_on(self, connection: _Connection, answer: _Interconnected) -> None:
        """Let the session, a new one or the one there was, go on over the connection."""
        if self.closed:
            raise LinkError("the link was closed")
        peer = self.peer
        received = answer.received
        if peer is None or peer.expired:
            now = self.node.loop.time()
            peer = self.node.add_peer(answer.node, Session(answer.session, now, self.node.limits), self._ttl)
            self.peer = peer
        elif not answer.resumed:
            self.node.rename_peer(peer, answer.node, answer.session)
            received = 0
        connection.on_closed = lambda: self._on_closed(peer, connection)
        self._cut.clear()
        peer.attach(connection, received)
        connection.carry(peer)

    def _on_closed(self, peer: Peer, connection: _Connection) -> None:
        peer.lost(connection)
        if not peer.connected:
            self._cut.set()


class _Connection:
    """The dialling side of a WebSocket: answers to our calls, and frames once a peer is there."""

    def __init__(self) -> None:
        self.socket: WebSocketClientConnection | None = None
        self.peer: Peer | None = None
        self.on_closed: Callable[[], None] | None = None
        self._answer: asyncio.Future[msgspec.Raw] | None = None
        self._early: list[str | bytes] = []
        self._ended = False

    async def call(self, method: str, params: Any) -> msgspec.Raw:
        """Call a method, before there are frames."""
        self._answer = asyncio.get_running_loop().create_future()
        self.write(jsonrpc.request(method, params, 1))
        return await self._answer

    def carry(self, peer: Peer) -> None:
        """From now on frames come in, those included that came already."""
        self.peer = peer
        early, self._early = self._early, []
        for data in early:
            self._take_frame(peer, data)

    def on_message(self, data: str | bytes | None) -> None:
        """Something came; None when the connection has ended."""
        if data is None:
            self._end()
        elif self.peer is None:
            self._take_answer(data)
        else:
            self._take_frame(self.peer, data)

    def write(self, data: bytes) -> None:
        """Send one frame or call."""
        if self.socket is None:
            return
        try:
            future = self.socket.write_message(data)
        except WebSocketClosedError:
            return  # the end is reported by on_message(None), and what was not acknowledged is sent again
        asyncio.ensure_future(future).add_done_callback(ignore_closed)

    def close(self, reason: str = "") -> None:
        """End the connection."""
        if self.socket is not None:
            self.socket.close(1000, reason or None)
        self._end()

    def _take_answer(self, data: str | bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self._early.append(data)  # a frame on the heels of the answer, which nobody has read yet
            return
        try:
            _, result = jsonrpc.parse_reply(data)
        except ValueError as error:
            answer.set_exception(LinkError(f"the other side does not speak this protocol: {error}"))
            return
        if isinstance(result, RpcError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def _take_frame(self, peer: Peer, data: str | bytes) -> None:
        try:
            peer.receive(self, decode_frame(data))
        except ValueError as error:
            _log.warning("the link to node %s is cut: %s", peer.id, error)
            self.close("protocol error")

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(OSError(0, "it closed the connection"))
        if self.on_closed is not None:
            self.on_closed()
