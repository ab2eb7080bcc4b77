"""Checks of the Host and Origin headers of requests. Pure functions.

They protect a node from web pages that its user visits. A page that reaches it by a name of its own (DNS
rebinding) has that name in Host; one that reaches it by the node's own name has its own in Origin.

A check returns ``None`` for success, else the reason for the refusal: one sentence that repeats no more than
a short, printable piece of what the other side sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from berrymq.bridge.addresses import is_loopback, is_wildcard, normal, parse_address, split_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["HostPolicy", "check_host", "check_origin"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://([^/?#@\\\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """The hosts and origins that a listener allows. Loopback names and addresses are always among the hosts.

    Immutable; made by `of`.

    Attributes:
        hosts: further allowed hosts, spelled like the results of :func:`split_host`.
        origins: allowed origins beside the listener's own, with scheme and port.
        any_address: whether every address is an allowed host, as on a listener bound to all of them. That is
            safe: rebinding takes a name.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    any_address: bool = False

    @classmethod
    def of(cls, bound: str = "localhost", hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> Self:
        """Return the policy of a listener at ``bound``, with what its user allows beside that.

        Args:
            bound: the host that the listener is bound to.
            hosts: further host names.
            origins: origins of web pages that may connect.

        Raises:
            ValueError: an origin is not written as browsers write it, ``https://host[:port]``.
        """
        everywhere = is_wildcard(bound)
        allowed = {normal(host) for host in hosts}
        if not everywhere:
            allowed.add(normal(bound))
        return cls(frozenset(allowed), frozenset(map(_known_origin, origins)), everywhere)

    def allows(self, host: str) -> bool:
        """Return whether ``host``, as :func:`split_host` returns it, is allowed."""
        if host in self.hosts or is_loopback(host):
            return True
        address = parse_address(host) if self.any_address else None
        return address is not None and not address.is_unspecified


def check_host(headers: Sequence[str], policy: HostPolicy) -> str | None:
    """Check the Host header of a request (RFC 9110, 7.2).

    Args:
        headers: the values of all Host headers that it has.
        policy: the policy of the listener.

    Returns:
        Why the request is refused; None if it is allowed.
    """
    if len(headers) != 1:
        return "there is more than one Host header" if headers else "there is no Host header"
    parts = split_host(headers[0])
    if parts is None:
        return f"the Host header {_quoted(headers[0])} is malformed"
    if not policy.allows(parts[0]):
        return (
            f"the host {_quoted(parts[0])} is not one of this server's: use another of its names, or allow "
            "this one where it is started, with `berrymq hub --allow-host` or `init_connection(hosts=...)`"
        )
    return None


def check_origin(headers: Sequence[str], hosts: Sequence[str], policy: HostPolicy) -> str | None:
    """Check the Origin header of a request (RFC 6454).

    Programs send no Origin; browsers do wherever it matters. Allowed are pages of the listener itself and of
    the policy's origins. The scheme is not compared, since a proxy may have ended the TLS.

    Args:
        headers: the values of all Origin headers.
        hosts: those of all Host headers.
        policy: the policy of the listener.

    Returns:
        Why the request is refused; None if it is allowed.
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


def _split_origin(value: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin; None if it is malformed, or ``null``."""
    match = _ORIGIN.fullmatch(value)
    parts = split_host(match[2]) if match else None
    if match is None or parts is None:
        return None
    scheme = match[1].lower()
    return scheme, parts[0], parts[1] or _DEFAULT_PORTS[scheme]


def _joined(scheme: str, host: str, port: int) -> str:
    """Return an origin in the spelling in which a policy stores it."""
    return f"{scheme}://{host}:{port}"


def _known_origin(value: str) -> str:
    """Return an origin in one spelling, with its port; `ValueError` if it is none."""
    origin = _split_origin(value)
    if origin is None:
        raise ValueError(f"{value!r} is not an origin; write it like 'https://lab.example.org:8443', no path")
    return _joined(*origin)


def _quoted(text: str) -> str:
    """Return a text as a printable literal of at most 80 characters."""
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:76]}...{shown[0]}"
