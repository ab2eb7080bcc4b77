"""The state of this process: callbacks after a fork, exit handlers, and a reference to the default bus.

`atexit` is used here and nowhere else, `os.register_at_fork` only for shared memory too. They stay set, and
`atexit` runs last what was registered first: since this module is imported first, the exit handlers of a
program still find their followers, and their links.

Each bus, the watchdog and the bridge register with `Process.on_fork`, and replace in a forked child the
locks, threads and sockets that are the parent's. A lock of a module is a `ForkSafeLock`.
"""

from __future__ import annotations

import atexit
import os
import sys
from itertools import count
from threading import RLock
from types import MethodType
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .bus import Bus

    Callback = Callable[[], object]

__all__ = ["ForkSafeLock", "Process", "Step", "process"]


class Step:
    """The exit steps, in their order: deliveries end first, for they may still send over links.

    Attributes:
        DELIVERIES: finish the deliveries of each bus.
        LINKS: flush and close links.
        ALL: the steps in the order in which they run.
    """

    DELIVERIES: Final = 0
    LINKS: Final = 1
    ALL: Final = (DELIVERIES, LINKS)


class Process:
    """The state of this process. A forked child inherits it with its callbacks.

    There is one instance, `process`.
    """

    def __init__(self) -> None:
        self.default_bus: Bus | None = None
        """The bus that the functions of the module `berrymq` act on; None until it is made."""
        self._on_fork: dict[int, Callback | WeakCallback] = {}
        """What to call in a forked child, in the order of registration, by number."""
        self._at_exit: dict[int, list[Callback | WeakCallback]] = {step: [] for step in Step.ALL}
        """What to call in each step."""
        self._numbers = count()
        self._finalized = False
        """Whether the exit steps are registered with `multiprocessing`."""

    def on_fork(self, callback: Callback) -> None:
        """Call `callback` in forked children, in the order of registration.

        A bound method is held weakly. A lock that another thread of the parent held at the fork is never
        released in the child: the callback replaces it.

        Args:
            callback: is called without arguments, in the only thread of the child; it must not raise.
        """
        number = next(self._numbers)
        self._on_fork[number] = weakly(callback, lambda _: self._on_fork.pop(number, None))

    def at_exit(self, step: int, callback: Callback) -> None:
        """Call `callback` in its `step` when the interpreter shuts down.

        Args:
            step: one of `Step`.
            callback: called once, however often it is registered. A bound method is held weakly.
        """
        callbacks = self._at_exit[step]
        callbacks[:] = [known for known in callbacks if resolve(known) not in (None, callback)]
        callbacks.append(weakly(callback))

    def finish_in_children(self) -> None:
        """Run the exit steps in a child of `multiprocessing` too, which ends without `atexit`.

        To be called when something is started that has to end in order, such as a thread: at the time of the
        fork itself, such a child can't be distinguished from any other.
        """
        multiprocessing: Any = sys.modules.get("multiprocessing.process")
        if self._finalized or multiprocessing is None or multiprocessing.parent_process() is None:
            return
        from multiprocessing.util import Finalize

        self._finalized = True
        Finalize(None, self.exit, exitpriority=0)

    def exit(self) -> None:
        """Run the exit steps in their order. An error of a callback is logged, and the others run.

        Called by `atexit`, or by `multiprocessing` in its children.
        """
        for step in Step.ALL:
            for known in list(self._at_exit[step]):
                callback = resolve(known)
                if callback is None:
                    continue
                try:
                    callback()
                except Exception:
                    import logging

                    logging.getLogger("berrymq").exception("an exit handler failed")

    def after_fork(self) -> None:
        """Call what `on_fork` has registered, in a forked child."""
        self._finalized = False
        for known in list(self._on_fork.values()):
            callback = resolve(known)
            if callback is not None:
                callback()


class WeakCallback:
    """A weak reference to a bound method.

    `weakref.WeakMethod` is one too, but when it is collected together with its object, as at exit, its
    callback raises.

    Args:
        method: the bound method.
        on_collected: is called when its object is collected.
    """

    __slots__ = ("_function", "_object")

    def __init__(self, method: MethodType, on_collected: Callable[[Any], object] | None) -> None:
        self._object = ref(method.__self__, on_collected)
        self._function = method.__func__

    def resolve(self) -> Callback | None:
        """Return the method, or None when its object was collected."""
        alive = self._object()
        return None if alive is None else MethodType(self._function, alive)


def weakly(
    callback: Callback, on_collected: Callable[[Any], object] | None = None
) -> Callback | WeakCallback:
    """Return a weak reference to a bound method, and any other callback as it is.

    Args:
        callback: what is to be called later.
        on_collected: is called when the object of a bound method is collected.
    """
    return WeakCallback(callback, on_collected) if type(callback) is MethodType else callback


def resolve(known: Callback | WeakCallback) -> Callback | None:
    """Return the callback that `weakly` was given, or None when its object was collected."""
    return known.resolve() if isinstance(known, WeakCallback) else known


process = Process()
"""This process."""

atexit.register(process.exit)
if hasattr(os, "register_at_fork"):  # not on Windows, nor in the browser
    os.register_at_fork(after_in_child=process.after_fork)


class ForkSafeLock:
    """A re-entrant lock for ``with`` that is released in a forked child.

    It is re-entrant because a destructor may run while it is held, and take it again. It is not to be created
    for each message: each instance is registered with `Process.on_fork`.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = RLock()
        process.on_fork(self.after_fork)

    def after_fork(self) -> None:
        """Release the lock: the thread that held it is the parent's."""
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
