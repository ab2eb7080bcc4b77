"""After a fork: locks that other threads of the parent held are made anew; nobody holds them in the child."""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SafeLock", "track"]


class Forkable(Protocol):
    """Something with locks or threads of its own."""

    def after_fork(self) -> None:
        """Put locks and threads right in the child."""


_tracked: WeakSet[Forkable] = WeakSet()


def track(thing: Forkable) -> None:
    """Have ``thing.after_fork()`` called in forked children while it lives."""
    _tracked.add(thing)


class SafeLock:
    """A re-entrant lock for ``with`` that is free in a forked child; for modules, which cannot track one."""

    def __init__(self) -> None:
        self._lock = RLock()
        track(self)

    def after_fork(self) -> None:
        """Start free."""
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


def after_fork() -> None:
    """Tell everything that is tracked."""
    for thing in list(_tracked):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, nor in the browser
    os.register_at_fork(after_in_child=after_fork)
