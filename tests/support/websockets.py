"""WebSockets to a node as another program would open them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from berrymq.bridge.server.server import Server

LIMIT = 10.0

SEPARATORS = (", ", ": ")
"""Between the items of JSON, and behind its keys."""


class Socket:
    """A WebSocket on which one call is made after the other."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, text: str | bytes) -> None:
        """Send one message."""
        self.connection.send(text)

    def call(self, method: str, params: Any = None, id: Any = 1) -> None:
        """Send a call; `receive` gives its answer."""
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or [], "id": id}))

    def notify(self, method: str, **params: Any) -> None:
        """Send a notification, such as a frame."""
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.send(json.dumps(message, separators=SEPARATORS))

    def receive(self, timeout: float = LIMIT) -> Any:
        """What comes next; None when the connection has ended."""
        try:
            return json.loads(self.connection.recv(timeout))
        except ConnectionClosed:
            return None

    def answer(self, method: str, params: Any = None, id: Any = 1) -> Any:
        """Make a call and return its answer; what else comes before it is left out."""
        self.call(method, params, id)
        while (received := self.receive()) is not None:
            if received.get("id") == id and "method" not in received:
                return received
        return None

    @property
    def close_code(self) -> int | None:
        """Why the other side has closed it."""
        return self.connection.close_code


@contextmanager
def websocket(server: Server, token: str | None = None, query: str = "", **options: Any) -> Iterator[Socket]:
    """A connection to a node's WebSocket."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = server.url.replace("http", "ws", 1) + "ws" + query
    with connect(
        url,
        subprotocols=[Subprotocol("berrymq.v1")],
        additional_headers=headers,
        compression=None,
        proxy=None,
        max_size=None,
        **options,
    ) as connection:
        yield Socket(connection)
