"""NATS addresses: the servers and credentials of a ``nats://`` URL.

The credentials are in no text that is shown: that is `url` alone.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from berrymq.bridge.addresses import split_host
from berrymq.bridge.discovery.endpoint import Address, Endpoint
from berrymq.bridge.errors import LinkError
from berrymq.printable import printable

__all__ = ["DEFAULT_PORT", "NatsAddress", "is_nats", "parse_link_address"]

DEFAULT_PORT = 4222

MAX_CREDENTIALS_BYTES = 1024 * 1024

_SEED = re.compile(rb"SU[A-Z2-7]{56}")
_SCHEME = re.compile(r"\s*(nats|tls)://", re.IGNORECASE)
_HALF_SCHEME = re.compile(r"\s*(nats|tls)[:/]", re.IGNORECASE)
_EXAMPLE = "write one like 'nats://lab.example.org' or 'nats://a:4222,b:4222?creds=/path/to/user.creds'"


def is_nats(address: object) -> bool:
    """Return whether an address is the URL of a NATS server."""
    return isinstance(address, str) and _SCHEME.match(address) is not None


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """The servers of one NATS system, and the credentials of this process.

    Attributes:
        secure: whether TLS is required; a server may require it all the same.
        hosts: host and port of each server that is named; nats-py learns of the others in its cluster.
        user: name or token; empty without.
        password: empty without, and for a token.
        credentials: a file with a JWT and its key, as ``nsc`` writes it, or with the seed of an nkey; empty
            without.
    """

    secure: bool
    hosts: tuple[tuple[str, int], ...]
    user: str = field(default="", repr=False, compare=False)
    password: str = field(default="", repr=False, compare=False)
    credentials: str = field(default="", repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL: ``nats://[user:password@|token@]host[:port][,host[:port] …][?creds=FILE]``, or ``tls://``.

        Raises:
            LinkError: it is malformed. The text of the error holds no secret.
        """
        match = _SCHEME.match(text)
        if match is None or not text.isprintable():
            raise LinkError(f"the URL of a NATS server begins with nats:// or tls://; {_EXAMPLE}")
        rest, _, query = text.strip()[match.end() - match.start() :].partition("?")
        rest = rest.rstrip("/")
        login, _, hosts = rest.rpartition("@")
        if "/" in hosts:
            raise LinkError(f"the URL of a NATS server has no path; {_EXAMPLE}")
        user, _, password = login.partition(":")
        options = parse_qs(query)
        credentials = options.pop("creds", [""])[0]
        if options:
            raise LinkError(f"the URL of a NATS server takes the option 'creds' alone; {_EXAMPLE}")
        return cls(
            match[1].lower() == "tls",
            tuple(_parse_host(one) for one in hosts.split(",")),
            unquote(user),
            unquote(password),
            credentials,
        )

    @property
    def url(self) -> str:
        """The URL without credentials, which may be shown."""
        hosts = ",".join([_shown(host, port) for host, port in self.hosts])
        return f"{'tls' if self.secure else 'nats'}://{hosts}"

    @property
    def servers(self) -> list[str]:
        """The URL of each server, for nats-py; without credentials, which go beside them."""
        scheme = "tls" if self.secure else "nats"
        return [f"{scheme}://{_shown(host, port)}" for host, port in self.hosts]

    def login(self) -> dict[str, Any]:
        """Return nats-py's options for authentication, which hold secrets.

        Raises:
            LinkError: the file with the credentials can't be used.
        """
        if self.credentials:
            return _read_credentials(Path(self.credentials))
        if self.password:
            return {"user": self.user, "password": self.password}
        return {"token": self.user} if self.user else {}

    def __str__(self) -> str:
        return self.url


def parse_link_address(address: Address | Endpoint) -> Endpoint | NatsAddress:
    """Read the address of a link: a URL of a node or of NATS, or ``(host, port)``.

    Raises:
        LinkError: it is none.
    """
    if isinstance(address, str) and is_nats(address):
        return NatsAddress.parse(address)
    if isinstance(address, str) and _HALF_SCHEME.match(address):
        raise LinkError(f"the URL of a NATS server begins with nats:// or tls://; {_EXAMPLE}")
    return Endpoint.parse(address)


def _read_credentials(path: Path) -> dict[str, Any]:
    """Check the contents of a file, and return its options: nats-py would read one without a JWT for ever."""
    shown = printable(str(path))
    if importlib.util.find_spec("nkeys") is None:
        raise LinkError("NATS credentials need a package that is not installed: pip install nkeys")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CREDENTIALS_BYTES)
    except OSError as error:
        raise LinkError(f"the NATS credentials {shown} can't be read: {error.strerror or error}") from None
    if b"BEGIN NATS USER JWT" in content and b"BEGIN USER NKEY SEED" in content:
        return {"user_credentials": str(path)}
    if _SEED.fullmatch(content.strip()):
        return {"nkeys_seed": str(path)}
    raise LinkError(f"the file {shown} holds no NATS credentials: neither a JWT with its key nor a seed")


def _parse_host(text: str) -> tuple[str, int]:
    parsed = split_host(text.strip()) if text.isascii() else None
    if parsed is None or not parsed[0]:
        raise LinkError(f"the URL of a NATS server has no readable host; {_EXAMPLE}")
    host, port = parsed
    port = DEFAULT_PORT if port is None else port
    if not 0 < port <= 65535:
        raise LinkError("the port of a NATS server is a number from 1 to 65535")
    return host, port


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
