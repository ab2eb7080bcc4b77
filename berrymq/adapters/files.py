"""Changes of files, as messages; with ``watchfiles``, and so with the system's notifications."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from .base import Adapter

try:
    from watchfiles import Change, watch
except ImportError as error:
    raise ImportError("watching files needs watchfiles: pip install watchfiles", name=error.name) from None

if TYPE_CHECKING:
    import os

    from berrymq.bus import Bus

__all__ = ["FileWatcher"]

ACTIONS = {Change.added: "created", Change.modified: "modified", Change.deleted: "removed"}
"""The action for each kind of change."""
STOP_INTERVAL_MS = 50
"""The most milliseconds between two checks whether the watcher has to stop."""


class FileWatcher(Adapter):
    """Sends ``NAME:created``, ``NAME:modified`` and ``NAME:removed``, with the path of the file as text.

    Changes that are made after the constructor has returned are reported. Several changes within a short time
    come together, sorted by path; the followers run in the thread of the watcher.

    ::

        with FileWatcher("data", name="data"):      # data:created("/.../data/new.csv")
            ...

    Args:
        paths: files and directories; directories are watched with all that is in them.
        name: the name of the messages.
        bus: where they are sent; None for the default bus.

    Raises:
        ValueError: no path was given.
        FileNotFoundError: a path does not exist.

    Attributes:
        paths: the absolute paths that are watched.
    """

    def __init__(self, *paths: str | os.PathLike[str], name: str = "file", bus: Bus | None = None) -> None:
        if not paths:
            raise ValueError("a FileWatcher needs a file or directory to watch")
        for path in paths:
            if not Path(path).exists():
                raise FileNotFoundError(f"there is no {Path(path)} to watch; create it first")
        super().__init__(name, bus)
        self.paths = tuple(Path(path).absolute() for path in paths)
        self._stopped = threading.Event()
        self._watching = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"berrymq files {name}", daemon=True)
        self._thread.start()
        self._watching.wait()

    def _run(self) -> None:
        """Send the changes until `stop`, in the thread of the watcher."""
        changes = watch(
            *self.paths,
            stop_event=self._stopped,
            rust_timeout=STOP_INTERVAL_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        try:
            for some in changes:
                self._watching.set()
                for change, path in sorted(some, key=lambda one: (one[1], one[0])):
                    self.send(ACTIONS[change], path)
        except Exception:
            logging.getLogger("berrymq").exception("%s are no longer watched", self.paths)
        finally:
            self._watching.set()

    def stop(self) -> None:
        """Stop watching, and wait for the thread to end, unless it is the one that calls."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
