"""``auto_twitter`` and ``twitter_exception``: messages about the calls and exceptions of a function.

A decorator consists of two parts: a `Reporter`, which says what to publish about a call, and one of the four
``observed_...`` functions, which wraps a function of the same kind (plain, coroutine, generator, async
generator) and keeps its signature. `ObservedCall` connects them for one call.

An observer never harms what it observes. A message about a call changes neither its result nor its error nor
whether it runs: errors of such a message are logged. Only a `RecursionError` propagates, so that a follower
that calls what it observes ends as any recursion does.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .errors import RegistrationError
from .failures import log_error
from .identifiers import Identifier, describe
from .messages import Message
from .targets import code_of, is_async, is_generator, strip

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from .bus import Bus

__all__ = ["auto_twitter", "twitter_exception"]

P = ParamSpec("P")
R = TypeVar("R")

CO_ASYNC_GENERATOR = 0x200
"""The flag of a code object of an async generator function; `inspect`, which names it, is slow to import."""


class Reporter:
    """Publishes messages about the calls of one function; the base of the two kinds.

    One object serves all calls of the function, on any threads; it holds no state of a call.

    Args:
        bus: where they are published.
        identifier: what they are called.
    """

    def __init__(self, bus: Bus, identifier: str | Identifier) -> None:
        self._bus = bus
        self.identifier = Identifier.parse(identifier)
        """Parsed once, at decoration, so that a wrong one raises there."""

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Report a call that begins; nothing by default.

        Args:
            args: the positional arguments of the call.
            kwargs: its keyword arguments.
        """

    def leave(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Report a call that returns; nothing by default.

        Args:
            args: the positional arguments of the call.
            kwargs: its keyword arguments.
            result: what it returned; None for generators that end.
        """

    def fail(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> bool:
        """Report a call that raises.

        Args:
            args: the positional arguments of the call.
            kwargs: its keyword arguments.
            error: what it raised, interrupts included.

        Returns:
            Whether the error propagates to the caller.
        """
        raise NotImplementedError

    def send(self, identifier: Identifier, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Publish one message; an error of a follower or link is logged, and does not reach the caller.

        Args:
            identifier: that of the message.
            args: its positional arguments.
            kwargs: its keywords.

        Raises:
            RecursionError: a follower calls the observed function without end.
        """
        try:
            self._bus.publish(Message.make(identifier, args, kwargs))
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001  # a follower's, or that of a link
            log_error(f"a follower of {identifier.text!r} failed, which only observes", error)


class CallReporter(Reporter):
    """Publishes ``NAME:entry`` and ``NAME:exit``, with the arguments of the call.

    ``NAME:exit`` has the keyword ``result``, or ``error`` when the call raised.

    Args:
        bus: where they are published.
        identifier: its name and namespace are used; an action ``entry`` or ``exit`` selects that one alone.
        entry: whether to publish ``NAME:entry``.
        leave: whether to publish ``NAME:exit``; equal to `entry`, the action of `identifier` decides.
    """

    def __init__(self, bus: Bus, identifier: str | Identifier, entry: bool, leave: bool) -> None:
        super().__init__(bus, identifier)
        name, action, namespace = self.identifier.name, self.identifier.action, self.identifier.namespace
        if entry == leave:  # an identifier that names one of the two actions asks for just that one
            entry = action != "exit"
            leave = action != "entry"
        self._entry = Identifier(name, "entry", namespace) if entry else None
        """The identifier of a call that begins; None when it is not reported."""
        self._exit = Identifier(name, "exit", namespace) if leave else None
        """The identifier of a call that ends; None when it is not reported."""

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Report a call that begins."""
        if self._entry is not None:
            self.send(self._entry, args, kwargs)

    def leave(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Report a call that returns."""
        if self._exit is not None:
            self.send(self._exit, args, {**kwargs, free_key("result", kwargs): result})

    def fail(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> bool:
        """Report a call that raises, and let the error propagate.

        A `RecursionError` is not reported: that would call followers with no stack left.
        """
        if self._exit is not None and not isinstance(error, RecursionError):
            self.send(self._exit, args, {**kwargs, free_key("error", kwargs): error})
        return True


def free_key(key: str, kwargs: dict[str, Any]) -> str:
    """Return `key`, with underscores appended while the call has a keyword of that name."""
    while key in kwargs:
        key += "_"
    return key


class ExceptionReporter(Reporter):
    """Publishes exceptions: the text as the argument, ``type``, ``value`` and ``error`` as keywords.

    Args:
        bus: where they are published.
        identifier: what they are called.
        reraise: whether an exception propagates to the caller; else the call returns None.
        with_traceback: whether the text is the whole traceback, and not its last lines alone.
    """

    def __init__(self, bus: Bus, identifier: str | Identifier, reraise: bool, with_traceback: bool) -> None:
        super().__init__(bus, identifier)
        self._reraise = reraise
        self._with_traceback = with_traceback

    def fail(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> bool:  # noqa: ARG002
        """Report an exception, but no interrupt; return whether it propagates to the caller.

        `KeyboardInterrupt`, `SystemExit` and `asyncio.CancelledError` always propagate and are not reported;
        a `RecursionError` is not reported, since no stack is left to do so.
        """
        if not isinstance(error, Exception):
            return True
        if not isinstance(error, RecursionError):
            import traceback

            if self._with_traceback:
                # Without the first frame, which is the wrapper's.
                trace = error.__traceback__ and error.__traceback__.tb_next
                lines = traceback.format_exception(type(error), error, trace)
            else:
                lines = traceback.format_exception_only(error)
            payload = {"type": type(error).__name__, "value": value_of(error), "error": error}
            self.send(self.identifier, ("".join(lines),), payload)
        return self._reraise


def value_of(error: Exception) -> str:
    """Return the text of an exception, even if its `__str__` raises."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # foreign code
        return "(its text is unavailable)"


def auto_twitter(
    bus: Bus, identifier: str | Identifier, entry: bool, leave: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return the decorator of `Bus.auto_twitter`; see `CallReporter` for the arguments."""
    return observing(CallReporter(bus, identifier, entry, leave))


def twitter_exception(
    bus: Bus, identifier: str | Identifier, reraise: bool, with_traceback: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return the decorator of `Bus.twitter_exception`; see `ExceptionReporter` for the arguments."""
    return observing(ExceptionReporter(bus, identifier, reraise, with_traceback))


def observing(reporter: Reporter) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that reports the calls of a function, and preserves its kind and signature.

    Raises:
        RegistrationError: by the decorator, for an object that is not callable, such as a `classmethod`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not callable(function):
            raise RegistrationError(
                f"{describe(function)} is not called itself: "
                f"put this decorator below @{type(function).__name__}"
            )
        wrapper: Any
        if is_generator(function):
            code = code_of(strip(function))
            is_asynchronous = code is not None and bool(code.co_flags & CO_ASYNC_GENERATOR)
            wrapper = (observed_async_generator if is_asynchronous else observed_generator)(
                function, reporter
            )
        elif is_async(function):
            wrapper = observed_coroutine(function, reporter)
        else:
            wrapper = observed_function(function, reporter)
        return wrapper  # type: ignore[no-any-return]

    return decorate


class ObservedCall:
    """One call of an observed function, reported as a ``with`` block around it.

    The block swallows an exception when `Reporter.fail` says so; `result` is then still None.

    Args:
        reporter: takes the reports.
        args: the positional arguments of the call.
        kwargs: its keyword arguments.
    """

    __slots__ = ("_args", "_kwargs", "_reporter", "result")

    def __init__(self, reporter: Reporter, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._reporter = reporter
        self._args = args
        self._kwargs = kwargs
        self.result: Any = None
        """What the call returned, set inside the block; None until then."""

    def __enter__(self) -> Self:
        self._reporter.enter(self._args, self._kwargs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, GeneratorExit):  # which closes a generator, and is no failure
            self._reporter.leave(self._args, self._kwargs, self.result)
            return False
        return not self._reporter.fail(self._args, self._kwargs, error)


def observed_function(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap a plain function: it is entered before the call, and left when it returns or raises."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with ObservedCall(reporter, args, kwargs) as call:
            call.result = function(*args, **kwargs)
        return call.result

    return wrapped


def observed_coroutine(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap an ``async def`` function: it is entered when awaited, not when called, as its body is."""

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        with ObservedCall(reporter, args, kwargs) as call:
            call.result = await function(*args, **kwargs)
        return call.result

    return wrapped


def observed_generator(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap a generator function: it is entered with the first item, and left when it is used up or closed.

    ``yield from`` passes on ``send``, ``throw``, ``close`` and the return value.
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with ObservedCall(reporter, args, kwargs) as call:
            call.result = yield from function(*args, **kwargs)
        return call.result

    return wrapped


def observed_async_generator(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap an async generator function; see `observed_generator`.

    ``asend``, ``athrow`` and ``aclose`` are passed on by hand, as PEP 380 defines it for ``yield from``.
    """

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        with ObservedCall(reporter, args, kwargs):
            # The equivalent of `yield from`, which async generators don't have.
            inner = function(*args, **kwargs)
            step = inner.__anext__()
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001  # it is passed to the inner generator
                    step = inner.athrow(thrown)
                else:
                    step = inner.asend(sent)

    return wrapped
