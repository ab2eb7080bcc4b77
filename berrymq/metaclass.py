"""``@following`` and the metaclass `Follower`: methods that follow.

Subscriptions come about in three steps. `following` marks the method, with its identifier, guard and options.
The metaclass subscribes class and static methods when the class is created, and instance methods when an
instance is (`Follower.__call__`). Those of an instance hold it weakly and end with it.

`following` also adds a `Sentinel` to the namespace of the class body that it is used in. The metaclass
removes the sentinel. When a class is created without the metaclass, Python calls the sentinel's
``__set_name__``, which raises: else the mark would have no effect, and no error would show it.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary, ref

from .conditions import Condition, conditions_of
from .errors import RegistrationError
from .process import process
from .targets import AttributeTarget, check_guard, choose_guard, make_target, unreferable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bus import Bus
    from .identifiers import Identifier
    from .messages import Message
    from .subscriptions import Subscription

__all__ = ["Follower", "following"]

M = TypeVar("M")

MARK = "__berrymq_following__"
"""The attribute of a marked method: a tuple of (identifier, guard, concurrent), one for each decorator."""
SENTINEL = "__berrymq_sentinel__"
"""The name of the sentinel in a class body."""

CO_OPTIMIZED = 0x01
"""The flag of a code object that has fast locals: a function's, not a class body's or module's."""
MAX_FRAMES = 8
"""The most frames between the decorator and the class body: there may be helper functions."""


def following(
    identifier: str | Identifier | Condition,
    guard: Callable[[Message], object] | None = None,
    *,
    concurrent: bool = False,
    guard_condition: Callable[[Message], object] | None = None,
) -> Callable[[M], M]:
    """Mark a method of a class with ``metaclass=Follower``: it follows `identifier`.

    Instance methods follow for each instance, as long as it lives; class and static methods (with this
    decorator above or below theirs) follow for the class. A mixin with marked methods has the metaclass too.
    An override follows only when it is marked itself. The decorator may be repeated, to follow several
    identifiers.

    ::

        class Logger(metaclass=Follower):
            @following("train:*", lambda message: message.args)
            def log(self, message):
                print(message.id, *message.args)

        logger = Logger()       # follows from here on, as long as it is referenced

    Args:
        identifier: what is followed, such as ``"train:*"``, or a joint condition.
        guard: takes a message and decides whether the method is called with it.
        concurrent: allow overlapping calls on worker threads.
        guard_condition: the guard, by its name of 2009.

    Returns:
        The decorator, which returns the method itself.

    Raises:
        IdentifierError: `identifier` is none.
        RegistrationError: the guard can't be one; or the decorator is used on a class, on a function outside
            a class, or on an object that can't be marked.
        TypeError: both `guard` and `guard_condition` are given.
    """
    guard = choose_guard(guard, guard_condition)
    check_guard(guard)  # both raise here, where the mistake was made
    conditions_of(identifier)

    def mark(method: M) -> M:
        if isinstance(method, type):
            raise RegistrationError(f"following marks methods, not the class {method.__name__}")
        body = class_body()
        if body is not None:
            body[SENTINEL] = Sentinel()
        elif isinstance(method, FunctionType) and not is_method(method):
            raise RegistrationError(
                f"following marks methods of classes, and {method.__name__} is a function: "
                "write @following_function, or @bus.following_function"
            )
        known = getattr(method, MARK, ())
        try:
            setattr(method, MARK, (*known, (identifier, guard, concurrent)))
        except AttributeError:
            raise RegistrationError(f"following marks methods, and {method!r} cannot be marked") from None
        return method

    return mark


def class_body() -> dict[str, Any] | None:
    """Return the namespace of the class whose body is being executed above the caller, or None.

    It looks two frames up, that is above the caller of the function that calls it, and at most `MAX_FRAMES`
    further, since the decorator may be used inside a helper function. A module is distinguished by its
    namespace, which is also its globals.
    """
    frame: Any = sys._getframe(2)
    for _ in range(MAX_FRAMES):
        if frame is None:
            break
        # The code of a function is optimized, that of a class body and of a module is not.
        if not frame.f_code.co_flags & CO_OPTIMIZED:
            body: dict[str, Any] = frame.f_locals
            return body if body is not frame.f_globals and "__qualname__" in body else None
        frame = frame.f_back
    return None


def is_method(function: FunctionType) -> bool:
    """Return whether a function was defined in a class, by its qualified name."""
    outer, _, _ = function.__qualname__.rpartition(".")
    return bool(outer) and not outer.endswith("<locals>")


class Sentinel:
    """An attribute of a class body with marked methods, until the metaclass removes it."""

    def __set_name__(self, owner: type, name: str) -> NoReturn:
        """Raise `RegistrationError`: the class `owner` was created without the metaclass."""
        raise RegistrationError(
            f"{owner.__name__} has methods marked with @following, which follow in classes with the "
            f"metaclass Follower alone: write  class {owner.__name__}(metaclass=Follower); mixins have it too"
        )


class Follower(ABCMeta):
    """Metaclass of classes with methods that follow.

    ::

        class Logger(metaclass=Follower):
            @following("*:log")
            def receive_log(self, message): ...

    It is an `ABCMeta`, so such a class may have abstract bases. ``class Logger(metaclass=Follower,
    bus=mine)`` follows on another bus; subclasses inherit it. Keywords of the constructor, and other keywords
    of the class statement, are passed on.

    An instance follows once its constructor has returned, so methods are never called on one that is half
    built.
    """

    __berrymq_bus__: Bus | None

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        bus: Bus | None = None,
        **kw: Any,
    ) -> Follower:
        """Create the class, and subscribe its class and static methods.

        Args:
            name: of the class.
            bases: its bases.
            namespace: that of its body.
            bus: where it follows; None for that of its bases, or the default bus.
            kw: further keywords of the class statement, for ``__init_subclass__``.

        Raises:
            RegistrationError: a marked method can't follow, for example because ``__slots__`` has no
                ``__weakref__``.
        """
        namespace.pop(SENTINEL, None)
        cls = super().__new__(mcls, name, bases, namespace, **kw)
        if bus is not None or not hasattr(cls, "__berrymq_bus__"):
            cls.__berrymq_bus__ = bus
        for key, value in namespace.items():
            marks = marks_of(value)
            if not marks:
                continue
            if isinstance(value, classmethod | staticmethod):
                follow_for_class(cls, key, value, marks)
            elif cls.__weakrefoffset__ == 0:
                raise RegistrationError(unreferable(cls, key))
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **kw: Any) -> None:
        kw.pop("bus", None)
        super().__init__(name, bases, namespace, **kw)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Create an instance, and subscribe its marked methods, unless it follows already.

        Raises:
            RegistrationError: a method can't be called with one message.
        """
        instance = super().__call__(*args, **kwargs)
        kind = type(instance)
        # A constructor may return any object: one of another class, or one that follows already.
        if isinstance(kind, Follower) and not follows_already(instance):
            handles = [
                handle
                for key, marks in kind.marked_methods().items()
                for handle in register(kind.bus_of(), target_of(instance, key), marks)
            ]
            if handles:
                record_following(instance, handles)
        return instance

    def bus_of(cls) -> Bus:
        """Return the bus on which this class follows; None in the class stands for the default bus."""
        bus = process.default_bus if cls.__berrymq_bus__ is None else cls.__berrymq_bus__
        assert bus is not None
        return bus

    def marked_methods(cls) -> dict[str, Any]:
        """Return the marks of instance methods by name, bases first; an unmarked override has none."""
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            for key, value in vars(base).items():
                marks = marks_of(value)
                if isinstance(value, classmethod | staticmethod) or not marks:
                    found.pop(key, None)
                else:
                    found[key] = marks
        return found


def marks_of(member: Any) -> tuple[Any, ...]:
    """Return the marks on a class attribute, above and below ``@classmethod`` or ``@staticmethod``."""
    inner = member.__func__ if isinstance(member, classmethod | staticmethod) else None
    return (*marks_on(inner), *marks_on(member))


def marks_on(member: Any) -> tuple[Any, ...]:
    """Return the marks on one object; none when its ``__getattr__`` fails or returns something else."""
    try:
        marks = getattr(member, MARK, ())
    except Exception:  # noqa: BLE001  # a `__getattr__` of its own
        return ()
    return marks if isinstance(marks, tuple) else ()


def target_of(instance: object, key: str) -> Any:
    """Return the target of a marked attribute of an instance, which it holds weakly.

    Args:
        instance: where it is looked up.
        key: the name of the attribute.
    """
    method = getattr(instance, key)
    if type(method) is MethodType and method.__self__ is instance:
        return make_target(method)
    return AttributeTarget(instance, key)  # a `partialmethod`, or the object of another decorator


def register(bus: Bus, target: Any, marks: Any) -> list[Subscription]:
    """Subscribe `target` to each of its marks; the decorator nearest to the method comes first.

    Args:
        bus: where it follows.
        target: what is called.
        marks: the value of `MARK`.

    Returns:
        One subscription for each mark.
    """
    return [
        bus._subscribe(identifier, target, guard=guard, concurrent=concurrent)
        for identifier, guard, concurrent in marks
    ]


# -- once for each class -------------------------------------------------------------------------------------

_of_function: WeakKeyDictionary[Any, tuple[tuple[str, str], list[Subscription]]] = WeakKeyDictionary()
"""For each function of a class or static method: the name of its class, and its subscriptions."""


def follow_for_class(cls: Follower, key: str, member: Any, marks: Any) -> None:
    """Subscribe a class or static method, and cancel what a former build of the same class subscribed.

    A decorator such as ``dataclass(slots=True)`` builds a class a second time from the same functions.

    Args:
        cls: the class.
        key: the name of the method.
        member: the `classmethod` or `staticmethod` object.
        marks: the value of `MARK`.
    """
    target = make_target(getattr(cls, key))
    handles = register(cls.bus_of(), target, marks)
    function, name = member.__func__, (cls.__module__, cls.__name__)  # `__qualname__` may be set later
    try:
        former_name, former = _of_function.get(function, (name, []))
        _of_function[function] = name, handles
    except TypeError:  # an object that can't be held weakly, or has no hash
        former_name, former = name, []
    if former_name == name:
        for handle in former:
            handle.cancel()
    if isinstance(member, staticmethod):
        cancel_with_class(cls, handles)


def cancel_with_class(cls: type, handles: list[Subscription]) -> None:
    """Cancel `handles` when the class is collected: a static method has no reference to it."""

    def on_collected(_: object) -> None:
        for handle in handles:
            handle.cancel()

    for handle in handles:
        handle._anchor = ref(cls, on_collected)  # a weak reference has to live to call back


# -- once for each instance ----------------------------------------------------------------------------------

_of_instance: dict[int, tuple[ref[Any], list[Subscription]]] = {}
"""For each instance that follows, by its `id`: a constructor may return the same one again."""


def follows_already(instance: object) -> bool:
    """Return whether the methods of an instance follow, since its constructor has returned it before."""
    known = _of_instance.get(id(instance))
    return known is not None and known[0]() is instance and any(handle.active for handle in known[1])


def record_following(instance: object, handles: list[Subscription]) -> None:
    """Record that an instance follows, as long as it lives.

    Args:
        instance: which has just been subscribed.
        handles: its subscriptions.
    """
    number = id(instance)

    def on_collected(reference: object) -> None:
        known = _of_instance.get(number)
        if known is not None and known[0] is reference:  # else another object has that `id` by now
            del _of_instance[number]

    _of_instance[number] = ref(instance, on_collected), handles
