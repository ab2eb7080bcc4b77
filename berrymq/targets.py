"""What is called for a message: a small class for each way of holding it, and the checks at registration.

A function is held strongly. A bound method is held weakly: an object that is gone no longer follows. What
only looks like a method, such as the object of a decorator, is called as it is given. Everything that is
asked of a foreign object is asked of its type, or guarded: it may answer anything to `getattr` and ``==``.
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

CO_VARARGS = 0x04
CO_GENERATOR = 0x20
CO_COROUTINE = 0x80
CO_ITERABLE_COROUTINE = 0x100
CO_ASYNC_GENERATOR = 0x200


class FunctionTarget:
    """A function, or any other callable, held strongly."""

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
        """Do nothing: what is held strongly does not go."""


class MethodTarget:
    """A bound method, held weakly."""

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
        """Return the bound method, or None when its object is gone."""
        owner = self._ref()
        return None if owner is None else MethodType(self._function, owner)

    def on_death(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the object goes; from wherever that happens, garbage collection included."""
        owner = self._ref()
        if owner is not None:
            self._ref = weakref.ref(owner, lambda _: callback())


class AttributeTarget:
    """What an attribute of an object gives, looked up for each message; the object is held weakly.

    For what is defined in a class and is no function, such as a `partialmethod`: what it gives is new each
    time, and would keep the object alive.
    """

    __slots__ = ("_key", "_ref", "call", "is_async", "name", "where")

    def __init__(self, owner: object, key: str) -> None:
        found = getattr(owner, key)
        make_target(found)  # complain as about any other
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
        """Return what the attribute gives now, or None when its object is gone."""
        owner = self._ref()
        found: Call | None = None if owner is None else getattr(owner, self._key, None)
        return found

    def on_death(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the object goes; from wherever that happens, garbage collection included."""
        owner = self._ref()
        if owner is not None:
            self._ref = weakref.ref(owner, lambda _: callback())


class QueueTarget:
    """The intake of a queue: it is called like a function, and shown as a queue made at `where`.

    Args:
        call: takes in a message.
        name: what kind of queue it is.
        where: ``file:line``.
        on_cancel: is called when the subscription has ended, however that came.
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
        """Do nothing: the queue itself sees to it."""


Target = FunctionTarget | MethodTarget | AttributeTarget | QueueTarget


def make_target(function: Any) -> Target:
    """Choose how to hold `function`; raise `RegistrationError` when it can't be called with a message."""
    if type(function) is MethodType:  # not `isinstance`: a proxy says that it is one, and does more
        return MethodTarget(function)
    if callable(function):
        return FunctionTarget(function)
    hint = "; did you call the function instead of passing it?" if function is None else ""
    raise RegistrationError(
        f"a follower must be callable with one message; {describe(function)} is not callable{hint}"
    )


def choose_guard(guard: Call | None, guard_condition: Call | None) -> Call | None:
    """Return the guard that was given, by its name of today or of 2009; `TypeError` for both."""
    if guard is not None and guard_condition is not None:
        raise TypeError("guard and guard_condition are one parameter: pass only one")
    return guard_condition if guard is None else guard


def check_guard(guard: object) -> None:
    """Raise `RegistrationError` for what can't decide about a message."""
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
    """Whether two callables are the same follower: by identity, which no odd ``==`` can fake."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is MethodType:
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    # Made anew at each access as well; their own == goes by identity.
    return type(one) in (BuiltinFunctionType, MethodWrapperType) and bool(one == other)


def unreferable(owner: type, method: str) -> str:
    """The sentence for a class whose instances cannot be held weakly."""
    return (
        f"{owner.__name__}.{method} cannot follow: bound methods are held weakly, and instances of "
        f"{owner.__name__} cannot be: add '__weakref__' to its __slots__, or follow with a function"
    )


def unwrap(function: Any) -> Any:
    """Look through partials and ``functools.wraps`` for the function that was written."""
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
    """Return an attribute of a foreign object; None when it has none, or fails to say."""
    try:
        return getattr(thing, key, None)
    except Exception:  # noqa: BLE001  # a `__getattr__` of its own
        return None


def name_of(function: Any) -> str:
    """A readable name for a callable."""
    function = unwrap(function)
    name = attribute(function, "__qualname__")
    if not isinstance(name, str):
        name = type(function).__qualname__
    return name.replace(".<locals>", "")


def where_of(function: Any) -> str | None:
    """``file:line`` of where a callable was written; None for one that is not written in Python."""
    code = code_of(unwrap(function))
    return None if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def code_of(function: Any) -> CodeType | None:
    """The code that runs when a callable is called; for objects, of the ``__call__`` of their class."""
    if type(function) is not FunctionType:
        if isinstance(function, BuiltinFunctionType | type):
            return None
        function = getattr(type(function), "__call__", None)  # noqa: B004  # not whether: which one
    code = attribute(function, "__code__")
    return code if isinstance(code, CodeType) else None


def strip(function: Any) -> Any:
    """Look through partials and methods, which are called as they are, for what does the work."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif type(function) is MethodType:
            function = function.__func__
        else:
            return function


def is_async(function: Any) -> bool:
    """True for what gives a coroutine when called: ``async def``, and partials, methods, objects over it."""
    function = strip(function)
    # What inspect.markcoroutinefunction leaves, and what asyncio and `AsyncMock` do.
    if any(type(attribute(function, key)) is object for key in ("_is_coroutine_marker", "_is_coroutine")):
        return True
    code = code_of(function)
    return code is not None and bool(code.co_flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE))


def is_generator(function: Any) -> bool:
    """True for what gives a generator when called, of either kind; partials, methods, objects over it too."""
    code = code_of(strip(function))
    return (
        code is not None
        and bool(code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR))
        and not code.co_flags & CO_ITERABLE_COROUTINE
    )


def check_signature(function: Any, purpose: str = "follow") -> None:
    """Raise `RegistrationError` when `function` can't be called with one positional argument."""
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
        name = attribute(unwrap(function), "__name__")
        if not isinstance(name, str):
            name = "follower"
        advice = "lambda message: ..." if name == "<lambda>" else f"def {name}({'self, ' * bound}message)"
        raise RegistrationError(
            f"{name_of(function)} ({where_of(function) or 'not written in Python'}) cannot {purpose}: "
            f"it is called with one argument, the message; write it as  {advice}"
        )


def binds(function: Any) -> bool:
    """Like the check for plain functions, for every other callable; unknown signatures pass."""
    from inspect import signature

    try:
        found = signature(function)
    except Exception:  # noqa: BLE001  # none, or an object that answers nonsense when it is asked
        return True
    try:
        found.bind(None)
    except TypeError:
        return False
    return True
