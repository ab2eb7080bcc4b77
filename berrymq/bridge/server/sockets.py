"""A WebSocket on a tornado server that carries a conversation: a node's own, or a Jupyter server's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from .conversation import Conversation

if TYPE_CHECKING:
    from berrymq.bridge.node import Node

__all__ = ["MAX_FRAME_BYTES", "SUBPROTOCOL", "ConversationSocket", "ignore_closed"]

SUBPROTOCOL = "berrymq.v1"
MAX_FRAME_BYTES = 24 * 1024 * 1024
"""The largest request body and WebSocket message."""


class SocketTransport:
    """Frames on a tornado WebSocket of a server."""

    def __init__(self, handler: WebSocketHandler) -> None:
        self._handler = handler

    def write(self, data: bytes) -> None:
        """Send one frame."""
        try:
            future = self._handler.write_message(data)
        except WebSocketClosedError:
            return  # `on_close` follows, and what was not acknowledged is sent again
        asyncio.ensure_future(future).add_done_callback(ignore_closed)

    def close(self, reason: str = "") -> None:
        """End the connection."""
        self._handler.close(1000, reason or None)


def ignore_closed(future: asyncio.Future[Any]) -> None:
    """Take note of a write that the end of its connection cut short; that end is reported on its own."""
    if not future.cancelled():
        future.exception()


class ConversationSocket(WebSocketHandler):
    """What all our WebSocket handlers share; one that inherits calls `begin` in its ``open``."""

    conversation: Conversation
    transport: SocketTransport

    @property
    def max_message_size(self) -> int:
        """The same on every server."""
        return MAX_FRAME_BYTES

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """The one there is."""
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    def begin(self, node: Node, *, authenticated: bool) -> None:
        """The connection is open."""
        self.set_nodelay(True)
        self.transport = SocketTransport(self)
        self.conversation = Conversation(node, self.transport, authenticated=authenticated)

    def on_message(self, message: str | bytes) -> None:
        """Something was said."""
        self.conversation.receive(message)

    def on_close(self) -> None:
        """The connection has ended."""
        self.conversation.closed()
