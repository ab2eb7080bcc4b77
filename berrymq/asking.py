"""Asking: followers' return values are the answers to the asker.

Three classes, one for each party:

- `Question`: a message asked here, and its answers in the order of the followers. It asks each subscriber of
  the route (`Subscriber._ask`), which answers at once or returns a future; it waits for all futures together.
- `ReceivedQuestion`: a message that came over a link. No thread waits for its answers: the followers run on
  the delivery thread, and a callback gets the answers when all have come.
- `Answer`: the future of one follower's answer, set from the thread or event loop that the follower runs on.

A question takes three steps: `Question.publish` collects answers and futures, `ask` or `aask` waits for the
futures, and `Question.result` returns the answers or raises the failures. A `Question` belongs to the one
thread or task that asks and has no lock; a `ReceivedQuestion` is completed from any thread and has one.

At the deadline a follower is given up, but a link is first asked to conclude: it then returns the answers
that have come from its side, and the names of the nodes that have not answered.

Below them the wait-for graph, which detects a follower that asks itself: it would wait for its own return.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from .errors import AskTimeout
from .failures import annotate, raise_failures
from .process import ForkSafeLock
from .subscribers import SKIPPED
from .subscriptions import PLAIN, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bus import Bus
    from .messages import Message
    from .subscribers import Subscriber

__all__ = ["RUNNING", "Answer", "ReceivedQuestion", "aask", "ask", "begin_wait", "end_wait"]

CONCLUDE_SECONDS = 0.5
"""For how long after the end of a timeout a link may take to say which answers came and whose did not."""

MAX_NAMED = 10
"""How many of those who have not answered the text of a timeout names."""


def ask(bus: Bus, message: Message, timeout: float | None) -> list[Any]:
    """Ask on behalf of `Bus.ask`: block this thread until all answers have come, or the deadline.

    Args:
        bus: where the question is asked.
        message: the question.
        timeout: seconds for all answers together; None for no limit.

    Returns:
        The answers, in the order of the followers; those of a link at the position of the link.

    Raises:
        AskTimeout: an answer is missing at the deadline.
        RecursionError: of a follower; at once, without waiting for the others.
        Exception: of followers, after all have answered.
    """
    question = Question(bus, message, timeout)
    question.publish(blocking=True)
    for position, subscriber, future in question.pending:
        try:
            question.add_answer(position, subscriber, question.wait_for(future))
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001  # a follower's: recorded, and raised by `result`
            if future.done():
                question.add_failure(position, subscriber, error)
        question.add_unanswered(position, subscriber, future)
    return question.result()


async def aask(bus: Bus, message: Message, timeout: float | None) -> list[Any]:
    """Ask on behalf of `Bus.aask`: await all answers, or the deadline, without blocking the event loop.

    Cancelling the task cancels the futures, and with them the tasks of ``async def`` followers.

    Args:
        bus: where the question is asked.
        message: the question.
        timeout: seconds for all answers together; None for no limit.

    Returns:
        The answers, in the order of the followers; those of a link at the position of the link.

    Raises:
        AskTimeout: an answer is missing at the deadline.
        RecursionError: of a follower that runs in this thread; at once, without waiting for the others.
        Exception: of followers, after all have answered.
    """
    import asyncio

    question = Question(bus, message, timeout)
    futures: list[asyncio.Future[Any]] = []
    try:
        question.publish(blocking=False)
        futures += [asyncio.wrap_future(future) for _, _, future in question.pending]
        if futures:
            _, pending = await asyncio.wait(futures, timeout=question.seconds_left())
            for (_, _, answer), future in zip(question.pending, futures, strict=True):
                if future in pending and not question.conclude(answer):
                    pending.remove(future)
            if pending:
                await asyncio.wait(pending, timeout=CONCLUDE_SECONDS)
        for (position, subscriber, answer), future in zip(question.pending, futures, strict=True):
            if future.done():
                error = future.exception()
                if error is None:
                    question.add_answer(position, subscriber, future.result())
                elif isinstance(error, Exception):
                    question.add_failure(position, subscriber, error)
                else:
                    raise error
            question.add_unanswered(position, subscriber, answer)
    finally:
        for _, _, answer in question.pending:
            answer.cancel()
    return question.result()


class Question:
    """One message and its answers as they come; positions keep these in the order of the followers.

    It is used by one thread or task, so it has no lock; only the futures are set from elsewhere.

    Args:
        bus: where it is asked.
        message: what is asked.
        timeout: the most seconds to wait for answers, counted from now; None for no limit.
    """

    def __init__(self, bus: Bus, message: Message, timeout: float | None) -> None:
        self.pending: list[tuple[int, Subscriber, Future[Any]]] = []
        """The subscribers that answer later, each with the position and the future of its answer."""
        self._overdue: set[Future[Any]] = set()
        """The futures whose answer had not come at the deadline."""
        self._late: list[tuple[int, Subscriber, str]] = []
        """Those that have not answered in time, each with its position and what names it."""
        self._bus = bus
        self._message = message
        self._timeout = timeout
        self._deadline = None if timeout is None else monotonic() + timeout
        """On the clock of `time.monotonic`; None for no limit."""
        self._answers: dict[int, list[Any]] = {}
        """The answers by position: one for a follower, any number for a link."""
        self._failures: list[Exception] | None = None
        """The errors of followers and links, in the order of recording; None before the first."""

    def publish(self, *, blocking: bool) -> None:
        """Ask every subscriber of the route, and record what is answered at once.

        An error of one subscriber is recorded, and the others are asked.

        Args:
            blocking: whether the asker's thread will block until the answers have come. An ``async def``
                follower on a loop of that very thread then refuses with `LoopError`, since it could never
                answer.

        Raises:
            RecursionError: of a follower, at once: a loop of questions ends as any recursion does.
        """
        for position, subscriber in enumerate(self._bus._route(self._message)):
            try:
                answer = subscriber._ask(self._message, self.seconds_left(), blocking)
            except RecursionError:
                raise
            except Exception as error:  # noqa: BLE001  # a follower's: recorded, and raised by `result`
                self.add_failure(position, subscriber, error)
                continue
            if type(answer) not in PLAIN and is_pending(answer, subscriber):
                self.pending.append((position, subscriber, answer))
            elif answer is not SKIPPED:
                self._answers[position] = [answer]

    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline, at least 0; None when there is no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def wait_for(self, future: Future[Any]) -> Any:
        """Return an answer when it comes; of a link, at the deadline, those that have come.

        Args:
            future: one of `pending`.

        Raises:
            TimeoutError: none has come. A follower may also raise one of its own; then the future is done.
        """
        try:
            return future.result(self.seconds_left())
        except TimeoutError:
            if future.done():  # it is the follower's own, or the answer came just now
                return future.result()
            if not self.conclude(future):
                raise
        return future.result(CONCLUDE_SECONDS)

    def conclude(self, future: Future[Any]) -> bool:
        """Record that an answer is overdue, and ask a link for the part that has come.

        Args:
            future: one of `pending`; that of a link has a method ``conclude``.

        Returns:
            Whether it is a link's, whose future is set soon, with the answers that have come.
        """
        self._overdue.add(future)
        conclude = getattr(future, "conclude", None)
        if conclude is not None:
            conclude()
        return conclude is not None

    def add_unanswered(self, position: int, subscriber: Subscriber, future: Future[Any]) -> None:
        """Record which follower or nodes have not answered, if the answer was overdue, and cancel the future.

        Args:
            position: that of the subscriber in the route.
            subscriber: the follower or link.
            future: its answer; that of a link may have ``unanswered()``, the names of the nodes.
        """
        if future not in self._overdue:
            return
        unanswered = getattr(future, "unanswered", None)
        names = (
            [subscriber.describe()] if unanswered is None else [f"the node {name!r}" for name in unanswered()]
        )
        self._late += [(position, subscriber, name) for name in names]
        future.cancel()

    def add_answer(self, position: int, subscriber: Subscriber, answer: Any) -> None:
        """Record an answer, unless the follower was skipped (muted, or held back by its guard).

        Args:
            position: that of the subscriber in the route.
            subscriber: the follower or link.
            answer: one value of a follower, or the list of the answers of a link.
        """
        if answer is not SKIPPED:
            self._answers[position] = [answer] if isinstance(subscriber, Subscription) else list(answer)

    def add_failure(self, position: int, subscriber: Subscriber, error: Exception) -> None:
        """Record an error, as sending does; that of a link carries the answers of the other side.

        Args:
            position: that of the subscriber in the route.
            subscriber: the follower or link.
            error: what it raised. `Bus._note_failure` annotates it.
        """
        if not isinstance(subscriber, Subscription):
            self._answers[position] = list(error.__dict__.get("answers", ()))
        self._failures = self._bus._note_failure(self._failures, subscriber, self._message, error)

    def result(self) -> list[Any]:
        """Return the answers.

        Raises:
            AskTimeout: an answer is missing at the deadline.
            Exception: of followers; each error has the answers of the others as `answers`.
        """
        answers = [answer for position in sorted(self._answers) for answer in self._answers[position]]
        if self._late:
            names = ", ".join(name for _, _, name in self._late[:MAX_NAMED])
            if len(self._late) > MAX_NAMED:
                names += f" and {len(self._late) - MAX_NAMED} more"
            text = f"no answer to {self._message.id!r} within {self._timeout} s from {names}"
            position, subscriber, _ = self._late[0]
            self.add_failure(position, subscriber, AskTimeout(text, answers))
        if self._failures:
            raise_failures(self._failures, self._message, answers)
        return answers


def is_pending(answer: Any, subscriber: Subscriber) -> bool:
    """Return whether `answer` is the future of an answer, and not an answer that is itself a future.

    A follower may return a `Future` as its value, so only the exact type `Answer` counts for one; a link
    always returns the future of its answers.
    """
    return type(answer) is Answer or not isinstance(subscriber, Subscription)


class ReceivedQuestion:
    """A question that came over a link, until every follower here has answered it.

    Followers may answer on any thread and in any order; a counter under a lock finds the last one.

    Args:
        bus: where it is asked.
        message: what is asked.
        done: called once, on any thread, with the answers and the errors, both in the order of the followers.
    """

    def __init__(
        self, bus: Bus, message: Message, done: Callable[[list[Any], list[Exception]], object]
    ) -> None:
        self._bus = bus
        self._message = message
        self._done = done
        self._lock = Lock()
        self._missing = 1  # `publish` itself counts as one, so that nothing is complete before it has ended
        self._outcomes: dict[int, tuple[Any, Exception | None]] = {}
        """The result and error of each follower that has answered, by its position."""

    def publish(self) -> None:
        """Ask every follower. Those that do not answer get the question as a plain message.

        Called on the thread of the link. Direct subscriptions (views, recorders) are delivered here; the
        others go to the deliverer of the bus with a callback each. With no follower to answer, `done` is
        called here, with two empty lists.
        """
        bus, message = self._bus, self._message
        registry, identifier = bus._registry, message._identifier
        direct, others = registry.received.get(identifier.text) or registry.find_received(identifier)
        for subscription in direct:
            bus._deliver_direct(subscription, message)
        deliveries = []
        for position, subscription in enumerate(others):
            if subscription._reply is None:
                deliveries.append((subscription, message))
            else:
                self._missing += 1
                callback = partial(self._add_outcome, position, subscription)
                deliveries.append((subscription, message.with_callback(callback)))
        self._count_outcome()  # before the deliveries: a follower that does not answer may end the link
        if deliveries:
            bus._background.deliverer.submit_many(deliveries)

    def _add_outcome(
        self, position: int, subscriber: Subscriber, result: Any, error: Exception | None
    ) -> None:
        """Record the result or error of one follower; its callback, called on any thread.

        Args:
            position: that of the follower in the route.
            subscriber: the follower, named in the note of an error.
            result: what it returned, or `SKIPPED`.
            error: what it raised, or None.
        """
        if error is not None:
            annotate(error, subscriber, self._message)
        self._outcomes[position] = result, error
        self._count_outcome()

    def _count_outcome(self) -> None:
        """Count one outcome, and pass all of them on after the last."""
        with self._lock:
            self._missing -= 1
            if self._missing:
                return
        outcomes = [self._outcomes[position] for position in sorted(self._outcomes)]
        answers = [result for result, error in outcomes if error is None and result is not SKIPPED]
        self._done(answers, [error for _, error in outcomes if error is not None])


class Answer(Future[Any]):
    """The future of one follower's answer. It is the callback of the message that the follower gets.

    Being its own callback, it needs no other object for each question. It may be set from any thread and
    cancelled by the asker at the same time.
    """

    def __call__(self, result: Any, error: BaseException | None) -> None:
        """Set the answer, or the error; without effect when the asker has cancelled it.

        Args:
            result: what the follower returned.
            error: what it raised, or None.
        """
        with suppress(InvalidStateError):
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)


# -- the wait-for graph --------------------------------------------------------------------------------------

RUNNING: ContextVar[Subscription | None] = ContextVar("berrymq subscription", default=None)
"""The follower that runs in this thread or task, if it is one that gets one message at a time."""

Edge = tuple[Subscription | None, Subscription]

_graph_lock = ForkSafeLock()
_waits: dict[Subscription, list[Subscription]] = {}
"""For each follower that waits for answers at present: the followers that it waits for."""


def begin_wait(target: Subscription) -> Edge | None:
    """Add that the follower which runs here waits for `target`, unless that closes a cycle.

    A follower gets one message at a time, so one that asks itself, perhaps by way of others, would wait for
    its own return. The search visits each follower that `target` waits for, directly or not, under one lock.

    Args:
        target: the follower that is to answer.

    Returns:
        The edge for `end_wait`. None, with nothing added, for a cycle: the caller then runs `target` as a
        recursion, in its own thread or beside what the follower does.
    """
    asker = RUNNING.get()
    edge = (asker, target)
    if asker is None:
        return edge
    with _graph_lock:
        reached = [target]
        for one in reached:  # the list grows during the loop
            if one is asker:
                return None
            reached += [other for other in _waits.get(one, ()) if other not in reached]
        _waits.setdefault(asker, []).append(target)
    return edge


def end_wait(edge: Edge) -> None:
    """Remove an edge that `begin_wait` has added; called on any thread, when the answer has come."""
    asker, target = edge
    if asker is None:
        return
    with _graph_lock:
        waited = _waits[asker]
        waited.remove(target)
        if not waited:
            del _waits[asker]
