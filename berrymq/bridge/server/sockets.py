"""A WebSocket on a tornado server that carries a conversation: a node's own, or a Jupyter server's."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from berrymq.bridge.websocket import MAX_FRAME_BYTES, SUBPROTOCOL, CloseCode, ignore_closed

from .conversation import Conversation

if TYPE_CHECKING:
    from tornado.iostream import IOStream

    from berrymq.bridge.node import Node

__all__ = ["ConversationSocket"]

MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""What may wait to be read by the other side: more than a link ever sends ahead."""
MAX_UNSENT_PONGS = 1000
"""Answers to pings, which may wait to be read as well."""

_log = logging.getLogger("berrymq")


class SocketTransport:
    """Frames on a tornado WebSocket of a server. One that does not read what is said to it is closed."""

    def __init__(self, handler: WebSocketHandler) -> None:
        self._handler = handler
        self._unsent = 0
        self._pongs = 0

    def write(self, data: bytes) -> None:
        """Send one frame."""
        try:
            future = self._handler.write_message(data)
        except WebSocketClosedError:
            return  # `on_close` follows, and what was not acknowledged is sent again
        self._unsent += len(data)
        asyncio.ensure_future(future).add_done_callback(partial(self._sent, len(data)))
        if self._unsent > MAX_UNSENT_BYTES:
            self._give_up()

    def answered_ping(self) -> None:
        """A pong was sent, by tornado itself."""
        stream = self._stream()
        self._pongs = self._pongs + 1 if stream is not None and stream.writing() else 0
        if self._pongs > MAX_UNSENT_PONGS:
            self._give_up()

    def _sent(self, size: int, future: asyncio.Future[None]) -> None:
        self._unsent -= size
        ignore_closed(future)

    def _give_up(self) -> None:
        _log.warning("a connection is closed: the other side does not read what is said to it")
        stream = self._stream()
        if stream is not None:
            stream.close()  # and not `close`, which would wait for the other side

    def _stream(self) -> IOStream | None:
        connection = self._handler.ws_connection
        return connection.stream if connection is not None else None

    def close(self, reason: str = "", code: CloseCode = CloseCode.NORMAL) -> None:
        """End the connection."""
        self._handler.close(code, reason or None)


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

    def on_message(self, message: str | bytes) -> asyncio.Future[None] | None:
        """Something was said; tornado reads on when what this returns is done."""
        self.conversation.receive(message)
        return None

    def on_ping(self, _: bytes) -> None:
        """The other side wants to know whether we are there."""
        self.transport.answered_ping()

    def on_close(self) -> None:
        """The connection has ended."""
        self.conversation.closed()
