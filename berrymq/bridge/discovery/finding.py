"""Where to link to: a given address with its access token, or the hub.

The hub is looked for in this order:

1. the environment: ``BERRYMQ_HUB_URL`` and ``BERRYMQ_HUB_TOKEN``;
2. the hub's connection file in the runtime directory;
3. JupyterHub's variables.

Starting a hub, where none of these leads to one, is left to ``starting.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from berrymq.bridge.errors import LinkError

from .connection_file import ConnectionInfo, read_hub, read_live
from .endpoint import Address, Endpoint, jupyter_candidates, token_in
from .runtime_directory import runtime_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Found", "find"]

URL_VARIABLE, TOKEN_VARIABLE = "BERRYMQ_HUB_URL", "BERRYMQ_HUB_TOKEN"


@dataclass(frozen=True, slots=True)
class Found:
    """Where a node should be.

    Attributes:
        endpoint: where it listens.
        access_token: what lets us in, where one is known. Not in the ``repr``.
        found_by: how it was found, in words for people: "connection file".
        info: the connection file that says so, if one does.
    """

    endpoint: Endpoint
    access_token: str | None = field(repr=False)
    found_by: str
    info: ConnectionInfo | None = field(default=None, repr=False, compare=False)


def find(
    url: Address | Endpoint | None = None,
    access_token: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Found]:
    """Find where the hub may be, the likeliest first; with ``url``, where that node may be.

    Everything is looked up anew at each call, since a hub that was restarted has another port. Only small
    files are read; whether anything answers there is for the caller to try. A result without an access token
    is of use with a Jupyter server that requires none; elsewhere it serves to tell whether anything listens.

    Args:
        url: where the node is, if that is known: a URL, ``(host, port)``, or the URL of a page of Jupyter.
        access_token: the access token for ``url``. Unless given, it is taken from the connection file of
            the live node there, else from the ``?token=`` of a page of Jupyter.
        environ: the environment.

    Raises:
        LinkError: ``url``, or the one in the environment, is not an address.
        RuntimeDirectoryError: the way led to the connection files, and others could have written there.
    """
    if url is not None:
        yield from _at(url, access_token, "the given URL", environ)
        return
    seen: set[tuple[Endpoint, str | None]] = set()
    for found in _hubs(environ):
        if (key := (found.endpoint, found.access_token)) not in seen:
            seen.add(key)
            yield found


def _hubs(environ: Mapping[str, str]) -> Iterator[Found]:
    if url := environ.get(URL_VARIABLE):
        token = environ.get(TOKEN_VARIABLE)
        try:
            is_loopback = Endpoint.parse(url).is_loopback
        except LinkError as error:
            raise LinkError(f"{URL_VARIABLE} in the environment: {error}") from None
        for found in _at(url, token, "environment", environ):
            # Without a live connection file, what listens on this machine is not the hub that was meant.
            if found.access_token or not is_loopback:
                yield found
    if (info := read_hub(runtime_directory(environ, create=False))) is not None:
        yield Found(info.endpoint, info.access_token, "connection file", info)
    yield from _of_jupyterhub(environ)


def _at(
    address: Address | Endpoint, token: str | None, found_by: str, environ: Mapping[str, str]
) -> Iterator[Found]:
    """The node at an address, or the hub behind a page of Jupyter that has this address."""
    endpoint = Endpoint.parse(address)
    if not token and (info := _published_at(endpoint, environ)) is not None:
        # The address that the node itself wrote: another program may listen at another name of loopback.
        yield Found(info.endpoint, info.access_token, found_by, info)
        return
    jupyter_token = token_in(address)
    if jupyter_token is None or endpoint.via_jupyter:
        yield Found(endpoint, token or jupyter_token, found_by)
    # Below Jupyter a token is sent as it is. So it is tried there only if the address is that of a page of
    # it: else a stranger at the port of a node that has ended would get its access token.
    if not endpoint.via_jupyter and (jupyter_token is not None or endpoint.path != "/" or not token):
        for candidate in jupyter_candidates(endpoint):
            yield Found(candidate, token or jupyter_token, found_by)


def _published_at(endpoint: Endpoint, environ: Mapping[str, str]) -> ConnectionInfo | None:
    """The live node of this user that listens there, preferably under the same host name and path."""
    infos = [
        info
        for info in read_live(runtime_directory(environ, create=False))
        if info.endpoint.same_server(endpoint)
    ]

    def distance(info: ConnectionInfo) -> tuple[bool, bool]:
        theirs = info.endpoint
        return theirs.host != endpoint.host, theirs.path != endpoint.path

    return min(infos, key=distance, default=None)


def _of_jupyterhub(environ: Mapping[str, str]) -> Iterator[Found]:
    """The hub behind the single-user server that JupyterHub has started for this user."""
    service, token = environ.get("JUPYTERHUB_SERVICE_URL"), environ.get("JUPYTERHUB_API_TOKEN")
    if not service or not token:
        return
    scheme, _, rest = service.partition("://")
    authority, slash, path = rest.partition("/")
    if authority.startswith(":"):  # the address that the server was told to bind, which may be empty
        authority = f"127.0.0.1{authority}"
    prefix = environ.get("JUPYTERHUB_SERVICE_PREFIX")
    try:
        endpoint = Endpoint.parse(f"{scheme}://{authority}{prefix or slash + path}")
    except LinkError:
        return  # set by JupyterHub for something else, such as a socket file
    yield Found(endpoint.below_jupyter(), token, "JupyterHub")
