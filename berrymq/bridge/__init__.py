"""Links between processes: nodes, hubs and the JSON-RPC 2.0 protocol between them.

``link()`` is what most programs need; it is handed on by `berrymq` itself.
"""

from .api import Link, close_links, flush, link, links
from .directory import NodeInfo
from .errors import BridgeError, LinkError, PayloadError, RpcError
from .historical import (
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
from .node import Node
from .payload import register_type
from .protocol.session import LinkStats
from .remote_queue import RemoteQueue

__all__ = [
    "BridgeError",
    "Link",
    "LinkError",
    "LinkStats",
    "Node",
    "NodeInfo",
    "OneWayLink",
    "PayloadError",
    "RemoteQueue",
    "RpcError",
    "close_connection",
    "close_links",
    "connect_oneway",
    "connect_via_queue",
    "flush",
    "get",
    "get_nowait",
    "init_connection",
    "interconnect",
    "link",
    "links",
    "register_type",
    "send_message",
]
