"""WebSockets to a node that leave nothing behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from berrymq.bridge.node import Node
from tests.support.nodes import until


@asynccontextmanager
async def websocket(
    node: Node, token: str | None = None, query: str = ""
) -> AsyncIterator[WebSocketClientConnection]:
    """A connection to a node's WebSocket; at the end its socket is closed, before the loop is."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = HTTPRequest(node.url.replace("http", "ws", 1) + "ws" + query, headers=headers)
    connection = await websocket_connect(request, subprotocols=["berrymq.v1"])
    assert connection.protocol is not None
    stream = connection.protocol.stream
    try:
        yield connection
    finally:
        connection.close()
        await until(stream.closed, "the socket is closed")
