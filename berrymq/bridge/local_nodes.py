"""The nodes of this process: one for each bus and room, made on demand and closed when unused.

A node is in use while it has a link, listens, or is held by `node_in_use`. All functions may be called on any
thread; the lock of the `Runtime` makes each of them one step.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .discovery.naming import default_node_name
from .errors import LinkError
from .node.node import Node
from .runtime import runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berrymq.bus import Bus

__all__ = ["forget_unlinked", "node_in_use", "node_of"]


def node_of(bus: Bus, name: str | None, room: str | None) -> Node:
    """Return the node of a bus in a room, made on demand.

    All links of the bus share it, or its own messages would be delivered to it again.

    Args:
        bus: the bus.
        name: the name that others see; by default that of the notebook or script.
        room: only nodes in the same room reach each other.

    Raises:
        LinkError: it has another name already.
    """
    state = runtime()
    with state.lock:
        node = state.nodes.get((bus, room))
        if node is not None and name is not None and name != node.name:
            raise LinkError(f"this process is on the network already, as {node.name!r}")
        if node is None:
            for (its_bus, _), parents in state.inherited.items():
                if its_bus is bus:
                    parents.detach_from_bus()
            node = Node(state.loop, bus, name=name or default_node_name(), room=room)
            state.nodes[bus, room] = node
        return node


@contextmanager
def node_in_use(bus: Bus, name: str | None, room: str | None) -> Iterator[Node]:
    """Provide the node of a bus, which stays open during the block even if its last link closes.

    Args:
        bus: the bus.
        name: the name that others see; None for the default.
        room: its room.

    Raises:
        LinkError: it has another name already.
    """
    state = runtime()
    with state.lock:
        node = node_of(bus, name, room)
        state.making.append(node)
    try:
        yield node
    finally:
        with state.lock:
            state.making.remove(node)
        forget_unlinked(node)


def forget_unlinked(node: Node) -> None:
    """Close a node that has no links and does not listen; the next link makes another one."""
    state = runtime()
    with state.lock:
        holders = [*state.making, *(one.node for one in (*state.links, *state.listening))]
        is_used = any(one is node for one in holders) or node.peers
        if not is_used and state.nodes.get((node.bus, node.home.name)) is node:
            del state.nodes[node.bus, node.home.name]
            node.close()
