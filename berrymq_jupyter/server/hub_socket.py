"""Connections from the Jupyter server to the hub, on the server's own loop.

The hub is another process. A WebSocket to it is authenticated like that of any node: both sides prove that
they know the access token, and neither sends it (``berrymq/bridge/protocol/handshake.py``).
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import h11
import msgspec

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.protocol import handshake, jsonrpc
from berrymq.bridge.protocol.connection import client_connection
from berrymq.bridge.protocol.events import Closed, Opened, Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from berrymq.bridge.discovery.endpoint import Endpoint
    from berrymq.bridge.discovery.finding import Found
    from berrymq.bridge.protocol.connection import Connection
    from berrymq.bridge.protocol.events import Event

__all__ = ["CHUNK_BYTES", "CONNECT_SECONDS", "HubSocket", "connect", "post"]

CONNECT_SECONDS = 5.0
"""The timeout for connecting and authenticating."""

CHUNK_BYTES = 64 * 1024
"""The size of a read."""


class _Hello(msgspec.Struct):
    """The answer to ``hello``, as described in ``berrymq/bridge/protocol/handshake.py``."""

    nonce: str
    proof: str
    port: int


class HubSocket:
    """A WebSocket to the hub; made by `connect`.

    It either calls methods while `run` reads the answers, or is used as bytes: see `reader` and `writer`.

    Args:
        reader: the bytes of the hub, after the handshake those of WebSocket frames.
        writer: bytes to the hub.
        connection: the client's side of the protocol.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Connection
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._connection = connection
        self._calls: dict[int, asyncio.Future[msgspec.Raw]] = {}
        """The calls without an answer, by number."""
        self._numbers = itertools.count(1)
        self._events: deque[Event] = deque()
        """Received and not used yet."""

    async def open(self, access_token: str, port: int | None) -> None:
        """Shake hands: upgrade, check the hub's proof, then send the same.

        Args:
            access_token: the secret that both sides know.
            port: the port that was dialled, at which the hub has to listen; None if a proxy may be between.

        Raises:
            LinkError: it is not a node that knows the access token.
            OSError: the connection ended.
        """
        await self._flush()
        opened = await self._next_event()
        if not isinstance(opened, Opened):
            raise LinkError("something listens there, but it is not a berryMQ node")
        nonce = handshake.new_nonce()
        try:
            hello = msgspec.json.decode(await self._call_and_read("hello", {"nonce": nonce}), type=_Hello)
        except msgspec.MsgspecError:
            raise LinkError("something listens there, but it is not a berryMQ node") from None
        expected = handshake.server_proof(access_token, nonce, hello.nonce, hello.port)
        if not handshake.same_proof(hello.proof, expected) or port not in (None, hello.port):
            raise LinkError("who listens there does not know the hub's access token")
        proof = handshake.client_proof(access_token, nonce, hello.nonce, hello.port)
        await self._call_and_read("authenticate", {"proof": proof})

    async def run(self) -> None:
        """Read the answers of calls until the connection ends."""
        try:
            await self._read_until(lambda: False)
        finally:
            for waiting in self._calls.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError("the connection to the hub has ended"))

    async def call(self, method: str, timeout: float, params: dict[str, Any] | None = None) -> msgspec.Raw:
        """Call a method, while `run` reads.

        Args:
            method: a method of the wire protocol.
            timeout: in seconds.
            params: its parameters.

        Returns:
            The result as JSON.

        Raises:
            OSError: the connection ended, or the call timed out (`TimeoutError`).
            RpcError: the hub answered with an error.
        """
        async with asyncio.timeout(timeout):
            return await self._send(method, params or {})

    async def _call_and_read(self, method: str, params: dict[str, Any]) -> msgspec.Raw:
        """Call a method, and read until it is answered; before `run`."""
        waiting = self._send(method, params)
        await self._flush()
        await self._read_until(waiting.done)
        return waiting.result()

    def _send(self, method: str, params: dict[str, Any]) -> asyncio.Future[msgspec.Raw]:
        """Send a call; return the future of its result."""
        number = next(self._numbers)
        waiting: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        waiting.add_done_callback(lambda _: self._calls.pop(number, None))
        self._calls[number] = waiting
        self._connection.send_text(jsonrpc.request(method, params, number))
        self.writer.writelines(self._connection.take())
        return waiting

    async def _read_until(self, is_done: Callable[[], bool]) -> None:
        """Read answers, and pass each to its call, until `is_done` returns True."""
        while not is_done():
            event = await self._next_event()
            if not isinstance(event, Text):
                continue
            try:
                id, result = jsonrpc.parse_reply(event.data)
            except ValueError:
                raise LinkError("something listens there, but it is not a berryMQ node") from None
            waiting = self._calls.get(id) if isinstance(id, int) else None
            if waiting is None or waiting.done():
                continue
            if isinstance(result, RpcError):
                waiting.set_exception(result)
            else:
                waiting.set_result(result)

    async def _next_event(self) -> Event:
        """Return the next event; raise `ConnectionResetError` at the end of the connection."""
        while not self._events:
            data = await self.reader.read(CHUNK_BYTES)
            self._events += self._connection.receive(data)
            await self._flush()
            if not data and not self._events:
                raise ConnectionResetError("the hub closed the connection")
        event = self._events.popleft()
        if isinstance(event, Closed):
            raise ConnectionResetError(f"the hub closed the connection{event.reason and f': {event.reason}'}")
        return event

    async def _flush(self) -> None:
        self.writer.writelines(self._connection.take())
        await self.writer.drain()

    def leave(self) -> None:
        """Close the connection cleanly."""
        self._connection.close()
        self.writer.writelines(self._connection.take())
        self.writer.close()

    def abort(self) -> None:
        """Abort the connection; for the hub it is a cut."""
        self.writer.transport.abort()


async def connect(found: Found) -> HubSocket:
    """Open a WebSocket to the hub on which both sides have proved that they know the access token.

    Args:
        found: the hub's address and access token.

    Raises:
        LinkError: the listener is not that hub.
        RpcError: it refused the access token.
        OSError: it can't be reached, or did not answer in `CONNECT_SECONDS` (`TimeoutError`).
    """
    endpoint = found.endpoint
    scheme = "wss" if endpoint.secure else "ws"
    connection = client_connection(f"{scheme}://{endpoint.host_header}{endpoint.ws_path}")
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await _dial(endpoint)
        socket = HubSocket(reader, writer, connection)
        try:
            await socket.open(found.access_token or "", endpoint.port if endpoint.is_loopback else None)
        except BaseException:
            socket.abort()
            raise
        return socket


async def post(found: Found, body: bytes) -> tuple[int, bytes]:
    """Post one JSON-RPC request or batch to the hub.

    It has its own connection: when this is cancelled that ends, and so does the call.

    Args:
        found: the hub's address and access token.
        body: the JSON.

    Returns:
        The HTTP status and the answer, which is empty for notifications.

    Raises:
        OSError: the hub can't be reached, or the connection ended.
        LinkError: the response is malformed.
    """
    endpoint = found.endpoint
    async with _http(endpoint) as (reader, writer):
        http = h11.Connection(h11.CLIENT)
        request = h11.Request(
            method="POST",
            target=endpoint.rpc_path,
            headers=[
                ("Host", endpoint.host_header),
                ("Authorization", f"Bearer {found.access_token}"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ],
        )
        for part in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(http.send(part) or b"")
        await writer.drain()
        status, answer = 0, bytearray()
        while True:
            try:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await reader.read(CHUNK_BYTES))
            except h11.RemoteProtocolError as error:
                raise LinkError(f"the hub's answer can't be read: {error}") from None
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                answer += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(answer)


@asynccontextmanager
async def _http(endpoint: Endpoint) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Provide a connection for one HTTP request; it is cut at the end of the block."""
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await _dial(endpoint)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _dial(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an endpoint, with TLS if it is secure."""
    tls = ssl.create_default_context() if endpoint.secure else None
    return await asyncio.open_connection(endpoint.host, endpoint.port, ssl=tls, limit=CHUNK_BYTES)
