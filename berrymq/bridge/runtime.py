"""The state of the bridge in this process: the I/O thread, the nodes and the links.

It is reached by `runtime`, and made when the bridge is imported; the I/O thread starts with the first link. A
forked child starts with a new one: it has none of its parent's threads, and must not touch its sockets.

Links are closed at exit in the step `Step.LINKS`, when deliveries, which may still send, have ended.
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
"""The longest time that the interpreter's exit waits for the last messages."""

_log = logging.getLogger("berrymq")


class LinkLocks:
    """The locks of a bus for making and for closing a link.

    A thread that makes a link waits for others that make or close one, so it finds a whole link or none. A
    thread that closes one does not wait for links that are being made.
    """

    def __init__(self) -> None:
        self.making = threading.RLock()
        """Held while a link of the bus is found or made."""
        self.closing = threading.RLock()
        """Held while one is closed, or found among the open ones; taken after `making` where both are."""


class Runtime:
    """The bridge in one process.

    The lists are read and changed with `lock` held.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.links: list[Any] = []
        """The open links (`api.Link`), oldest first."""
        self.nodes: dict[tuple[Bus, str | None], Any] = {}
        """The node (`node.Node`) of each bus in each room."""
        self.making: list[Any] = []
        """The nodes for which a link or server is being made, and which must not be closed."""
        self.listening: list[Any] = []
        """The nodes that others can connect to (`historical.Listening`)."""
        self.connections: list[Any] = []
        """The connections of `send_message` and `get`, the latest last (`OneWayLink`, `RemoteQueue`)."""
        self._link_locks: WeakKeyDictionary[Bus, LinkLocks] = WeakKeyDictionary()
        self.inherited: dict[tuple[Bus, str | None], Any] = {}
        """In a forked child, the nodes of its parent, which warn publishers that their links are not the
        child's."""
        self._loop: IoLoop | None = None
        """The loop of the I/O thread; None while there is none."""
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> IoLoop:
        """The loop of the I/O thread, which starts at the first use.

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
        """Return the locks for making and closing the links of a bus; they live as long as the bus."""
        with self.lock:
            return self._link_locks.setdefault(bus, LinkLocks())

    def forget(self, connection: Any) -> None:
        """Remove a closed connection from those of `send_message` and `get`, if it is among them."""
        with self.lock:
            self.connections[:] = [one for one in self.connections if one is not connection]

    def end_if_idle(self) -> bool:
        """End the I/O thread if nothing is linked or listens; return whether there is none now."""
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
        """Flush and close all links, and log what was lost."""
        dropped = sum([one.close(EXIT_FLUSH_SECONDS) for one in list(self.links)])
        if dropped:
            _log.warning("%d messages did not get through before this process ended", dropped)

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child, and have publishers warned that nothing crosses.

        The connections stay open in the parent; only the child's copies of the descriptors are closed.
        """
        for node in self.nodes.values():
            node.after_fork()
        if self._loop is not None:
            self._loop.close_in_child()


_current = Runtime()


def runtime() -> Runtime:
    """Return the bridge of this process."""
    return _current


def _after_fork() -> None:
    """Replace the runtime in a forked child, then close what it has inherited."""
    global _current
    former, _current = _current, Runtime()
    _current.inherited = former.nodes
    connection_file = sys.modules.get(f"{__package__}.discovery.connection_file")
    if connection_file is not None:
        connection_file.after_fork()
    former.close_in_child()


process.at_exit(Step.LINKS, lambda: runtime().close_at_exit())
process.on_fork(_after_fork)
