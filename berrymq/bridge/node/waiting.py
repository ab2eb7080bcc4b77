"""Lets a bus's delivery thread wait on the link while it is idle.

Otherwise the I/O thread would have to wake it for every message, which takes longer than all the work for a
message. So the delivery thread reads the connection itself. As soon as it has something to deliver, the I/O
thread reads again, and a slow follower blocks nothing.
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
    """Waits on the one connection of a node, for its bus's delivery thread; a `Waiter` of the core.

    `wait` runs on the delivery thread, `wake` on any, by a byte in a socket pair.

    Args:
        channel: returns the connection; None if there is not exactly one.
        answered_at: returns the time of the last answer to a question.
    """

    def __init__(self, channel: Callable[[], Channel | None], answered_at: Callable[[], float]) -> None:
        self._channel = channel
        self._answered_at = answered_at
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._woken = False
        """Whether a byte was sent that is not read yet."""
        self._pid = os.getpid()
        """The process that has made it; a forked child does not wait on its parent's connection."""

    def wait(self, has_work: Callable[[], bool], timeout: float) -> bool:
        """Wait for work, for `wake`, or for the timeout; return False at once if that is not possible.

        Args:
            has_work: returns whether there is something to deliver.
            timeout: seconds.
        """
        channel = self._channel()
        if channel is None or self._pid != os.getpid():
            return False
        spin_until = self._answered_at() + SPIN_SECONDS
        try:
            waited = channel.pump(has_work, monotonic() + timeout, wake=self._reader, spin_until=spin_until)
        except ValueError:  # `close` has taken the descriptor in between
            return False
        if self._woken:
            self._woken = False
            with suppress(OSError):
                self._reader.recv(4096)
        return waited

    def wake(self) -> None:
        """End the wait; on any thread."""
        self._woken = True
        with suppress(OSError):
            self._writer.send(b"\0")

    def close(self) -> None:
        """Close the descriptors."""
        self._reader.close()
        self._writer.close()
