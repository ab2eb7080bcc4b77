"""Show errors: one line for a mistake in a magic, a traceback of the user's code for a follower's error.

IPython prints a `UsageError` as one line. Other exceptions keep their class, so that a ``try`` around a magic
catches them; what is shown of them is changed by removing frames of berryMQ, or by ``_render_traceback_``.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeGuard

from IPython.core.error import UsageError

import berrymq

from .arguments import one_line, shorten
from .output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from IPython.core.interactiveshell import InteractiveShell

    from berrymq import Message, Subscription

    from .cells import Cells

OURS = tuple(str(folder) + os.sep for folder in (Path(berrymq.__file__).parent, Path(__file__).parent))
"""The directories of berryMQ's own code."""


def as_one_line(error: BaseException, text: str) -> None:
    """Show an exception as one line; it is still caught as the class that it has.

    Args:
        error: the exception.
        text: shown behind its class.
    """
    line = f"{type(error).__name__}: {text}"
    error.__dict__["_render_traceback_"] = lambda: [line]  # IPython asks for this


def from_users_code(traceback: TracebackType | None) -> TracebackType | None:
    """Drop the frames of berryMQ that open a traceback; None when no others are left."""
    while is_ours(traceback):
        traceback = traceback.tb_next
    return traceback


def is_ours(traceback: TracebackType | None) -> TypeGuard[TracebackType]:
    """Return whether a traceback begins in berryMQ, which caught or raised the error."""
    return traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(OURS)


def show_users_code(error: BaseException) -> None:
    """Make the tracebacks of an exception, its parts and its causes begin in the user's code.

    Exceptions that berryMQ itself has caught, such as a failed answer, are not among its causes. Cycles of
    causes are allowed.
    """
    seen: set[int] = set()
    found = [error]
    while found:
        one = found.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        context = one.__context__
        if context is not None and is_ours(context.__traceback__):
            one.__context__ = None
        if is_remote(one):
            one.__traceback__ = None  # it shows only where the answer was awaited
            continue
        parts = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        found += [other for other in (one.__cause__, one.__context__, *parts) if other is not None]
        one.__traceback__ = from_users_code(one.__traceback__)


def show_interrupt(interrupt: KeyboardInterrupt) -> None:
    """Show the line of the user's code that was interrupted; one line of text if berryMQ was waiting."""
    show_users_code(interrupt)
    traceback = interrupt.__traceback__
    module = "" if traceback is None else str(traceback.tb_frame.f_globals.get("__name__"))
    if traceback is None or module.partition(".")[0] in sys.stdlib_module_names:
        as_one_line(interrupt, "stopped waiting")


def raise_to_user(error: Exception) -> NoReturn:
    """Raise what a send raised: a payload that can't cross as one line, others from the follower's code.

    The answers of the others to a question are added as a note.

    Args:
        error: what `twitter`, `talk` or `ask` raised.

    Raises:
        UsageError: the sender made a mistake.
        Exception: of a follower, as itself.
    """
    __tracebackhide__ = True
    unsendable, others = split_unsendable(error)
    notes = list(dict.fromkeys(map(one_line, unsendable)))
    if answers := error.__dict__.get("answers"):
        notes.append(f"the others answered {shorten(repr(answers))}")
    note = "; ".join(notes)
    if others is None:
        raise UsageError(note) from None
    if note:
        others.add_note(note)
    show_users_code(others)
    if others.__traceback__ is None and not isinstance(
        others, ExceptionGroup
    ):  # it is raised by berryMQ itself
        if is_remote(others):
            as_one_line(others, "; ".join([one_line(others), *map(str, getattr(others, "__notes__", ()))]))
            raise others
        text = "; ".join(filter(None, [one_line(others), note]))
        if isinstance(others, berrymq.BerryMQError) and not isinstance(others, TimeoutError):
            raise UsageError(text) from None
        as_one_line(others, text)
    raise others


def is_remote(error: BaseException) -> bool:
    """Return whether an error was raised on another node, which keeps the traceback."""
    bridge = sys.modules.get("berrymq.bridge")
    return bridge is not None and isinstance(error, bridge.RemoteError)


def split_unsendable(error: Exception) -> tuple[list[Exception], Exception | None]:
    """Split errors about payloads that can't cross a link from those that followers raised.

    Args:
        error: one error, or an `ExceptionGroup`.

    Returns:
        The `PayloadError`s, and what is left or None.
    """
    bridge = sys.modules.get("berrymq.bridge")
    if bridge is None:  # nothing can be linked, so nothing can have been refused
        return [], error
    kind: type[Exception] = bridge.PayloadError
    if isinstance(error, kind):
        return [error], None
    if isinstance(error, ExceptionGroup):
        refused, others = error.split(kind)
        return list(refused.exceptions) if refused is not None else [], others
    return [], error


@contextmanager
def one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds in the block into a `UsageError` of one line."""
    try:
        yield
    except kinds as error:
        raise UsageError(one_line(error)) from None


class ErrorReport:
    """Shows the error of a follower that a link called below the cell that registered it.

    Called by the bus, as its ``on_background_error``, on the thread of the delivery.

    Args:
        shell: renders the traceback.
        cells: knows the cell of each follower.
    """

    def __init__(self, shell: InteractiveShell, cells: Cells) -> None:
        self._shell = shell
        self._cells = cells

    def __call__(self, subscription: Subscription, _message: Message, error: BaseException) -> None:
        """Show a traceback that starts in the user's code."""
        cell = self._cells.origin(subscription)
        output = Output(self._shell) if cell is None else cell.output
        show_users_code(error)
        output.show_error(type(error), error, error.__traceback__)
