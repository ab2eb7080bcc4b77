"""Questions: what followers return comes back to the one who sent."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from .coroutines import LoopRunner, running_loop
from .errors import AskTimeout, LoopError
from .failures import annotate, raise_failures
from .followers import SKIPPED, Subscription
from .identifiers import Identifier
from .messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from .exchange import Exchange
    from .followers import Entry
    from .routes import Attachment

    Later = tuple[int, Subscription | Attachment]
    """Someone whose answer takes time, with the place of the answer."""

__all__ = ["aask", "ask", "poll", "talk"]


def talk(
    exchange: Exchange,
    identifier: str | Identifier,
    callback: str | Identifier,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """See `Bus.talk`."""
    exchange.answer_callbacks()
    exchange.publish(Message.make(identifier, args, kwargs, callback=Identifier.parse(callback)))


def ask(
    exchange: Exchange,
    identifier: str | Identifier,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
) -> list[Any]:
    """See `Bus.ask`."""
    question = Question(exchange, identifier, args, kwargs, timeout)
    waiting: list[tuple[Later, Future[Any]]] = []
    for later in question.put():
        try:
            waiting.append((later, start(later, question)))
        except Exception as error:  # noqa: BLE001  # a follower's: noted, and raised in the end
            question.fail(later, error)
    for later, future in waiting:
        try:
            question.keep(later, future.result(question.left()))
        except Exception as error:  # noqa: BLE001  # a follower's: noted, and raised in the end
            if isinstance(error, TimeoutError) and not future.done():
                future.cancel()
                question.late.append(later)
            else:
                question.fail(later, error)
    return question.outcome()


async def aask(
    exchange: Exchange,
    identifier: str | Identifier,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,  # it is divided among several waits
) -> list[Any]:
    """See `Bus.aask`."""
    question = Question(exchange, identifier, args, kwargs, timeout)
    here = asyncio.get_running_loop()
    tasks: dict[asyncio.Future[Any], Later] = {}
    try:
        for later in question.put():
            _, entry = later
            try:
                if isinstance(entry, Subscription) and runner_of(entry).home in (None, here):
                    tasks[here.create_task(runner_of(entry).answer(question.message))] = later
                else:
                    tasks[asyncio.wrap_future(start(later, question))] = later
            except Exception as error:  # noqa: BLE001  # a follower's: noted, and raised in the end
                question.fail(later, error)
        if tasks:
            await asyncio.wait(tasks, timeout=question.left())
        for task, later in tasks.items():
            if not task.done():
                question.late.append(later)
            elif (trouble := task.exception()) is None:
                question.keep(later, task.result())
            elif isinstance(trouble, Exception):
                question.fail(later, trouble)
            else:
                raise trouble
    finally:
        for task in tasks:
            task.cancel()
    return question.outcome()


def poll(exchange: Exchange, message: Message, done: Callable[[list[Any], list[Exception]], object]) -> None:
    """Put a question that came over a link to everyone here, each in its turn.

    `done` is called once, on any thread, with the answers and the errors in the order of the followers.
    """
    exchange.answer_callbacks()
    Poll(exchange, message, done).put()


class Poll:
    """The answers to one question from elsewhere, until all have come."""

    def __init__(
        self, exchange: Exchange, message: Message, done: Callable[[list[Any], list[Exception]], object]
    ) -> None:
        self._exchange = exchange
        self._message = message
        self._done = done
        self._lock = threading.Lock()
        self._left = 1  # the asking itself, so that it ends only after everyone was asked
        self._outcomes: dict[int, tuple[Any, Exception | None]] = {}

    def put(self) -> None:
        """Ask."""
        direct, others = self._exchange._registry.find_received(self._message.identifier)
        for entry in direct:
            try:
                entry.run(self._message)
            except Exception as error:  # noqa: BLE001  # a follower's: it is reported
                self._exchange.background_failure(entry, self._message, error)
        answering = [entry for entry in others if not entry.is_queue]
        deliverer = self._exchange.gateway.deliverer
        if len(answering) < len(others):
            deliverer.submit_many([(entry, self._message) for entry in others if entry.is_queue])
        self._left += len(answering)
        deliverer.submit_many(
            [
                (entry, self._message.with_callback(partial(self._take, place, entry)))
                for place, entry in enumerate(answering)
            ]
        )
        self._finish_one()

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


def runner_of(subscription: Subscription) -> LoopRunner:
    """The runner that every ``async def`` follower has."""
    assert isinstance(subscription.runner, LoopRunner)
    return subscription.runner


def start(later: Later, question: Question) -> Future[Any]:
    """Have an answer made elsewhere: on another event loop, or beyond a link."""
    _, entry = later
    if not isinstance(entry, Subscription):
        assert entry.ask is not None
        return entry.ask(question.message, question.left())
    runner = runner_of(entry)
    loop = runner.loop()
    if loop is running_loop():
        raise LoopError(
            f"ask() would wait for {entry.name} on the event loop that it holds up: use 'await aask()'"
        )
    return asyncio.run_coroutine_threadsafe(runner.answer(question.message), loop)


class Question:
    """One message, and the answers to it as they come; places keep them in the order of the followers."""

    def __init__(
        self,
        exchange: Exchange,
        identifier: str | Identifier,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
    ) -> None:
        self.message = Message.make(identifier, args, kwargs)
        self.late: list[Later] = []
        self._exchange = exchange
        self._timeout = timeout
        self._until = None if timeout is None else monotonic() + timeout
        self._answers: dict[int, list[Any]] = {}
        self._failures: list[Exception] | None = None

    def put(self) -> Iterator[Later]:
        """Ask those who answer at once; give the others, to be asked by the caller."""
        for place, entry in enumerate(self._exchange.route(self.message)):
            if isinstance(entry, Subscription):
                if entry.is_async:
                    yield place, entry
                else:
                    self._ask(place, entry)
            elif (link := as_attachment(entry)).ask is not None:
                yield place, link
            else:
                self._ask(place, entry)

    def _ask(self, place: int, entry: Entry) -> None:
        try:
            if isinstance(entry, Subscription) and not entry.direct and not entry.is_queue:
                answer = entry.call(self.message)
                if answer is not SKIPPED:
                    self._answers[place] = [answer]
            else:
                entry.deliver(self.message)
        except Exception as error:  # noqa: BLE001  # a follower's: noted, and raised in the end
            self.fail((place, entry), error)

    def left(self) -> float | None:
        """How many seconds are left to wait."""
        return None if self._until is None else max(0.0, self._until - monotonic())

    def keep(self, later: Later, answer: Any) -> None:
        """Note an answer; from a link it is a list of answers."""
        place, entry = later
        if answer is not SKIPPED:
            self._answers[place] = [answer] if isinstance(entry, Subscription) else list(answer)

    def fail(self, later: tuple[int, Entry], error: Exception) -> None:
        """Note an error, as sending does; from a link it brings the answers of those who did not fail."""
        place, entry = later
        if not isinstance(entry, Subscription):
            self._answers[place] = list(error.__dict__.get("answers", ()))
        self._failures = self._exchange.note_failure(self._failures, entry, self.message, error)

    def outcome(self) -> list[Any]:
        """The answers; or raise what failed, or that some are late."""
        answers = [answer for place in sorted(self._answers) for answer in self._answers[place]]
        if self.late:
            names = ", ".join(entry.describe() for _, entry in self.late)
            self.fail(
                self.late[0],
                AskTimeout(
                    f"no answer to {self.message.id!r} within {self._timeout} s from {names}", answers
                ),
            )
        if self._failures:
            raise_failures(self._failures, self.message, answers)
        return answers


def as_attachment(entry: Entry) -> Attachment:
    """What is no subscription is an attachment."""
    return entry  # type: ignore[return-value]
