"""URLs as people have them: copied from a browser that shows Jupyter, or from what its server said first.

Such a URL names a page, may carry the server's token, and says nothing of the hub behind it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit, urlunsplit

from berrymq.bridge.errors import LinkError

from .connection_file import read_all
from .places import below, origin
from .running_servers import all_servers, answers
from .runtime_directory import runtime_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .running_servers import RunningServer

__all__ = ["hub_of_page", "hub_of_server", "without_token"]

_PAGES = frozenset(
    {
        "berrymq",
        "consoles",
        "doc",
        "edit",
        "lab",
        "login",
        "nbclassic",
        "notebooks",
        "terminals",
        "tree",
        "view",
    }
)
"""How the paths of Jupyter's pages go on after its base URL."""


def without_token(url: str) -> tuple[str, str | None]:
    """A URL without what follows its path, which is never sent or shown, and the token that was there.

    Raises:
        LinkError: there is a user name or password in it, which is not repeated.
    """
    bare = re.split(r"[?#;]", url, maxsplit=1)[0]
    if "@" in bare.rpartition("://")[2].lstrip("/").partition("/")[0]:
        raise LinkError("a URL takes no user name and password; give the access token as access_token=")
    try:
        tokens = parse_qs(urlsplit(url).query).get("token", [])
    except ValueError:
        tokens = []
    return bare, next(iter(tokens), None)


def hub_of_server(url: str, *, environ: Mapping[str, str] = os.environ) -> tuple[str, str | None] | None:
    """Where the hub of this user's Jupyter server at a URL is, and what lets us in; None without a server.

    Raises:
        LinkError: there is a server, but no hub in it.
    """
    server = _server_at(url, environ)
    if server is None:
        return None
    for info in read_all(runtime_directory(environ, create=False)):
        if info.kind == "jupyter" and info.pid == server.pid:
            return info.url, info.access_token
    hub = below(server.url)
    if answers(hub, server.token or None):
        return hub, server.token or None
    raise LinkError(
        f"the Jupyter server at {server.url} has no hub: "
        "install berrymq where Jupyter is installed, and start it again"
    )


def hub_of_page(url: str, token: str | None, shown: str | None) -> str | None:
    """Where the hub is behind a page of a Jupyter server; None if the URL is not of such a page.

    Args:
        url: of the page, without a token.
        token: what lets us into that server, where it was given.
        shown: the token that came with the URL, which is Jupyter's then, whatever its path.

    Raises:
        LinkError: it is of such a page, and nothing lets us in.
    """
    parts = urlsplit(url)
    segments = parts.path.split("/")
    page = next((place for place, segment in enumerate(segments) if segment in _PAGES), None)
    if page is None and shown is None:
        return None
    if not (token or shown):
        raise LinkError(
            f"{url} is of a Jupyter server that is not yours or not on this machine: "
            "give its token, with access_token= or as the ?token= of the URL"
        )
    return below(urlunsplit((parts.scheme, parts.netloc, "/".join(segments[:page]), "", "")))


def _server_at(url: str, environ: Mapping[str, str]) -> RunningServer | None:
    """The one below whose base URL it is; the longest, where servers share a port behind a proxy."""
    place, path = origin(url), urlsplit(url).path.rstrip("/") + "/"
    found = [
        server
        for server in all_servers(environ)
        if place is not None and origin(server.url) == place and path.startswith(urlsplit(server.url).path)
    ]
    return max(found, key=lambda server: len(server.url), default=None)
