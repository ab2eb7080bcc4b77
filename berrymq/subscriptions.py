"""Subscriptions: the handle of a follower, and the pipeline by which a message reaches its function.

Publishing calls the slot `_deliver`, which holds the shortest possible path: the function itself, when
nothing stands between. The slots are computed whenever something about the subscription changes.

The pipeline of a subscription, from the outside to the inside::

    _deliver      what the publisher calls: `_call`, or the submission to the worker pool
    run           what a worker or a link calls: `_call`, and the reply to a message with a callback
    _call         the start of a coroutine, or `_function`
    _function     layers (once, joint conditions, guard), wrappers of hooks, the target
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock, current_thread
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any
from weakref import ref

from .errors import RegistrationError
from .failures import log_error, text_of
from .messages import Message
from .process import ForkSafeLock
from .subscribers import SKIPPED, Skipped, Subscriber, ignore
from .targets import CO_ITERABLE_COROUTINE, Call, QueueTarget, Target, is_same

if TYPE_CHECKING:
    from .coroutines import LoopRunner
    from .identifiers import Identifier
    from .replay import Replay
    from .worker_pool import WorkerPool

__all__ = ["PLAIN", "Layer", "Once", "Subscription", "reply_interrupted"]

Reply = Callable[[Message, Any, "Exception | None"], object]
"""Sends the result of a follower, or its error, to where the message wants it."""
Layer = Callable[[Call], Call]
"""Wraps a call: a guard, a joint condition, a once."""

_slots_lock = ForkSafeLock()
"""Held while the slots of a subscription are set: one lock for all, since that is rare and short."""


PLAIN = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict, set, Skipped})
"""Types of results that are known to be no coroutines: one set look-up spares the common case all checks."""


class Subscription(Subscriber):
    """A follower on a bus: the handle that `follow` returns. ``with`` ends it at the end of the block."""

    __slots__ = (
        "_adopter",
        "_anchor",
        "_call",
        "_function",
        "_layers",
        "_make_runner",
        "_mutes",
        "_pool",
        "_replay",
        "_reply",
        "_runner",
        "_target",
        "_thread",
        "_wrapped",
        "concurrent",
        "guard",
        "identifiers",
        "preview",
    )

    def __init__(
        self,
        identifiers: tuple[Identifier, ...],
        target: Target,
        *,
        guard: Callable[[Message], object] | None = None,
        layers: Iterable[Layer] = (),
        direct: bool = False,
        preview: bool = False,
        concurrent: bool = False,
        reply: Reply | None = None,
        make_runner: Callable[[Subscription], LoopRunner] | None = None,
    ) -> None:
        super().__init__()
        self.identifiers = identifiers
        """What it follows; several for a joint condition."""
        self.guard = guard
        self.direct = direct
        self.preview = preview
        self.concurrent = concurrent
        self._target = target
        self._layers: tuple[Layer, ...] = (*layers, *(() if guard is None else (guarding(guard),)))
        self._wrapped: Call = target.call
        self._runner: LoopRunner | None = None
        """Starts the coroutine of an ``async def`` follower for a message."""
        self._pool: WorkerPool | None = None
        self._replay: Replay | None = None
        """Holds what is live while what a hub has retained comes first."""
        self._mutes = 0
        self._thread = ref(current_thread())
        """The thread that registered it, on whose event loop its coroutines run."""
        # Queues and direct subscriptions only record: they do not answer.
        self._reply = None if direct or self.is_queue else reply
        self._make_runner = make_runner
        self._adopter: LoopRunner | None = None
        """Runs the coroutines that a plain function returns; made by the first of them."""
        self._function: Call = ignore
        self._call: Call = ignore
        self._anchor: object = None
        """A reference that has to live as long as the subscription."""

    # -- properties ------------------------------------------------------------------------------------------

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
        """The function or bound method; None for a queue, and when the object of the method was collected."""
        return self._target.function()

    @property
    def name(self) -> str:
        """The name of the function."""
        return self._target.name

    @property
    def where(self) -> str | None:
        """``file:line`` of the function, or another location to show; None for one not written in Python."""
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
        """Return the follower's name, location and identifiers, for the note on an error."""
        where = self.where
        return f"{self.name}{f' ({where})' if where else ''}, which follows {self.follows}"

    def __repr__(self) -> str:
        state = "" if self.active else ", cancelled"
        where = self.where
        return f"<Subscription {self.follows} -> {self.name}{f' ({where})' if where else ''}{state}>"

    # -- delivering ------------------------------------------------------------------------------------------

    def run(self, message: Message) -> None:
        """Deliver one message in this thread; for deliverers, which run in another thread than the sender's.

        The result or error goes to the callback of the message; an error without a callback is raised.
        """
        if message._callback is not None and self._reply is not None and self._runner is None:
            self._run_and_reply(message, self._reply)
            return
        call = self._call  # calling a slot as if it were a method is slower
        result = call(message)
        if result is not None and type(result) not in PLAIN:
            self._check_result(result, message)

    def _dispatch(self, message: Message) -> None:
        """Deliver a message that may have a callback, in the worker pool where there is one."""
        replay = self._replay
        if replay is not None and not self._mutes and replay.hold(message):
            return
        if self._pool is not None and not self.direct and not self.is_async:
            self._deliver(message)
        else:
            self.run(message)

    def _run_and_reply(self, message: Message, reply: Reply) -> None:
        """Call the follower, and reply with its result or error."""
        if not self.active:
            ignore(message)
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
            reply_interrupted(message, error, reply)
            raise
        reply(message, result, None)

    def _check_result(self, result: Any, message: Message) -> None:
        """Run the coroutine that a plain function returned, rather than drop it."""
        coroutine = coroutine_of(result, self)
        if coroutine is not None:
            self._get_runner().adopt(message, coroutine)

    def _get_runner(self) -> LoopRunner:
        """Return the runner of coroutines that a plain function returns; the first call creates it."""
        if self._adopter is None:
            assert self._make_runner is not None
            self._adopter = self._make_runner(self)
        return self._adopter

    def _ask(self, message: Message, timeout: float | None, blocking: bool) -> Any:  # noqa: ARG002
        """Ask the follower; a future is returned where it does not answer in this thread."""
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
        """Call the follower in this thread; return its answer, a future of it if that is a coroutine."""
        result = self._call(message)
        if type(result) not in PLAIN and (coroutine := coroutine_of(result, self)) is not None:
            return self._get_runner().ask(message, False, coroutine)
        return result

    # -- changing --------------------------------------------------------------------------------------------

    def wrap(self, wrapper: Callable[[Call], Call]) -> None:
        """Replace the function by ``wrapper(function)``; for the hooks of a bus."""
        self._wrapped = wrapper(self._wrapped)
        if self.active:
            self._set_slots()

    def cancel(self) -> None:
        """Stop following, at once and for good; safe from any thread and from a destructor."""
        super().cancel()
        self._call = self._function = ignore
        target = self._target
        if isinstance(target, QueueTarget) and target.on_cancel is not None:
            target.on_cancel()

    def _is_of(self, function: object) -> bool:
        """Return whether it was registered with `function`, compared by identity."""
        mine = self._target.function()
        return mine is not None and is_same(mine, function)

    def _start(self, discard: Callable[[Subscriber], object]) -> None:
        """Begin to deliver, until the object of the target is collected or `cancel`."""
        super()._start(discard)
        self._set_slots()
        me = ref(self)  # no reference cycle: the subscription holds the target

        def on_collected() -> None:
            subscription = me()
            if subscription is not None:
                subscription.cancel()

        self._target.on_death(on_collected)

    def _use_pool(self, pool: WorkerPool | None) -> None:
        """Deliver in the worker pool from now on, or in the sender's thread for None."""
        self._pool = pool
        self._set_slots()

    def _end_replay(self) -> None:
        """Deliver what is live from now on as any subscription does."""
        self._replay = None
        self._set_slots()

    def _shift_mute(self, by: int) -> None:
        """Add `by` (+1 or -1) to the number of mutes."""
        with _slots_lock:
            self._mutes += by
            self._set_slots()

    def _set_slots(self) -> None:
        """Compute the slots for the present state."""
        # Publishers read a slot without a lock, once for each delivery. So each slot has to be right by
        # itself: a publisher that reads the former call delivers as if it had been a moment earlier.
        with _slots_lock:
            function = self._wrapped
            for layer in self._layers:
                function = layer(function)
            call = self._runner or function
            replay = self._replay
            if not self._mutes and self.active:
                self._function, self._call = function, call if replay is None else replay.watch(call)
                pool = self._pool
                deliver = call if pool is None or self.direct or self.is_async else submitting(self, pool)
                if replay is not None:
                    replay.pass_on = deliver
                    deliver = replay.intake
                self._deliver = deliver
            # Not `else`: `cancel` takes no lock, and may have run since `active` was read above.
            if self._mutes or not self.active:
                self._function = self._call = self._deliver = ignore
                if replay is not None and self.active:
                    self._call = replay.watch(ignore)


def coroutine_of(result: Any, subscription: Subscription) -> Any:
    """Return `result` as a coroutine that has to be run, or None when it is not awaitable.

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
    """Return the result of any awaitable: turns it into a coroutine."""
    return await awaitable


def guarding(guard: Callable[[Message], object]) -> Layer:
    """Return a layer that passes on the messages for which `guard` returns true."""

    def layer(inner: Call) -> Call:
        def guarded(message: Message) -> Any:
            verdict = guard(message)
            if type(verdict) is CoroutineType:
                verdict.close()
                raise RegistrationError("the guard returned a coroutine, which would count as yes always")
            return inner(message) if verdict else SKIPPED

        return guarded

    return layer


def submitting(subscription: Subscription, pool: WorkerPool) -> Call:
    """Return a call that submits its message to the worker pool."""
    submit = pool.submit
    return lambda message: submit(subscription, message)


def reply_interrupted(message: Message, error: BaseException, reply: Reply) -> None:
    """Reply for a follower that ended with an interrupt, such as SystemExit, which propagates on its own."""
    try:
        answer = RuntimeError(f"the follower ended with {text_of(error)}")
        answer.__cause__ = error
        reply(message, None, answer)
    except Exception as failure:  # noqa: BLE001  # it must not replace the interrupt
        log_error(f"the answer to {message.id!r} could not be sent", failure)


class Once:
    """A layer that passes on exactly one message, with any number of threads, and ends the subscription."""

    def __init__(self) -> None:
        self._claim = Lock()
        self._subscription: Subscription | None = None

    def bind(self, subscription: Subscription) -> Subscription:
        """Set the subscription to end, and end it if the message has come already."""
        self._subscription = subscription
        if self._claim.locked():
            subscription.cancel()
        return subscription

    def __call__(self, inner: Call) -> Call:
        """Wrap a call."""

        def once(message: Message) -> Any:
            if not self._claim.acquire(blocking=False):
                return SKIPPED
            if self._subscription is not None:  # None while the registration is still going on: see `bind`
                self._subscription.cancel()
            return inner(message)

        return once
