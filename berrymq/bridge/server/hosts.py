"""Which Host and Origin headers a listener answers. Pure functions.

The defence against web pages that try to reach a node on their reader's machine. A page that reaches it by
a name of its own (DNS rebinding) has that name in Host; one that reaches it by the node's own name has its
own in Origin.

A check returns ``None`` when all is well, else the reason for the refusal: one sentence that repeats no
more than a short, printable piece of what the other side sent.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["HostPolicy", "check_host", "check_origin", "is_loopback", "is_wildcard", "split_host"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{0,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#@\\\s]+)", re.IGNORECASE)


def split_host(value: str) -> tuple[str, int | None] | None:
    """Host and port of ``host[:port]``; ``None`` when it is neither a name nor an address.

    The host comes in one spelling: lower case, no final dot, an address as Python writes it. An IPv6
    address stands in brackets in ``value`` and without them in the result; one that holds an IPv4 address
    becomes that.
    """
    match = _HOST.fullmatch(value) if len(value) <= 300 else None
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > 65535:
        return None
    if match["six"]:
        address = _address(match["six"])
        return (_spelled(address), port) if isinstance(address, ipaddress.IPv6Address) else None
    name = match["name"].lower().removesuffix(".")
    return (name, port) if name else None


def is_loopback(host: str) -> bool:
    """Whether this name or address (without a port; brackets are allowed) means this machine alone."""
    normal = _normal(host)
    address = _address(normal)
    return address.is_loopback if address else normal == "localhost"


def is_wildcard(host: str) -> bool:
    """Whether binding to this means to listen on every address of this machine."""
    address = _address(_normal(host))
    return address.is_unspecified if address else not host.strip()


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """What a listener allows. Loopback names and addresses are always among the hosts.

    Attributes:
        hosts: further allowed hosts, spelled like the results of :func:`split_host`.
        origins: allowed origins beside the listener's own, with scheme and port.
        any_address: whether every address is an allowed host, as on a listener bound to all of them. That
            is safe: rebinding takes a name.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    any_address: bool = False

    @classmethod
    def of(cls, bound: str = "localhost", hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> Self:
        """The policy of a listener bound to ``bound``, with what its user allowed beside that.

        Raises:
            ValueError: an origin is not written as browsers write it, ``https://host[:port]``.
        """
        everywhere = is_wildcard(bound)
        allowed = {_normal(host) for host in hosts}
        if not everywhere:
            allowed.add(_normal(bound))
        return cls(frozenset(allowed), frozenset(map(_known_origin, origins)), everywhere)

    def allows(self, host: str) -> bool:
        """Whether ``host``, as :func:`split_host` gives it, is one of ours."""
        if host in self.hosts or is_loopback(host):
            return True
        address = _address(host) if self.any_address else None
        return address is not None and not address.is_unspecified


def check_host(headers: Sequence[str], policy: HostPolicy) -> str | None:
    """Why a request with these Host headers (all that it has) is refused."""
    if len(headers) != 1:
        return "there is more than one Host header" if headers else "there is no Host header"
    parts = split_host(headers[0])
    if parts is None:
        return f"the Host header {_quoted(headers[0])} is malformed"
    if not policy.allows(parts[0]):
        return f"the host {_quoted(parts[0])} is not one of this server's; it can be allowed at its start"
    return None


def check_origin(headers: Sequence[str], hosts: Sequence[str], policy: HostPolicy) -> str | None:
    """Why a request with these Origin headers, and these Host headers beside them, is refused.

    Programs send no Origin; browsers do wherever it matters. Allowed are pages of the listener itself and
    of the origins that the policy names. A scheme alone makes no difference, since a proxy may have taken
    off the TLS.
    """
    if not headers:
        return None
    if len(headers) > 1:
        return "there is more than one Origin header"
    origin = _split_origin(headers[0])
    if origin is not None:
        scheme, host, port = origin
        own = split_host(hosts[0]) if len(hosts) == 1 else None
        if own and policy.allows(own[0]) and (host, port) == (own[0], own[1] or _DEFAULT_PORTS[scheme]):
            return None
        if _joined(*origin) in policy.origins:
            return None
    return (
        f"pages of {_quoted(headers[0])} may not talk to this server; an origin can be allowed at its start"
    )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _spelled(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _normal(host: str) -> str:
    """The one spelling of a host without port, in brackets or not."""
    bare = host.strip().removeprefix("[").removesuffix("]")
    address = _address(bare)
    return _spelled(address) if address else bare.lower().removesuffix(".")


def _split_origin(value: str) -> tuple[str, str, int] | None:
    match = _ORIGIN.fullmatch(value)
    parts = split_host(match[2]) if match else None
    if match is None or parts is None:
        return None
    scheme = match[1].lower()
    return scheme, parts[0], parts[1] or _DEFAULT_PORTS[scheme]


def _joined(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{host}:{port}"


def _known_origin(value: str) -> str:
    origin = _split_origin(value)
    if origin is None:
        raise ValueError(f"{value!r} is not an origin; write it like 'https://lab.example.org:8443', no path")
    return _joined(*origin)


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:76]}...{shown[0]}"
