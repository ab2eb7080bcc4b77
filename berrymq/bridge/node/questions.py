"""Questions that wait for the answers of others.

Each of those who are asked answers once, with what all its followers gave. A peer answers only what it was
asked, by a number that is the asker's own; one that is cut off for longer than `GRACE_SECONDS`, or leaves, is
answered for with an error, so nobody waits for the dead.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

__all__ = ["GRACE_SECONDS", "SPIN_SECONDS", "Question", "Questions"]

GRACE_SECONDS = 5.0
"""How long the answer of a peer that is cut off is waited for."""

SPIN_SECONDS = 0.0005
"""For so long after a question or an answer whoever waits for the next one keeps the processor.

To wake a processor that has gone to sleep takes several times as long as all that is done for a question.
"""

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

    __slots__ = ("answers", "asked_as", "asker", "done", "number", "unanswered", "waiting")

    def __init__(
        self, number: int, asker: Hashable, asked_as: int | None, done: Callable[[list[bytes]], object]
    ) -> None:
        self.number = number
        self.asker = asker
        self.asked_as = asked_as
        self.done = done
        self.waiting: dict[Hashable, None] = {}
        self.answers: list[bytes] = []
        self.unanswered: list[str] = []
        """The names of nodes without which it was concluded."""


class Questions:
    """The open questions of one node. Not thread-safe."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}
        self._of: dict[Hashable, set[int]] = {}
        self._asked_by: dict[Hashable, int] = {}
        self._asked_as: dict[tuple[Hashable, int], Question] = {}

    def is_full_for(self, asker: Hashable) -> bool:
        """Whether that one can have no more questions open at once; this process, None, as many as all."""
        return len(self._open) >= MAX_OPEN or (
            asker is not None and self._asked_by.get(asker, 0) >= MAX_OPEN_OF_ONE
        )

    def open(
        self,
        asker: Hashable,
        asked: Iterable[Hashable],
        done: Callable[[list[bytes]], object],
        asked_as: int | None = None,
    ) -> Question:
        """Begin to wait; where nobody is asked, call `end_if_complete` next."""
        question = Question(next(self._numbers), asker, asked_as, done)
        if asked_as is not None:
            self._asked_as[asker, asked_as] = question
        question.waiting = dict.fromkeys(asked)
        self._open[question.number] = question
        self._asked_by[asker] = self._asked_by.get(asker, 0) + 1
        for one in question.waiting:
            self._of.setdefault(one, set()).add(question.number)
        return question

    def find(self, asker: Hashable, asked_as: int) -> Question | None:
        """Return the open question of an asker by its own number; None if that is answered already."""
        return self._asked_as.get((asker, asked_as))

    def answer(
        self, number: int, who: Hashable, answers: Iterable[bytes], unanswered: Iterable[str] = ()
    ) -> bool:
        """Take what one of those asked has answered; False if it was not asked that, or has answered."""
        question = self._open.get(number)
        if question is None or who not in question.waiting:
            return False
        question.answers += answers
        question.unanswered += unanswered
        self._leave(question, who)
        self.end_if_complete(question)
        return True

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
        for question in [one for one in self._open.values() if one.asker == asker]:
            self.give_up(question)

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
        self._asked_by[question.asker] -= 1
        if not self._asked_by[question.asker]:
            del self._asked_by[question.asker]
        return True

    def _leave(self, question: Question, who: Hashable) -> None:
        question.waiting.pop(who, None)
        numbers = self._of.get(who)
        if numbers is not None:
            numbers.discard(question.number)
            if not numbers:
                del self._of[who]
