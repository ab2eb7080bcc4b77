"""``@following`` and the metaclass `Follower`: methods that follow."""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from .conditions import Condition, check_guard, conditions_of
from .errors import RegistrationError
from .targets import unreferable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bus import Bus
    from .followers import Subscription
    from .identifiers import Identifier
    from .messages import Message

__all__ = ["Follower", "following"]

M = TypeVar("M")

MARK = "__berrymq_following__"


def following(
    identifier: str | Identifier | Condition,
    guard: Callable[[Message], object] | None = None,
    *,
    concurrent: bool = False,
) -> Callable[[M], M]:
    """Mark a method of a class made with ``metaclass=Follower``: it follows `identifier`.

    Instance methods follow for each instance, as long as it lives; class and static methods (with this
    decorator above or below theirs) follow for the class.
    """
    check_guard(guard)  # complain here, where it stands
    conditions_of(identifier)

    def mark(method: M) -> M:
        if isinstance(method, type):
            raise RegistrationError(f"following marks methods, not the class {method.__name__}")
        known = getattr(method, MARK, ())
        try:
            setattr(method, MARK, (*known, (identifier, guard, concurrent)))
        except AttributeError:
            raise RegistrationError(f"following marks methods, and {method!r} cannot be marked") from None
        return method

    return mark


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
        cls = super().__new__(mcls, name, bases, namespace, **kw)
        if bus is not None or not hasattr(cls, "__berrymq_bus__"):
            cls.__berrymq_bus__ = bus
        for key, value in namespace.items():
            marks = marks_of(value)
            if not marks:
                continue
            if isinstance(value, classmethod):
                register(cls.bus_of(), getattr(cls, key), marks)
            elif isinstance(value, staticmethod):
                until_gone(cls, register(cls.bus_of(), getattr(cls, key), marks))
            elif cls.__weakrefoffset__ == 0:
                raise RegistrationError(unreferable(cls, key))
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **kw: Any) -> None:
        kw.pop("bus", None)
        super().__init__(name, bases, namespace, **kw)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an instance, and let its marked methods follow."""
        instance = super().__call__(*args, **kwargs)
        for key in cls.marked_methods():
            method = getattr(instance, key)
            register(cls.bus_of(), method, marks_of(method))
        return instance

    def bus_of(cls) -> Bus:
        """The bus on which this class follows."""
        if cls.__berrymq_bus__ is not None:
            return cls.__berrymq_bus__
        from .default import default_bus

        return default_bus

    def marked_methods(cls) -> list[str]:
        """The names of instance methods that follow, bases first; an override without a mark does not."""
        found: dict[str, None] = {}
        for base in reversed(cls.__mro__):
            for key, value in vars(base).items():
                if isinstance(value, classmethod | staticmethod) or not marks_of(value):
                    found.pop(key, None)
                else:
                    found[key] = None
        return list(found)


def marks_of(member: Any) -> tuple[Any, ...]:
    """What `following` left on a member of a class; above or below ``@classmethod`` and ``@staticmethod``."""
    inner = member.__func__ if isinstance(member, classmethod | staticmethod) else None
    return (*getattr(inner, MARK, ()), *getattr(member, MARK, ()))


def until_gone(cls: type, handles: list[Subscription]) -> None:
    """Cancel `handles` when the class is gone: a static method holds on to nothing of it."""

    def gone(_: object) -> None:
        for handle in handles:
            handle.cancel()

    for handle in handles:
        handle.keep = ref(cls, gone)


def register(bus: Bus, method: Any, marks: Any) -> list[Subscription]:
    """Follow with `method` what it was marked with; the decorator nearest to the method comes first."""
    return [
        bus.follow(identifier, method, guard=guard, concurrent=concurrent)
        for identifier, guard, concurrent in marks
    ]
