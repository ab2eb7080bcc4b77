"""Questions that wait for the answers of others.

Each of those who are asked answers once, with what all its followers gave. A peer answers only what it was
asked, by a number that is the asker's own; one that is cut off for longer than `GRACE_SECONDS`, or leaves, is
answered for with an error, so nobody waits for the dead.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from contextlib import AbstractContextManager

    from berrymq.bridge.transport.budget import Account, Budget

__all__ = ["GRACE_SECONDS", "SPIN_SECONDS", "Question", "Questions"]

GRACE_SECONDS = 5.0
"""How long the answer of a peer that is cut off is waited for."""

SPIN_SECONDS = 0.0005
"""For so long after a question or an answer whoever waits for the next one keeps the processor.

To wake a processor that has gone to sleep takes several times as long as all that is done for a question.
"""

ANSWER_BYTES = 100
"""What an answer takes beside its bytes, about."""

MAX_OPEN, MAX_OPEN_OF_ONE = 10_000, 1_000
"""Questions that may be open at once, and those of one peer, so that none keeps all others from asking."""


class Question:
    """One question, until all have answered.

    Args:
        number: tells it from others.
        asker: who put it, if a peer did.
        asked_as: the asker's own number of it.
        done: called once with the answers as JSON, in the order in which they came.
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
        self.answers: list[Any] = []
        self.takes_values = False
        """Its last answer may be a tuple of name, values and errors instead of their JSON."""
        self.unanswered: list[str] = []
        """The names of nodes without which it was concluded."""
        self.answer_bytes = 0


class _Asker:
    """One who asks: a peer, or this process with its clients."""

    __slots__ = ("account", "questions")

    def __init__(self, questions: Questions, budget: Budget) -> None:
        self.questions: dict[int, Question] = {}
        self.account: Account = budget.open(lambda target: questions.shed(self, target))


class Questions:
    """The open questions of one node. Not thread-safe.

    Args:
        budget: counts the answers that have come while others have not.
        lock: held while answers are given up since memory is short.
        too_much: the answer of a question whose answers are given up.
    """

    def __init__(self, budget: Budget, lock: AbstractContextManager[object], too_much: bytes) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}
        self._of: dict[Hashable, set[int]] = {}
        self._asked_as: dict[tuple[Hashable, int], Question] = {}
        self._askers: dict[Hashable, _Asker] = {}
        self._budget = budget
        self._lock = lock
        self._too_much = too_much

    def is_full_for(self, asker: Hashable) -> bool:
        """Whether that one can have no more questions open at once; this process, None, as many as all."""
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
        """Begin to wait; where nobody is asked, call `end_if_complete` next."""
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
        """Return the open question of an asker by its own number; None if that is answered already."""
        return self._asked_as.get((asker, asked_as))

    def answer(
        self, number: int, who: Hashable, answers: Iterable[Any], unanswered: Iterable[str] = ()
    ) -> bool:
        """Take what one of those asked has answered; False if it was not asked that, or has answered."""
        question = self._open.get(number)
        if question is None or who not in question.waiting:
            return False
        self._add(question, answers)
        question.unanswered += unanswered
        self._leave(question, who)
        self.end_if_complete(question)
        return True

    def _add(self, question: Question, answers: Iterable[Any]) -> None:
        for answer in answers:
            question.answers.append(answer)
            question.answer_bytes += len(answer) + ANSWER_BYTES
            self._askers[question.asker].account.grow(len(answer) + ANSWER_BYTES)

    def shed(self, asker: _Asker, target: int) -> None:
        """End the questions of one asker whose answers take most, with an error, until no more are held."""
        with self._lock:
            largest = sorted(asker.questions.values(), key=lambda one: one.answer_bytes, reverse=True)
            for question in largest:
                if asker.account.held <= target:
                    break
                self.give_up(question)
                question.answers = []
                question.done([self._too_much])

    def fail(self, who: Hashable, answer: bytes) -> int:
        """Answer everything that one is still asked in its place; return how many questions those were."""
        numbers = self._of.get(who, set())
        count = len(numbers)
        for number in list(numbers):
            self.answer(number, who, [answer])
        return count

    def give_up(self, question: Question) -> None:
        """Wait no longer; what comes is ignored."""
        for one in list(question.waiting):
            self._leave(question, one)
        self._close(question)

    def forget_asker(self, asker: Hashable) -> None:
        """One who has asked is gone: its answers go nowhere."""
        known = self._askers.get(asker)
        if known is not None:
            for question in list(known.questions.values()):
                self.give_up(question)
            known.account.close()
            del self._askers[asker]

    def end_if_complete(self, question: Question) -> None:
        """Hand the answers over when all have come."""
        if not question.waiting and self._close(question):
            question.done(question.answers)

    def _close(self, question: Question) -> bool:
        """Note that a question is open no longer; False if it was not."""
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

    def _leave(self, question: Question, who: Hashable) -> None:
        question.waiting.pop(who, None)
        numbers = self._of.get(who)
        if numbers is not None:
            numbers.discard(question.number)
            if not numbers:
                del self._of[who]
