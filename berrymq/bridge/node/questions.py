"""The open questions of a node, and the answers that have arrived.

Each node that is asked answers once, with the results of all its followers. A peer can answer only what it
was asked, by the asker's own number; one that is disconnected for `GRACE_SECONDS`, or closes its link, is
answered for with an error, so no asker waits in vain.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from berrymq.bridge.protocol.frames import LargeAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from contextlib import AbstractContextManager

    from berrymq.bridge.transport.budget import Account, Budget

__all__ = ["GRACE_SECONDS", "SPIN_SECONDS", "Question", "Questions"]

GRACE_SECONDS = 5.0
"""The time for which the answer of a disconnected peer is awaited."""

SPIN_SECONDS = 0.0005
"""The time for which a thread polls for the next question or answer before it blocks.

To wake a sleeping processor takes several times as long as all the work for a question.
"""

ANSWER_BYTES = 100
"""The approximate overhead of an answer beside its bytes."""

MAX_OPEN, MAX_OPEN_OF_ONE = 10_000, 1_000
"""The limit of open questions, and that of one peer, so that no peer keeps the others from asking."""


class Question:
    """One question, until all have answered.

    Args:
        number: its key.
        asker: the peer that asked; None for this process.
        asked_as: the asker's own number.
        done: called once with the answers as JSON, in the order of their arrival.
    """

    __slots__ = (
        *("answer_bytes", "answers", "asked_as", "asker", "done", "number", "takes_values"),
        *("unanswered", "waiting"),
    )

    def __init__(
        self, number: int, asker: Hashable, asked_as: int | None, done: Callable[[list[Any]], object]
    ) -> None:
        self.number = number
        self.asker = asker
        self.asked_as = asked_as
        self.done = done
        self.waiting: dict[Hashable, None] = {}
        """Those that have not answered yet, in the order in which they were asked."""
        self.answers: list[Any] = []
        """Those that have come, encoded, in the order of their arrival."""
        self.takes_values = False
        """Its last answer may be a tuple of name, values and errors instead of their JSON."""
        self.unanswered: list[str] = []
        """The names of nodes without an answer when it was concluded."""
        self.answer_bytes = 0
        """The memory that the answers take, approximately."""


class _Asker:
    """An asker, a peer or this process with its clients: its open questions and their memory."""

    __slots__ = ("account", "questions")

    def __init__(self, questions: Questions, budget: Budget) -> None:
        self.questions: dict[int, Question] = {}
        self.account: Account = budget.open(lambda target: questions.shed(self, target))


class Questions:
    """The open questions of one node. Not thread-safe: the lock of the router is held.

    Args:
        budget: counts the answers that are held until a question is complete.
        lock: held while answers are dropped because memory is short.
        too_much: the answer to a question whose answers were dropped.
    """

    def __init__(self, budget: Budget, lock: AbstractContextManager[object], too_much: bytes) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}
        """By number."""
        self._of: dict[Hashable, set[int]] = {}
        """The numbers of the questions that each subscriber has not answered yet."""
        self._asked_as: dict[tuple[Hashable, int], Question] = {}
        """By the asker and its own number."""
        self._askers: dict[Hashable, _Asker] = {}
        self._budget = budget
        self._lock = lock
        self._too_much = too_much

    def is_full_for(self, asker: Hashable) -> bool:
        """Return whether an asker has reached its limit.

        Args:
            asker: a peer, limited to `MAX_OPEN_OF_ONE`; None for this process, which only the total limits.
        """
        if len(self._open) >= MAX_OPEN:
            return True
        known = self._askers.get(asker) if asker is not None else None
        return known is not None and len(known.questions) >= MAX_OPEN_OF_ONE

    def open(
        self,
        asker: Hashable,
        asked: Iterable[Hashable],
        done: Callable[[list[Any]], object],
        asked_as: int | None = None,
    ) -> Question:
        """Open a question; call `end_if_complete` next, as there may be no subscribers.

        Args:
            asker: the peer that asks; None for this process.
            asked: the subscribers that have to answer.
            done: called once with all answers.
            asked_as: the asker's own number.

        Returns:
            The question, with a number of this node.
        """
        question = Question(next(self._numbers), asker, asked_as, done)
        if asked_as is not None:
            self._asked_as[asker, asked_as] = question
        question.waiting = dict.fromkeys(asked)
        self._open[question.number] = question
        known = self._askers.get(asker)
        if known is None:
            known = self._askers[asker] = _Asker(self, self._budget)
        known.questions[question.number] = question
        for one in question.waiting:
            self._of.setdefault(one, set()).add(question.number)
        return question

    def find_open(self, number: int) -> Question | None:
        """Return an open question by its number; None if it is complete."""
        return self._open.get(number)

    def find(self, asker: Hashable, asked_as: int) -> Question | None:
        """Return the open question of an asker by its own number; None if it was answered.

        Args:
            asker: the peer that asked.
            asked_as: the number that it gave the question.
        """
        return self._asked_as.get((asker, asked_as))

    def answer(
        self, number: int, subscriber: Hashable, answers: Iterable[Any], unanswered: Iterable[str] = ()
    ) -> bool:
        """Store an answer; return False if its sender was not asked, or has answered before.

        Args:
            number: the key of the question.
            subscriber: the sender.
            answers: encoded answers; a hub sends those of several nodes.
            unanswered: the names of nodes without an answer.
        """
        question = self._open.get(number)
        if question is None or subscriber not in question.waiting:
            return False
        self._add(question, answers)
        question.unanswered += unanswered
        self._leave(question, subscriber)
        self.end_if_complete(question)
        return True

    def _add(self, question: Question, answers: Iterable[Any]) -> None:
        """Store answers, and count their memory."""
        for answer in answers:
            question.answers.append(answer)
            size = len(answer) + ANSWER_BYTES
            if isinstance(answer, LargeAnswer):
                size += len(answer.memory.data)
            question.answer_bytes += size
            self._askers[question.asker].account.grow(size)

    def shed(self, asker: _Asker, target: int) -> None:
        """Answer the questions of an asker with the largest answers by an error, until no more is held.

        Called by the budget; takes the lock itself.

        Args:
            asker: whose account is too large.
            target: the most bytes that it may hold.
        """
        with self._lock:
            largest = sorted(asker.questions.values(), key=lambda one: one.answer_bytes, reverse=True)
            for question in largest:
                if asker.account.held <= target:
                    break
                self.give_up(question)
                question.answers = []
                question.done([self._too_much])

    def fail(self, subscriber: Hashable, answer: bytes) -> int:
        """Answer all questions to a subscriber in its place; return their number.

        Args:
            subscriber: was asked.
            answer: the encoded answer to each.
        """
        numbers = self._of.get(subscriber, set())
        count = len(numbers)
        for number in list(numbers):
            self.answer(number, subscriber, [answer])
        return count

    def give_up(self, question: Question) -> None:
        """Abandon a question; answers that arrive later are ignored."""
        for one in list(question.waiting):
            self._leave(question, one)
        self._close(question)

    def forget_asker(self, asker: Hashable) -> None:
        """Abandon all questions of an asker."""
        known = self._askers.get(asker)
        if known is not None:
            for question in list(known.questions.values()):
                self.give_up(question)
            known.account.close()
            del self._askers[asker]

    def end_if_complete(self, question: Question) -> None:
        """Call `done` if all have answered."""
        if not question.waiting and self._close(question):
            question.done(question.answers)

    def _close(self, question: Question) -> bool:
        """Remove a question from the open ones; return False if it was not among them."""
        if self._open.pop(question.number, None) is None:
            return False
        if question.asked_as is not None:
            label = (question.asker, question.asked_as)
            if self._asked_as.get(label) is question:  # the asker may have used its number twice
                del self._asked_as[label]
        asker = self._askers[question.asker]
        del asker.questions[question.number]
        asker.account.grow(-question.answer_bytes)
        return True

    def _leave(self, question: Question, subscriber: Hashable) -> None:
        """Record that a subscriber is not waited for any more."""
        question.waiting.pop(subscriber, None)
        numbers = self._of.get(subscriber)
        if numbers is not None:
            numbers.discard(question.number)
            if not numbers:
                del self._of[subscriber]
