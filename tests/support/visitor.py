"""Who comes to a Jupyter server over HTTP and WebSocket: a program, a browser with cookies, a stranger.

visitor = Visitor(server.url)
assert visitor.get("berrymq/").status == 302
visitor.log_in("the password")
assert visitor.get("berrymq/").status == 200
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar
from typing import Any, NamedTuple

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Visitor:
    """One visitor; follows no redirects.

    Args:
        url: the server, with its base URL and a final slash.
        token: is sent with each request when given.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.cookies = CookieJar()
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._opener = urllib.request.build_opener(_Stay, urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str, **headers: str) -> Answer:
        """GET a path below the server."""
        return self.send("GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """POST JSON, unless another content type is given."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, {"Content-Type": "application/json"} | headers)

    @property
    def xsrf(self) -> dict[str, str]:
        """The header that a page of the server's own sends with a POST."""
        return {"X-XSRFToken": self._cookie("_xsrf")}

    def log_in(self, password: str) -> None:
        """Give the password in the form at the login page."""
        self.get("login")
        form = urllib.parse.urlencode({"password": password, "_xsrf": self._cookie("_xsrf")}).encode()
        answer = self.post("login", form, **{"Content-Type": "application/x-www-form-urlencoded"})
        assert answer.status == 302, answer

    @asynccontextmanager
    async def connect(
        self, path: str = "berrymq/ws", **headers: str
    ) -> AsyncIterator[WebSocketClientConnection]:
        """Hold a WebSocket open; HTTPClientError when it is refused."""
        socket = await websocket_connect(self.websocket_request(path, **headers))
        try:
            yield socket
        finally:
            socket.close()
            while await socket.read_message() is not None:
                pass  # what was on its way; then the other side has closed as well

    def websocket_request(self, path: str = "berrymq/ws", **headers: str) -> HTTPRequest:
        """What asks for a WebSocket."""
        address = re.sub("^http", "ws", self.url) + path
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)
        return HTTPRequest(address, headers=self._headers | {"Cookie": cookies} | headers)

    def _cookie(self, name: str) -> str:
        cookies = {cookie.name: cookie.value or "" for cookie in self.cookies}
        assert name in cookies, f"{self.url} has set no cookie {name!r}"
        return cookies[name]

    def send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        """Send any request."""
        request = urllib.request.Request(
            self.url + path, method=method, data=data, headers=self._headers | headers
        )
        try:
            with self._opener.open(request, timeout=20) as answer:
                return Answer(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read().decode())
