"""Host names and addresses in one spelling. Pure functions.

Endpoints (``discovery/endpoint.py``) and the checks of Host and Origin (``server/host_and_origin.py``)
compare what is spelled here, so that one host has one text, and no spelling slips past a check. No name is
resolved.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["is_loopback", "is_wildcard", "normal", "parse_address", "split_host"]

_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{0,5}))?")


def split_host(value: str) -> tuple[str, int | None] | None:
    """Return host and port of ``host[:port]``.

    The host is returned in one spelling: lower case, no final dot, an address as Python writes it. An IPv6
    address has brackets in ``value`` and none in the result; one that maps an IPv4 address becomes that.

    Args:
        value: as in a URL or a Host header.

    Returns:
        The host, and the port or None; None if the host is neither a name nor an address, or the port is
        above 65535.
    """
    match = _HOST.fullmatch(value) if len(value) <= 300 else None
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > 65535:
        return None
    if match["six"]:
        address = parse_address(match["six"])
        return (_spelled(address), port) if isinstance(address, ipaddress.IPv6Address) else None
    name = match["name"].lower().removesuffix(".")
    return (name, port) if name else None


def is_loopback(host: str) -> bool:
    """Return whether this name or address (without a port; brackets are allowed) is a loopback one."""
    bare = normal(host)
    address = parse_address(bare)
    return address.is_loopback if address else bare == "localhost"


def is_wildcard(host: str) -> bool:
    """Return whether to bind to this means to listen on every address of this machine."""
    address = parse_address(normal(host))
    return address.is_unspecified if address else not host.strip()


def parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a text as an address; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _spelled(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return an address as Python writes it; one that maps an IPv4 address (RFC 4291, 2.5.5.2) as that."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def normal(host: str) -> str:
    """Return the one spelling of a host without port, in brackets or not."""
    bare = host.strip().removeprefix("[").removesuffix("]")
    address = parse_address(bare)
    return _spelled(address) if address else bare.lower().removesuffix(".")
