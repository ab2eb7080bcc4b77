"""``@following`` and the metaclass `Follower`: methods that follow.

`following` leaves a mark on the method, and a `Sentinel` in the body of the class that it stands in. The
metaclass takes the sentinel out again. In a class that is made without it, the sentinel is asked where it
stands, as every attribute is, and refuses: else the mark would do nothing, and nothing would tell.
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
SENTINEL = "__berrymq_sentinel__"

CO_OPTIMIZED = 0x01
MAX_FRAMES = 8
"""How far above the decorator the class body is looked for: helpers may stand between."""


def following(
    identifier: str | Identifier | Condition,
    guard: Callable[[Message], object] | None = None,
    *,
    concurrent: bool = False,
    guard_condition: Callable[[Message], object] | None = None,
) -> Callable[[M], M]:
    """Mark a method of a class made with ``metaclass=Follower``: it follows `identifier`.

    Instance methods follow for each instance, as long as it lives; class and static methods (with this
    decorator above or below theirs) follow for the class. A mixin with marked methods has the metaclass too.

    Args:
        identifier: what is followed, such as ``"train:*"``, or a joint condition.
        guard: takes a message and decides whether the method is called with it.
        concurrent: allows several calls at a time on worker threads.
        guard_condition: the guard, by its name of 2009.
    """
    guard = choose_guard(guard, guard_condition)
    check_guard(guard)  # complain here, where it stands
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
    """Return the namespace of the class whose body is being executed above the caller, or None."""
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
    """Whether a function was written in a class, as its qualified name tells."""
    outer, _, _ = function.__qualname__.rpartition(".")
    return bool(outer) and not outer.endswith("<locals>")


class Sentinel:
    """Stands in the body of a class with marked methods, until the metaclass removes it."""

    def __set_name__(self, owner: type, name: str) -> NoReturn:
        """Refuse to stand in a class that is made without the metaclass."""
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
    bus=mine)`` follows on another bus.
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
        """Make the class, and let its class and static methods follow."""
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
        """Make an instance, and let its marked methods follow."""
        instance = super().__call__(*args, **kwargs)
        kind = type(instance)
        # A constructor may return what it likes: an object of another class, or one that follows already.
        if isinstance(kind, Follower) and not follows_already(instance):
            handles = [
                handle
                for key, marks in kind.marked_methods().items()
                for handle in register(kind.bus_of(), target_of(instance, key), marks)
            ]
            if handles:
                note_following(instance, handles)
        return instance

    def bus_of(cls) -> Bus:
        """The bus on which this class follows."""
        bus = process.default_bus if cls.__berrymq_bus__ is None else cls.__berrymq_bus__
        assert bus is not None
        return bus

    def marked_methods(cls) -> dict[str, Any]:
        """Instance methods that follow, with their marks, bases first; an unmarked override does not."""
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
    """What `following` left on a member of a class; above or below ``@classmethod`` and ``@staticmethod``."""
    inner = member.__func__ if isinstance(member, classmethod | staticmethod) else None
    return (*marks_on(inner), *marks_on(member))


def marks_on(member: Any) -> tuple[Any, ...]:
    """The marks on one object, which may answer anything to `getattr`."""
    try:
        marks = getattr(member, MARK, ())
    except Exception:  # noqa: BLE001  # a `__getattr__` of its own
        return ()
    return marks if isinstance(marks, tuple) else ()


def target_of(instance: object, key: str) -> Any:
    """Return what to call for a marked attribute of an instance, holding that weakly."""
    method = getattr(instance, key)
    if type(method) is MethodType and method.__self__ is instance:
        return make_target(method)
    return AttributeTarget(instance, key)  # the object of a decorator, a `partialmethod`


def register(bus: Bus, target: Any, marks: Any) -> list[Subscription]:
    """Follow with `target` what it was marked with; the decorator nearest to the method comes first."""
    return [
        bus._subscribe(identifier, target, guard=guard, concurrent=concurrent)
        for identifier, guard, concurrent in marks
    ]


# -- once for each class -------------------------------------------------------------------------------------

_of_function: WeakKeyDictionary[Any, tuple[tuple[str, str], list[Subscription]]] = WeakKeyDictionary()
"""For each function of a class or static method: the name of its class, and what follows with it."""


def follow_for_class(cls: Follower, key: str, member: Any, marks: Any) -> None:
    """Let a class or static method follow, in the place of what a former build of the same class registered.

    A decorator such as ``dataclass(slots=True)`` builds a class once more from the same functions.
    """
    target = make_target(getattr(cls, key))
    handles = register(cls.bus_of(), target, marks)
    function, name = member.__func__, (cls.__module__, cls.__name__)  # the qualified one comes late
    try:
        former_name, former = _of_function.get(function, (name, []))
        _of_function[function] = name, handles
    except TypeError:  # an object that can't be held weakly, or has no hash
        former_name, former = name, []
    if former_name == name:
        for handle in former:
            handle.cancel()
    if isinstance(member, staticmethod):
        until_gone(cls, handles)


def until_gone(cls: type, handles: list[Subscription]) -> None:
    """Cancel `handles` when the class is gone: a static method refers to nothing of it."""

    def gone(_: object) -> None:
        for handle in handles:
            handle.cancel()

    for handle in handles:
        handle._keep = ref(cls, gone)


# -- once for each instance ----------------------------------------------------------------------------------

_of_instance: dict[int, tuple[ref[Any], list[Subscription]]] = {}
"""For each instance that follows, by its `id`: a constructor may give the same one again."""


def follows_already(instance: object) -> bool:
    """Whether the marked methods of an instance follow, because its constructor has given it before."""
    known = _of_instance.get(id(instance))
    return known is not None and known[0]() is instance and any(handle.active for handle in known[1])


def note_following(instance: object, handles: list[Subscription]) -> None:
    """Remember that an instance follows, as long as it lives."""
    number = id(instance)

    def gone(reference: object) -> None:
        known = _of_instance.get(number)
        if known is not None and known[0] is reference:  # else another object is in the same place by now
            del _of_instance[number]

    _of_instance[number] = ref(instance, gone), handles
