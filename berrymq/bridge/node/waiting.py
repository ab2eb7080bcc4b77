"""The delivery thread waits on the link while it has nothing to do.

Else the I/O thread would have to wake it for every message that comes, and to wake a thread takes longer than
all that is done for a message. So the delivery thread reads the connection itself; as soon as it has
something to deliver, the I/O thread reads again, and a follower that takes its time holds up nothing.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from .questions import SPIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.transport.channel import Channel

__all__ = ["LinkWaiter"]


class LinkWaiter:
    """Waits on the one connection of a node, for its bus's delivery thread.

    Args:
        channel: gives the connection; None where there is not just one.
        answered_at: gives when a question was answered here last.
    """

    def __init__(self, channel: Callable[[], Channel | None], answered_at: Callable[[], float]) -> None:
        self._channel = channel
        self._answered_at = answered_at
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._woken = False
        self._pid = os.getpid()

    def wait(self, has_work: Callable[[], bool], timeout: float) -> bool:
        """Wait for work, for `wake`, or for so many seconds; False, at once, if that can't be."""
        channel = self._channel()
        if channel is None or self._pid != os.getpid():
            return False
        spin_until = self._answered_at() + SPIN_SECONDS
        try:
            waited = channel.pump(has_work, monotonic() + timeout, wake=self._reader, spin_until=spin_until)
        except ValueError:  # `close` has taken the descriptor meanwhile
            return False
        if self._woken:
            self._woken = False
            with suppress(OSError):
                self._reader.recv(4096)
        return waited

    def wake(self) -> None:
        """End the waiting; on any thread."""
        self._woken = True
        with suppress(OSError):
            self._writer.send(b"\0")

    def close(self) -> None:
        """Give up the descriptors."""
        self._reader.close()
        self._writer.close()
