"""What is called for a message: a small class for each way of holding it, and the checks at registration.

A function is held strongly. A bound method is held weakly: an object that is gone no longer follows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from .errors import RegistrationError
from .identifiers import describe
from .messages import Message

__all__ = ["Call", "FunctionTarget", "MethodTarget", "QueueTarget", "Target", "make_target"]

Call = Callable[[Message], Any]

CO_VARARGS = 0x04
CO_GENERATOR = 0x20
CO_COROUTINE = 0x80
CO_ITERABLE_COROUTINE = 0x100
CO_ASYNC_GENERATOR = 0x200


class FunctionTarget:
    """A function, or any other callable, held strongly."""

    __slots__ = ("call", "is_async", "name", "where")

    def __init__(self, function: Call) -> None:
        check_signature(function, function)
        self.call: Call = function
        self.is_async = is_async(function)
        self.name = name_of(function)
        self.where = where_of(function)

    def function(self) -> Call | None:
        """Return the callable as it was registered."""
        return self.call

    def on_death(self, callback: Callable[[], object]) -> None:
        """Do nothing: what is held strongly does not go."""


class MethodTarget:
    """A bound method, held weakly."""

    __slots__ = ("_function", "_ref", "call", "is_async", "name", "where")

    def __init__(self, method: MethodType) -> None:
        check_signature(method, method)
        owner = method.__self__
        try:
            ref = weakref.ref(owner)
        except TypeError:
            raise RegistrationError(unreferable(type(owner), method.__name__)) from None
        function = method.__func__

        def call(message: Message) -> Any:
            alive = ref()
            if alive is not None:
                return function(alive, message)
            return None

        self._ref: weakref.ref[Any] = ref
        self._function = function
        self.call: Call = call
        self.is_async = is_async(function)
        self.name = name_of(function)
        self.where = where_of(function)

    def function(self) -> Call | None:
        """Return the bound method, or None when its object is gone."""
        owner = self._ref()
        return None if owner is None else MethodType(self._function, owner)

    def on_death(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the object goes; from wherever that happens, garbage collection included."""
        owner = self._ref()
        if owner is not None:
            self._ref = weakref.ref(owner, lambda _: callback())


class QueueTarget:
    """The intake of a queue: it is called like a function, and shown as a queue made at `where`."""

    __slots__ = ("call", "name", "where")

    is_async = False

    def __init__(self, call: Call, name: str, where: str | None) -> None:
        self.call: Call = call
        self.name = name
        self.where: str | None = where

    def function(self) -> Call | None:
        """Return None: nobody registered a function."""
        return None

    def on_death(self, callback: Callable[[], object]) -> None:
        """Do nothing: the queue itself sees to it."""


Target = FunctionTarget | MethodTarget | QueueTarget


def make_target(function: Any) -> Target:
    """Choose how to hold `function`; raise `RegistrationError` when it cannot be called with a message."""
    if isinstance(function, MethodType):
        return MethodTarget(function)
    if callable(function):
        return FunctionTarget(function)
    hint = (
        "; decorators and calls give what they return: pass the function itself" if function is None else ""
    )
    raise RegistrationError(
        f"a follower is called with each message, and {describe(function)} cannot be called{hint}"
    )


def unreferable(owner: type, method: str) -> str:
    """The sentence for a class whose instances cannot be held weakly."""
    return (
        f"{owner.__name__}.{method} cannot follow: bound methods are held weakly, and instances of "
        f"{owner.__name__} cannot be: add '__weakref__' to its __slots__, or follow with a function"
    )


def unwrap(function: Any) -> Any:
    """Look through partials and ``functools.wraps`` for the function that somebody wrote."""
    for _ in range(32):
        if isinstance(function, partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        else:
            inner = getattr(function, "__wrapped__", None)
            if inner is None:
                break
            function = inner
    return function


def name_of(function: Any) -> str:
    """A readable name for a callable."""
    function = unwrap(function)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace(".<locals>", "")


def where_of(function: Any) -> str | None:
    """``file:line`` of where a callable was written; None for one that is not written in Python."""
    function = unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = code_of_call(function)
    return None if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def code_of_call(instance: object) -> Any:
    """The code of an object's own ``__call__``, for objects of classes written in Python."""
    method = getattr(type(instance), "__call__")  # noqa: B004, B009  # not whether: which one
    return getattr(method, "__code__", None)


def is_async(function: Any) -> bool:
    """True for what gives a coroutine when called: ``async def``, and partials, methods, objects over it."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    if type(getattr(function, "_is_coroutine_marker", None)) is object:  # from inspect.markcoroutinefunction
        return True
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, BuiltinFunctionType | type):
        code = code_of_call(function)
    return code is not None and bool(code.co_flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE))


def check_signature(function: Any, shown: Any) -> None:
    """Raise `RegistrationError` when `function` cannot be called with one positional argument."""
    bound = 0
    plain = function
    if isinstance(plain, MethodType):
        plain, bound = plain.__func__, 1
    if isinstance(plain, FunctionType):
        code = plain.__code__
        if code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR) and not code.co_flags & CO_ITERABLE_COROUTINE:
            raise RegistrationError(
                f"{name_of(shown)} ({where_of(shown)}) cannot follow: it has a 'yield' in it, "
                "so calling it would run nothing; move the 'yield' to a function that it calls"
            )
        room = code.co_argcount - bound
        needed = room - len(plain.__defaults__ or ())
        if code.co_flags & CO_VARARGS:
            room = max(room, 1)
        optional = plain.__kwdefaults__ or {}
        keywords = [
            key
            for key in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
            if key not in optional
        ]
        fits = room >= 1 and needed <= 1 and not keywords
    else:
        fits = binds(function)
    if not fits:
        name = getattr(unwrap(shown), "__name__", "follower")
        advice = "lambda message: ..." if name == "<lambda>" else f"def {name}({'self, ' * bound}message)"
        raise RegistrationError(
            f"{name_of(shown)} ({where_of(shown) or 'not written in Python'}) cannot follow: "
            f"it is called with one argument, the message; write it as  {advice}"
        )


def binds(function: Any) -> bool:
    """Like the check for plain functions, for every other callable; unknown signatures pass."""
    from inspect import signature

    try:
        found = signature(function)
    except (ValueError, TypeError):
        return True
    try:
        found.bind(None)
    except TypeError:
        return False
    return True
