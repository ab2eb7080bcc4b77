"""Dialling: a connection to a server, made and used by a blocking thread, until a loop takes it over.

`dial` connects and authenticates. A link then calls `link` over the same connection and hands it over to the
loop (`Dialled.hand_over`); other clients go on calling methods. `explain` turns what went wrong into a
sentence with advice.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.protocol import frames, handshake, jsonrpc
from berrymq.bridge.protocol.connection import client_connection
from berrymq.bridge.protocol.events import CloseCode, Closed, Event, Opened, Refused, Text

from .channel import READ_BYTES, Channel
from .tls import Tls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from berrymq.bridge.discovery.endpoint import Endpoint
    from berrymq.bridge.discovery.finding import Found

    from .loop import IoLoop

__all__ = ["CONNECT_SECONDS", "NETWORK_ERRORS", "Dialled", "dial", "explain"]

CONNECT_SECONDS = 5.0
"""The timeout of one attempt to connect."""

NETWORK_ERRORS = (OSError, LinkError, RpcError)
"""What `dial` and a call may raise (`TimeoutError` and `ssl.SSLError` are among them); see `explain`."""

RECONNECT_SECONDS = 0.1
"""On loopback, a connection that is not accepted by then was dropped by a full backlog: the system would
retry after a second, and then ever more rarely."""

MAX_TEXT = 500
"""The longest sentence about an error, in characters."""

_log = logging.getLogger("berrymq")


class _RefusedError(LinkError):
    """The server did not open a WebSocket.

    Args:
        refused: its response.

    Attributes:
        status: of HTTP.
        reason: the phrase beside it.
        error_text: the node's own message, or "".
    """

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.status, refused.reason, refused.error_text)
        self.status = refused.status
        self.reason = refused.reason
        self.error_text = refused.error_text


class _Hello(msgspec.Struct):
    """The answer to ``hello``, as described in ``protocol/handshake.py``."""

    nonce: str
    proof: str
    port: int
    id: str
    hub: bool = False


def dial(
    found: Found, ssl_context: ssl.SSLContext | None = None, timeout: float = CONNECT_SECONDS
) -> Dialled:
    """Connect to a node and authenticate: by mutual proof, or with a bearer token over TLS and below Jupyter.

    Args:
        found: the endpoint, with the access token.
        ssl_context: trusted certificates; by default the system's.
        timeout: seconds for all of it.

    Returns:
        The connection, authenticated, whose node has been greeted.

    Raises:
        OSError: it can't be reached, or did not answer in time (`TimeoutError`).
        LinkError: it is not a node, or does not know the access token.
        RpcError: it refused the access token.
    """
    deadline = monotonic() + timeout
    endpoint = found.endpoint
    token = (found.access_token or "").strip()  # a file that it was read from ends with a newline
    if not (token.isascii() and token.isprintable()):
        raise LinkError(
            "the access token contains invalid characters; was it copied completely, without extra text?"
        )
    # Jupyter checks its token before it upgrades; a node first proves that it knows it.
    headers = (
        {"Authorization": f"Bearer {token}"} if token and (endpoint.via_jupyter or endpoint.secure) else {}
    )
    sock = _connect(endpoint, deadline)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = Tls(ssl_context or ssl.create_default_context(), endpoint.host) if endpoint.secure else None
        scheme = "wss" if endpoint.secure else "ws"
        url = f"{scheme}://{endpoint.host_header}{endpoint.ws_path}"
        dialled = Dialled(sock, client_connection(url, headers), tls, deadline)
        dialled.open()
        if not (headers or endpoint.via_jupyter):
            if not token:
                raise LinkError("an access token is required: pass it as access_token=")  # noqa: TRY301
            dialled.authenticate(token, endpoint.port if endpoint.is_loopback else None)
        else:
            dialled.greet()
    except BaseException:
        sock.close()
        raise
    return dialled


def _connect(endpoint: Endpoint, deadline: float) -> socket.socket:
    """Connect a socket; on loopback, try again where the connection was not accepted.

    Raises:
        OSError: nothing listens there, or the deadline has passed (`TimeoutError`).
    """
    address = endpoint.host, endpoint.port
    while True:
        left = max(0.001, deadline - monotonic())
        try:
            return socket.create_connection(
                address, timeout=min(left, RECONNECT_SECONDS) if endpoint.is_loopback else left
            )
        except TimeoutError:
            if monotonic() >= deadline:
                raise


class Dialled:
    """A connection on which this thread blocks. Not thread-safe but for `abort`.

    Args:
        sock: connected.
        connection: the client's side of the protocol.
        tls: encrypts; None for plain text.
        deadline: see the attribute.
    """

    def __init__(self, sock: socket.socket, connection: Any, tls: Tls | None, deadline: float | None) -> None:
        self.deadline = deadline
        """When the current step times out, by `time.monotonic`; None for never."""
        self.closed = False
        """Whether it has ended or was handed over."""
        self.node_id = ""
        """The id of the node on the other side."""
        self.is_hub = False
        """It claims to be a hub."""
        self._sock = sock
        self._connection = connection
        self._tls = tls
        self._events: deque[Event] = deque()
        """Received and not used yet."""
        self._last_id = 0
        self._is_given = False
        """Whether a channel owns the socket."""

    def open(self) -> None:
        """Wait for the WebSocket.

        Raises:
            LinkError: the server refused the upgrade, or speaks something else.
            OSError: the connection ended, or the deadline has passed.
        """
        self._flush()
        event = self._next_event()
        if isinstance(event, Refused):
            raise _RefusedError(event)
        if not isinstance(event, Opened):
            raise LinkError("something listens there, but it does not speak WebSocket")

    def greet(self) -> tuple[str, _Hello]:
        """Send a nonce; return it and the answer, and store the node's id.

        Raises:
            LinkError: it is no node.
            OSError, RpcError: as in `call`.
        """
        nonce = handshake.new_nonce()
        try:
            hello = msgspec.json.decode(self.call("hello", {"nonce": nonce}), type=_Hello)
        except msgspec.MsgspecError:
            raise LinkError("something listens there, but it is not a berryMQ node") from None
        self.node_id, self.is_hub = hello.id, hello.hub
        return nonce, hello

    def authenticate(self, access_token: str, port: int | None) -> None:
        """Check the server's proof that it knows the access token, then send the same proof.

        Args:
            access_token: the secret.
            port: the port that was dialled, at which the server has to listen; None if a proxy may be
                between.

        Raises:
            LinkError: the server does not know the access token, or listens on another port.
        """
        nonce, hello = self.greet()
        expected = handshake.server_proof(access_token, nonce, hello.nonce, hello.port)
        if not handshake.same_proof(hello.proof, expected) or port not in (None, hello.port):
            raise LinkError(
                "the program listening there does not know the access token, so it was not sent: either the "
                "token is wrong, or another program has taken the port"
            )
        proof = handshake.client_proof(access_token, nonce, hello.nonce, hello.port)
        self.call("authenticate", {"proof": proof})

    def call(self, method: str, params: Mapping[str, Any]) -> Raw:
        """Call a method and return its result; notifications that arrive before it are ignored.

        Args:
            method: the name of the method.
            params: its parameters by name.

        Returns:
            The result as JSON.

        Raises:
            RpcError: it answered with an error.
            OSError: the connection ended, or did not answer in time (`TimeoutError`).
            LinkError: the text received is no answer.
        """
        self._last_id += 1
        self._connection.send_text(jsonrpc.request(method, params, self._last_id))
        self._flush()
        while True:
            event = self._next_event()
            if not isinstance(event, Text):
                continue
            try:
                answer = frames.parse(event.data)
                if answer.method is not UNSET:
                    continue  # a notification
                id, result = jsonrpc.parse_reply(event.data)
            except ValueError as error:
                raise LinkError(f"something listens there, but it is not a berryMQ node: {error}") from None
            if id == self._last_id or (id is None and isinstance(result, RpcError)):
                if isinstance(result, RpcError):
                    raise result
                return Raw(bytes(result))

    def hand_over(self, loop: IoLoop, on_event: Callable[[Event], object]) -> Channel:
        """Have a loop read from now on, after the bytes received already; on the loop's thread.

        Args:
            loop: reads the connection from now on.
            on_event: called with each event.

        Returns:
            The channel, which owns the socket now.
        """
        self._sock.setblocking(False)
        self.closed = self._is_given = True
        channel = Channel(loop, self._sock, self._connection, on_event, self._tls)
        events, self._events = self._events, deque()
        if events:
            loop.call(channel._handle, events)
        loop.call(channel.start)
        return channel

    def close(self) -> None:
        """End the connection with a close frame, within 0.2 s; do nothing after `hand_over`."""
        if not self.closed:
            self.closed = True
            try:
                self._connection.close(CloseCode.NORMAL)
                self._sock.settimeout(0.2)
                self._flush()
            except OSError as error:
                _log.debug("a connection did not end well: %s", error)
        if not self._is_given:
            self._sock.close()

    def abort(self) -> None:
        """Abort the connection while another thread blocks on it, which has to `close` it."""
        self.closed = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _flush(self) -> None:
        """Write what the protocol has to send; blocks."""
        out = self._connection.take()
        if self._tls is not None:
            for data in out:
                self._tls.send(data)
            out = [self._tls.take()]
        for data in out:
            if data:
                self._sock.sendall(data)

    def _next_event(self) -> Event:
        """Return the next event, and read until there is one.

        Raises:
            TimeoutError: the deadline has passed.
            ConnectionResetError: the connection ended.
        """
        while True:
            left = None if self.deadline is None else self.deadline - monotonic()
            if left is not None and left <= 0:  # also if bytes arrive without end, but no answer
                raise TimeoutError("no answer in time")
            if self._events:
                break
            self._sock.settimeout(left)
            data = self._sock.recv(READ_BYTES)
            if self._tls is not None:
                data = self._tls.receive(data)
                if not data:
                    self._flush()
                    continue
            self._events += self._connection.receive(data)
            self._flush()
            if not data and not self._events:
                raise ConnectionResetError("it closed the connection")
        event = self._events.popleft()
        if isinstance(event, Closed):
            self.closed = True
            self._sock.close()
            raise ConnectionResetError(
                f"it closed the connection{f': {event.reason}' if event.reason else ''}"
            )
        return event


_NO_NODE = "there is no node at"


def more_specific(former: str | None, found: Found, error: BaseException) -> str:
    """Return which error to report of several attempts: the first, unless that one just found no node.

    Args:
        former: the text about the former attempts, if any.
        found: the endpoint of this one.
        error: its error.
    """
    text = explain(found, error)
    if former is None or (former.startswith(_NO_NODE) and not text.startswith(_NO_NODE)):
        return text
    return former


def explain(found: Found, error: BaseException) -> str:
    """Return a sentence for people about an error of `dial`, with advice; all of it is printable.

    Args:
        found: what was dialled.
        error: one of `NETWORK_ERRORS`.

    Returns:
        One line of at most `MAX_TEXT` characters.
    """
    text = _explain(found, error)
    return "".join([character if character.isprintable() else "\ufffd" for character in text])[:MAX_TEXT]


def _explain(found: Found, error: BaseException) -> str:
    url = found.endpoint.url
    if isinstance(error, _RefusedError):
        return f"{url} refused: {error.error_text}" if error.error_text else _explain_status(found, error)
    if isinstance(error, RpcError):
        return f"{url} refused: {error.message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection to {url}: {getattr(error, 'verify_message', '') or error.reason or error}"
    if isinstance(error, TimeoutError):
        return found.no_answer
    if isinstance(error, ConnectionRefusedError):
        return f"nothing is listening at {url}; has it stopped, or is the port wrong?"
    if isinstance(error, socket.gaierror):
        return f"there is no host {found.endpoint.host!r}"
    if isinstance(error, OSError):
        return f"no connection to {url}: {error.strerror or error}"
    return f"no link to {url}: {error}"


def _explain_status(found: Found, error: _RefusedError) -> str:
    """Explain the status with which a WebSocket was refused."""
    url, status = found.endpoint.url, error.status
    if status in (301, 302, 303, 307, 308, 401, 403):
        if found.access_token:
            where = "; `jupyter server list` shows the right one" if found.endpoint.via_jupyter else ""
            return f"{url} rejected the access token (HTTP {status}){where}"
        return f"{url} requires a login: add ?token=... to the URL (in Python, access_token= does as well)"
    if status == 404:
        hint = "is berrymq installed where that Jupyter server runs?"
        if not found.endpoint.via_jupyter:
            hint = "if it is a Jupyter server, add berrymq/ to its URL"
        return f"{_NO_NODE} {url} (HTTP 404); {hint}"
    return f"{url} did not open a WebSocket: HTTP {status} {error.reason}".rstrip()
