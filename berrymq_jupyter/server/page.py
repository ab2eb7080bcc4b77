"""The hub's page: ``GET <base_url>berrymq/``, its files, and its state.

The page polls ``state``, which has names and numbers but no payload, and ``newest`` for the newest payloads
of the identifiers that it shows, as short texts. Texts of other nodes are shown on it, so its policy forbids
every script and style but its own.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado.web import HTTPError, authenticated

from berrymq.bridge.transport.dialling import NETWORK_ERRORS

from .handlers import AUTH_RESOURCE, RpcHandler

if TYPE_CHECKING:
    from .state import HubState

__all__ = ["FileHandler", "HubHandler", "NewestHandler", "StateHandler"]

PACKAGE: Final = "berrymq_jupyter"
FILE_PATTERN: Final = r"static/hub\.(?:js|css)|server/web/berry\.svg"
"""The files of the page, below the package."""

KINDS: Final = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
"""The content type of each kind of file."""

ROWS: Final = re.compile(r"\d{1,15}(?:,\d{1,15}){0,199}", re.ASCII)
"""The numbers of identifiers in a request."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Only the server's own files may be loaded or requested, and no text can become markup or script."""


class HubHandler(RpcHandler):
    """``GET``: the page. ``POST``: calls, as below ``rpc``."""

    @property
    def content_security_policy(self) -> str:
        """The policy: ours first, since the first of each directive counts; then Jupyter's about frames."""
        return f"{POLICY}; {JupyterHandler.content_security_policy.fget(self)}"  # type: ignore[attr-defined]

    def get_login_url(self) -> str:
        """Return the login page, for a browser without authentication."""
        if self.request.method == "POST":
            return super().get_login_url()
        return JupyterHandler.get_login_url(self)

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """Send an error: to people as a page, to programs as JSON."""
        if self.request.method == "POST":
            super().write_error(status_code, **kwargs)
        else:
            JupyterHandler.write_error(self, status_code, **kwargs)

    @authenticated
    @authorized
    async def get(self) -> None:
        """Send the page."""
        path = self.request.path
        if not path.endswith("/"):  # the page's own addresses are relative
            self.redirect(path.rpartition("/")[2] + "/")
            return
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Referrer-Policy", "same-origin")
        await self.finish(source("server/web/hub.html"), set_content_type="text/html; charset=utf-8")


class FileHandler(JupyterHandler):
    """The scripts and styles of the page."""

    auth_resource = AUTH_RESOURCE

    @authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Send one of them."""
        try:
            content = source(path)
        except FileNotFoundError:
            raise HTTPError(404) from None
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Type", f"{KINDS[path.rpartition('.')[2]]}; charset=utf-8")
        await self.finish(content)


class StateHandler(APIHandler):
    """``GET``: the state that the page shows, as JSON."""

    auth_resource = AUTH_RESOURCE
    _track_activity = False  # an open page does not keep an idle server running

    def initialize(self, state: HubState) -> None:
        """Store the arguments of the route."""
        self.state = state

    @authenticated
    @authorized
    async def get(self) -> None:
        """Send the answer."""
        self.set_header("Cache-Control", "no-store")
        try:
            answer = await self.answer()
        except NETWORK_ERRORS as error:
            raise HTTPError(503, str(error), reason="the hub does not answer") from error
        await self.finish(answer)

    async def answer(self) -> bytes:
        """Return the present state."""
        return await self.state.answer()


class NewestHandler(StateHandler):
    """``GET ?rows=1,2,3``: the newest payload of each of these identifiers of the state, as JSON."""

    async def answer(self) -> bytes:
        """Return a text for each number."""
        asked = self.get_argument("rows", "")
        if not ROWS.fullmatch(asked):
            raise HTTPError(400, reason="rows are numbers, separated by commas")
        return await self.state.newest([int(row) for row in asked.split(",")])


def source(path: str) -> bytes:
    """Return a file of the package; the routes admit no other paths.

    Args:
        path: below the package, with slashes.

    Raises:
        FileNotFoundError: there is no such file: the pages were not built.
    """
    return files(PACKAGE).joinpath(path).read_bytes()
