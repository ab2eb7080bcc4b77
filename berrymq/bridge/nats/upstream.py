"""A hub on NATS: the nodes of one machine reach those of others through their hubs.

The hub joins each room on NATS that it has nodes in. What it receives there goes to its own nodes alone, so a
message passes each hub once and there is no loop.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from berrymq.bridge.errors import RpcError
from berrymq.bridge.protocol.jsonrpc import INVALID_REQUEST

from .mesh import FIRST_SECONDS, POLL_SECONDS, Mesh, check_platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.hub.router import Hub
    from berrymq.bridge.node.room import Room

    from .address import NatsAddress
    from .history import NatsHistory
    from .jobs import JobQueues

__all__ = ["Upstream"]

RETRY_SECONDS = 5.0
"""The wait after NATS could not be reached for the first time; after that the client reconnects by itself."""
READY_SECONDS = 2.0
"""How long the nodes of a room wait at most until what others follow and what is stored is known."""
TTL_SECONDS = 1000.0

_log = logging.getLogger("berrymq")


class Upstream:
    """The links of a hub to a NATS system, one for each room. Used on the I/O thread.

    Args:
        hub: whose nodes are to reach those of other hubs.
        address: the NATS system.

    Raises:
        LinkError: this operating system is not supported.
    """

    def __init__(self, hub: Hub, address: NatsAddress) -> None:
        check_platform()
        self._hub = hub
        self._address = address
        self.meshes: dict[str | None, Mesh] = {}
        """By room."""
        self._warned = False
        self._closed = False
        self._ready: set[str | None] = set()
        """The rooms of which it is known what is followed and stored elsewhere, or for which that takes too
        long."""
        hub.stored_history = self._history_of
        hub.groups.feeds = self._queues_of
        hub.upstream_status = self._status
        hub.is_ready = lambda peer: peer.role == "mesh" or peer.room.name in self._ready
        self._leaving: set[str | None] = set()
        """The rooms that are being left."""
        self._on_closed: Callable[[], object] = lambda: None

    def _status(self) -> dict[str, str]:
        """Return the server and, if a room is not linked to it, why, as the wire's ``status`` does."""
        problems = [mesh.problem for mesh in self.meshes.values()]
        return {"url": self._address.url, "problem": next(filter(None, problems), "")}

    def _history_of(self, room: Room) -> NatsHistory:
        """Return the history of a room, shared by all machines.

        Raises:
            RpcError: the hub has no nodes in it.
        """
        if room.name not in self.meshes:
            self.update()
        mesh = self.meshes.get(room.name)
        if mesh is None:
            raise RpcError(INVALID_REQUEST, "the history of a room on NATS needs a node that is linked in it")
        return mesh.history

    def update(self) -> None:
        """Join the rooms that have nodes, and leave those that have none any more."""
        if self._closed:
            return
        rooms = {peer.room.name for peer in self._hub.peers.values() if peer.role == "member"}
        rooms |= self._hub.groups.rooms()
        for room in rooms - self.meshes.keys() - self._leaving:
            self._join(room)
        for mesh in self.meshes.values():
            mesh.members_changed()
        for room in self.meshes.keys() - rooms:
            self._leave(room)

    def _queues_of(self, room: Room) -> JobQueues | None:
        """Return the shared queues of a room, shared by all machines; None once this is closed."""
        if self._closed:
            return None
        mesh = self.meshes.get(room.name) or self._join(room.name)
        return mesh.jobs

    def _join(self, room: str | None) -> Mesh:
        name = f"hub at {socket.gethostname()}"
        mesh = self.meshes[room] = Mesh(self._hub, self._address, room, name=name, ttl=TTL_SECONDS)
        mesh.jobs.groups = self._hub.groups
        self._hub.loop.call_later(READY_SECONDS, self._open_late, room, mesh)
        if room not in self._leaving:
            self._start(room, mesh)
        return mesh

    def _open_room(self, room: str | None) -> None:
        """Let the nodes in a room publish."""
        if room in self.meshes and room not in self._ready:
            self._ready.add(room)
            self._hub.announce_first()

    def _open_late(self, room: str | None, mesh: Mesh) -> None:
        if self.meshes.get(room) is mesh:
            self._open_room(room)

    def _open_when_settled(self, room: str | None, mesh: Mesh) -> None:
        """Open a room as soon as what is followed and stored on other machines is known.

        What its first node publishes before that would not be sent there.
        """
        if self.meshes.get(room) is mesh and room not in self._ready:
            if mesh.is_settled:
                self._open_room(room)
            else:
                self._hub.loop.call_later(POLL_SECONDS, self._open_when_settled, room, mesh)

    def _leave(self, room: str | None) -> None:
        self._ready.discard(room)
        self._leaving.add(room)
        self.meshes.pop(room).leave(lambda _: self._has_left(room))

    def _has_left(self, room: str | None) -> None:
        self._leaving.discard(room)
        if not self._closed:
            if room in self.meshes:
                self._start(room, self.meshes[room])
            self.update()  # a node may have joined it since
        elif not self._leaving:
            self._on_closed()

    def _start(self, room: str | None, mesh: Mesh) -> None:
        def started(error: Exception | None) -> None:
            if error is None:
                self._warned = False
                _log.info("linked to NATS at %s", self._address)
                self._hub.loop.call_later(FIRST_SECONDS, self._open_when_settled, room, mesh)
            elif not self._closed and self.meshes.get(room) is mesh:
                self._open_room(room)
                if not self._warned:
                    self._warned = True
                    _log.warning("%s; trying again every %g s", error, RETRY_SECONDS)
                self._hub.loop.call_later(RETRY_SECONDS, self._start, room, mesh)

        if not self._closed and self.meshes.get(room) is mesh:
            mesh.start(started)

    def close(self, done: Callable[[], object]) -> None:
        """Leave all rooms.

        Args:
            done: called once the last words have been published.
        """
        self._closed = True
        for room in list(self.meshes):
            self._leave(room)
        self._on_closed = done
        if not self._leaving:
            done()
