"""What becomes of followers' errors: notes, groups, the log.

An error may be of any class, raised any number of times: nothing here assumes that it can be printed, takes a
note, or is another one than last time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from .messages import Message
    from .subscriptions import Entry

    OnError = Callable[[Any, Message, Any], object]
    """Called with the subscription (or the attachment of a link), the message and the exception."""

__all__ = [
    "annotate",
    "log_failure",
    "log_trouble",
    "log_warning",
    "raise_failures",
    "text_of",
]

MAX_NOTES = 16
"""How many notes an error may have until it gets no more: one object may be raised for every message."""


def annotate(error: BaseException, entry: Entry, message: Message) -> None:
    """Add a note that names the follower, where it was written, and the message."""
    note = f"raised for the message {message.id!r} by {entry.describe()}"
    with suppress(Exception):  # a frozen class, for one: the error matters, not the note
        known = getattr(error, "__notes__", ())
        if note not in known and len(known) < MAX_NOTES:
            error.add_note(note)


def raise_failures(failures: list[Exception], message: Message, answers: list[Any] | None = None) -> NoReturn:
    """Raise one failure as itself, several as an `ExceptionGroup`; with the `answers` of the others."""
    try:
        error = failures[0]
        if len(failures) > 1:
            error = ExceptionGroup(
                f"{len(failures)} followers failed for the message {message.id!r}", failures
            )
        if answers is not None:
            error.__dict__["answers"] = answers
        raise error
    finally:
        failures.clear()  # no reference cycle through this frame
        del error


def text_of(error: BaseException) -> str:
    """Return ``Type: text``, whatever its `__str__` does."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # noqa: BLE001  # foreign code
        return f"{type(error).__name__} (its text is unavailable)"


def log_warning(text: str) -> None:
    """Log a warning to the logger ``berrymq``."""
    import logging

    logging.getLogger("berrymq").warning("%s", text)


def log_trouble(what: str, error: BaseException) -> None:
    """Log trouble of something that is no follower, with its traceback, to the logger ``berrymq``."""
    import logging

    logging.getLogger("berrymq").error("%s: %s", what, text_of(error), exc_info=error)


def log_failure(entry: Entry, message: Message, error: BaseException) -> None:
    """Log a failure, with its traceback, to the logger ``berrymq``."""
    log_trouble(f"{entry.describe()} failed for the message {message.id!r}", error)
    # An object that is raised again and again grows by a traceback each time, with all frames in it. The
    # record of the log has its own reference to this one.
    with suppress(Exception):  # a frozen class
        error.__traceback__ = None
