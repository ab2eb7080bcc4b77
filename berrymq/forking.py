"""After a fork: locks that some thread of the parent held are held by nobody in the child, so they are made anew."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["track"]


class Forkable(Protocol):
    """Something with locks or threads of its own."""

    def after_fork(self) -> None:
        """Put locks and threads right in the child."""


_tracked: WeakSet[Forkable] = WeakSet()


def track(thing: Forkable) -> None:
    """Have ``thing.after_fork()`` called in forked children while it lives."""
    _tracked.add(thing)


def after_fork() -> None:
    """Tell everything that is tracked."""
    for thing in list(_tracked):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, nor in the browser
    os.register_at_fork(after_in_child=after_fork)
