"""Functions that send by themselves: at entry, at exit, on an exception."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .identifiers import Identifier
from .messages import Message
from .targets import is_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .exchange import Exchange

__all__ = ["auto_twitter", "twitter_exception"]

P = ParamSpec("P")
R = TypeVar("R")


class Reporter:
    """Sends what there is to say about the calls of one function."""

    def __init__(self, exchange: Exchange, identifier: str | Identifier) -> None:
        self._exchange = exchange
        self.identifier = Identifier.parse(identifier)

    def send(self, identifier: Identifier, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Send one message."""
        self._exchange.publish(Message.make(identifier, args, kwargs))

    def send_failure(
        self, error: BaseException, identifier: Identifier, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Send one message about `error`, which goes on to the caller: trouble does not take its place."""
        try:
            self.send(identifier, args, kwargs)
        except Exception as trouble:  # noqa: BLE001  # a follower's: noted on what is raised
            error.add_note(f"while {identifier.text!r} was sent about it, a follower failed: {trouble!r}")


class CallReporter(Reporter):
    """Sends ``NAME:entry`` and ``NAME:exit``."""

    def __init__(self, exchange: Exchange, identifier: str | Identifier, entry: bool, leave: bool) -> None:
        super().__init__(exchange, identifier)
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
            self.send(self._exit, args, {**kwargs, "result": result})

    def fail(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> None:
        """Report a call that raises."""
        if self._exit is not None:
            self.send_failure(error, self._exit, args, {**kwargs, "error": error})


class ExceptionReporter(Reporter):
    """Sends exceptions."""

    def __init__(
        self, exchange: Exchange, identifier: str | Identifier, reraise: bool, with_traceback: bool
    ) -> None:
        super().__init__(exchange, identifier)
        self._reraise = reraise
        self._with_traceback = with_traceback

    def report(self, error: Exception) -> None:
        """Report one exception."""
        import traceback

        if self._with_traceback:
            trace = error.__traceback__ and error.__traceback__.tb_next  # the first frame is the wrapper's
            lines = traceback.format_exception(type(error), error, trace)
        else:
            lines = traceback.format_exception_only(error)
        payload = {"type": type(error).__name__, "value": str(error), "error": error}
        if self._reraise:
            self.send_failure(error, self.identifier, ("".join(lines),), payload)
        else:
            self.send(self.identifier, ("".join(lines),), payload)


def auto_twitter(
    exchange: Exchange, identifier: str | Identifier, entry: bool, leave: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """See `Bus.auto_twitter`."""
    reporter = CallReporter(exchange, identifier, entry, leave)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if is_async(function):

            @wraps(function)
            async def around(*args: P.args, **kwargs: P.kwargs) -> Any:
                reporter.enter(args, kwargs)
                try:
                    result = await as_awaitable(function(*args, **kwargs))
                except BaseException as error:
                    reporter.fail(args, kwargs, error)
                    raise
                reporter.leave(args, kwargs, result)
                return result

            return around  # type: ignore[return-value]  # R is the coroutine, as before

        @wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            reporter.enter(args, kwargs)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                reporter.fail(args, kwargs, error)
                raise
            reporter.leave(args, kwargs, result)
            return result

        return wrapped

    return decorate


def twitter_exception(
    exchange: Exchange, identifier: str | Identifier, reraise: bool, with_traceback: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """See `Bus.twitter_exception`."""
    reporter = ExceptionReporter(exchange, identifier, reraise, with_traceback)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if is_async(function):

            @wraps(function)
            async def around(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    return await as_awaitable(function(*args, **kwargs))
                except Exception as error:
                    reporter.report(error)
                    if reraise:
                        raise
                    return None

            return around  # type: ignore[return-value]  # R is the coroutine, as before

        @wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                reporter.report(error)
                if reraise:
                    raise
                return None  # type: ignore[return-value]  # what reraise=False asks for

        return wrapped

    return decorate


def as_awaitable(value: Any) -> Awaitable[Any]:
    """Type the coroutine that an ``async def`` function gave."""
    return value  # type: ignore[no-any-return]
