"""A small reverse proxy, as they stand before Jupyter servers: it passes on HTTP, WebSockets and Host."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler, websocket_connect

if TYPE_CHECKING:
    from tornado.iostream import IOStream

HOP_BY_HOP = {"connection", "upgrade", "content-length", "transfer-encoding", "keep-alive"}
SOCKET_OWN = {
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
}


class Proxy:
    """Listens on a loopback port, in a thread of its own, and hands everything on.

    Args:
        target: scheme, host and port of the server behind it.
    """

    def __init__(self, target: str) -> None:
        self.target = target.rstrip("/")
        self.origin = ""
        self.requests: list[str] = []
        """Method and path of what came through."""
        self.onward: set[IOStream] = set()
        """Connections to the server behind that carry WebSockets."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        self.origin = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        self._server = HTTPServer(Application([(r".*", _Handler, {"proxy": self})]))
        self._server.add_sockets(sockets)

    async def _stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()
        for stream in self.onward:
            stream.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


class _Handler(WebSocketHandler):
    """One request, be it HTTP or the upgrade to a WebSocket."""

    def initialize(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.behind: Any = None

    def check_origin(self, origin: str) -> bool:
        return True  # the server behind decides

    def _onward(self, without: set[str]) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name, value in self.request.headers.get_all():
            if name.lower() not in without:
                headers.add(name, value)
        return headers

    async def get(self, *args: Any, **kwargs: Any) -> None:
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            await self._forward()
            return
        self.proxy.requests.append(f"UPGRADE {self.request.path}")
        wanted = self.request.headers.get("Sec-WebSocket-Protocol")
        request = HTTPRequest(
            "ws" + self.proxy.target.removeprefix("http") + str(self.request.uri),
            headers=self._onward(HOP_BY_HOP | SOCKET_OWN),
        )
        try:
            self.behind = await websocket_connect(
                request,
                on_message_callback=self._from_behind,
                subprotocols=[wanted] if wanted else None,
                max_message_size=64 << 20,
            )
        except HTTPClientError as error:
            self.set_status(error.code)
            await self.finish()
            return
        self.proxy.onward.add(self.behind.protocol.stream)
        await super().get(*args, **kwargs)

    async def post(self) -> None:
        await self._forward()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return self.behind.selected_subprotocol

    async def on_message(self, message: str | bytes) -> None:
        await self.behind.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        if self.behind is not None:
            self.behind.close()

    def _from_behind(self, message: str | bytes | None) -> None:
        if message is None:
            self.close()
        elif self.ws_connection is not None:
            self.write_message(message, binary=isinstance(message, bytes))

    async def _forward(self) -> None:
        self.proxy.requests.append(f"{self.request.method} {self.request.path}")
        request = HTTPRequest(
            self.proxy.target + str(self.request.uri),
            method=self.request.method or "GET",
            headers=self._onward(HOP_BY_HOP),
            body=self.request.body or None,
            follow_redirects=False,
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        self.set_status(answer.code)
        for name, value in answer.headers.get_all():
            if name.lower() not in HOP_BY_HOP:
                self.add_header(name, value)
        await self.finish(answer.body)
