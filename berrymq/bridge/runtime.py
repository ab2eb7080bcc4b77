"""What this process has of the bridge, in one object: the I/O thread, the nodes and the links.

A forked child begins with a new one: it has none of its parent's threads, and must not touch its sockets.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from berrymq.process import Step, process

from .errors import LinkError
from .transport.loop import IoLoop

if TYPE_CHECKING:
    from berrymq.bus import Bus

__all__ = ["EXIT_FLUSH_SECONDS", "Runtime", "runtime"]

EXIT_FLUSH_SECONDS = 2.0
"""How long the interpreter's exit may wait for what was published last."""

_log = logging.getLogger("berrymq")


class LinkLocks:
    """Who makes a link of a bus waits for others who do, and for those who close one.

    So it is there, or not, and nothing between. Who closes one waits for none that is being made.
    """

    def __init__(self) -> None:
        self.making = threading.RLock()
        self.closing = threading.RLock()


class Runtime:
    """The bridge in one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.links: list[Any] = []
        """The open links (`api.Link`), oldest first."""
        self.nodes: dict[tuple[Bus, str | None], Any] = {}
        """The node (`node.Node`) of each bus in each room."""
        self.making: list[Any] = []
        """The nodes that something is being made with, so that they stay meanwhile."""
        self.listening: list[Any] = []
        """The nodes that others can connect to (`historical.Listening`)."""
        self.connections: list[Any] = []
        """What `send_message` and `get` may use, the latest last (`OneWayLink`, `RemoteQueue`)."""
        self._link_locks: WeakKeyDictionary[Bus, LinkLocks] = WeakKeyDictionary()
        self.inherited: dict[tuple[Bus, str | None], Any] = {}
        """In a forked child, the nodes of its parent, which tell who publishes that their links are not the
        child's.
        """
        self._loop: IoLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> IoLoop:
        """The loop of the I/O thread, which runs from the first use on.

        Raises:
            LinkError: the interpreter shuts down, and starts no more threads.
        """
        with self.lock:
            if self._loop is None:
                loop = IoLoop()
                thread = threading.Thread(target=loop.run, name="berrymq I/O", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    raise LinkError("no link can be made while the interpreter shuts down") from None
                self._loop, self._thread = loop, thread
                process.finish_in_children()
            return self._loop

    def locks_of(self, bus: Bus) -> LinkLocks:
        """Whose turn it is to make or close a link of a bus."""
        with self.lock:
            return self._link_locks.setdefault(bus, LinkLocks())

    def forget(self, connection: Any) -> None:
        """A connection was closed: `send_message` and `get` use it no longer."""
        with self.lock:
            self.connections[:] = [one for one in self.connections if one is not connection]

    def end_if_idle(self) -> bool:
        """End the I/O thread if nothing is linked or listens; return whether there is none any more."""
        with self.lock:
            if self._loop is None:
                return True
            if self.links or self.listening or self.nodes:
                return False
            self._loop.stop()
            thread, self._loop, self._thread = self._thread, None, None
        if thread is not None:
            thread.join(2.0)
        return True

    def close_at_exit(self) -> None:
        """Flush and close what is open, and say what was lost by that."""
        dropped = sum([one.close(EXIT_FLUSH_SECONDS) for one in list(self.links)])
        if dropped:
            _log.warning("%d messages did not get through before this process ended", dropped)

    def leave_to_parent(self) -> None:
        """Give up the descriptors, in a forked child, and have publishers told that nothing crosses."""
        for node in self.nodes.values():
            node.after_fork()
        if self._loop is not None:
            self._loop.close_in_child()


_current = Runtime()


def runtime() -> Runtime:
    """The bridge in this process."""
    return _current


def _after_fork() -> None:
    global _current
    former, _current = _current, Runtime()
    _current.inherited = former.nodes
    connection_file = sys.modules.get(f"{__package__}.discovery.connection_file")
    if connection_file is not None:
        connection_file.after_fork()
    former.leave_to_parent()


process.at_exit(Step.LINKS, lambda: runtime().close_at_exit())
process.on_fork(_after_fork)
