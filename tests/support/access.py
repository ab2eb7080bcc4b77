"""Jupyter servers of every kind of access, and who is let in there."""

import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth import passwd
from tornado.httpclient import HTTPClientError

from tests.support.jupyter_server import JupyterServer
from tests.support.visitor import Visitor

PASSWORD = "password-of-the-tests"


class _VisitedServer(JupyterServer):
    """One without a token: its REST API is called as a page of it does."""

    token = ""

    def __init__(self, home: Path, *, arguments: tuple[str, ...] = ()) -> None:
        super().__init__(home, arguments=arguments)
        self._visitor: Visitor | None = None

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Call the server's REST API and return what it answers, parsed."""
        if self._visitor is None:
            visitor = insider(self)
            visitor.get("no-such-page")  # a page of Jupyter, and with it comes the cookie
            self._visitor = visitor  # not before: a server that is still starting refuses the connection
        headers = {"Content-Type": "application/json"} | self._visitor.xsrf
        data = None if body is None else json.dumps(body).encode()
        answer = self._visitor.send(method, path, data, headers)
        assert answer.status < 300, answer
        return answer.json if answer.text else None


class PasswordServer(_VisitedServer):
    """One that lets in who knows the password."""

    def __init__(self, home: Path) -> None:
        hashed = passwd(PASSWORD, "sha256")
        super().__init__(home, arguments=(f"--PasswordIdentityProvider.hashed_password={hashed}",))


class OpenServer(_VisitedServer):
    """One that asks nobody for anything."""


def insider(server: JupyterServer, url: str | None = None) -> Visitor:
    """Somebody who has been let in: a program with the token, a browser after logging in."""
    visitor = Visitor(url or server.url, server.token or None)
    if isinstance(server, PasswordServer):
        visitor.log_in(PASSWORD)
    return visitor


def browser_of(server: JupyterServer, url: str | None = None) -> Visitor:
    """A browser that has been let in: it sends cookies, wherever the page comes from that asks."""
    visitor = Visitor(url or server.url)
    if isinstance(server, PasswordServer):
        visitor.log_in(PASSWORD)
    else:
        visitor.get(f"berrymq/?token={server.token}")
    return visitor


async def accepts(visitor: Visitor, **headers: str) -> None:
    """Check that a WebSocket to the hub can be opened."""
    async with visitor.connect(**headers) as socket:
        assert socket.protocol is not None


async def refuses(visitor: Visitor, **headers: str) -> None:
    """Check that the hub opens no WebSocket."""
    with pytest.raises(HTTPClientError) as refusal:
        await accepts(visitor, **headers)
    assert refusal.value.code == 403
