"""Reading a socket on a thread that waits for a result, in place of the I/O loop."""

from __future__ import annotations

import os
import select
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["wait_here"]

yield_processor = getattr(os, "sched_yield", lambda: None)


def wait_here(
    sock: socket.socket,
    read: Callable[[], object],
    is_over: Callable[[], bool],
    deadline: float | None,
    *,
    wake: socket.socket | None = None,
    spin_until: float = 0.0,
) -> None:
    """Read a socket whenever it is readable, until *is_over*, the deadline, or *wake*.

    Args:
        sock: the socket, which the I/O loop does not watch.
        read: reads it once.
        is_over: checked before the first and after each read.
        deadline: by `time.monotonic`, in seconds; None for none.
        wake: ends the wait when it is readable.
        spin_until: poll without blocking until then, by `time.monotonic`, which saves the time of waking up.
    """
    descriptor = sock.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if wake is not None:
        poll.register(wake, select.POLLIN)
    while not is_over():
        left = 3600.0 if deadline is None else deadline - monotonic()
        if left <= 0:
            return
        ready = poll.poll(0)
        while not ready and monotonic() < spin_until:
            yield_processor()
            ready = poll.poll(0)
        ready = ready or poll.poll(left * 1000)
        if not ready:
            continue
        if len(ready) == 1 and ready[0][0] != descriptor:  # woken, and nothing to read
            return
        read()
