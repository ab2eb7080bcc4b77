"""Whether two URLs name the same place, and where the hub of a Jupyter server is."""

from __future__ import annotations

from urllib.parse import urlsplit

from berrymq.bridge.addresses import is_loopback

__all__ = ["below", "origin"]

_SCHEMES = {"ws": "http", "wss": "https"}
_PORTS = {"http": 80, "https": 443}


def below(server: str) -> str:
    """Where the hub of a Jupyter server is."""
    return server.rstrip("/") + "/berrymq/"


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port, the same for the same place: all names of this machine's loopback are one."""
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES.get(parts.scheme, parts.scheme)
        host, port = parts.hostname or "", parts.port or _PORTS.get(scheme)
    except ValueError:
        return None
    if not host or port is None:
        return None
    return scheme, "localhost" if is_loopback(host) else host.rstrip("."), port
