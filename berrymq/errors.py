"""The exceptions of the core.

::

    BerryMQError
        IdentifierError     (ValueError)    text that is no identifier
        RegistrationError   (TypeError)     something that cannot follow
        LoopError           (RuntimeError)  an ``async def`` follower without an event loop to run on
        AskTimeout          (TimeoutError)  a question that was not answered in time
        QueueClosed                         a get from a queue that is closed and used up

``Empty`` and ``Full`` are those of the standard library's `queue`. Failures of links (``LinkError``,
``PayloadError``) live in `berrymq.bridge` and derive from `BerryMQError` too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["AskTimeout", "BerryMQError", "IdentifierError", "LoopError", "QueueClosed", "RegistrationError"]


class BerryMQError(Exception):
    """Base of every exception that berryMQ itself raises."""


class IdentifierError(BerryMQError, ValueError):
    """Text that is no identifier. The message says what is wrong with it and what to write instead."""


class RegistrationError(BerryMQError, TypeError):
    """Something that cannot follow: not callable with a message, or impossible to hold weakly."""


class LoopError(BerryMQError, RuntimeError):
    """An ``async def`` follower got a message, and no event loop was there to run it."""


class AskTimeout(BerryMQError, TimeoutError):  # noqa: N818  # like the TimeoutError that it is
    """A question that was not answered by everybody in time.

    Attributes:
        answers: those that came.
    """

    def __init__(self, text: str, answers: list[Any]) -> None:
        super().__init__(text)
        self.answers = answers

    def __reduce__(self) -> tuple[Any, ...]:
        return AskTimeout, (self.args[0], self.answers)


class QueueClosed(BerryMQError):  # noqa: N818  # like Empty and Full
    """The queue is closed, and every message in it has been taken."""
