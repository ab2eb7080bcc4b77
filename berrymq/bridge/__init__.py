"""Links between processes: nodes, hubs and the JSON-RPC 2.0 protocol between them.

``link()`` is what most programs need; it is handed on by `berrymq` itself.
"""

from .api import Link, close_links, link, links
from .directory import NodeInfo
from .errors import BridgeError, LinkError, PayloadError, RpcError
from .node import Node
from .payload import register_type
from .protocol.session import LinkStats

__all__ = [
    "BridgeError",
    "Link",
    "LinkError",
    "LinkStats",
    "Node",
    "NodeInfo",
    "PayloadError",
    "RpcError",
    "close_links",
    "link",
    "links",
    "register_type",
]
