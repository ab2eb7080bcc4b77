"""What becomes of followers' errors: notes, groups, the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from .followers import Entry
    from .messages import Message

    OnError = Callable[[Any, Message, Any], object]
    """Called with the subscription (or the attachment of a link), the message and the exception."""

__all__ = ["annotate", "log_failure", "log_trouble", "log_warning", "raise_failures"]


def annotate(error: BaseException, entry: Entry, message: Message) -> None:
    """Add a note that names the follower, where it was written, and the message."""
    error.add_note(f"raised for the message {message.id!r} by {entry.describe()}")


def raise_failures(failures: list[Exception], message: Message, answers: list[Any] | None = None) -> NoReturn:
    """Raise one failure as itself, several as an `ExceptionGroup`; with `answers` of others."""
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


def log_warning(text: str) -> None:
    """Log a warning to the logger ``berrymq``."""
    import logging

    logging.getLogger("berrymq").warning(text)


def log_trouble(what: str, error: BaseException) -> None:
    """Log trouble of something that is no follower, with its traceback, to the logger ``berrymq``."""
    import logging

    logging.getLogger("berrymq").error("%s: %r", what, error, exc_info=error)


def log_failure(entry: Entry, message: Message, error: BaseException) -> None:
    """Log a failure, with its traceback, to the logger ``berrymq``."""
    import logging

    logging.getLogger("berrymq").error(
        "%s failed for the message %r: %r", entry.describe(), message.id, error, exc_info=error
    )
