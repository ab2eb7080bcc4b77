"""Functions that publish by themselves: at entry, at exit, on an exception.

An observer never harms what it observes. A message about a call changes neither its result nor its error nor
whether it runs: what goes wrong with such a message is logged. Only a `RecursionError` passes, so that a
follower that calls what it observes ends as any recursion does.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .errors import RegistrationError
from .failures import log_trouble
from .identifiers import Identifier, describe
from .messages import Message
from .targets import code_of, is_async, is_generator, strip

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bus import Bus

__all__ = ["auto_twitter", "twitter_exception"]

P = ParamSpec("P")
R = TypeVar("R")

CO_ASYNC_GENERATOR = 0x200


class Reporter:
    """Publishes what there is to say about the calls of one function."""

    def __init__(self, bus: Bus, identifier: str | Identifier) -> None:
        self._bus = bus
        self.identifier = Identifier.parse(identifier)

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Report a call that begins."""

    def leave(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Report a call that returns."""

    def fail(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> bool:
        """Report a call that raises; return whether that goes on to the caller."""
        raise NotImplementedError

    def send(self, identifier: Identifier, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Publish one message; trouble with it is logged, and no concern of the call."""
        try:
            self._bus.publish(Message.make(identifier, args, kwargs))
        except RecursionError:
            raise
        except Exception as trouble:  # noqa: BLE001  # a follower's, or that of a link
            log_trouble(f"a follower of {identifier.text!r} failed, which only observes", trouble)


class CallReporter(Reporter):
    """Publishes ``NAME:entry`` and ``NAME:exit``."""

    def __init__(self, bus: Bus, identifier: str | Identifier, entry: bool, leave: bool) -> None:
        super().__init__(bus, identifier)
        name, action, namespace = self.identifier.name, self.identifier.action, self.identifier.namespace
        if entry == leave:  # an identifier that names one of the two actions asks for just that one
            entry = action != "exit"
            leave = action != "entry"
        self._entry = Identifier(name, "entry", namespace) if entry else None
        self._exit = Identifier(name, "exit", namespace) if leave else None

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Report a call that begins."""
        if self._entry is not None:
            self.send(self._entry, args, kwargs)

    def leave(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Report a call that returns."""
        if self._exit is not None:
            self.send(self._exit, args, {**kwargs, free_key("result", kwargs): result})

    def fail(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> bool:
        """Report a call that raises."""
        if self._exit is not None and not isinstance(error, RecursionError):
            self.send(self._exit, args, {**kwargs, free_key("error", kwargs): error})
        return True


def free_key(key: str, kwargs: dict[str, Any]) -> str:
    """Return a keyword that the call does not use: a parameter may be named ``result``."""
    while key in kwargs:
        key += "_"
    return key


class ExceptionReporter(Reporter):
    """Publishes exceptions."""

    def __init__(self, bus: Bus, identifier: str | Identifier, reraise: bool, with_traceback: bool) -> None:
        super().__init__(bus, identifier)
        self._reraise = reraise
        self._with_traceback = with_traceback

    def fail(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> bool:  # noqa: ARG002
        """Report an exception; interrupts and the like are none."""
        if not isinstance(error, Exception):
            return True
        if not isinstance(error, RecursionError):
            import traceback

            if self._with_traceback:
                trace = (
                    error.__traceback__ and error.__traceback__.tb_next
                )  # the first frame is the wrapper's
                lines = traceback.format_exception(type(error), error, trace)
            else:
                lines = traceback.format_exception_only(error)
            payload = {"type": type(error).__name__, "value": value_of(error), "error": error}
            self.send(self.identifier, ("".join(lines),), payload)
        return self._reraise


def value_of(error: Exception) -> str:
    """Return the text of an exception, whatever its `__str__` does."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # foreign code
        return "(its text is unavailable)"


def auto_twitter(
    bus: Bus, identifier: str | Identifier, entry: bool, leave: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """See `Bus.auto_twitter`."""
    return observing(CallReporter(bus, identifier, entry, leave))


def twitter_exception(
    bus: Bus, identifier: str | Identifier, reraise: bool, with_traceback: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """See `Bus.twitter_exception`."""
    return observing(ExceptionReporter(bus, identifier, reraise, with_traceback))


def observing(reporter: Reporter) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that has the calls of a function reported, and leaves it of its kind."""

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


def observed_function(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap a plain function."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        reporter.enter(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            if reporter.fail(args, kwargs, error):
                raise
            return None
        reporter.leave(args, kwargs, result)
        return result

    return wrapped


def observed_coroutine(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap an ``async def`` function."""

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        reporter.enter(args, kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            if reporter.fail(args, kwargs, error):
                raise
            return None
        reporter.leave(args, kwargs, result)
        return result

    return wrapped


def observed_generator(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap a generator function: it is entered with the first item, and left when it is used up or closed."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        reporter.enter(args, kwargs)
        try:
            result = yield from function(*args, **kwargs)
        except GeneratorExit:
            reporter.leave(args, kwargs, None)
            raise
        except BaseException as error:
            if reporter.fail(args, kwargs, error):
                raise
            return None
        reporter.leave(args, kwargs, result)
        return result

    return wrapped


def observed_async_generator(function: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """Wrap an async generator function; see `observed_generator`."""

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        reporter.enter(args, kwargs)
        try:
            # What `yield from` does, which async generators have not.
            inner = function(*args, **kwargs)
            step = inner.__anext__()
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    break
                try:
                    sent = yield item
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001  # it goes to where the generator waits
                    step = inner.athrow(thrown)
                else:
                    step = inner.asend(sent)
        except GeneratorExit:
            reporter.leave(args, kwargs, None)
            raise
        except BaseException as error:
            if reporter.fail(args, kwargs, error):
                raise
            return
        reporter.leave(args, kwargs, None)

    return wrapped
