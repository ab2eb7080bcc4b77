"""Questions: what followers return comes back to the one who sent.

Each entry of a route can be asked (`Entry._ask`) and gives an answer, a future of one, or none. What answers
at once does so in the asker's thread; the rest is waited for together.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from .errors import AskTimeout
from .failures import annotate, raise_failures
from .identifiers import Identifier
from .messages import Message
from .subscriptions import PLAIN, SKIPPED, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from .bus import Bus
    from .subscriptions import Entry

__all__ = ["Poll", "aask", "ask", "talk"]

CONCLUDE_SECONDS = 0.5
"""For how long after the end of a timeout a link may take to say which answers came and whose did not."""

MAX_NAMED = 10
"""How many of those who have not answered the text of a timeout names."""


def talk(
    bus: Bus,
    identifier: str | Identifier,
    callback: str | Identifier,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """See `Bus.talk`."""
    bus.publish(Message.make(identifier, args, kwargs, callback=Identifier.parse(callback)))


def ask(
    bus: Bus,
    identifier: str | Identifier,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
) -> list[Any]:
    """See `Bus.ask`."""
    question = Question(bus, identifier, args, kwargs, timeout)
    question.put(blocking=True)
    for place, entry, future in question.waiting:
        try:
            question.take(place, entry, question.wait_for(future))
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001  # a follower's: noted, and raised in the end
            if future.done():
                question.fail(place, entry, error)
        question.note_late(place, entry, future)
    return question.outcome()


async def aask(
    bus: Bus,
    identifier: str | Identifier,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
) -> list[Any]:
    """See `Bus.aask`."""
    import asyncio

    question = Question(bus, identifier, args, kwargs, timeout)
    futures: list[asyncio.Future[Any]] = []
    try:
        question.put(blocking=False)
        futures += [asyncio.wrap_future(future) for _, _, future in question.waiting]
        if futures:
            _, pending = await asyncio.wait(futures, timeout=question.left())
            for (_, _, answer), future in zip(question.waiting, futures, strict=True):
                if future in pending and not question.conclude(answer):
                    pending.remove(future)
            if pending:
                await asyncio.wait(pending, timeout=CONCLUDE_SECONDS)
        for (place, entry, answer), future in zip(question.waiting, futures, strict=True):
            if future.done():
                trouble = future.exception()
                if trouble is None:
                    question.take(place, entry, future.result())
                elif isinstance(trouble, Exception):
                    question.fail(place, entry, trouble)
                else:
                    raise trouble
            question.note_late(place, entry, answer)
    finally:
        for _, _, answer in question.waiting:
            answer.cancel()
    return question.outcome()


class Question:
    """One message, and the answers to it as they come; places keep them in the order of the followers."""

    def __init__(
        self,
        bus: Bus,
        identifier: str | Identifier,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
    ) -> None:
        self.message = Message.make(identifier, args, kwargs)
        self.waiting: list[tuple[int, Entry, Future[Any]]] = []
        """Those whose answer takes time, with the place of the answer."""
        self._overdue: set[Future[Any]] = set()
        """Those that had not come when the time was over."""
        self._late: list[tuple[int, Entry, str]] = []
        self._bus = bus
        self._timeout = timeout
        self._until = None if timeout is None else monotonic() + timeout
        self._answers: dict[int, list[Any]] = {}
        self._failures: list[Exception] | None = None

    def put(self, *, blocking: bool) -> None:
        """Ask everybody."""
        for place, entry in enumerate(self._bus._route(self.message)):
            try:
                answer = entry._ask(self.message, self.left(), blocking)
            except RecursionError:
                raise
            except Exception as error:  # noqa: BLE001  # a follower's: noted, and raised in the end
                self.fail(place, entry, error)
                continue
            if type(answer) not in PLAIN and is_pending(answer, entry):
                self.waiting.append((place, entry, answer))
            elif answer is not SKIPPED:
                self._answers[place] = [answer]

    def left(self) -> float | None:
        """How many seconds are left to wait."""
        return None if self._until is None else max(0.0, self._until - monotonic())

    def wait_for(self, future: Future[Any]) -> Any:
        """Return an answer; after a timeout, that of a link with what has come.

        Raises:
            TimeoutError: it has not come.
        """
        try:
            return future.result(self.left())
        except TimeoutError:
            if future.done():  # it is the follower's own, or the answer came just now
                return future.result()
            if not self.conclude(future):
                raise
        return future.result(CONCLUDE_SECONDS)

    def conclude(self, future: Future[Any]) -> bool:
        """Note that an answer is overdue; return whether it is that of a link, which can end with a part."""
        self._overdue.add(future)
        conclude = getattr(future, "conclude", None)
        if conclude is not None:
            conclude()
        return conclude is not None

    def note_late(self, place: int, entry: Entry, future: Future[Any]) -> None:
        """Note who has not answered in time, if an answer was overdue, and wait no longer."""
        if future not in self._overdue:
            return
        unanswered = getattr(future, "unanswered", None)
        names = [entry.describe()] if unanswered is None else [f"the node {name!r}" for name in unanswered()]
        self._late += [(place, entry, name) for name in names]
        future.cancel()

    def take(self, place: int, entry: Entry, answer: Any) -> None:
        """Take an answer; that of a link is a list of answers."""
        if answer is not SKIPPED:
            self._answers[place] = [answer] if isinstance(entry, Subscription) else list(answer)

    def fail(self, place: int, entry: Entry, error: Exception) -> None:
        """Note an error, as sending does; from a link it brings the answers of those who did not fail."""
        if not isinstance(entry, Subscription):
            self._answers[place] = list(error.__dict__.get("answers", ()))
        self._failures = self._bus._note_failure(self._failures, entry, self.message, error)

    def outcome(self) -> list[Any]:
        """The answers; or raise what failed, or that some are late."""
        answers = [answer for place in sorted(self._answers) for answer in self._answers[place]]
        if self._late:
            names = ", ".join(name for _, _, name in self._late[:MAX_NAMED])
            if len(self._late) > MAX_NAMED:
                names += f" and {len(self._late) - MAX_NAMED} more"
            text = f"no answer to {self.message.id!r} within {self._timeout} s from {names}"
            place, entry, _ = self._late[0]
            self.fail(place, entry, AskTimeout(text, answers))
        if self._failures:
            raise_failures(self._failures, self.message, answers)
        return answers


def is_pending(answer: Any, entry: Entry) -> bool:
    """Whether what an entry gave is a future of its answer, and not the answer, which may be a future too."""
    if not isinstance(entry, Subscription):
        return True
    from .answers import Answer

    return type(answer) is Answer


class Poll:
    """The answers to one question of a link, until all have come."""

    def __init__(
        self, bus: Bus, message: Message, done: Callable[[list[Any], list[Exception]], object]
    ) -> None:
        self._bus = bus
        self._message = message
        self._done = done
        self._lock = Lock()
        self._left = 1  # the asking itself, so that it ends only after everybody was asked
        self._outcomes: dict[int, tuple[Any, Exception | None]] = {}

    def put(self) -> None:
        """Ask. What only watches gets the question as a plain message."""
        bus, message = self._bus, self._message
        direct, others = bus._registry.route_received(message._identifier)
        for entry in direct:
            bus._deliver_direct(entry, message)
        deliveries = []
        for place, entry in enumerate(others):
            if entry._reply is None:
                deliveries.append((entry, message))
            else:
                self._left += 1
                deliveries.append((entry, message.with_callback(partial(self._take, place, entry))))
        self._finish_one()  # first: whoever only watches may end the link at what it sees
        if deliveries:
            bus._background.deliverer.submit_many(deliveries)

    def _take(self, place: int, entry: Entry, result: Any, error: Exception | None) -> None:
        if error is not None:
            annotate(error, entry, self._message)
        self._outcomes[place] = result, error
        self._finish_one()

    def _finish_one(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        outcomes = [self._outcomes[place] for place in sorted(self._outcomes)]
        answers = [result for result, error in outcomes if error is None and result is not SKIPPED]
        self._done(answers, [error for _, error in outcomes if error is not None])
