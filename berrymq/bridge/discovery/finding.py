"""Finding a node: the endpoint and the access token for an address, or those of the hub.

The hub is searched in this order:

1. the environment: ``BERRYMQ_HUB_URL`` and ``BERRYMQ_HUB_TOKEN``;
2. the hub's connection file in the runtime directory;
3. JupyterHub's variables.

``starting.py`` starts a hub if none of these answers.
"""

from __future__ import annotations

import logging
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

_log = logging.getLogger("berrymq")


@dataclass(frozen=True, slots=True)
class Found:
    """Where a node may be.

    Attributes:
        endpoint: where it listens.
        access_token: its secret, if it is known. Not in the ``repr``.
        found_by: how it was found, in words for people: "connection file".
        info: its connection file, if it has one.
    """

    endpoint: Endpoint
    access_token: str | None = field(repr=False)
    found_by: str
    info: ConnectionInfo | None = field(default=None, repr=False, compare=False)

    @property
    def no_answer(self) -> str:
        """A sentence for people that the node did not answer in time, with advice."""
        if self.info is not None:
            return self.info.no_answer
        return f"{self.endpoint.url} did not answer in time; is it overloaded or stopped?"


def find(
    url: Address | Endpoint | None = None,
    access_token: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Found]:
    """Yield where the hub may be, the likeliest first; with ``url``, where that node may be.

    Everything is read again at each call, since a hub that was restarted has another port. Only small files
    are read; the caller tries whether anything answers there. A result without an access token is of use with
    a Jupyter server that requires none; elsewhere it serves to find out whether anything listens.

    Args:
        url: the node's address, if that is known: a URL, ``(host, port)``, or the URL of a Jupyter page.
        access_token: the access token for ``url``. By default it is read from the connection file of the live
            node there, or from the ``?token=`` of a Jupyter page.
        environ: the environment.

    Yields:
        Each candidate once; the caller stops at the first that answers.

    Raises:
        LinkError: ``url``, or the one in the environment, is no address.
        RuntimeDirectoryError: others could have written the connection files.
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
    """Yield where the hub may be, the likeliest first, perhaps the same one several times.

    Raises:
        LinkError: the URL in the environment is none.
        RuntimeDirectoryError: others could have written the connection files.
    """
    if url := environ.get(URL_VARIABLE):
        token = environ.get(TOKEN_VARIABLE)
        try:
            is_loopback = Endpoint.parse(url).is_loopback
        except LinkError as error:
            raise LinkError(f"{URL_VARIABLE} in the environment: {error}") from None
        for found in _at(url, token, "environment", environ):
            # Without a live connection file, a listener on this machine is not the hub that was meant.
            if found.access_token or not is_loopback:
                yield found
            else:
                text = "%s is ignored: no node of yours listens at %s"
                _log.info(text, URL_VARIABLE, found.endpoint.url)
    if (info := read_hub(runtime_directory(environ, create=False))) is not None:
        yield Found(info.endpoint, info.access_token, "connection file", info)
    yield from _of_jupyterhub(environ)


def _at(
    address: Address | Endpoint, token: str | None, found_by: str, environ: Mapping[str, str]
) -> Iterator[Found]:
    """Yield the node at an address, or the hub behind a Jupyter page with this address.

    Args:
        address: as it was given.
        token: the access token, if it was given.
        found_by: where the address comes from, in words for people.
        environ: the environment.
    """
    endpoint = Endpoint.parse(address)
    if not token and (info := _published_at(endpoint, environ)) is not None:
        # The address that the node itself published: another program may listen at another name of loopback.
        yield Found(info.endpoint, info.access_token, found_by, info)
        return
    jupyter_token = token_in(address)
    if jupyter_token is None or endpoint.via_jupyter:
        yield Found(endpoint, token or jupyter_token, found_by)
    # To Jupyter a token is sent as it is. So that is tried only if the address is that of a Jupyter page:
    # otherwise a program at the port of a node that has ended would get its access token.
    if not endpoint.via_jupyter and (jupyter_token is not None or endpoint.path != "/" or not token):
        for candidate in jupyter_candidates(endpoint):
            yield Found(candidate, token or jupyter_token, found_by)


def _published_at(endpoint: Endpoint, environ: Mapping[str, str]) -> ConnectionInfo | None:
    """Return the live node of this user that listens there, preferably under the same host name and path."""
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
    """Yield the hub behind the single-user server that JupyterHub has started for this user."""
    service, token = environ.get("JUPYTERHUB_SERVICE_URL"), environ.get("JUPYTERHUB_API_TOKEN")
    if not service or not token:
        return
    scheme, _, rest = service.partition("://")
    authority, slash, path = rest.partition("/")
    if authority.startswith(":"):  # the address that the server is configured to bind, which may be empty
        authority = f"127.0.0.1{authority}"
    prefix = environ.get("JUPYTERHUB_SERVICE_PREFIX")
    try:
        endpoint = Endpoint.parse(f"{scheme}://{authority}{prefix or slash + path}")
    except LinkError:
        return  # set by JupyterHub for something else, such as a socket file
    yield Found(endpoint.below_jupyter(), token, "JupyterHub")
