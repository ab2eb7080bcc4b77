"""Subscriptions: who follows what, how a message gets to the function, and the handle to end it.

A route is a tuple of entries. Publishing calls the slot `_deliver` of each, which holds the shortest way
there is: the function itself, when nothing stands between. The slots are set anew whenever something about
the subscription changes, and emptied when it is cancelled: what goes through an older route stops too.

The pipeline of a subscription, from the outside to the inside::

    _deliver      what the publisher calls: `_call`, or the hand-over to a worker
    run           what a worker or a link calls: `_call`, and the reply to a message that wants one
    _call         the start of a coroutine, or `_function`
    _function     layers (once, joint conditions, guard), wrappers of hooks, the target
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock, current_thread
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import ref

from .errors import RegistrationError
from .failures import log_trouble, text_of
from .messages import Message
from .process import ForkSafeLock
from .targets import CO_ITERABLE_COROUTINE, Call, QueueTarget, Target, is_same

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .coroutines import LoopRunner
    from .identifiers import Identifier
    from .workers import WorkerPool

__all__ = ["PLAIN", "SKIPPED", "Entry", "Layer", "Once", "Subscription", "answer_end"]

Reply = Callable[[Message, Any, "Exception | None"], object]
"""Sends the result of a follower, or its error, to where the message wants it."""
Layer = Callable[[Call], Call]
"""Wraps a call: a guard, a joint condition, a once."""

_placing = ForkSafeLock()
"""Held while a few slots of a subscription are set. It is one for all, since that is rare and short."""


class Skipped:
    """The type of `SKIPPED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SKIPPED"


SKIPPED: Final = Skipped()
"""What a call gives when a guard or condition kept the message from the follower."""

PLAIN = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict, set, Skipped})
"""Types of results at which there is nothing to look, for they are no coroutines."""


def nothing(message: Message) -> Any:
    """Stand in for the call of a cancelled or muted subscription; an asker gets `SKIPPED` at once."""
    callback = message._callback
    if callable(callback):
        callback(SKIPPED, None)
    return SKIPPED


class Entry:
    """One place in a route. Publishing calls its `_deliver`; to take it out at once, that slot is emptied."""

    __slots__ = ("__weakref__", "_deliver", "_discard", "_number", "active", "direct")

    def __init__(self) -> None:
        self._deliver: Call = nothing
        self.direct = True
        self.active = False
        self._number = -1
        """The place in the order of registration."""
        self._discard: Callable[[Entry], object] | None = None

    def _start(self, discard: Callable[[Entry], object]) -> None:
        """Begin to deliver; `discard` takes the entry out of the routes when it is cancelled."""
        self._discard = discard
        self.active = True

    def cancel(self) -> None:
        """Stop following, at once and for good; safe from any thread and from a destructor."""
        self.active = False
        self._deliver = nothing
        discard, self._discard = self._discard, None
        if discard is not None:
            discard(self)

    def describe(self) -> str:
        """Say which one this is, for the note on an error."""
        raise NotImplementedError

    def _ask(self, message: Message, timeout: float | None, blocking: bool) -> Any:  # noqa: ARG002
        """Put a question: return the answer, a future of it, or `SKIPPED` for none.

        Args:
            message: the question.
            timeout: for how many seconds the asker waits; None for ever.
            blocking: whether the asker's thread does nothing else meanwhile.
        """
        self._deliver(message)
        return SKIPPED

    def _put(self, message: Message) -> None:
        """Deliver a ready message, which may want a reply."""
        self._deliver(message)

    def _look_at(self, result: Any, message: Message) -> None:
        """Be given what `_deliver` returned, if that may be a coroutine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __copy__(self) -> Self:
        return self  # a handle refers to something, of which there is one

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} belongs to its process and cannot be pickled: "
            "leave it out of what you pickle, as with __getstate__"
        )


class Subscription(Entry):
    """A follower on a bus: the handle that `follow` returns. ``with`` ends it at the end of the block."""

    __slots__ = (
        "_adopter",
        "_call",
        "_function",
        "_keep",
        "_layers",
        "_make_runner",
        "_mutes",
        "_pool",
        "_reply",
        "_runner",
        "_target",
        "_thread",
        "_wrapped",
        "concurrent",
        "guard",
        "identifiers",
    )

    def __init__(
        self,
        identifiers: tuple[Identifier, ...],
        target: Target,
        *,
        guard: Callable[[Message], object] | None = None,
        layers: Iterable[Layer] = (),
        direct: bool = False,
        concurrent: bool = False,
        reply: Reply | None = None,
        make_runner: Callable[[Subscription], LoopRunner] | None = None,
    ) -> None:
        super().__init__()
        self.identifiers = identifiers
        """What it follows; several for a joint condition."""
        self.guard = guard
        self.direct = direct
        self.concurrent = concurrent
        self._target = target
        self._layers: tuple[Layer, ...] = (*layers, *(() if guard is None else (guarding(guard),)))
        self._wrapped: Call = target.call
        self._runner: LoopRunner | None = None
        """Starts the coroutine of an ``async def`` follower for a message."""
        self._pool: WorkerPool | None = None
        self._mutes = 0
        self._thread = ref(current_thread())
        """The thread that registered it, on whose event loop its coroutines run."""
        # What only watches does not answer.
        self._reply = None if direct or self.is_queue else reply
        self._make_runner = make_runner
        self._adopter: LoopRunner | None = None
        """Runs the coroutines that a plain function returns."""
        self._function: Call = nothing
        self._call: Call = nothing
        self._keep: object = None
        """Something to hold on to for as long as this follows."""

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def identifier(self) -> Identifier:
        """What it follows; the first condition, when there are several."""
        return self.identifiers[0]

    @property
    def follows(self) -> str:
        """What it follows, as text; conditions are joined by ``&``."""
        return " & ".join(identifier.text for identifier in self.identifiers)

    @property
    def function(self) -> Call | None:
        """The function or bound method; None for a queue, and when the object of the method is gone."""
        return self._target.function()

    @property
    def name(self) -> str:
        """The name of the function."""
        return self._target.name

    @property
    def where(self) -> str | None:
        """``file:line`` of the function, or another place to show; None for one not written in Python."""
        return self._target.where

    @where.setter
    def where(self, where: str | None) -> None:
        self._target.where = where

    @property
    def is_async(self) -> bool:
        """True for an ``async def`` follower."""
        return self._target.is_async

    @property
    def is_queue(self) -> bool:
        """True for the intake of a queue."""
        return isinstance(self._target, QueueTarget)

    @property
    def muted(self) -> bool:
        """True inside a `mute` of this follower."""
        return self._mutes > 0

    def describe(self) -> str:
        """Name the follower, where it was written and what it follows, for the note on an error."""
        where = self.where
        return f"{self.name}{f' ({where})' if where else ''}, which follows {self.follows}"

    def __repr__(self) -> str:
        state = "" if self.active else ", cancelled"
        where = self.where
        return f"<Subscription {self.follows} -> {self.name}{f' ({where})' if where else ''}{state}>"

    # -- delivering ------------------------------------------------------------------------------------------

    def run(self, message: Message) -> None:
        """Deliver one message here and now; for what runs deliveries in another thread than the sender's.

        What the follower returns or raises goes to where the message wants it; without such a place, the
        error is raised.
        """
        if message._callback is not None and self._reply is not None and self._runner is None:
            self._run_and_reply(message, self._reply)
            return
        call = self._call  # calling a slot as if it were a method is slower
        result = call(message)
        if result is not None and type(result) not in PLAIN:
            self._look_at(result, message)

    def _put(self, message: Message) -> None:
        """See `Entry._put`."""
        if self._pool is not None and not self.direct and not self.is_async:
            self._deliver(message)
        else:
            self.run(message)

    def _run_and_reply(self, message: Message, reply: Reply) -> None:
        if not self.active:
            nothing(message)
            return
        try:
            result = self._call(message)
            if type(result) not in PLAIN and (coroutine := coroutine_of(result, self)) is not None:
                self._get_runner().adopt(message, coroutine)
                return
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001  # a follower's: it is the answer
            reply(message, None, error)
            return
        except BaseException as error:
            answer_end(message, error, reply)
            raise
        reply(message, result, None)

    def _look_at(self, result: Any, message: Message) -> None:
        """Run the coroutine that a plain function returned: it is never dropped unseen."""
        coroutine = coroutine_of(result, self)
        if coroutine is not None:
            self._get_runner().adopt(message, coroutine)

    def _get_runner(self) -> LoopRunner:
        if self._adopter is None:
            assert self._make_runner is not None
            self._adopter = self._make_runner(self)
        return self._adopter

    def _ask(self, message: Message, timeout: float | None, blocking: bool) -> Any:  # noqa: ARG002
        """See `Entry._ask`."""
        if self._reply is None:
            self._deliver(message)
            return SKIPPED
        if self._runner is not None and self.active and not self._mutes:
            return self._runner.ask(message, blocking)
        pool = self._pool
        if pool is not None and not self.concurrent:
            return pool.ask(self, message)
        return self._answer_here(message)

    def _answer_here(self, message: Message) -> Any:
        """Return the answer to a question, given by this thread; a future of it, if that is a coroutine."""
        result = self._call(message)
        if type(result) not in PLAIN and (coroutine := coroutine_of(result, self)) is not None:
            return self._get_runner().ask(message, False, coroutine)
        return result

    # -- changing --------------------------------------------------------------------------------------------

    def wrap(self, wrapper: Callable[[Call], Call]) -> None:
        """Put ``wrapper(function)`` in the place of the function; for the hooks of a bus."""
        self._wrapped = wrapper(self._wrapped)
        if self.active:
            self._place()

    def cancel(self) -> None:
        """Stop following, at once and for good; safe from any thread and from a destructor."""
        super().cancel()
        self._call = self._function = nothing
        target = self._target
        if isinstance(target, QueueTarget) and target.on_cancel is not None:
            target.on_cancel()

    def _is_of(self, function: object) -> bool:
        """Whether it was registered with `function`."""
        mine = self._target.function()
        return mine is not None and is_same(mine, function)

    def _start(self, discard: Callable[[Entry], object]) -> None:
        super()._start(discard)
        self._place()
        me = ref(self)  # so that the target, which this holds, does not hold this in turn

        def gone() -> None:
            subscription = me()
            if subscription is not None:
                subscription.cancel()

        self._target.on_death(gone)

    def _use_pool(self, pool: WorkerPool | None) -> None:
        """Hand messages to a worker pool from now on; None: call in the sender's thread."""
        self._pool = pool
        self._place()

    def _shift_mute(self, by: int) -> None:
        """Count one mute more or less."""
        with _placing:
            self._mutes += by
            self._place()

    def _place(self) -> None:
        """Put into the slots what fits the present state."""
        with _placing:
            function = self._wrapped
            for layer in self._layers:
                function = layer(function)
            call = self._runner or function
            if not self._mutes and self.active:
                self._function, self._call = function, call
                pool = self._pool
                self._deliver = (
                    call if pool is None or self.direct or self.is_async else handing(self, pool.submit)
                )
            # Not else: another thread may have cancelled it just now.
            if self._mutes or not self.active:
                self._function = self._call = self._deliver = nothing


def coroutine_of(result: Any, subscription: Subscription) -> Any:
    """Return `result` as a coroutine that has to be run, or None when it is none.

    Raises:
        RegistrationError: it is a generator, of which nothing has run.
    """
    kind = type(result)
    if kind is CoroutineType:
        return result
    if kind is GeneratorType and result.gi_code.co_flags & CO_ITERABLE_COROUTINE:
        return awaited(result)
    if kind in (GeneratorType, AsyncGeneratorType):
        raise RegistrationError(
            f"{subscription.name} returned {'an async' if kind is AsyncGeneratorType else 'a'} generator, "
            "of which nothing has run: have the follower go through it"
        )
    if hasattr(kind, "__await__") and not hasattr(kind, "add_done_callback"):  # futures run by themselves
        return awaited(result)
    return None


async def awaited(awaitable: Any) -> Any:
    """Make a coroutine of what else can be awaited."""
    return await awaitable


def guarding(guard: Callable[[Message], object]) -> Layer:
    """Let through what `guard` says yes to."""

    def layer(inner: Call) -> Call:
        def guarded(message: Message) -> Any:
            verdict = guard(message)
            if type(verdict) is CoroutineType:
                verdict.close()
                raise RegistrationError("the guard returned a coroutine, which would count as yes always")
            return inner(message) if verdict else SKIPPED

        return guarded

    return layer


def handing(subscription: Subscription, submit: Callable[[Subscription, Message], object]) -> Call:
    """Hand messages to worker threads."""
    return lambda message: submit(subscription, message)


def answer_end(message: Message, error: BaseException, reply: Reply) -> None:
    """Answer for a follower that ended with what is no failure, such as SystemExit, and goes its own way."""
    try:
        answer = RuntimeError(f"the follower ended with {text_of(error)}")
        answer.__cause__ = error
        reply(message, None, answer)
    except Exception as trouble:  # noqa: BLE001  # it must not take the place of what ended the follower
        log_trouble(f"the answer to {message.id!r} could not be sent", trouble)


class Once:
    """Lets one message through and ends the subscription; exactly one, however many threads deliver."""

    def __init__(self) -> None:
        self._claim = Lock()
        self._subscription: Subscription | None = None

    def end(self, subscription: Subscription) -> Subscription:
        """Be told what to end; it may be time already."""
        self._subscription = subscription
        if self._claim.locked():
            subscription.cancel()
        return subscription

    def __call__(self, inner: Call) -> Call:
        """Wrap a call."""

        def once(message: Message) -> Any:
            if not self._claim.acquire(blocking=False):
                return SKIPPED
            if self._subscription is not None:
                self._subscription.cancel()
            return inner(message)

        return once
