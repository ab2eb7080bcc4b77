"""The connection of two nodes over NATS, with the interface of a `transport.Channel`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.events import CloseCode, Piece, Text
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import MAX_TEXT_BYTES
from berrymq.bridge.protocol.offers import PIECE_HEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq.bridge.protocol.events import Event
    from berrymq.bridge.protocol.frames import Frame

    from .mesh import Mesh, Remote

__all__ = ["MeshChannel"]

MAX_HELD = 10_000
"""The limit of parts that are held because an earlier one is missing; more than that counts as a loss."""
MOST_KEPT_BYTES = 256 * 1024
"""The bytes that may be held for one node even when memory is short."""
MAX_HELD_BYTES = 16 * 1024 * 1024
"""The limit of `MAX_HELD` in bytes: twice what the other side may have in flight."""


class MeshChannel:
    """One epoch of the stream to another node. `send_texts` and `close` may be called on any thread.

    Args:
        mesh: publishes for it.
        remote: the other node.
        epoch: names the connection, at both ends.
    """

    def __init__(self, mesh: Mesh, remote: Remote, epoch: str) -> None:
        self.remote = remote
        self.epoch = epoch
        self.closed = False
        self.published = 0
        """The number of parts that were published for the other side."""
        self.arrived = 0
        """The number of its parts that have been handled."""
        self.received_at = self.written_at = mesh.loop.time()
        self.on_event: Callable[[Event], object] = lambda _: None
        self._mesh = mesh
        self._held: dict[int, tuple[bytes, bool, bool]] = {}
        self._parts: list[bytes] = []
        self._parts_bytes = self._held_bytes = 0
        self._lock = threading.Lock()
        """Guards the account and `closed`."""
        self._account = mesh.router.budget.open(self._shed)

    # -- writing ---------------------------------------------------------------------------------------------

    def send_texts(self, texts: Iterable[Frame]) -> None:
        """Send frames; on any thread."""
        for text in texts:
            self._mesh.publisher.post(self, text if isinstance(text, bytes) else b"".join(text))

    def send_text(self, text: bytes) -> None:
        """Send one frame; on any thread."""
        self._mesh.publisher.post(self, text)

    def take_pieces(self) -> None:
        """Do nothing: binary messages are reported as `Piece` events in any case."""

    def send_piece(self, head: bytes, data: bytes) -> None:
        """Send one binary message, in two parts; on any thread."""
        self._mesh.publisher.post(self, head + data, is_binary=True)

    def when_written(self, send: Callable[[], object]) -> None:
        """Call a function that sends something, at once: the mesh has no buffer for this connection."""
        send()

    def ping(self) -> None:
        """Have the other side answer."""
        self._mesh.ping(self)

    def act(self, action: Callable[[Any], object]) -> None:
        """Call a function with this channel, which takes the place of a connection's protocol."""
        action(self)

    def close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """End the connection, and notify the other side; on any thread."""
        if self.end():
            self._mesh.loop.call(self._mesh.closed_here, self, code, reason)

    def end(self) -> bool:
        """Release what is held; return False if that was done before. On any thread."""
        with self._lock:
            if self.closed:
                return False
            self.closed = True
            self._account.close()
        self._held.clear()
        self._parts = []
        return True

    def abort(self) -> None:
        """Cut the connection; on any thread."""
        self._mesh.loop.call(self._mesh.cut, self)

    @property
    def reader(self) -> Mesh:
        """What has to be pumped to receive; the same for all nodes in the room."""
        return self._mesh

    def close_in_child(self) -> None:
        """Close the descriptor in a forked child."""
        self.closed = True
        self._mesh.close_in_child()

    def _count(self) -> None:
        """Report to the budget what is held."""
        with self._lock:
            if not self.closed:
                self._account.grow(self._held_bytes + self._parts_bytes - self._account.held)

    def _shed(self, target: int) -> None:
        """Cut the connection if it holds more than *target* bytes; called when memory is short."""
        if self._held_bytes + self._parts_bytes > max(target, MOST_KEPT_BYTES):
            peers_log.warning("the connection to a node on NATS is cut: too much is held for it")
            self.abort()

    # -- reading, on the thread that reads -------------------------------------------------------------------

    def arrive(self, number: int, data: bytes, *, is_last: bool = True, is_binary: bool = False) -> None:
        """Handle a part of a frame, when all before it have been.

        Args:
            number: its place.
            data: the part.
            is_last: the part completes the frame.
            is_binary: the part belongs to a binary message.

        Raises:
            FrameError: the frame is too large.
        """
        self.received_at = self._mesh.loop.time()
        if number <= self.arrived:
            return
        if number > self.arrived + 1:
            if number not in self._held:
                self._held[number] = data, is_last, is_binary
                self._held_bytes += len(data)
                self._count()
                if len(self._held) > MAX_HELD or self._held_bytes > MAX_HELD_BYTES:
                    # A loss, not a violation: frames that a peer refuses again and again are dropped.
                    self._held.clear()
                    self._held_bytes = 0
                    self.abort()
                    return
                self._mesh.expect(self, number - 1)
            return
        self._handle(data, is_last, is_binary)
        while not self.closed and (held := self._held.pop(self.arrived + 1, None)) is not None:
            self._held_bytes -= len(held[0])
            self._handle(*held)
        if self._account.held:
            self._count()

    def _handle(self, data: bytes, is_last: bool, is_binary: bool) -> None:
        self.arrived += 1
        if not is_last or self._parts:
            self._parts.append(data)
            self._parts_bytes += len(data)
            if self._parts_bytes > MAX_TEXT_BYTES:
                raise FrameError(f"a frame of more than {MAX_TEXT_BYTES:,} bytes")
            self._count()
            if not is_last:
                return
            data, self._parts, self._parts_bytes = b"".join(self._parts), [], 0
        if not is_binary:
            self.on_event(Text(data))
            return
        if len(data) < PIECE_HEAD.size:
            raise FrameError("a binary message that is shorter than its head")
        number, offset = PIECE_HEAD.unpack_from(data)
        view = memoryview(data)[PIECE_HEAD.size :]
        self.on_event(Piece(number, offset, len(view), 0, view))
