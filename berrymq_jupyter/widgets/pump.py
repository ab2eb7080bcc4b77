"""The one thread that feeds every open view of this process.

A follower of a view only appends the message. The pump visits all views at most twenty times a second, and
each processes what it has collected; each sends at most ten updates a second (`channel`). The thread sleeps
when nothing happens, starts with the first view and ends with the last one.

A view that takes very long (it shows user objects) keeps its thread: the next call that opens, uses or closes
a view starts another thread for the others.
"""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread, current_thread
from time import monotonic
from typing import Final, Protocol

from berrymq.process import process

__all__ = ["PERIOD", "Pump", "Pumped", "pump"]

PERIOD: Final = 0.05
"""The least interval of rounds, in seconds."""
BYTES_PER_SECOND: Final = 1_000_000
"""The limit of all views together. A round that sent much is followed by a longer delay."""
STUCK: Final = 1.0
"""Seconds after which the pump does not wait for a round any longer."""

log = logging.getLogger("berrymq")


class Pumped(Protocol):
    """A view, as the pump uses it."""

    def pending(self) -> bool:
        """Return whether messages are to be absorbed. Called often: it must be cheap."""

    def tick(self, now: float) -> tuple[int, float | None]:
        """Absorb and send.

        It must not wait for another call, which may be stuck.

        Args:
            now: seconds of `time.monotonic`.

        Returns:
            The bytes sent, and the seconds until the next call, if any.
        """

    def save(self, now: float) -> None:
        """Update the saved form now."""


class Pump:
    """Calls `tick` of each of its views, in a thread that runs only while there are any.

    There is one instance, `pump`. All methods may be called on any thread, but `run` and what it calls. The
    lock guards `views` and `thread`; it is not held during a round.
    """

    def __init__(self) -> None:
        self.asleep = False
        """True while the thread waits for an event. Followers read it before they call `wake`."""
        self.views: tuple[Pumped, ...] = ()
        """The open views; replaced, never changed, so that a round has its own."""
        self.thread: Thread | None = None
        """The present thread; one that finds another here ends."""
        self.round_began: float | None = None
        """The start of the present round."""
        self.lock = Lock()
        self.awake = Event()
        """Set by `wake`."""
        process.on_fork(self.after_fork)

    def add(self, view: Pumped) -> None:
        """Add a view."""
        with self.lock:
            self.views = (*self.views, view)
            if self.thread is None:
                self.start_thread()
        self.wake()

    def start_thread(self) -> None:
        """Run rounds in a new thread; the former one ends when it can."""
        self.round_began = None
        self.thread = Thread(target=self.run, name="berrymq-views", daemon=True)
        self.thread.start()

    def after_fork(self) -> None:
        """Stop in a forked child: the pages belong to the parent."""
        self.asleep = False
        self.views = ()
        self.thread = None
        self.round_began = None
        self.lock = Lock()
        self.awake = Event()

    def remove(self, view: Pumped) -> None:
        """Remove a view."""
        with self.lock:
            self.views = tuple(other for other in self.views if other is not view)
        self.wake()

    def wake(self) -> None:
        """Start the next round as soon as the period allows, on another thread if this one is stuck."""
        self.asleep = False
        self.awake.set()
        if self.is_stuck():
            with self.lock:
                if self.is_stuck():
                    self.start_thread()

    def is_stuck(self) -> bool:
        """Return whether the present round does not end."""
        began = self.round_began
        return began is not None and monotonic() - began > STUCK

    def run(self) -> None:
        """Run rounds until the last view is removed."""
        me = current_thread()
        while True:
            with self.lock:
                if self.thread is not me:
                    return
                views = self.views
                if not views:
                    self.thread = None
                    return
                self.round_began = started = monotonic()
            self.awake.clear()
            sent, delay = self.round(views, started)
            with self.lock:
                if self.thread is not me:
                    return
                self.round_began = None
            # This delay coalesces: all messages that arrive during it are in the next round's one update.
            self.pause(max(PERIOD, sent / BYTES_PER_SECOND) - (monotonic() - started))
            self.sleep(views, None if delay is None else delay - (monotonic() - started))

    def save(self) -> None:
        """Update the saved form of each view; on the thread that runs a cell."""
        for view in self.views:
            try:
                view.save(monotonic())
            except Exception:
                log.exception("a view could not be saved: %r", view)

    def round(self, views: tuple[Pumped, ...], now: float) -> tuple[int, float | None]:
        """Tick each view once; an error of one is logged.

        Args:
            views: those of this round.
            now: its start.

        Returns:
            The bytes sent, and the shortest delay that a view asked for.
        """
        total, shortest = 0, None
        for view in views:
            try:
                sent, delay = view.tick(now)
            except BaseException:  # a payload may raise SystemExit too, and the thread has to go on
                log.exception("a view could not be updated: %r", view)
                continue
            total += sent
            if delay is not None and (shortest is None or delay < shortest):
                shortest = delay
        return total, shortest

    def pause(self, seconds: float) -> None:
        """Wait unconditionally."""
        if seconds > 0:
            Event().wait(seconds)

    def sleep(self, views: tuple[Pumped, ...], seconds: float | None) -> None:
        """Wait until woken.

        Args:
            views: those of the last round; if they have changed, it does not wait.
            seconds: the longest wait; None for no limit.
        """
        self.asleep = True
        # A message that arrived before `asleep` was set did not wake this thread: check once more before
        # sleeping.
        if self.views is views and not any(view.pending() for view in views):
            self.awake.wait(None if seconds is None else max(seconds, 0))
        self.asleep = False


pump: Final = Pump()
"""The pump of this process."""
