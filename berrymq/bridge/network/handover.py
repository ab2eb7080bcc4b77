"""From the death of a hub until the nodes that it linked have met again at its successor.

The first one to find the successor could say what it has to say at once, and the successor would hand it to
nobody, for it knows nobody yet. So what goes over a link to a successor waits until all nodes that were
behind the former hub are there again, or for `HANDOVER_SECONDS`; what nobody wants then is dropped, counted
and reported.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from berrymq.bridge.protocol.frames import WireMessage

    from .directory import Directory
    from .peer import Peer

__all__ = ["Handover"]

HANDOVER_SECONDS = 5.0
"""How long nodes are waited for. They try to link again every two seconds at least."""

_log = logging.getLogger("berrymq")


class Handover:
    """Holds the messages for a hub that took the place of another one. Lives on the loop of the node.

    Args:
        peer: the link, now to the successor.
        former: the name of the hub that died.
        directory: knows who is expected.
        loop: the node's.
    """

    def __init__(
        self, peer: Peer, former: str, directory: Directory, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.over = False
        self._peer = peer
        self._former = former
        self._directory = directory
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        peer.session.holding = True
        _log.warning(
            "%s is gone and another hub takes its place; what it kept for slow nodes may be lost", former
        )

    def connection_changed(self) -> None:
        """The nodes are waited for while there is a way to the successor, not while that is away itself."""
        if self.over:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._peer.connected:
            self._timer = self._loop.call_later(HANDOVER_SECONDS, self.give_up)

    def nodes_changed(self) -> None:
        """Go on if all are there."""
        if not self.over and not self._directory.is_expecting(self._peer.id):
            self._end()

    def cancel(self) -> None:
        """Another one takes its place."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()

    def give_up(self) -> None:
        """Wait for those who are missing no longer."""
        if self.over:
            return
        missing = self._directory.give_up_expected(self._peer.id)
        dropped = self._peer.session.drop_waiting(self._is_wanted)
        if dropped:
            names = ", ".join(sorted(record.name for record in missing))
            _log.warning(
                "%s did not come back within %g seconds after the end of %s: "
                "%d messages that nobody else follows were dropped",
                names,
                HANDOVER_SECONDS,
                self._former,
                dropped,
            )
        self._end()

    def _is_wanted(self, message: WireMessage) -> bool:
        return self._peer.id in self._directory.ways_of(message)

    def _end(self) -> None:
        self.cancel()
        self._peer.session.holding = False
        self._peer.pump()
