"""The shared queues of a node on NATS without a hub: it is both the hub of its groups and their only member.

The frames of shared queues (``protocol/group_frames.py``) pass between the two halves on the loop, in order,
and through no stream; buffers are handed over as they are.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from berrymq.bridge.jobs.groups import Groups
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.frames import NUMBERED
from berrymq.bridge.protocol.group_frames import GroupParams, MemoryFrame, PutParams
from berrymq.bridge.protocol.json_checks import MALFORMED, FrameError
from berrymq.bridge.protocol.limits import Limits
from berrymq.bridge.protocol.offers import Offers
from berrymq.bridge.protocol.reliable_stream import HoldingBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.node.node import Node
    from berrymq.identifiers import Identifier

    from .mesh import Mesh

__all__ = ["OwnQueues"]


class _Offers(Offers):
    """Buffers that are read where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.pulls = True

    def add(self, memory: Any) -> int:  # noqa: ARG002 - the frame itself has it
        return 1


class _Stream:
    """Passes frames to the other half, with the interface of a `Stream`."""

    capacity = 1 << 30
    held_bytes = 0
    unreported_drops = 0

    def __init__(self, send: Callable[[bytes, bytes], object]) -> None:
        self.limits = Limits()
        self.offers = _Offers()
        self._send = send

    def send(self, method: bytes, body: bytes, **_: Any) -> None:
        """Pass a frame on."""
        self._send(method, body)


class _Pulls:
    """No buffers are pulled from the other half, so no frame is held back."""

    def holds(self, _: Any) -> bool:
        """Return whether a frame has to be held back."""
        return False


class _Half:
    """One half as the other one sees it, with the interface of a `Peer`."""

    connected = True
    channel = None
    pulls = _Pulls()

    def __init__(
        self, node: Node, role: Literal["hub", "member"], send: Callable[[bytes, bytes], object]
    ) -> None:
        self.id = node.id
        self.name = node.name
        self.room = node.home
        self.role = role
        self.stream = _Stream(send)
        self.shared_queues: set[Identifier] = set()
        self.pinned: set[Identifier] = set()

    def pin(self, identifiers: set[Identifier]) -> None:
        """Do nothing: messages for groups are sent to NATS in any case."""


class OwnQueues:
    """The shared queues of a node on NATS.

    Args:
        node: the node.
        mesh: its link.
    """

    def __init__(self, node: Node, mesh: Mesh) -> None:
        self._node = node
        self._groups = Groups(node)
        self._groups.feeds = lambda _: mesh.jobs
        mesh.jobs.groups = self._groups
        self._hub: Any = _Half(node, "hub", self._to_groups)
        self._member: Any = _Half(node, "member", self._to_node)
        self._frames: deque[tuple[bool, bytes, bytes]] = deque()
        """Whether it is for the groups, method and body."""
        self._is_scheduled = False

    def open(self, deadline: float) -> None:
        """Share the existing queues, and wait until their groups are open, but not past *deadline*."""
        node = self._node
        with node.lock:
            node.shared.link_is_up(self._hub, resumed=False)
        if node.shared.peer is self._hub:
            for store in node.shared.stores.stores():
                joined = getattr(store.membership, "joined", None)
                if joined is not None:
                    joined.wait(max(0.0, deadline - monotonic()))

    def close(self) -> None:
        """Return untaken jobs; afterwards the queues collect in this process again. On any thread."""
        node = self._node
        if node.shared.peer is self._hub:
            node.shared.leave()
            node.shared.link_has_ended()
        node.loop.call(self._end)

    def _end(self) -> None:
        self._pass_on()
        with self._node.lock:
            self._groups.remove_peer(self._member)

    # -- frames ----------------------------------------------------------------------------------------------

    def _to_groups(self, method: bytes, body: bytes) -> None:
        self._add(True, method, body)

    def _to_node(self, method: bytes, body: bytes) -> None:
        self._add(False, method, body)

    def _add(self, is_for_groups: bool, method: bytes, body: bytes) -> None:
        """Add a frame. The node's lock is held."""
        self._frames.append((is_for_groups, method, body))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._node.loop.call(self._pass_on)

    def _pass_on(self) -> None:
        node = self._node
        with node.lock:
            self._is_scheduled = False
            while self._frames:
                is_for_groups, method, body = self._frames.popleft()
                try:
                    params = _decode(method, body)
                    if not is_for_groups:
                        node.shared.handle(self._hub, params)
                    elif isinstance(params, PutParams):
                        if (put := self._groups.read_put(self._member, params)) is not None:
                            put.accept()
                    else:
                        self._groups.handle(self._member, params)
                except FrameError as error:
                    peers_log.warning("jobs of this process can't be read: %s", error)
        node._deliver()


def _decode(method: bytes, body: bytes) -> Any:
    """Read a frame, with its buffers as they are.

    Raises:
        FrameError: it is malformed.
    """
    try:
        params: Any = NUMBERED[method.decode()].decode(b'{"n":1,"ack":0,%b}' % body)
    except MALFORMED as error:
        raise FrameError(str(error)) from None
    if isinstance(body, HoldingBody):
        if isinstance(params, MemoryFrame):
            params.memory = body.memories[0]  # type: ignore[assignment]
        elif isinstance(params, GroupParams):
            memories = iter(body.memories)
            for buffers in params.buffers:
                if buffers is not None:
                    buffers.memory = next(memories)  # type: ignore[assignment]
    return params
