"""The exceptions of the core.

::

    BerryMQError
        IdentifierError     (ValueError)    text that is no identifier
        RegistrationError   (TypeError)     something that cannot follow
        LoopError           (RuntimeError)  an ``async def`` follower without an event loop to run on
        AskTimeout          (TimeoutError)  a question that was not answered in time
        QueueClosed                         a get from a queue that is closed and empty

Each derives from the built-in class in parentheses too, so that code that knows nothing of berryMQ catches
it. ``Empty`` and ``Full`` are those of the standard library's `queue`. Failures of links (``LinkError``,
``PayloadError``) live in `berrymq.bridge` and derive from `BerryMQError` too. An exception that a follower
raises is raised as itself, not wrapped in one of these.
"""

from __future__ import annotations

from typing import Any

__all__ = ["AskTimeout", "BerryMQError", "IdentifierError", "LoopError", "QueueClosed", "RegistrationError"]


class BerryMQError(Exception):
    """Base of every exception that berryMQ itself raises; catch it to catch all of them."""


class IdentifierError(BerryMQError, ValueError):
    """Raised for text that is no identifier.

    The text says what is wrong, why, and what to write instead.
    """


class RegistrationError(BerryMQError, TypeError):
    """Raised for what can't follow, where it is registered.

    For example: it can't be called with one message, contains a ``yield``, has an ``async`` guard, or is a
    method of an object that can't be referenced weakly.
    """


class LoopError(BerryMQError, RuntimeError):
    """Raised when an ``async def`` follower gets a message and there is no event loop to run it on.

    Also raised by ``ask()`` on the event loop of such a follower, which it would block: use ``await aask()``.
    """


class AskTimeout(BerryMQError, TimeoutError):  # noqa: N818  # like the TimeoutError that it is
    """Raised when some follower or link did not answer a question in time.

    Args:
        text: names the identifier, the timeout, and those that have not answered.
        answers: those that came.

    Attributes:
        answers: the answers that came, in the order of the followers.
    """

    def __init__(self, text: str, answers: list[Any]) -> None:
        super().__init__(text)
        self.answers = answers

    def __reduce__(self) -> tuple[Any, ...]:
        return AskTimeout, (self.args[0], self.answers)


class QueueClosed(BerryMQError):  # noqa: N818  # like Empty and Full
    """Raised by a get from a queue that is closed and empty.

    A thread that waits in a get when the queue is closed gets it, too.
    """
