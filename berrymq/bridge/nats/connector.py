"""The link of this process to a NATS system, with the interface of a `node.Connector`."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.node.retained import as_batch
from berrymq.bridge.protocol.json_checks import encode_json
from berrymq.bridge.protocol.jsonrpc import INVALID_REQUEST
from berrymq.identifiers import Identifier

from .mesh import FIRST_SECONDS, POLL_SECONDS, Mesh, check_platform
from .own_queues import OwnQueues

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from berrymq.bridge.node.node import Node
    from berrymq.bridge.node.retained import Retained
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.limits import LinkStats

    from .address import NatsAddress

__all__ = ["NatsConnector"]

SETTLE_SECONDS = 3.0
"""The time limit for those to link."""
LEAVE_SECONDS = 3.0
"""The time limit for leaving the room."""


class NatsConnector:
    """One link to NATS that this process keeps up, until it is closed.

    Args:
        node: this process.
        address: the NATS system.
        ttl: seconds for which a node that was cut off is remembered.
        ssl_context: trusted certificates; by default the system's.
    """

    peer = None
    """There is no one peer on NATS."""

    def __init__(
        self, node: Node, address: NatsAddress, *, ttl: float, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        check_platform()
        self.node = node
        self.found: Found | None = None
        self.closed = False
        self._address = address
        self._mesh = Mesh(node, address, node.home.name, ttl=ttl, ssl_context=ssl_context)
        node.stored_history = lambda _: self._mesh.history
        node.stored_capacity = lambda: self._mesh.records.recorder.capacity
        self._queues = OwnQueues(node, self._mesh)

    @property
    def connected(self) -> bool:
        """Whether NATS is connected."""
        return self._mesh.connected

    @property
    def stats(self) -> LinkStats:
        """The counters of all nodes together."""
        stats = self._mesh.stats
        snapshots = [peer.stream.snapshot() for peer in self._mesh.peers]
        stats.in_flight = sum([one.in_flight for one in snapshots])
        stats.buffered = sum([one.buffered for one in snapshots])
        stats.buffered_bytes = sum([one.buffered_bytes for one in snapshots])
        return stats

    def open(self, timeout: float) -> None:
        """Connect, and return when the other nodes have announced what they follow.

        Raises:
            LinkError: it failed; the text gives the reason.
        """
        deadline = monotonic() + timeout
        done: Future[None] = Future()

        def report(error: Exception | None) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self._mesh.start(report)
        try:
            done.result(max(0.1, timeout))
        except TimeoutError:
            raise LinkError(f"no NATS server answers at {self._address}") from None
        self.found = Found(self._address, None, "NATS")  # type: ignore[arg-type]  # it has a url as well
        timer = threading.Event()
        timer.wait(min(FIRST_SECONDS, max(0.0, deadline - monotonic())))
        deadline = min(deadline, monotonic() + SETTLE_SECONDS)
        while not self._mesh.is_settled and monotonic() < deadline:
            timer.wait(POLL_SECONDS)
        self._queues.open(min(deadline, monotonic() + SETTLE_SECONDS))

    def call(self, method: str, params: dict[str, Any], timeout: float) -> msgspec.Raw:
        """Call ``keep`` or ``kept``, which are methods of a hub elsewhere.

        Raises:
            LinkError: it is another method.
            RpcError: the call failed.
        """
        history = self._mesh.history
        if method == "keep":
            identifier = Identifier.parse(params["identifier"])
            call: Callable[..., object] = partial(history.keep, identifier, params["last"], self.node.name)
        elif method == "kept":
            call = history.kept
        else:
            raise LinkError("there is no hub at the other side of NATS that could be asked")
        try:
            return msgspec.Raw(encode_json(self._wait_for(call, timeout)))
        except LinkError as error:
            raise RpcError(INVALID_REQUEST, str(error)) from None

    def latest(self, identifier: Identifier, timeout: float) -> Batch | None:
        """Return the newest kept message that an identifier matches; None without one.

        Raises:
            LinkError: NATS does not answer, or the call failed.
        """
        found: list[Retained] = self._wait_for(partial(self._mesh.history.past, identifier, 1), timeout)
        return as_batch(found[-1][2]) if found else None

    def _wait_for(self, call: Callable[..., object], timeout: float) -> Any:
        """Return the result of a call of the history; raise `LinkError` if it failed."""
        result: Future[Any] = Future()
        self.node.empty_outbox()  # what was published before is among it
        self.node.loop.call(partial(call, done=result.set_result))
        try:
            outcome = result.result(timeout)
        except TimeoutError:
            raise LinkError("NATS did not answer in time") from None
        if isinstance(outcome, LinkError):
            raise outcome
        return outcome

    def flush(self, deadline: float | None) -> bool:
        """Wait until the other nodes have everything that was published; return False at the timeout."""
        if not self.node.outbox.wait_until_empty(deadline):
            return False
        timer = threading.Event()
        while not self._is_flushed():
            if self.closed or (deadline is not None and monotonic() >= deadline):
                return False
            timer.wait(0.001)
        return True

    def _is_flushed(self) -> bool:
        """Return whether the other nodes, and JetStream, have everything that was published."""
        peers, connected = self._mesh.peers, self.connected
        return (
            self._mesh.records.recorder.is_idle
            and self._mesh.jobs.is_idle
            and all(peer.stream.idle or (connected and not peer.connected) for peer in peers)
        )

    def close(self, flush: float) -> int:
        """End the link, after up to *flush* seconds for the last messages.

        Returns:
            The number of messages that were not delivered.
        """
        if self.closed:
            return 0
        if flush > 0 and self.connected:
            self.flush(monotonic() + flush)
        self.closed = True
        self._queues.close()
        self.node.empty_outbox()
        self.node.stored_history = lambda _: None
        self.node.stored_capacity = lambda: 1 << 30
        left: Future[int] = Future()
        self.node.loop.call(self._mesh.leave, left.set_result)
        deadline = monotonic() + LEAVE_SECONDS
        while not self.node.loop.stopped and monotonic() < deadline:
            with suppress(TimeoutError):
                return left.result(0.2)
        return 0
