"""Errors of followers: the notes and groups with which they are raised, and how they are logged.

A delivery with a caller raises to it (`raise_failures`); one without, such as that of a link or of a worker
thread, is logged (`log_failure`). Everything is logged to the logger ``berrymq``; `logging` is imported by
the first record, to keep ``import berrymq`` fast.

An error may be of any class, and the same object may be raised any number of times: nothing here assumes that
it can be printed or takes a note.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from .messages import Message
    from .subscribers import Subscriber

    OnError = Callable[[Any, Message, Any], object]
    """Called with the subscription (or the attachment of a link), the message and the exception."""

__all__ = [
    "annotate",
    "log_error",
    "log_failure",
    "log_warning",
    "raise_failures",
    "text_of",
]

MAX_NOTES = 16
"""The most notes that an error gets: one object may be raised for every message."""


def annotate(error: BaseException, subscriber: Subscriber, message: Message) -> None:
    """Add a note with the follower's name and location, and the identifier of the message.

    The same note is added once, and no more than `MAX_NOTES` in all. An error that takes no note stays as it
    is.

    Args:
        error: what the follower raised.
        subscriber: the follower, or a link.
        message: what it was called with.
    """
    note = f"raised for the message {message.id!r} by {subscriber.describe()}"
    with suppress(Exception):  # of a frozen class, for example: the error itself must still be reported
        known = getattr(error, "__notes__", ())
        if note not in known and len(known) < MAX_NOTES:
            error.add_note(note)


def raise_failures(failures: list[Exception], message: Message, answers: list[Any] | None = None) -> NoReturn:
    """Raise one failure as itself, several as an `ExceptionGroup`.

    Args:
        failures: at least one; the list is emptied.
        message: what the followers failed for.
        answers: those of the other followers, set as the attribute ``answers`` of the error; None for none.
    """
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
    """Return ``Type: text``, even if its `__str__` raises."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # noqa: BLE001  # foreign code
        return f"{type(error).__name__} (its text is unavailable)"


def log_warning(text: str) -> None:
    """Log a warning to the logger ``berrymq``; `text` is logged as it is, percent signs included."""
    import logging

    logging.getLogger("berrymq").warning("%s", text)


def log_error(text: str, error: BaseException) -> None:
    """Log an error of something other than a follower, with its traceback, to the logger ``berrymq``.

    Args:
        text: what failed; the error's type and text are appended.
        error: what was raised.
    """
    import logging

    logging.getLogger("berrymq").error("%s: %s", text, text_of(error), exc_info=error)


def log_failure(subscriber: Subscriber, message: Message, error: BaseException) -> None:
    """Log the error of a follower, with its traceback, to the logger ``berrymq``.

    The traceback is then removed from the error object, as the comment in the body explains.
    """
    log_error(f"{subscriber.describe()} failed for the message {message.id!r}", error)
    # An object that is raised again and again gets a longer traceback each time, which holds all frames. The
    # log record has its own reference to the present one.
    with suppress(Exception):  # a frozen class
        error.__traceback__ = None
