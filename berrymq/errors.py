"""The exceptions of the core.

::

    BerryMQError
        IdentifierError     (ValueError)    text that is no identifier
        RegistrationError   (TypeError)     something that cannot follow
        LoopError           (RuntimeError)  an ``async def`` follower without an event loop to run on
        AskTimeout          (TimeoutError)  a question that was not answered in time
        QueueClosed                         a get from a queue that is closed and empty

``Empty`` and ``Full`` are those of the standard library's `queue`. Failures of links (``LinkError``,
``PayloadError``) live in `berrymq.bridge` and derive from `BerryMQError` too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["AskTimeout", "BerryMQError", "IdentifierError", "LoopError", "QueueClosed", "RegistrationError"]


class BerryMQError(Exception):
    """Base of every exception that berryMQ itself raises."""


class IdentifierError(BerryMQError, ValueError):
    """Raised for text that is no identifier, with the reason and what to write instead."""


class RegistrationError(BerryMQError, TypeError):
    """Raised for what can't follow: it is not callable with a message, or can't be referenced weakly."""


class LoopError(BerryMQError, RuntimeError):
    """Raised when an ``async def`` follower gets a message and there is no event loop to run it on."""


class AskTimeout(BerryMQError, TimeoutError):  # noqa: N818  # like the TimeoutError that it is
    """Raised when some follower or link did not answer a question in time.

    Attributes:
        answers: the answers that came.
    """

    def __init__(self, text: str, answers: list[Any]) -> None:
        super().__init__(text)
        self.answers = answers

    def __reduce__(self) -> tuple[Any, ...]:
        return AskTimeout, (self.args[0], self.answers)


class QueueClosed(BerryMQError):  # noqa: N818  # like Empty and Full
    """Raised by a get from a queue that is closed and empty."""
