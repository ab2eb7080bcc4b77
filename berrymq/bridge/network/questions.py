"""Questions across links: who is asked, and the answers until all have come.

Whoever asks knows from the directory which nodes follow the identifier. Each of them answers once, with
what all its followers gave; a node that leaves the network is not waited for any longer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.payload import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from berrymq.bridge.protocol.frames import WireMessage
    from berrymq.bus import Bus
    from berrymq.messages import Message

__all__ = ["ANSWER", "Questions", "put_to_bus"]

ANSWER = "berrymq:answer"
"""The identifier of the messages that bring answers."""

_log = logging.getLogger("berrymq")


class Questions:
    """The questions of one node that wait for answers. Lives on the node's loop."""

    def __init__(self) -> None:
        self._open: dict[int, _Question] = {}

    def ask(
        self, number: int, asked: Iterable[str], future: Future[list[Any]], identifier: str | None = None
    ) -> None:
        """Wait for the answers of the nodes *asked*; the *future* gets them all, unless it is cancelled.

        With an *identifier* it is said when one of them leaves before it has answered.
        """
        question = _Question(set(asked), future, identifier)
        self._open[number] = question
        # On whichever thread the asker gives up.
        future.add_done_callback(lambda _: self._open.pop(number, None))
        self._end_if_complete(question)

    def take(self, message: WireMessage) -> None:
        """A node has answered."""
        question = self._open.get(message.question or 0)
        if question is None or message.origin not in question.missing:
            return  # the asker has given up
        try:
            (answers, errors), _ = decode(message.payload)
            question.answers.extend(answers)
            for error in errors:
                if isinstance(error, RemoteError):
                    error.source = message.source
                if isinstance(error, Exception):
                    question.errors.append(error)
        except (ValueError, TypeError) as error:
            question.errors.append(RemoteError("ValueError", f"{message.source} answered nonsense: {error}"))
        question.missing.discard(message.origin)
        self._end_if_complete(question)

    def nodes_changed(self, present: Callable[[str], bool]) -> None:
        """Somebody may have left."""
        for question in list(self._open.values()):
            left = {node_id for node_id in question.missing if not present(node_id)}
            if left and question.identifier is not None:
                _log.warning(
                    "%d of those who were asked %s left the network before they answered",
                    len(left),
                    question.identifier,
                )
            question.missing -= left
            self._end_if_complete(question)

    def _end_if_complete(self, question: _Question) -> None:
        if not question.missing:
            question.end()


class _Question:
    def __init__(self, missing: set[str], future: Future[list[Any]], identifier: str | None) -> None:
        self.missing = missing
        self.future = future
        self.identifier = identifier
        self.answers: list[Any] = []
        self.errors: list[Exception] = []

    def end(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        if not self.errors:
            self.future.set_result(self.answers)
            return
        error = self.errors[0]
        if len(self.errors) > 1:
            error = ExceptionGroup(f"{len(self.errors)} followers elsewhere failed", self.errors)
        error.__dict__["answers"] = self.answers
        self.future.set_exception(error)


def put_to_bus(bus: Bus, message: Message, answer: Callable[[bytes], object]) -> None:
    """Put a question that came over a link to the followers here.

    *answer* is called once with the payload of the answer, on any thread.
    """

    def done(answers: list[Any], errors: list[Exception]) -> None:
        try:
            payload = encode((answers, errors), {})
        except PayloadError as error:
            _log.warning("an answer to %s can't cross: %s", message.id, error)
            payload = encode(([], [*errors, error]), {})
        answer(payload)

    bus.gateway.poll(message, done)
