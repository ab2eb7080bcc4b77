"""Targets: what is called for a message, held strongly or weakly, and the checks of callables and guards.

A function is held strongly. A bound method is held weakly: it follows as long as its object lives. What only
looks like a method, such as the object of a decorator, is called as it is given. Attributes of foreign
objects are read from their type, or inside a `try`: ``__getattr__`` and ``==`` of an object may do anything.

`make_target` returns the target of any callable; a subscription holds exactly one. All targets have these
members:

- ``call``: takes the message; what the subscription calls, directly, for each message;
- ``is_async``: whether that returns a coroutine;
- ``name`` and ``where``: for lists and errors; ``where`` is ``file:line``, or None for what is not written in
  Python;
- ``function()``: what was registered, or None when it was collected;
- ``on_death(callback)``: calls `callback` when an object that is held weakly is collected.

The flags of code objects are written out here: `inspect`, which names them, is slow to import.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, MethodWrapperType
from typing import Any

from .errors import RegistrationError
from .identifiers import describe
from .messages import Message

__all__ = [
    "AttributeTarget",
    "Call",
    "FunctionTarget",
    "MethodTarget",
    "QueueTarget",
    "Target",
    "check_guard",
    "choose_guard",
    "is_same",
    "make_target",
]

Call = Callable[[Message], Any]
"""A callable that takes a message."""

CO_VARARGS = 0x04
CO_GENERATOR = 0x20
CO_COROUTINE = 0x80
CO_ITERABLE_COROUTINE = 0x100
CO_ASYNC_GENERATOR = 0x200


class FunctionTarget:
    """A function, or any other callable, held strongly.

    Args:
        function: is called with the message.

    Raises:
        RegistrationError: it can't be called with one message, or is a generator function.
    """

    __slots__ = ("call", "is_async", "name", "where")

    def __init__(self, function: Call) -> None:
        check_signature(function)
        self.call: Call = function
        self.is_async = is_async(function)
        self.name = name_of(function)
        self.where = where_of(function)

    def function(self) -> Call | None:
        """Return the callable as it was registered."""
        return self.call

    def on_death(self, callback: Callable[[], object]) -> None:
        """Do nothing: a strong reference keeps the function alive."""


class MethodTarget:
    """A bound method, held weakly: once its object was collected, a call does nothing.

    Args:
        method: a bound method.

    Raises:
        RegistrationError: it can't be called with one message, or its object can't be referenced weakly.
    """

    __slots__ = ("_function", "_ref", "call", "is_async", "name", "where")

    def __init__(self, method: MethodType) -> None:
        check_signature(method)
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
        """Return the bound method, or None when its object was collected."""
        owner = self._ref()
        return None if owner is None else MethodType(self._function, owner)

    def on_death(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the object is collected, on any thread, even inside garbage collection."""
        owner = self._ref()
        if owner is not None:
            self._ref = weakref.ref(owner, lambda _: callback())


class AttributeTarget:
    """An attribute of an object, looked up for each message; the object is held weakly.

    For class attributes that are no functions, such as a `partialmethod`: each look-up returns a new
    callable, and a strong reference to one holds the object, too.

    Args:
        owner: the object.
        key: the name of the attribute.

    Raises:
        RegistrationError: the attribute can't be called with one message, or `owner` can't be referenced
            weakly.
    """

    __slots__ = ("_key", "_ref", "call", "is_async", "name", "where")

    def __init__(self, owner: object, key: str) -> None:
        found = getattr(owner, key)
        make_target(found)  # for its checks
        try:
            ref = self._ref = weakref.ref(owner)
        except TypeError:
            raise RegistrationError(unreferable(type(owner), key)) from None
        self._key = key

        def call(message: Message) -> Any:
            alive = ref()
            return None if alive is None else getattr(alive, key)(message)

        self.call: Call = call
        self.is_async = is_async(found)
        self.name = f"{type(owner).__qualname__}.{key}".replace(".<locals>", "")
        self.where = where_of(found)

    def function(self) -> Call | None:
        """Return the present value of the attribute, or None when its object was collected."""
        owner = self._ref()
        found: Call | None = None if owner is None else getattr(owner, self._key, None)
        return found

    def on_death(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the object is collected, on any thread, even inside garbage collection."""
        owner = self._ref()
        if owner is not None:
            self._ref = weakref.ref(owner, lambda _: callback())


class QueueTarget:
    """The input of a queue: called like a function, and shown as a queue that was created at `where`.

    Args:
        call: adds a message to the queue.
        name: the kind of queue.
        where: ``file:line``.
        on_cancel: is called when the subscription has ended, for any reason.
    """

    __slots__ = ("call", "name", "on_cancel", "where")

    is_async = False

    def __init__(
        self, call: Call, name: str, where: str | None, on_cancel: Callable[[], object] | None = None
    ) -> None:
        self.call: Call = call
        self.name = name
        self.where: str | None = where
        self.on_cancel = on_cancel

    def function(self) -> Call | None:
        """Return None: no function was registered."""
        return None

    def on_death(self, callback: Callable[[], object]) -> None:
        """Do nothing: the queue itself cancels its subscription."""


Target = FunctionTarget | MethodTarget | AttributeTarget | QueueTarget
"""The kinds of target; see the description of this module for what they have in common."""


def make_target(function: Any) -> Target:
    """Return the target for `function`.

    Raises:
        RegistrationError: it can't be called with one message; the text says how to write it.
    """
    if type(function) is MethodType:  # not `isinstance`: a proxy claims to be one, and does more
        return MethodTarget(function)
    if callable(function):
        return FunctionTarget(function)
    hint = "; did you call the function instead of passing it?" if function is None else ""
    raise RegistrationError(
        f"a follower must be callable with one message; {describe(function)} is not callable{hint}"
    )


def choose_guard(guard: Call | None, guard_condition: Call | None) -> Call | None:
    """Return the guard that was passed by its present name or by that of 2009; None for none.

    Raises:
        TypeError: both were passed.
    """
    if guard is not None and guard_condition is not None:
        raise TypeError("guard and guard_condition are one parameter: pass only one")
    return guard_condition if guard is None else guard


def check_guard(guard: object) -> None:
    """Check that `guard` is None or a plain function of a message.

    Raises:
        RegistrationError: it can't be called with one message, is a generator function, or is ``async``: a
            coroutine would count as yes for every message.
    """
    if guard is None:
        return
    if not callable(guard):
        raise RegistrationError(
            f"a guard is called with the message and decides, and {describe(guard)} cannot be called"
        )
    if is_async(guard):
        raise RegistrationError(
            f"the guard {name_of(guard)} is 'async': the coroutine that it returns would count as yes "
            "for every message; a guard is a plain function of the message"
        )
    check_signature(guard, "be a guard")


def is_same(one: Any, other: Any) -> bool:
    """Return whether two callables are the same follower: by identity, for ``==`` may be anything.

    Bound methods are the same when object and function are, since each access creates another one.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is MethodType:
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    # Each access creates one of these, too; their own == compares the identity of the objects.
    return type(one) in (BuiltinFunctionType, MethodWrapperType) and bool(one == other)


def unreferable(owner: type, method: str) -> str:
    """Return the error text for a class whose instances can't be referenced weakly.

    Args:
        owner: the class.
        method: the name of the method that can't follow.
    """
    return (
        f"{owner.__name__}.{method} cannot follow: bound methods are held weakly, and instances of "
        f"{owner.__name__} cannot be: add '__weakref__' to its __slots__, or follow with a function"
    )


def unwrap(function: Any) -> Any:
    """Return the function inside partials, methods and ``functools.wraps``, for its name and location.

    It follows at most 32 levels, in case an object wraps itself.
    """
    for _ in range(32):
        if isinstance(function, partial):
            function = function.func
        elif type(function) is MethodType:
            function = function.__func__
        else:
            inner = attribute(function, "__wrapped__")
            if inner is None or not callable(inner):
                break
            function = inner
    return function


def attribute(thing: object, key: str) -> Any:
    """Return an attribute of a foreign object; None when it has none, or raises."""
    try:
        return getattr(thing, key, None)
    except Exception:  # noqa: BLE001  # a `__getattr__` of its own
        return None


def name_of(function: Any) -> str:
    """Return a readable name for a callable."""
    function = unwrap(function)
    name = attribute(function, "__qualname__")
    if not isinstance(name, str):
        name = type(function).__qualname__
    return name.replace(".<locals>", "")


def where_of(function: Any) -> str | None:
    """Return ``file:line`` of the definition of a callable; None for one that is not written in Python."""
    code = code_of(unwrap(function))
    return None if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def code_of(function: Any) -> CodeType | None:
    """Return the code object that a call runs; for objects, that of the ``__call__`` of their class."""
    if type(function) is not FunctionType:
        if isinstance(function, BuiltinFunctionType | type):
            return None
        function = getattr(type(function), "__call__", None)  # noqa: B004  # its code is needed, too
    code = attribute(function, "__code__")
    return code if isinstance(code, CodeType) else None


def strip(function: Any) -> Any:
    """Return the callable inside partials and methods, whose call decides the kind of the result.

    Unlike `unwrap` it does not look behind ``functools.wraps``: a plain wrapper of an ``async def`` function
    may return something else than a coroutine.
    """
    while True:
        if isinstance(function, partial):
            function = function.func
        elif type(function) is MethodType:
            function = function.__func__
        else:
            return function


def is_async(function: Any) -> bool:
    """Return whether a call returns a coroutine: ``async def``, and partials, methods, objects over it."""
    function = strip(function)
    # The marks of inspect.markcoroutinefunction, and of asyncio and `AsyncMock`.
    if any(type(attribute(function, key)) is object for key in ("_is_coroutine_marker", "_is_coroutine")):
        return True
    code = code_of(function)
    return code is not None and bool(code.co_flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE))


def is_generator(function: Any) -> bool:
    """Return whether a call returns a generator, an asynchronous one too; looks inside as `is_async` does."""
    code = code_of(strip(function))
    return (
        code is not None
        and bool(code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR))
        and not code.co_flags & CO_ITERABLE_COROUTINE
    )


def check_signature(function: Any, purpose: str = "follow") -> None:
    """Check that `function` can be called with one positional argument.

    Args:
        function: any callable; one whose signature is unknown passes.
        purpose: completes "cannot ..." in the error.

    Raises:
        RegistrationError: it can't, or it is a generator function, whose call would run nothing.
    """
    if is_generator(function):
        raise RegistrationError(
            f"{name_of(function)} ({where_of(function)}) cannot {purpose}: it has a 'yield' in it, "
            "so calling it would run nothing; move the 'yield' to a function that it calls"
        )
    bound = 0
    plain = function
    if type(plain) is MethodType:
        plain, bound = plain.__func__, 1
    if type(plain) is FunctionType:
        code = plain.__code__
        accepted = code.co_argcount - bound
        required = accepted - len(plain.__defaults__ or ())
        if code.co_flags & CO_VARARGS:
            accepted = max(accepted, 1)
        optional = plain.__kwdefaults__ or {}
        keywords = [
            key
            for key in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
            if key not in optional
        ]
        fits = accepted >= 1 and required <= 1 and not keywords
    else:
        fits = binds(function)
    if not fits:
        name = attribute(unwrap(function), "__name__")
        if not isinstance(name, str):
            name = "follower"
        advice = "lambda message: ..." if name == "<lambda>" else f"def {name}({'self, ' * bound}message)"
        raise RegistrationError(
            f"{name_of(function)} ({where_of(function) or 'not written in Python'}) cannot {purpose}: "
            f"it is called with one argument, the message; write it as  {advice}"
        )


def binds(function: Any) -> bool:
    """Return whether any callable accepts one positional argument; one without a known signature does.

    The general way, by `inspect.signature`; `check_signature` handles plain functions without importing that.
    """
    from inspect import signature

    try:
        found = signature(function)
    except Exception:  # noqa: BLE001  # no signature, or a foreign object that raises
        return True
    try:
        found.bind(None)
    except TypeError:
        return False
    return True
