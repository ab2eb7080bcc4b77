"""The periodic work of a node's links: acknowledgements, keepalive pings, reports of dropped messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.reliable_stream import DROP_REPORT_SECONDS

if TYPE_CHECKING:
    from .peer import Peer
    from .router import Router

__all__ = ["ACK_TURNS", "LinkTimers"]

ACK_TURNS = 20
"""The number of delays for which the acknowledgement timer runs on after the last frame."""

KEEPALIVES_UNTIL_ABORT = 3
"""A connection is aborted after this many keepalive intervals without a byte."""


class LinkTimers:
    """Runs the timers of all links of a router, on its loop.

    One timer serves all links, so a node of many links sets no more timers than one of few.

    Args:
        router: its links.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._loop = router.loop
        self._limits = router.limits
        self._stopped = False
        self.unacknowledged: dict[Peer, None] = {}
        """The peers whose frames are to be acknowledged."""
        self.ack_turns = 0
        """The number of times that the acknowledgement timer runs again without new frames."""
        self.ack_timer_runs = False
        """Whether a run of the acknowledgement timer is scheduled."""
        self._loop.call(self._keep_alive)

    def stop(self) -> None:
        """End the keepalive timer."""
        self._stopped = True

    def forget(self, peer: Peer) -> None:
        """Acknowledge nothing more to a peer. The lock is held."""
        self.unacknowledged.pop(peer, None)

    # -- acknowledgements ------------------------------------------------------------------------------------

    def schedule_ack(self, peer: Peer) -> None:
        """Acknowledge a peer's frames within the delay, most often with a frame that is sent anyway.

        The lock is held. `Node` does the same inline for the frames that it reads itself.
        """
        self.unacknowledged[peer] = None
        self.ack_turns = ACK_TURNS
        if not self.ack_timer_runs:
            self.start_ack_timer()

    def start_ack_timer(self) -> None:
        """Start the acknowledgement timer. The lock is held."""
        self.ack_timer_runs = True
        self._loop.call_later(self._limits.ack_delay, self._send_acks)

    def _send_acks(self) -> None:
        """Send the acknowledgements that are due, and run again while frames arrive."""
        # While frames come the timer restarts itself: to start it from another thread would wake the loop
        # each time, in the middle of an answer.
        router = self._router
        with router.lock:
            due, self.unacknowledged = self.unacknowledged, {}
            for peer in due:
                router.flush(peer)
                if peer.stream.ack_due_at() is not None:
                    self.unacknowledged[peer] = None
            self.ack_turns -= 1
            if self.ack_turns > 0 or self.unacknowledged:
                self._loop.call_later(self._limits.ack_delay, self._send_acks)
            else:
                self.ack_timer_runs = False

    # -- keepalive -------------------------------------------------------------------------------------------

    def _keep_alive(self) -> None:
        """Ping silent connections, abort those silent for too long, and log drops; twice an interval.

        A connection is silent when no byte arrived for half an interval. A pong is enough to end that.
        """
        if self._stopped:
            return
        interval = self._limits.keepalive
        now = self._loop.time()
        for peer in list(self._router.peers.values()):
            self.log_drops(peer)
            channel = peer.channel
            if channel is None:
                continue
            silent = now - channel.received_at
            if silent > KEEPALIVES_UNTIL_ABORT * interval:
                channel.abort()
            elif silent > interval / 2:
                channel.act(lambda connection: connection.ping())
            if peer.pulls.is_stalled(now - KEEPALIVES_UNTIL_ABORT * interval):
                peers_log.warning("the link to %r is cut: buffers do not come that it has offered", peer.name)
                channel.abort()
        self._router.memories.trim()
        self._loop.call_later(interval / 2, self._keep_alive)

    # -- dropped messages ------------------------------------------------------------------------------------

    def schedule_drop_report(self, peer: Peer) -> None:
        """Report dropped messages to a peer after `DROP_REPORT_SECONDS`, many at once. The lock is held."""
        peer.drop_report_due = True
        self._loop.call_later(DROP_REPORT_SECONDS, self._send_drop_report, peer)

    def _send_drop_report(self, peer: Peer) -> None:
        """Send the report of dropped messages, which goes with any flush, unless the peer is removed."""
        router = self._router
        with router.lock:
            peer.drop_report_due = False
            if router.peers.get(peer.id) is peer:
                router.flush(peer)

    def log_drops(self, peer: Peer) -> None:
        """Log how many messages for a peer were dropped since the last call, if any."""
        with self._router.lock:
            channel = peer.channel
            is_silent = (
                channel is not None and self._loop.time() - channel.received_at > self._limits.keepalive
            )
            report = peer.pop_drop_report(is_silent=is_silent)
        if report:
            peers_log.warning("%s", report)
