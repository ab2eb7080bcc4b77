"""What there is one of in each process: what is done after a fork, what is done at exit, the default bus.

`os.register_at_fork` and `atexit` are used here and nowhere else. Their callbacks can't be taken back, and
`atexit` runs last what was registered first: since this module is imported first, the exit handlers of a
program still find their followers, and their links.
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
    """The order in which things end at exit."""

    DELIVERIES: Final = 0
    LINKS: Final = 1
    ALL: Final = (DELIVERIES, LINKS)


class Process:
    """The state of this process. After a fork it is the child's, which knows the same callbacks."""

    def __init__(self) -> None:
        self.default_bus: Bus | None = None
        """The bus that the functions of the module `berrymq` act on; None until it is made."""
        self._on_fork: dict[int, Callback | WeakCallback] = {}
        self._at_exit: dict[int, list[Callback | WeakCallback]] = {step: [] for step in Step.ALL}
        self._numbers = count()
        self._finalized = False

    def on_fork(self, callback: Callback) -> None:
        """Have `callback` called in forked children, in the order of registration.

        A bound method is held weakly. In the child, the locks that the parent's other threads held are held
        for ever: the callback makes them anew.
        """
        number = next(self._numbers)
        self._on_fork[number] = weakly(callback, lambda _: self._on_fork.pop(number, None))

    def at_exit(self, step: int, callback: Callback) -> None:
        """Have `callback` called in its `step` when the interpreter shuts down.

        Args:
            step: one of `Step`.
            callback: called once, however often it is registered. A bound method is held weakly.
        """
        callbacks = self._at_exit[step]
        callbacks[:] = [known for known in callbacks if resolve(known) not in (None, callback)]
        callbacks.append(weakly(callback))

    def finish_in_children(self) -> None:
        """Have the exit steps run in a child of `multiprocessing` too, which ends without `atexit`.

        To be called when something is started that has to end in order, a thread for one: at the time of the
        fork itself, such a child can't be told from any other.
        """
        multiprocessing: Any = sys.modules.get("multiprocessing.process")
        if self._finalized or multiprocessing is None or multiprocessing.parent_process() is None:
            return
        from multiprocessing.util import Finalize

        self._finalized = True
        Finalize(None, self.exit, exitpriority=0)

    def exit(self) -> None:
        """Run the exit steps in their order. An error of one callback keeps no other from running."""
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

    def begin_child(self) -> None:
        """Become the process of a forked child."""
        self._finalized = False
        for known in list(self._on_fork.values()):
            callback = resolve(known)
            if callback is not None:
                callback()


class WeakCallback:
    """A bound method that does not keep its object alive.

    `weakref.WeakMethod` does the same, but when it is collected together with the object, as at exit, its
    callback fails.
    """

    __slots__ = ("_function", "_object")

    def __init__(self, method: MethodType, gone: Callable[[Any], object] | None) -> None:
        self._object = ref(method.__self__, gone)
        self._function = method.__func__

    def resolve(self) -> Callback | None:
        """The method; None when its object is gone."""
        known = self._object()
        return None if known is None else MethodType(self._function, known)


def weakly(callback: Callback, gone: Callable[[Any], object] | None = None) -> Callback | WeakCallback:
    """Hold a bound method weakly, anything else as it is; *gone* is called when its object is collected."""
    return WeakCallback(callback, gone) if type(callback) is MethodType else callback


def resolve(known: Callback | WeakCallback) -> Callback | None:
    """Return what `weakly` holds; None when its object is gone."""
    return known.resolve() if isinstance(known, WeakCallback) else known


process = Process()
"""This process."""

atexit.register(process.exit)
if hasattr(os, "register_at_fork"):  # not on Windows, nor in the browser
    os.register_at_fork(after_in_child=process.begin_child)


class ForkSafeLock:
    """A re-entrant lock for ``with`` that is free in a forked child."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = RLock()
        process.on_fork(self.reset)

    def reset(self) -> None:
        """Start unheld, in a forked child."""
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
