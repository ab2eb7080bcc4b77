"""Dialling: one WebSocket connection to a node, from the side that asks for it."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.protocol.frames import decode_frame
from berrymq.bridge.websocket import MAX_FRAME_BYTES, SUBPROTOCOL, CloseCode, ignore_closed

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec
    from tornado.iostream import IOStream

    from berrymq.bridge.discovery.candidates import Found
    from berrymq.bridge.network.peer import Peer

__all__ = ["CONNECT_SECONDS", "NETWORK_ERRORS", "Connection", "dial", "explain", "socket_url"]

CONNECT_SECONDS = 5.0
"""How long one attempt to connect may take."""

CLOSE_SECONDS = 1.0
"""How long the end of a connection waits for the other side to see it."""

NETWORK_ERRORS = (
    OSError,
    TimeoutError,
    HTTPClientError,
    HTTPStreamClosedError,
    HTTPTimeoutError,
    WebSocketError,
    RpcError,
    LinkError,
)
"""What `dial` and a call may raise; `explain` puts it into words."""

_log = logging.getLogger("berrymq")

_is_dialled: ContextVar[bool] = ContextVar("is_dialled", default=False)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether tornado logs something else than the TLS error that `dial` raises for it to be explained."""
    return not (_is_dialled.get() and str(record.msg).startswith("SSL Error"))


logging.getLogger("tornado.general").addFilter(_is_news)


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
        raise LinkError(
            f"{re.split('[?#;]', url, maxsplit=1)[0]!r} is not the URL of a node; "
            "write one like 'http://localhost:8137' or 'wss://host/berrymq/'"
        )
    if parts.username or parts.password:
        raise LinkError("a URL takes no user name and password; give the access token as access_token=")
    path = parts.path if parts.path.endswith("/ws") else parts.path.rstrip("/") + "/ws"
    return urlunsplit((scheme, parts.netloc, path, "", ""))


async def dial(place: Found, ssl_context: ssl.SSLContext | None = None) -> Connection:
    """Connect to a place; one of NETWORK_ERRORS if that does not work."""
    access_token = (place.access_token or "").strip()  # a file that it was read from ends with a line's end
    if not (access_token.isascii() and access_token.isprintable()):
        raise LinkError("the access token has characters that none has; is it whole, and nothing else?")
    headers = {"Authorization": f"Bearer {access_token}"} if access_token else {}
    request = HTTPRequest(
        socket_url(place.url), headers=headers, connect_timeout=CONNECT_SECONDS, ssl_options=ssl_context
    )
    connection = Connection()
    _is_dialled.set(True)
    connecting = asyncio.ensure_future(
        websocket_connect(
            request,
            on_message_callback=connection.on_message,
            max_message_size=MAX_FRAME_BYTES,
            subprotocols=[SUBPROTOCOL],
        )
    )
    try:
        connection.socket = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_close_late)
        raise
    connection.opened()
    return connection


def _close_late(connecting: asyncio.Future[WebSocketClientConnection]) -> None:
    """End a connection that came when nobody waited for it any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


def explain(place: Found, error: BaseException) -> str:
    """One sentence about why a place could not be reached."""
    url = place.url
    match error:
        case HTTPClientError(code=401 | 403):
            return f"{url} refused the access token" if place.access_token else f"{url} wants an access token"
        case RpcError(code=jsonrpc.NOT_ALLOWED) if not place.access_token:
            return f"{url} wants an access token"
        case HTTPStreamClosedError() | HTTPTimeoutError():
            return f"{url} closed the connection before it answered"
        case HTTPClientError(code=429):
            return f"{url} lets nobody in for a while: too many wrong access tokens came; try again later"
        case HTTPClientError(code=404) if not place.access_token:
            return (
                f"{url} is no berryMQ node: it answered 404; if it is a Jupyter server that is not yours or "
                "not on this machine, give its token, with access_token= or as the ?token= of the URL"
            )
        case HTTPClientError():
            return f"{url} is no berryMQ node: it answered {error.code} {error.message}"
        case TimeoutError():
            return f"{url} did not answer within {CONNECT_SECONDS:g} seconds"
        case RpcError():
            return f"{url} refused the link: {error.message}"
        case LinkError():
            return str(error)
        case ssl.SSLCertVerificationError():
            return f"{url} has a certificate that is not trusted: {error.verify_message or error.reason}"
        case ssl.SSLError():
            return f"{url} does not speak TLS as this side does: {error.reason}"
        case _:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return f"nothing answers at {url} ({reason})"


class Connection:
    """The dialling side of a WebSocket: answers to our calls, and frames once a peer is there."""

    def __init__(self) -> None:
        self.socket: WebSocketClientConnection | None = None
        self.peer: Peer | None = None
        self.on_closed: Callable[[], None] | None = None
        self._answers: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._last_id = 0
        self._early: list[str | bytes] = []
        self._ended = False
        self._stream: IOStream | None = None
        self.over = asyncio.Event()
        """Set once the socket is closed."""

    @property
    def ended(self) -> bool:
        """Whether it was closed, on whichever side."""
        return self._ended

    def opened(self) -> None:
        """The socket is there."""
        protocol = self.socket.protocol if self.socket is not None else None
        if protocol is not None:
            self._stream = protocol.stream
            # No small frame waits for the confirmation of the one before it (Nagle's algorithm, RFC 896).
            protocol.set_nodelay(True)

    async def call(self, method: str, params: Any) -> msgspec.Raw:
        """Call a method of the other side.

        Raises:
            RpcError: it answered with an error.
            ConnectionError: the connection ended before the answer came.
            LinkError: what came is not an answer.
        """
        if self._ended:
            raise ConnectionError("the connection has ended")
        self._last_id += 1
        id = self._last_id
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._answers[id] = answer
        self.write(jsonrpc.request(method, params, id))
        try:
            return await answer
        finally:
            del self._answers[id]

    def carry(self, peer: Peer) -> None:
        """From now on frames come in, those included that came already."""
        self.peer = peer
        early, self._early = self._early, []
        for data in early:
            self._take_frame(peer, data)

    def on_message(self, data: str | bytes | None) -> None:
        """Something came; None when the connection has ended."""
        if data is None:
            self.over.set()
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

    def close(self, reason: str = "", code: CloseCode = CloseCode.NORMAL) -> None:
        """End the connection."""
        if self.socket is not None:
            self.socket.close(code, reason or None)
        self._end()

    async def finish(self) -> None:
        """Close, and wait until the other side has seen it; after `CLOSE_SECONDS` it is not waited for."""
        self.close()
        try:
            await asyncio.wait_for(self.over.wait(), CLOSE_SECONDS)
        except TimeoutError:
            if self._stream is not None:
                self._stream.close()

    def _take_answer(self, data: str | bytes) -> None:
        try:
            id, result = jsonrpc.parse_reply(data)
        except ValueError as error:
            if not all(answer.done() for answer in self._answers.values()):
                self._fail(LinkError(f"the other side does not speak this protocol: {error}"))
            else:
                self._early.append(data)  # a frame on the heels of an answer that nobody has read yet
            return
        answer = self._answers.get(id) if isinstance(id, int) else None
        if answer is None or answer.done():
            return
        if isinstance(result, RpcError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def _fail(self, error: Exception) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    def _take_frame(self, peer: Peer, data: str | bytes) -> None:
        try:
            frame = decode_frame(data)
        except ValueError as error:
            try:
                jsonrpc.parse_reply(data)
            except ValueError:
                self._break(peer, error)
            else:
                peer.heard(self)  # an answer that nobody waits for, as to the last call of a link
            return
        try:
            peer.receive(self, frame)
        except ValueError as error:
            self._break(peer, error)

    def _break(self, peer: Peer, error: ValueError) -> None:
        _log.warning("the link to node %s is cut: %s", peer.id, error)
        self.close("protocol error", CloseCode.PROTOCOL_ERROR)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self.socket is not None:
            self.socket.close()
        self._fail(ConnectionResetError("it closed the connection"))
        if self.on_closed is not None:
            self.on_closed()
