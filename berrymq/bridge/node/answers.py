"""The future that an asker waits for: the answers of other nodes.

`Bus.ask` gets an `Answers` from the attachment of the links, and waits for it with the futures of followers
here. With one connection the waiting thread reads it itself (`Channel.pump`), so an answer wakes no thread.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import LinkError, RemoteError
from berrymq.bridge.payload import decode_values
from berrymq.bridge.protocol import frames
from berrymq.printable import printable

from .questions import SPIN_SECONDS

if TYPE_CHECKING:
    from berrymq.bridge.transport.channel import Channel

    from .node import Node
    from .questions import Question

__all__ = ["Answers", "as_error", "resolve"]


class Answers(Future[list[Any]]):
    """The answers to a question. The thread that waits for them reads the connection itself.

    Args:
        node: this process.
        channel: the connection over which they arrive; None for several.

    Attributes:
        question: the open question, set right after the future is made.
    """

    question: Question

    def __init__(self, node: Node, channel: Channel | None) -> None:
        super().__init__()
        self._node = node
        self._channel = channel
        self._askers = node.askers
        """The threads that wait for answers at present, by their numbers."""
        self._values: list[Any] | None = None
        """The answers, for the waiting thread, which reads them without the lock of a future."""

    def result(self, timeout: float | None = None) -> list[Any]:
        """Return the answers, those of all nodes in one list.

        Args:
            timeout: in seconds; None for no limit.

        Raises:
            TimeoutError: there is no result in time.
            Exception: of a follower elsewhere, or an `ExceptionGroup` of several.
        """
        deadline = None if timeout is None else monotonic() + timeout
        if self._channel is not None:
            me = get_ident()
            self._askers.add(me)
            try:
                self._channel.pump(self._has_ended, deadline, spin_until=monotonic() + SPIN_SECONDS)
            finally:
                self._askers.discard(me)
            if self._values is not None:
                return self._values
        return super().result(None if deadline is None else max(0.0, deadline - monotonic()))

    def set_result(self, result: list[Any]) -> None:
        """Complete the future."""
        super().set_result(result)
        self._values = result

    def cancel(self) -> bool:
        """Cancel the future, and abandon the question."""
        if not super().cancel():
            return False
        self._node.questions.give_up(self.question)
        return True

    def _has_ended(self) -> bool:
        return self._values is not None or self.done()

    def conclude(self) -> None:
        """End the question soon, with the answers that have arrived: at the deadline of the asker."""
        self._node.questions.conclude(self.question)

    def unanswered(self) -> list[str]:
        """Return the names of the nodes that have not answered."""
        return self._node.questions.unanswered(self.question)


def resolve(future: Future[list[Any]], answers: list[Any]) -> None:
    """Complete the future with the answers, or with the errors of followers.

    An answer that can't be read counts as an error. The error has the answers of the others as ``answers``.

    Args:
        future: the one to complete; nothing happens if it was cancelled.
        answers: each as JSON, or decoded as a tuple of source, values and errors.
    """
    values: list[Any] = []
    errors: list[Exception] = []
    for answer in answers:
        try:
            if type(answer) is tuple:
                source, found, failed = answer
            else:
                parsed = frames.parse_answer(answer)
                source = parsed.source
                buffers = answer.memory.views() if isinstance(answer, frames.LargeAnswer) else ()
                found, failed = decode_values(parsed.values, buffers), decode_values(parsed.errors)
            values += found
            errors += [as_error(value, source) for value in failed]
        except ValueError as error:
            errors.append(RemoteError("ValueError", f"an answer can't be read: {error}"))
    if not errors:
        with suppress(InvalidStateError):  # it was cancelled
            future.set_result(values)
        return
    failure = errors[0]
    if len(errors) > 1:
        failure = ExceptionGroup(f"{len(errors)} followers elsewhere failed", errors)
    failure.__dict__["answers"] = values
    with suppress(InvalidStateError):
        future.set_exception(failure)


def as_error(value: Any, source: str) -> Exception:
    """Return the exception of a follower elsewhere, as an exception of this process.

    Args:
        value: the decoded value.
        source: the name of its node.

    Returns:
        A `RemoteError`, an exception of a type that is registered here, or a `LinkError` of a node that could
        not be asked.
    """
    if isinstance(value, RemoteError):
        if value.kind == "LinkError":
            return LinkError(printable(value.text))
        value.source = source
        return value
    return value if isinstance(value, Exception) else RemoteError("Exception", str(value), source)
