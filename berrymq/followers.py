"""Subscriptions: who follows what, and the handle to end it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from .failures import log_trouble
from .forking import SafeLock
from .messages import Message
from .targets import Call, QueueTarget, Target

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .identifiers import Identifier

__all__ = ["SKIPPED", "Entry", "Layer", "Once", "Subscription", "answer_end"]

SendAnswer = Callable[[Message, Any, "Exception | None"], object]
Layer = Callable[[Call], Call]
"""Wraps a call: a guard, a joint condition, a once."""


_placing = SafeLock()
"""Held while a few slots of a subscription are set. It is one for all, since that is rare and short."""


class Skipped:
    """The type of `SKIPPED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SKIPPED"


SKIPPED: Final = Skipped()
"""What a call gives when a guard or condition kept the message from the follower."""


def nothing(message: Message) -> Any:
    """Stand in for the call of what no longer follows, or is muted; who waits for its answer is told."""
    callback = message.callback
    if callable(callback):
        callback(SKIPPED, None)
    return SKIPPED


class Entry:
    """One place in a route. Dispatch calls its `deliver`; to take it out at once, that slot is emptied."""

    __slots__ = ("__weakref__", "_discard", "active", "deliver", "direct", "number", "run")

    def __init__(self) -> None:
        self.deliver: Call = nothing
        self.run: Call = nothing
        self.direct = True
        self.active = False
        self.number = -1
        self._discard: Callable[[Entry], object] | None = None

    def start(self, discard: Callable[[Entry], object]) -> None:
        """Begin to deliver; `discard` takes the entry out of the routes when it is cancelled."""
        self._discard = discard
        self.active = True

    def cancel(self) -> None:
        """Stop following, at once and for good; safe from any thread and from a destructor."""
        self.active = False
        self.deliver = self.run = nothing
        discard, self._discard = self._discard, None
        if discard is not None:
            discard(self)

    def describe(self) -> str:
        """Say who this is, for the note on an error."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class Subscription(Entry):
    """A follower on a bus: the handle that `follow` returns. ``with`` ends it at the end of the block."""

    __slots__ = (
        "_answer_with",
        "_layers",
        "_mutes",
        "_pool",
        "call",
        "concurrent",
        "guard",
        "identifiers",
        "keep",
        "runner",
        "target",
        "wrapped",
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
    ) -> None:
        super().__init__()
        self.identifiers = identifiers
        self.target = target
        self.guard = guard
        self.direct = direct
        self.concurrent = concurrent
        self._layers: tuple[Layer, ...] = (*layers, *(() if guard is None else (guarding(guard),)))
        self.wrapped: Call = target.call
        self.runner: Call | None = None
        """Starts the coroutine of an ``async def`` follower for a message."""
        self._pool: Callable[[Subscription, Message], object] | None = None
        self._mutes = 0
        self._answer_with: SendAnswer | None = None
        self.call: Call = nothing
        """Calls the function as a delivery does, and gives its result (a coroutine, for ``async def``)."""
        self.keep: object = None
        """Something to hold on to for as long as this follows."""

    @property
    def identifier(self) -> Identifier:
        """What it follows; the first condition, when there are several."""
        return self.identifiers[0]

    @property
    def function(self) -> Call | None:
        """The function or bound method; None when the object of the method is gone."""
        return self.target.function()

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.target.name

    @property
    def where(self) -> str | None:
        """``file:line`` of the function; None for one that is not written in Python."""
        return self.target.where

    @property
    def is_async(self) -> bool:
        """True for an ``async def`` follower."""
        return self.target.is_async

    @property
    def is_queue(self) -> bool:
        """True for the intake of a queue."""
        return isinstance(self.target, QueueTarget)

    @property
    def muted(self) -> bool:
        """True inside a `mute` of this follower."""
        return self._mutes > 0

    def wrap(self, wrapper: Callable[[Call], Call]) -> None:
        """Put ``wrapper(function)`` in the place of the function; for the hooks of a bus."""
        self.wrapped = wrapper(self.wrapped)
        if self.active:
            self._place()

    def start(self, discard: Callable[[Entry], object]) -> None:
        """Begin to deliver; `discard` takes the entry out of the routes when it is cancelled."""
        super().start(discard)
        self._place()
        me = ref(self)  # so that the target, which this holds, does not hold this in turn

        def gone() -> None:
            subscription = me()
            if subscription is not None:
                subscription.cancel()

        self.target.on_death(gone)

    def use_pool(self, submit: Callable[[Subscription, Message], object] | None) -> None:
        """Hand messages to a worker pool from now on; None: call in the sender's thread."""
        self._pool = submit
        self._place()

    def answer_with(self, send: SendAnswer) -> None:
        """Have `send` called with what the function returns or raises, for messages that want it."""
        self._answer_with = send
        self._place()

    def shift_mute(self, by: int) -> None:
        """Count one mute more or less."""
        with _placing:
            self._mutes += by
            self._place()

    def cancel(self) -> None:
        """Stop following, at once and for good; safe from any thread and from a destructor."""
        super().cancel()
        self.call = nothing

    def _place(self) -> None:
        """Put into the slots what fits the present state."""
        with _placing:
            call = self.wrapped
            for layer in self._layers:
                call = layer(call)
            run = self.runner or call
            if self._answer_with is not None:
                run = answering(run, self._answer_with)
            submit = self._pool
            if self._mutes or not self.active:
                self.call = self.run = self.deliver = nothing
            else:
                self.call = call
                self.run = run
                self.deliver = run
                if submit is not None and not self.direct and not self.is_async:
                    self.deliver = handing(self, submit)
            if not self.active:  # cancelled just now, by another thread
                self.call = self.run = self.deliver = nothing

    def describe(self) -> str:
        """Say who this is, for the note on an error."""
        where = self.where
        return f"{self.name}{f' ({where})' if where else ''}, which follows {self.follows}"

    @property
    def follows(self) -> str:
        """What it follows, as text; conditions are joined by ``&``."""
        return " & ".join(identifier.text for identifier in self.identifiers)

    def __repr__(self) -> str:
        state = "" if self.active else ", cancelled"
        where = self.where
        return f"<Subscription {self.follows} -> {self.name}{f' ({where})' if where else ''}{state}>"


def guarding(guard: Callable[[Message], object]) -> Layer:
    """Let through what `guard` says yes to."""

    def layer(inner: Call) -> Call:
        def guarded(message: Message) -> Any:
            return inner(message) if guard(message) else SKIPPED

        return guarded

    return layer


def handing(subscription: Subscription, submit: Callable[[Subscription, Message], object]) -> Call:
    """Hand messages to worker threads."""
    return lambda message: submit(subscription, message)


def answering(inner: Call, send: SendAnswer) -> Call:
    """Send what `inner` returns or raises to where a message wants it."""

    def answered(message: Message) -> Any:
        if message.callback is None:
            return inner(message)
        try:
            result = inner(message)
        except Exception as error:  # noqa: BLE001  # a follower's: it is the answer
            return send(message, None, error)
        except BaseException as error:
            answer_end(message, error, send)
            raise
        return send(message, result, None)

    return answered


def answer_end(message: Message, error: BaseException, send: SendAnswer) -> None:
    """Answer for a follower that ended with what is no failure, such as SystemExit, and goes its own way."""
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
        answer = RuntimeError(f"the follower ended with {text}")
        answer.__cause__ = error
        send(message, None, answer)
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
