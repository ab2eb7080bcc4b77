"""Links between processes: nodes, hubs and the JSON-RPC 2.0 protocol between them.

``link()`` is what most programs need; `berrymq` itself exports it. Each name is imported at its first use, so
that programs without links do not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Link, close_links, flush, link, links
    from .errors import BridgeError, LinkError, PayloadError, RemoteError, RpcError
    from .historical import (
        ListeningNode,
        OneWayLink,
        close_connection,
        connect_oneway,
        connect_via_queue,
        get,
        get_nowait,
        init_connection,
        interconnect,
        send_message,
    )
    from .keeping import alatest, keep, latest
    from .node.status import NodeInfo
    from .payload import Opaque, register_type
    from .protocol.limits import LinkStats
    from .remote_queue import RemoteQueue
    from .sharing import NotSharedError, ShareInfo, share, shares, take, unshare

__all__ = [
    "BridgeError",
    "Link",
    "LinkError",
    "LinkStats",
    "ListeningNode",
    "NodeInfo",
    "NotSharedError",
    "OneWayLink",
    "Opaque",
    "PayloadError",
    "RemoteError",
    "RemoteQueue",
    "RpcError",
    "ShareInfo",
    "alatest",
    "close_connection",
    "close_links",
    "connect_oneway",
    "connect_via_queue",
    "flush",
    "get",
    "get_nowait",
    "init_connection",
    "interconnect",
    "keep",
    "latest",
    "link",
    "links",
    "register_type",
    "send_message",
    "share",
    "shares",
    "take",
    "unshare",
]

_HOMES = {
    "api": ("Link", "close_links", "flush", "link", "links"),
    "errors": ("BridgeError", "LinkError", "PayloadError", "RemoteError", "RpcError"),
    "historical": (
        "ListeningNode",
        "OneWayLink",
        "close_connection",
        "connect_oneway",
        "connect_via_queue",
        "get",
        "get_nowait",
        "init_connection",
        "interconnect",
        "send_message",
    ),
    "keeping": ("alatest", "keep", "latest"),
    "node.status": ("NodeInfo",),
    "payload": ("Opaque", "register_type"),
    "protocol.limits": ("LinkStats",),
    "remote_queue": ("RemoteQueue",),
    "sharing": ("NotSharedError", "ShareInfo", "share", "shares", "take", "unshare"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
