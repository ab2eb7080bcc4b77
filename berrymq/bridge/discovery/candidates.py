"""Where the hub is, when nobody says: the ways to find it, in the order in which they are tried.

1. what the caller or the environment says (a Jupyter server tells its kernels so);
2. the connection files of this user's hubs and Jupyter servers;
3. JupyterHub's variables;
4. Jupyter servers that run with this user's rights and have a hub.

Starting one, when there is none, is the business of ``hub/starting.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from berrymq.bridge.addresses import is_wildcard

from . import running_servers
from .connection_file import ConnectionInfo, read_all
from .pasted import hub_of_page, hub_of_server, without_token
from .places import below, origin
from .runtime_directory import runtime_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Found", "candidates", "find_hub", "token_for"]


@dataclass(frozen=True, slots=True)
class Found:
    """A place where a hub should be.

    Attributes:
        url: its address.
        access_token: what lets us in, where one is known. Not in the ``repr``.
        found_by: how it was found, in words: "connection file".
        info: the connection file that says so, if one does.
    """

    url: str
    access_token: str | None = field(repr=False)
    found_by: str
    info: ConnectionInfo | None = field(default=None, repr=False, compare=False)

    @property
    def may_be_there(self) -> bool:
        """Whether nothing says that it has ended. Another user's process may have its port by then."""
        return self.info is None or self.info.is_live


def find_hub(
    url: str | None = None,
    access_token: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    answers: Callable[[str, str | None], bool] | None = None,
) -> Found | None:
    """The first of the :func:`candidates`, with the same arguments; ``None`` when there is none."""
    return next(candidates(url, access_token, environ=environ, answers=answers), None)


def candidates(
    url: str | None = None,
    access_token: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    answers: Callable[[str, str | None], bool] | None = None,
) -> Iterator[Found]:
    """The places where a hub may be, the likeliest first; with ``url``, that one alone.

    Everything is looked up anew at each call, since a hub that was started again has another port. It reads
    small files, and as the last way of all it asks Jupyter servers over HTTP, which may take a second each.

    Args:
        url: where it is, if that is known.
        access_token: the access token for ``url``; looked up in the connection files when not given.
        environ: the environment.
        answers: tells whether a hub answers at a URL with that token; by an HTTP request when not given.

    Raises:
        RuntimeDirectoryError: the way led to the connection files, and others could have written there.
    """
    if url:
        yield from _given(url, access_token, "the given URL", environ)
        return
    seen: set[str] = set()
    for found in _known(environ):
        if found.url not in seen:
            seen.add(found.url)
            yield found
    for server in running_servers.running_servers(environ):
        hub = below(server.url)
        if hub not in seen and (answers or running_servers.answers)(hub, server.token or None):
            yield Found(hub, server.token or None, "a running Jupyter server")


def token_for(url: str, *, environ: Mapping[str, str] = os.environ) -> Found | None:
    """The node of this user that listens at ``url``, by its connection file.

    All names of this machine's loopback are the same place here. The result has the address that the node
    itself wrote, so that a token goes nowhere else; its path too, where ``url`` names only a beginning of
    it.
    """
    place = origin(url)
    for info in read_all(runtime_directory(environ, create=False)):
        if place is not None and origin(info.url) == place:
            theirs, given = urlsplit(info.url), urlsplit(url)
            path = theirs.path if theirs.path.startswith(given.path.rstrip("/")) else given.path
            address = urlunsplit((theirs.scheme, theirs.netloc, path, "", ""))
            return Found(address, info.access_token, "connection file", info)
    return None


def _known(environ: Mapping[str, str]) -> Iterator[Found]:
    """All that needs no asking."""
    if url := environ.get("BERRYMQ_HUB_URL"):
        yield from _given(url, environ.get("BERRYMQ_HUB_TOKEN"), "environment", environ)
    infos = read_all(runtime_directory(environ, create=False))
    for rank, phrase in ((_is_own_server, "this notebook's Jupyter server"), (_is_hub, "connection file")):
        yield from (Found(info.url, info.access_token, phrase, info) for info in infos if rank(info, environ))
    for info in infos:
        if info.kind == "jupyter":
            yield Found(info.url, info.access_token, "connection file of a Jupyter server", info)
    yield from _of_jupyterhub(environ)


def _given(url: str, token: str | None, found_by: str, environ: Mapping[str, str]) -> Iterator[Found]:
    url, shown = without_token(url)
    if origin(url) is None:  # who dials it says what is wrong
        yield Found(url, token or shown, found_by)
        return
    if not token:
        if (known := token_for(url, environ=environ)) is not None:
            yield Found(known.url, known.access_token, found_by, known.info)
            return
        if (hub := hub_of_server(url, environ=environ)) is not None:
            yield Found(*hub, found_by)
            return
    yield Found(hub_of_page(url, token, shown) or url, token or shown, found_by)


def _is_own_server(info: ConnectionInfo, environ: Mapping[str, str]) -> bool:
    """Whether it is the server that started this kernel."""
    return info.kind == "jupyter" and environ.get("JPY_PARENT_PID") == str(info.pid)


def _is_hub(info: ConnectionInfo, _: Mapping[str, str]) -> bool:
    return info.kind == "hub"


def _of_jupyterhub(environ: Mapping[str, str]) -> Iterator[Found]:
    """The single-user server that JupyterHub has started for this user."""
    service, token = environ.get("JUPYTERHUB_SERVICE_URL"), environ.get("JUPYTERHUB_API_TOKEN")
    if not service or not token:
        return
    try:
        parts = urlsplit(service)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return
    if is_wildcard(host):  # the address that the server was told to bind
        host = "127.0.0.1"
    netloc = f"[{host}]" if ":" in host else host
    path = environ.get("JUPYTERHUB_SERVICE_PREFIX") or parts.path
    address = urlunsplit((parts.scheme or "http", f"{netloc}:{port}" if port else netloc, path, "", ""))
    yield Found(below(address), token, "JupyterHub")
