"""Answers that take time, and whose turn it is meanwhile: which follower runs here, and waits for which.

Imported by what gives followers their turns, worker pools and event loops: `concurrent.futures` loads much.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .process import ForkSafeLock

if TYPE_CHECKING:
    from .subscriptions import Subscription

__all__ = ["RUNNING", "Answer", "begin_wait", "end_wait"]

RUNNING: ContextVar[Subscription | None] = ContextVar("berrymq subscription", default=None)
"""The subscription that this thread or task runs, if that is one that waits for its turn."""


class Answer(Future[Any]):
    """The answer of one follower. It is called with the result and the error, as a message's callback is."""

    def __call__(self, result: Any, error: BaseException | None) -> None:
        """Be answered. When the asker has given up, this does nothing."""
        with suppress(InvalidStateError):
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)


Edge = tuple["Subscription | None", "Subscription"]

_lock = ForkSafeLock()
_waits: dict[Subscription, list[Subscription]] = {}
"""For each follower that waits for answers now: the followers that it waits for."""


def begin_wait(target: Subscription) -> Edge | None:
    """Note that the follower that runs here waits for `target`; None when neither would ever go on.

    A follower sees one message at a time, so one that asks itself, perhaps by way of others, would wait for
    its own return.
    """
    asker = RUNNING.get()
    edge = (asker, target)
    if asker is None:
        return edge
    with _lock:
        reached = [target]
        for one in reached:  # it grows meanwhile
            if one is asker:
                return None
            reached += [other for other in _waits.get(one, ()) if other not in reached]
        _waits.setdefault(asker, []).append(target)
    return edge


def end_wait(edge: Edge) -> None:
    """Take back what `begin_wait` has noted."""
    asker, target = edge
    if asker is None:
        return
    with _lock:
        waited = _waits[asker]
        waited.remove(target)
        if not waited:
            del _waits[asker]
