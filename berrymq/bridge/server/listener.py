"""Listening: HTTP and WebSocket on one port, by tornado.

``POST /rpc`` (also ``/`` and ``/JSON``) and the WebSocket ``GET /ws`` with the subprotocol ``berrymq.v1``.
Every request passes the checks of Host, Origin and access token, in this order; see ``hosts.py`` and
``access.py``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body
from tornado.websocket import WebSocketProtocol13

from berrymq.bridge.access_token import bearer_token, same_token
from berrymq.bridge.addresses import is_loopback, is_wildcard
from berrymq.bridge.discovery.connection_file import publish
from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.websocket import MAX_FRAME_BYTES, CloseCode

from .accepting import connection_limit, listen_on
from .attempts import AttemptLimiter
from .conversation import Conversation
from .hosts import HostPolicy, check_host, check_origin
from .sockets import ConversationSocket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Iterable

    from tornado.http1connection import HTTP1Connection
    from tornado.iostream import IOStream

    from berrymq.bridge.discovery.connection_file import ConnectionFile, Kind
    from berrymq.bridge.node import Node

__all__ = ["Listener", "listen"]

MAX_HEADER_BYTES = 16 * 1024
MAX_CONNECTIONS = 1000
"""Fewer where this process may not open so many files, see ``accepting.py``."""
REQUEST_SECONDS = 30.0
"""How long the head and the body of a request may each take to come."""
ANSWER_SECONDS = 60.0
"""How long the asker may take to read the answer to a request."""
MAX_STRANGER_BYTES = 4096
"""The largest WebSocket message of one who has not yet shown the access token."""
AUTHENTICATION_SECONDS = 5.0
"""How long a WebSocket may stay open without the access token."""


async def listen(node: Node, host: str = "localhost", port: int = 0, **options: Any) -> Listener:
    """Let others link to a node; see `Listener` for the options, and for what is raised `Listener.start`."""
    listener = Listener(node, **options)
    listener.start(host, port)
    node.listener = listener
    return listener


class Listener:
    """Lets other nodes and programs talk to a node.

    Args:
        node: the node.
        ssl_context: TLS; needed to listen beyond loopback, unless
        insecure: says that plain text may cross the network all the same.
        hosts: further host names under which it is reached; with TLS, the one in the certificate first.
        origins: web pages, by origin, that may talk to it.
    """

    def __init__(
        self,
        node: Node,
        *,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
    ) -> None:
        self.node = node
        self.address: tuple[str, int] = ("", 0)
        self.limiter = AttemptLimiter(time.monotonic)
        self.sockets: set[SocketHandler] = set()
        self.policy = HostPolicy()
        self._host = ""
        self._hosts = list(hosts)
        self._origins = list(origins)
        self._ssl_context = ssl_context
        self._insecure = insecure
        self._server: _BoundedServer | None = None
        self._file: ConnectionFile | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where others link to, as ``http://`` or ``https://``."""
        scheme = "https" if self._ssl_context is not None else "http"
        host = self._reachable_host()
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.address[1]}/"

    def _reachable_host(self) -> str:
        """The name or address by which others come; one that the policy allows."""
        bound = self.address[0]
        if self._ssl_context is not None and self._hosts:
            return self._hosts[0]  # the certificate is for a name
        if is_wildcard(bound):
            return "::1" if ":" in bound else "127.0.0.1"
        return bound if is_loopback(bound) else self._host

    def start(self, host: str = "localhost", port: int = 0) -> None:
        """Listen; with port 0 the system chooses one.

        Raises:
            LinkError: it would be reachable from other machines without TLS, or the address can't be had.
        """
        if not (is_loopback(host) or self._ssl_context is not None or self._insecure):
            raise LinkError(
                f"listening on {host!r} lets other machines read what passes: "
                "give a TLS certificate, or say explicitly that plain text is fine there"
            )
        self._host = host
        self.policy = HostPolicy.of(host, self._hosts, self._origins)
        try:
            sockets = listen_on("127.0.0.1" if host == "localhost" else host, port)
        except OSError as error:
            raise LinkError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
        bound = sockets[0].getsockname()
        self.address = (bound[0], bound[1])
        application = Application(
            [
                (r"/ws", SocketHandler, {"listener": self}),
                (r"/(?:rpc|JSON)?", RpcHandler, {"listener": self}),
            ],
            log_function=lambda _: None,
            default_handler_class=_NotFoundHandler,
            default_handler_args={"listener": self},
        )
        self._server = _BoundedServer(
            application,
            ssl_options=self._ssl_context,
            max_header_size=MAX_HEADER_BYTES,
            max_body_size=0,  # `_WithBody` takes one, nobody else
            max_buffer_size=MAX_FRAME_BYTES + MAX_HEADER_BYTES,
            idle_connection_timeout=REQUEST_SECONDS,
            body_timeout=REQUEST_SECONDS,
        )
        self._server.websockets = self.sockets
        self._server.limit = connection_limit(MAX_CONNECTIONS)
        self._server.add_sockets(sockets)

    def publish(self, kind: Kind) -> ConnectionFile:
        """Let the processes of this user find it, until it stops.

        Raises:
            RuntimeDirectoryError: there is no private place for the connection file.
        """
        node = self.node
        file = publish(url=self.url, access_token=node.access_token, name=node.name, kind=kind)
        self._file = file
        self._keeper = node.loop.create_task(file.keep())
        return file

    def refusal(self, access_token: str, peer: str) -> int | None:
        """The HTTP status by which an access token that *peer* shows is refused; None for the right one.

        Wrong ones are answered ever more slowly if they keep coming. Meanwhile not even the right one is
        looked at, but from this machine, where all users have one address and nobody's guesses shut others
        out.
        """
        waits = self.limiter.wait(peer) > 0
        if (not waits or is_loopback(peer)) and same_token(access_token, self.node.access_token):
            return None
        self.limiter.failed(peer)
        return 429 if waits else 401

    async def stop(self) -> None:
        """Close the port and every connection."""
        # The file goes first, so that nobody is led to a node that is leaving.
        if self._file is not None:
            self._file.remove()
        if self._keeper is not None:
            self._keeper.cancel()
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            for handler in list(self.sockets):
                handler.transport.close("the node has left", CloseCode.GOING_AWAY)
            await server.close_all_connections()


class _BoundedServer(HTTPServer):
    """Refuses connections above a bound, before anything is read from them."""

    requests = 0
    websockets: Collection[object] = ()
    limit = MAX_CONNECTIONS

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if self.requests + len(self.websockets) >= self.limit:
            stream.close()
            return
        self.requests += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """A connection has ended, or has become a WebSocket."""
        self.requests -= 1
        super().on_close(server_conn)


class _Checked(RequestHandler):
    """The checks that every request passes, whatever its method."""

    def initialize(self, listener: Listener) -> None:
        self.listener = listener
        self.authenticated = False

    def prepare(self) -> None:
        headers = self.request.headers
        policy = self.listener.policy
        hosts = headers.get_list("Host")
        refusal = check_host(hosts, policy) or check_origin(headers.get_list("Origin"), hosts, policy)
        if refusal is not None:
            raise HTTPError(403, reason="Forbidden", log_message=refusal.replace("%", "%%"))
        token = bearer_token(headers.get("Authorization"))
        if token is not None:
            refused = self.listener.refusal(token, self.request.remote_ip or "")
            if refused is not None:
                raise HTTPError(refused)
            self.authenticated = True

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def write_error(self, status_code: int, **__: Any) -> None:
        self.set_header("Content-Type", "application/json")
        code = jsonrpc.NOT_ALLOWED if status_code in (401, 403, 429) else jsonrpc.INVALID_REQUEST
        _ = self.finish(jsonrpc.failure(None, RpcError(code, f"HTTP {status_code}: {self._reason}")))


@stream_request_body
class _WithBody(_Checked):
    """A request whose body is read when the head has passed all checks, if at all."""

    def initialize(self, listener: Listener) -> None:
        super().initialize(listener)
        self.body = bytearray()

    def prepare(self) -> None:
        cast("HTTP1Connection", self.request.connection).set_max_body_size(MAX_FRAME_BYTES)
        super().prepare()

    def data_received(self, chunk: bytes) -> None:
        """A part of the body."""
        self.body += chunk


class _NotFoundHandler(_WithBody):
    def prepare(self) -> None:
        super().prepare()
        raise HTTPError(404)


class RpcHandler(_WithBody):
    """``POST``: one JSON-RPC request or batch, and its answer."""

    conversation: Conversation | None = None

    def prepare(self) -> None:
        super().prepare()
        if not self.authenticated:
            raise HTTPError(401)
        if self.request.method != "POST":
            raise HTTPError(405)
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPError(415, reason="Content-Type must be application/json")

    def on_connection_close(self) -> None:
        """The asker has gone: what it waits for is left for the next."""
        if self.conversation is not None:
            self.conversation.closed()

    async def post(self) -> None:
        """Answer the request in the body."""
        self.conversation = Conversation(self.listener.node, authenticated=True)
        answer = await self.conversation.answer(bytes(self.body))
        if answer is None:
            self.set_status(204)
            return
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", len(answer))
        self.write(answer)
        try:
            await asyncio.wait_for(self.flush(), ANSWER_SECONDS)
        except (TimeoutError, StreamClosedError):
            self._close_connection()

    def _close_connection(self) -> None:
        cast("HTTP1Connection", self.request.connection).close()


class SocketHandler(_Checked, ConversationSocket):
    """``GET /ws``: calls and, once a link is made, frames."""

    _was_refused = False

    @property
    def max_message_size(self) -> int:
        """What a stranger may send is enough for an access token."""
        return MAX_FRAME_BYTES if self.authenticated else MAX_STRANGER_BYTES

    def check_origin(self, _: str) -> bool:
        """Checked with everything else in `prepare`."""
        return True

    def open(self, *_: str, **__: str) -> None:
        """A connection has come."""
        self.begin(self.listener.node, authenticated=self.authenticated)
        self.listener.sockets.add(self)
        if not self.authenticated:
            self.conversation.admits = self._admits
            asyncio.get_running_loop().call_later(AUTHENTICATION_SECONDS, self._close_stranger)

    def on_close(self) -> None:
        """The connection has ended."""
        self.listener.sockets.discard(self)
        super().on_close()

    def _close_stranger(self) -> None:
        if not self.conversation.authenticated:
            self.transport.close("no access token was shown", CloseCode.POLICY_VIOLATION)

    def _admits(self, access_token: str) -> bool:
        """Look at one access token; a wrong one ends the connection."""
        if self._was_refused:
            return False
        if self.listener.refusal(access_token, self.request.remote_ip or "") is not None:
            self._was_refused = True
            asyncio.get_running_loop().call_soon(
                self.transport.close, "wrong access token", CloseCode.POLICY_VIOLATION
            )
            return False
        self.authenticated = True
        if isinstance(self.ws_connection, WebSocketProtocol13):
            self.ws_connection.params.max_message_size = MAX_FRAME_BYTES
        return True
