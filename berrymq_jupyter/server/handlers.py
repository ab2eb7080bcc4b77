"""Relay requests below ``<base_url>berrymq/`` to the hub; Jupyter authenticates and authorises them.

The hub's access token never leaves the server: clients authenticate to Jupyter, and the server to the hub. So
access to the hub is access to this Jupyter server, with the same tokens and the same authorizer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, authenticated
from tornado.websocket import WebSocketProtocol13

from berrymq.bridge.protocol.connection import SUBPROTOCOL
from berrymq.bridge.protocol.limits import MAX_TEXT_BYTES
from berrymq.bridge.transport.dialling import NETWORK_ERRORS

from .hub_socket import CHUNK_BYTES, connect, post

if TYPE_CHECKING:
    from tornado.iostream import IOStream

    from .hub_socket import HubSocket
    from .hub_supervisor import HeldHub

__all__ = ["AUTH_RESOURCE", "LinkHandler", "RpcHandler"]

AUTH_RESOURCE = "berrymq"
"""The resource name that an authorizer of the server checks. The action is ``write`` for calls, and
``execute`` for WebSockets."""

LAST_WORDS_SECONDS = 5.0
"""The time for the hub to read the last bytes of a client that has closed its connection."""


class RpcHandler(APIHandler):
    """``POST``: one JSON-RPC request or batch, and the hub's answer.

    Authenticated by Jupyter: a token, or a cookie together with the header against cross-site requests.
    Answers 415 for another content type, 413 for a body that is too large, 503 when the hub does not answer.
    """

    auth_resource = AUTH_RESOURCE

    def initialize(self, hub: HeldHub) -> None:
        """Store the arguments of the route.

        Args:
            hub: knows the hub's address.
        """
        self.hub = hub
        self._asking: asyncio.Task[tuple[int, bytes]] | None = None
        """The request to the hub; cancelled when the client disconnects."""

    def on_connection_close(self) -> None:
        """Cancel the request: its client has disconnected."""
        if self._asking is not None:
            self._asking.cancel()

    @authenticated
    @authorized
    async def post(self) -> None:
        """Relay the request in the body to the hub.

        A client that disconnects has its call cancelled at the hub as well.
        """
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPError(415, reason="Content-Type must be application/json")
        if len(self.request.body) > MAX_TEXT_BYTES:
            raise HTTPError(413)
        self._asking = asyncio.create_task(self._ask(self.request.body))
        try:
            status, answer = await self._asking
        except asyncio.CancelledError:
            if not self._asking.cancelled():
                raise  # the request is cancelled, and not its handler
            return
        except NETWORK_ERRORS as error:
            raise HTTPError(503, str(error), reason="the hub does not answer") from error
        self.set_status(status)
        await self.finish(answer or None)

    async def _ask(self, body: bytes) -> tuple[int, bytes]:
        """Post the body to the hub, once there is one; return the HTTP status and the answer."""
        return await post(await self.hub.address(), body)


class LinkHandler(JupyterHandler):
    """``GET``: a WebSocket to the hub, for calls and links.

    After the upgrade its bytes are relayed to and from a WebSocket to the hub that this server has
    authenticated. They are not parsed here, so frames, pings and the close are those of the other side, and a
    side that does not read blocks the other one and not the server.

    Pages of another origin are refused, as for Jupyter's own WebSockets.
    """

    auth_resource = AUTH_RESOURCE

    def initialize(self, hub: HeldHub) -> None:
        """Store the arguments of the route."""
        self.hub = hub

    async def prepare(self, **_: object) -> None:
        """Refuse unauthenticated clients without a redirect: a WebSocket can't use a login page."""
        await super().prepare(_redirect_to_login=False)

    @ws_authenticated
    async def get(self) -> None:
        """Relay for clients that Jupyter authorises."""
        if not await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", AUTH_RESOURCE)
        ):
            raise HTTPError(403)
        if not self._wants_websocket():
            return
        try:
            socket = await connect(await self.hub.address())
        except NETWORK_ERRORS as error:
            raise HTTPError(503, str(error), reason="the hub does not answer") from error
        try:
            await relay(self._upgrade(), socket)
        finally:
            socket.abort()

    def _wants_websocket(self) -> bool:
        """Check that the request is for a WebSocket, and from a page of this server.

        Returns:
            False for another version of WebSocket, which is answered here with 426 (RFC 6455, 4.4).

        Raises:
            HTTPError: 400 for another request, 403 for a page of another origin.
        """
        headers = self.request.headers
        wanted = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
        if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in wanted:
            raise HTTPError(400, reason="GET upgrades to a WebSocket here")
        if not self.check_origin():
            raise HTTPError(403, reason="pages of another origin may not link")
        if headers.get("Sec-WebSocket-Version") != "13" or "Sec-WebSocket-Key" not in headers:
            self.set_status(426, "Upgrade Required")
            self.set_header("Sec-WebSocket-Version", "13")
            return False
        return True

    def _upgrade(self) -> IOStream:
        """Accept the WebSocket, and take its connection over from HTTP.

        Returns:
            The connection, from which Tornado reads nothing more.
        """
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        self.clear_header("Content-Type")
        self.set_status(101)
        self.set_header("Upgrade", "websocket")
        self.set_header("Connection", "Upgrade")
        self.set_header(
            "Sec-WebSocket-Accept",
            WebSocketProtocol13.compute_accept_value(self.request.headers["Sec-WebSocket-Key"]),
        )
        if SUBPROTOCOL in [name.strip() for name in offered]:
            self.set_header("Sec-WebSocket-Protocol", SUBPROTOCOL)
        # Not awaited: this has to be done before the server reads the next request.
        _ = self.finish()
        stream: IOStream = self.detach()
        stream.set_nodelay(True)
        return stream


async def relay(client: IOStream, hub: HubSocket) -> None:
    """Relay bytes in both directions until one side ends; then close the other with the same last bytes.

    A side that does not read fills one buffer, and so stops the other: memory stays bounded.

    Args:
        client: the connection of the client, after the upgrade.
        hub: an open WebSocket to the hub, used as bytes.
    """
    outgoing = asyncio.create_task(_to_hub(client, hub))
    incoming = asyncio.create_task(_to_client(client, hub))
    try:
        await asyncio.wait({outgoing, incoming}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (outgoing, incoming):
            task.cancel()
        await asyncio.gather(outgoing, incoming, return_exceptions=True)
        client.close()


async def _to_hub(client: IOStream, hub: HubSocket) -> None:
    """Relay what the client sends until it ends; give the hub `LAST_WORDS_SECONDS` to read the rest."""
    with suppress(OSError):
        with suppress(StreamClosedError):
            while True:
                hub.writer.write(await client.read_bytes(CHUNK_BYTES, partial=True))
                await hub.writer.drain()
        hub.writer.close()
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await hub.writer.wait_closed()


async def _to_client(client: IOStream, hub: HubSocket) -> None:
    """Relay what the hub sends until it ends."""
    with suppress(OSError):
        while data := await hub.reader.read(CHUNK_BYTES):
            await asyncio.shield(client.write(data))  # tornado logs an error for one that is cancelled
