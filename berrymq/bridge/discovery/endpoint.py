"""Endpoints: where a node listens, in normal form; parsed and compared here alone. Pure functions.

No error text repeats a user name, a password or a query, since people paste URLs with tokens in them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qs, quote, unquote_to_bytes

from berrymq.bridge.addresses import is_loopback, parse_address, split_host
from berrymq.bridge.errors import LinkError

__all__ = ["Address", "Endpoint", "jupyter_candidates", "token_in"]

Address = str | tuple[str, int]
"""An address as people write it: a URL, or ``(host, port)``."""

MAX_CANDIDATES = 8
"""The limit of base URLs that are guessed from the URL of a Jupyter page."""

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}
_MAX_CHARACTERS = 4096
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)([^?#]*)")
_AUTHORITY = re.compile(r"(?://)?([^/?#\\]*)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_METHODS = frozenset({"ws", "rpc", "JSON"})
_PATH_SAFE = "!$&'()*+,=:@~"
_SERVER_DIRECTORY = "berrymq"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_EXAMPLE = "write one like 'http://localhost:8137/' or 'wss://lab.example.org/berrymq/'"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Endpoint:
    """Where a node listens, in normal form; made by `parse`.

    Two are equal if they name the same listener: all names of loopback are one here, although each keeps its
    own for dialling. It contains no secret, so all of its texts may be shown.

    Attributes:
        secure: whether it uses TLS.
        host: a name in lower case, or an address as Python writes it, without brackets.
        port: from 1 to 65535.
        path: begins and ends with ``/``; the node serves everything below it.
    """

    secure: bool
    host: str
    port: int
    path: str = "/"

    @classmethod
    def parse(cls, address: Address | Self) -> Self:
        """Read a URL (http, https, ws, wss) or a pair of host and port.

        The query and the fragment are cut off, also what follows a ``;`` in the path; so is a last ``ws``,
        ``rpc`` or ``JSON``, with which the URL of a node's method ends. A host that means all addresses when
        listening is read as loopback.

        ::

            >>> Endpoint.parse("ws://LocalHost:8137/lab/ws").url
            'http://localhost:8137/lab/'
            >>> Endpoint.parse(("0.0.0.0", 8137)).url
            'http://127.0.0.1:8137/'

        Raises:
            LinkError: it is neither, or holds a user name or a password. The text repeats none of them.
        """
        if isinstance(address, cls):
            return address
        if isinstance(address, str):
            return cls._from_url(address.strip())
        if isinstance(address, tuple | list) and len(address) == 2:
            return cls._from_pair(*address)
        raise LinkError(f"an address is a URL or a pair (host, port), not {type(address).__name__}")

    @classmethod
    def _from_pair(cls, host: object, port: object) -> Self:
        """Read a host, with or without brackets, and a port."""
        if not isinstance(port, int) or isinstance(port, bool):
            raise LinkError("the port of an address is a number from 1 to 65535")
        if not isinstance(host, str):
            raise LinkError("the host of an address is a name or an address, such as 'localhost'")
        if "@" in host:
            raise LinkError(_NO_CREDENTIALS)
        bare = host.strip().removeprefix("[").removesuffix("]")
        parsed = _split_authority(f"[{bare}]" if ":" in bare else bare)
        if parsed is None or parsed[1] is not None:
            raise LinkError(
                "the host of an address is a name or an address alone, such as 'localhost' or '::1'; "
                "a scheme or a path makes it a URL, which is written as one text"
            )
        return cls(False, _checked_host(parsed[0]), _checked_port(port))

    @classmethod
    def _from_url(cls, text: str) -> Self:
        """Read a URL; without a port it is that of its scheme."""
        match = _URL.match(text)
        if "@" in (match[2] if match else _authority(text)):
            raise LinkError(_NO_CREDENTIALS)
        if len(text) > _MAX_CHARACTERS or not text.isprintable():
            raise LinkError(
                f"a URL has no line ends or control characters, and at most {_MAX_CHARACTERS} characters"
            )
        if match is None:
            raise LinkError(_without_scheme(text))
        secure = _SECURE.get(match[1].lower())
        if secure is None:
            raise LinkError(f"the URL of a node begins with http, https, ws or wss; {_EXAMPLE}")
        parsed = _split_authority(match[2])
        if parsed is None:
            raise LinkError(
                "the URL has no host and port that could be read; "
                f"an IPv6 address stands in brackets, a port is at most 65535; {_EXAMPLE}"
            )
        host, port = parsed
        port = _checked_port(port) if port is not None else (443 if secure else 80)
        return cls(secure, _checked_host(host), port, _normal_path(match[3]))

    @property
    def url(self) -> str:
        """The URL, with http or https; it ends with ``/``."""
        return f"{'https' if self.secure else 'http'}://{self.host_header}{self.path}"

    @property
    def host_header(self) -> str:
        """The value of the Host header: ``host:port``, without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def ws_path(self) -> str:
        """The path of the WebSocket."""
        return f"{self.path}ws"

    @property
    def rpc_path(self) -> str:
        """The path for single calls by POST."""
        return f"{self.path}rpc"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no other machine can listen."""
        return is_loopback(self.host)

    @property
    def via_jupyter(self) -> bool:
        """Whether it is behind a Jupyter server, which requires its own token first."""
        return self.path.endswith(f"/{_SERVER_DIRECTORY}/")

    def below_jupyter(self) -> Self:
        """Return the hub's endpoint, if this one is the base URL of a Jupyter server."""
        return replace(self, path=f"{self.path}{_SERVER_DIRECTORY}/")

    def same_server(self, other: Endpoint) -> bool:
        """Return whether both are at the same host and port, whatever their paths."""
        return self._key[:3] == other._key[:3]

    @property
    def _key(self) -> tuple[bool, str, int, str]:
        """What is compared: all names of loopback are one."""
        return self.secure, "localhost" if self.is_loopback else self.host, self.port, self.path

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Endpoint) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


def token_in(address: Address | Endpoint) -> str | None:
    """Return the ``?token=`` of a URL, as Jupyter prints it when it starts; None without one.

    It is Jupyter's own token, and never the access token of a node.

    Args:
        address: of any kind; only a URL has a token.
    """
    if not isinstance(address, str) or len(address) > _MAX_CHARACTERS:
        return None
    query = address.partition("#")[0].partition("?")[2]
    return next(iter(parse_qs(query).get("token", [])), None)


def jupyter_candidates(endpoint: Endpoint) -> list[Endpoint]:
    """Return where the hub may be behind a page of a Jupyter server: below each prefix of its path.

    The longest one is first, and only the `MAX_CANDIDATES` shortest ones are returned: the URL does not show
    where the base URL ends and the page begins, but base URLs are short.
    """
    segments = endpoint.path.strip("/").split("/") if endpoint.path != "/" else []
    if endpoint.via_jupyter:
        del segments[-1]
    longest = min(len(segments), MAX_CANDIDATES - 1)
    bases = ["".join(f"/{segment}" for segment in segments[:count]) for count in range(longest, -1, -1)]
    return [replace(endpoint, path=f"{base}/").below_jupyter() for base in bases]


_NO_CREDENTIALS = "an address takes no user name and password; give the access token as access_token="


def _authority(text: str) -> str:
    """Return the part of a URL, or of a text without a scheme, that names host and port."""
    match = _AUTHORITY.match(text)
    return match[1] if match else ""


def _without_scheme(text: str) -> str:
    """Return the error text for a URL without a scheme, with the right one where it is certain."""
    # Only a certain host with a port is repeated: not an access token that was passed as the URL.
    parsed = split_host(_authority(text)) if "://" not in text else None
    if parsed is None or parsed[1] is None:
        return f"the URL of a node begins with http://, https://, ws:// or wss://; {_EXAMPLE}"
    host, port = parsed
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{shown} has no scheme; write 'http://{shown}/', or 'https://{shown}/' where TLS is spoken"


def _split_authority(text: str) -> tuple[str, int | None] | None:
    """Return host and port, the host in one spelling; None if they are malformed."""
    if not text.isascii():
        name, colon, port = text.partition(":")
        try:
            text = name.encode("idna").decode("ascii") + colon + port
        except UnicodeError:
            return None
    return split_host(text)


def _checked_host(host: str) -> str:
    """Return a host, with a wildcard address replaced by loopback.

    Raises:
        LinkError: it ends with a number, but is no address in four parts.
    """
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and parse_address(host) is None:
        # The system would read 127.1 or 0x7f000001 as an address, which no comparison here recognises.
        raise LinkError("a host that ends with a number is an IPv4 address: four numbers, such as 127.0.0.1")
    return _WILDCARDS.get(host, host)


def _checked_port(port: int) -> int:
    """Return a port.

    Raises:
        LinkError: it is not from 1 to 65535.
    """
    if not 0 < port <= 65535:
        raise LinkError(
            "a node listens at a port from 1 to 65535; 0 only lets the system choose one for who listens"
        )
    return port


def _normal_path(text: str) -> str:
    """Return the path with dots resolved, each segment escaped in the same way, ``/`` at its end."""
    bare = text.partition(";")[0].replace("\\", "/")
    if bare.rpartition("/")[2] in _METHODS:
        bare = bare.rpartition("/")[0]
    segments: list[bytes] = []
    for raw in bare.split("/"):
        segment = unquote_to_bytes(raw)
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    return "/".join(["", *(quote(segment, safe=_PATH_SAFE) for segment in segments), ""])
