"""The I/O loop: readiness of sockets, timers, and calls from other threads; one thread runs it.

asyncio would do, and was measured: a question and its answer over loopback took three to five times as long,
for every message crossed its scheduler twice. Followers run elsewhere, except direct ones; queue guards and
registered decoders run here too.

Each turn handles the sockets that are ready, then the timers that are due, then the calls that were added
before. A callback that raises is logged and ends nothing else.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import socket
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from berrymq.bridge.peers_log import peers_log

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IoLoop", "Timer"]

yield_processor = getattr(os, "sched_yield", lambda: None)

CHANGES_WHILE_WAITING = hasattr(selectors, "EpollSelector") or hasattr(selectors, "KqueueSelector")
"""Whether watched sockets can be changed while another thread waits for them (epoll and kqueue, not select).
"""

MIN_PRUNED = 1_000
"""The number of timers below which cancelled ones are not removed."""

MOST_WAIT = 3600.0
"""The longest wait, whatever timers are due: some systems overflow."""


class Timer:
    """A scheduled call; what `IoLoop.call_later` returns.

    Args:
        function: called on the loop; None after `cancel`.
        args: its arguments.
    """

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        """Cancel the call; safe on any thread, and after the call."""
        self.function = None
        self.args = ()


class IoLoop:
    """Calls back when sockets are ready and timers are due, until it is stopped.

    `call`, `call_later`, `watch`, `unwatch`, `suspend`, `run_guarded` and `stop` are thread-safe.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        """The calls for the next turn; appending is atomic."""
        self._timers: list[tuple[float, int, Timer]] = []
        """A heap of due time, number (for the order of equal times) and timer; changed on the loop alone."""
        self._numbers = itertools.count()
        self._prune_at = MIN_PRUNED
        """The number of timers at which cancelled ones are removed."""
        self._stopped = self._ended = False
        self._thread: int | None = None
        """The number of the thread that runs the loop; None while none does."""
        self.spin_until = 0.0
        """Until then the loop polls instead of blocking."""
        self._woken = False
        """Whether a byte was sent to wake the loop since it last took calls."""
        self._changing = threading.Lock()
        """Held while watched sockets are changed; not while it waits for them."""
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._drain_wakes)
        self._watched: set[socket.socket] = set()
        """The watched sockets: the selector would raise an exception for an unknown one, which takes longer.
        """

    @property
    def stopped(self) -> bool:
        """Whether it has stopped, so that nothing is called any more."""
        return self._stopped

    @property
    def is_current(self) -> bool:
        """Whether this thread runs the loop."""
        return self._thread == threading.get_ident()

    time = staticmethod(monotonic)
    """Seconds of the clock by which timers are due."""

    # -- calls and timers ------------------------------------------------------------------------------------

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the next turn; on any thread.

        Args:
            function: called on the loop, in the order of the calls.
            args: its arguments.
        """
        self._calls.append((function, args))
        # The flag is cleared before the calls are taken, so a call that finds it set is not missed.
        if not self._woken and not self.is_current:
            self._woken = True
            with suppress(OSError):  # full: it wakes anyway; closed: the loop has ended
                self._wake_writer.send(b"\0")

    def call_from_signal(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the next turn, from a signal handler.

        It always wakes the loop: the handler may have interrupted `call` between setting the flag and sending
        the byte.
        """
        self._calls.append((function, args))
        with suppress(OSError):
            self._wake_writer.send(b"\0")

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Timer:
        """Call a function after some seconds; return the timer.

        Args:
            seconds: the delay.
            function: called on the loop.
            args: its arguments.
        """
        timer = Timer(function, args)
        due = monotonic() + seconds
        if self.is_current:
            self._push_timer(due, timer)
        else:
            self.call(self._push_timer, due, timer)
        return timer

    def _push_timer(self, due: float, timer: Timer) -> None:
        """Add a timer, and remove cancelled ones when there are many; on the loop."""
        timers = self._timers
        heapq.heappush(timers, (due, next(self._numbers), timer))
        if len(timers) > self._prune_at:  # timers that were cancelled long before they are due would pile up
            timers[:] = [entry for entry in timers if entry[2].function is not None]
            heapq.heapify(timers)
            self._prune_at = max(MIN_PRUNED, 2 * len(timers))

    # -- sockets ---------------------------------------------------------------------------------------------

    def watch(self, sock: socket.socket, callback: Callable[[int], object], *, writing: bool = False) -> None:
        """Call back when a socket is readable or, if requested, writable.

        Args:
            sock: the socket.
            callback: called on the loop with `selectors.EVENT_READ`, `EVENT_WRITE`, or both.
            writing: also call back when it is writable.
        """
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        with self._changing:
            if self._ended:
                sock.close()  # another thread has read it while the loop ended, which closed all others
            elif sock in self._watched:
                self._selector.modify(sock, events, callback)
            else:
                self._selector.register(sock, events, callback)
                self._watched.add(sock)

    def suspend(self, sock: socket.socket) -> bool:
        """Stop watching a socket for a while, since another thread reads it; on any thread.

        Returns:
            False where the system does not support that while the loop waits.
        """
        return CHANGES_WHILE_WAITING and self.unwatch(sock)

    def unwatch(self, sock: socket.socket) -> bool:
        """Call back no more; return whether it was watched."""
        with self._changing:
            if sock not in self._watched:
                return False
            self._watched.remove(sock)
            try:
                self._selector.unregister(
                    sock
                )  # a socket watched for nothing would still report its end, in every turn
            except (KeyError, ValueError):  # the loop has ended
                return False
            return True

    # -- running ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until `stop` on the calling thread; then run the remaining calls and close all sockets."""
        self._thread = threading.get_ident()
        try:
            while not self._stopped:
                self._turn()
            while self._calls:  # such as the ends of connections
                self.run_guarded(*self._calls.popleft())
        finally:
            self._thread = None
            with self._changing:
                self._ended = True
                for key in list(self._selector.get_map().values()):
                    key.fileobj.close()  # type: ignore[union-attr]  # sockets, all of them
                self._close()

    def stop(self) -> None:
        """End `run` after this turn; on any thread."""
        self.call(self._stop)

    def _stop(self) -> None:
        self._stopped = True

    def _turn(self) -> None:
        """Wait for the first event, and handle all that are there."""
        if monotonic() < self.spin_until:
            ready = self._selector.select(0)
            while not ready and not self._calls and monotonic() < self.spin_until:
                yield_processor()
                ready = self._selector.select(0)
        else:
            ready = self._selector.select(self._wait())
        for key, mask in ready:
            callback: Callable[[int], object] = key.data
            self.run_guarded(callback, (mask,))
        now = monotonic()
        timers = self._timers
        while timers and timers[0][0] <= now:
            _, _, timer = heapq.heappop(timers)
            if timer.function is not None:
                self.run_guarded(timer.function, timer.args)
        self._woken = False
        for _ in range(len(self._calls)):  # calls that these add are for the next turn
            self.run_guarded(*self._calls.popleft())

    def _wait(self) -> float:
        """Return the seconds to wait for a socket: until the first timer is due, 0 if there are calls."""
        if self._calls:
            return 0.0
        timers = self._timers
        while timers and timers[0][2].function is None:
            heapq.heappop(timers)
        return min(MOST_WAIT, max(0.0, timers[0][0] - monotonic())) if timers else MOST_WAIT

    def run_guarded(self, function: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        """Call a function; an exception is logged and does not end the loop.

        Args:
            function: the function.
            args: its arguments.
        """
        try:
            function(*args)
        except Exception:  # noqa: BLE001 - a mistake of ours in one connection must not end all others
            peers_log.exception("an error on the I/O loop")

    def _drain_wakes(self, _: int) -> None:
        """Read the bytes that have woken the loop."""
        with suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass

    def _close(self) -> None:
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def close_in_child(self) -> None:
        """Close the descriptors of a loop whose thread is in the parent of this forked process."""
        with suppress(OSError):
            self._close()
