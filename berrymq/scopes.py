"""Scopes: what is registered inside one ends with it. They replace what a cell or module registered before.

A notebook gives each cell its own. A module has one while it is imported: when it is executed again, as by
`importlib.reload`, what its former execution registered ends. The module's scope takes precedence: what a
module registers while a cell imports it belongs to the module.

Followers, queues and adapters ask `owner` for their scope when they are created, and add themselves. A scope
holds them weakly: it ends what is alive, and keeps nothing alive.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import ref

from .process import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import ContextVar
    from types import FrameType

__all__ = ["Scope", "current", "make_current", "owner"]

_creating = ForkSafeLock()
"""Held while the variable is created, which must happen once."""
_current: ContextVar[Scope | None] | None = None
"""The scope of this thread or task; None until the first is set, to load `contextvars` only then."""


def current() -> Scope | None:
    """Return the scope that was made current for this thread or task, or None."""
    return None if _current is None else _current.get()


def current_variable() -> ContextVar[Scope | None]:
    """Return the variable of the current scope; the first call creates it."""
    global _current  # noqa: PLW0603  # created once
    if _current is None:
        import contextvars

        with _creating:
            if _current is None:
                _current = contextvars.ContextVar("berrymq scope", default=None)
    return _current


def owner() -> Scope | None:
    """Return the scope that owns what the caller registers, or None.

    That is the scope of the module whose import the caller is part of, else the current scope. The stack
    shows it: the first frame of a module's own code decides.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            scope = of_module(frame.f_globals)
            return current() if scope is None else scope
        frame = frame.f_back
    return current()


_modules: dict[str, tuple[Any, Scope]] = {}
"""For each module that registered something during its import: the spec of that execution, and its scope."""


def of_module(namespace: dict[str, Any]) -> Scope | None:
    """Return the scope of the module execution that fills `namespace`; None for scripts and cells.

    Each import makes a new spec, and so does each reload: the spec identifies the execution. A new execution
    closes the scope of the former one.

    Args:
        namespace: the globals of the module.
    """
    spec, name = namespace.get("__spec__"), namespace.get("__name__")
    if spec is None or name == "__main__" or not isinstance(name, str):
        return None
    former = _modules.get(name)
    if former is not None and former[0] is spec:
        return former[1]
    scope = Scope(f"module {name}")
    _modules[name] = spec, scope
    if former is not None and former[0].origin == spec.origin:  # else another file by the same name
        former[1].close()
    return scope


def make_current(scope: Scope | None) -> None:
    """Make `scope` the current one of this thread or task from now on; None for no scope.

    For callers that begin and end a scope in two functions; all others use ``with scope.collecting()``.
    """
    current_variable().set(scope)


class Scope:
    """Collects, weakly, what is registered inside it; `close` ends all of that.

    ::

        scope = Scope("cell 3")
        with scope.collecting():
            follow("test:*", print)
        scope.close()                   # the follower is cancelled

    Its length is the number of members that are alive.

    Args:
        name: for its `repr`.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._members: list[ref[Any]] = []
        """Weak references, in the order of registration; dead ones are discarded from time to time."""
        self._closed = False

    @contextmanager
    def collecting(self) -> Iterator[Scope]:
        """Make this the current scope for the block (of this thread or task)."""
        token = current_variable().set(self)
        try:
            yield self
        finally:
            current_variable().reset(token)

    def add(self, member: Any) -> None:
        """Add a member. In a closed scope it is ended at once.

        Args:
            member: has a method ``cancel()`` or ``close()``, and can be referenced weakly.
        """
        if self._closed:
            end(member)
            return
        if len(self._members) % 256 == 255:  # from time to time, discard dead references
            self._members = [known for known in self._members if known() is not None]
        self._members.append(ref(member))

    def members(self) -> list[Any]:
        """Return the members that are alive, in order."""
        return [member for member in [known() for known in self._members] if member is not None]

    def close(self) -> None:
        """End all members, the latest first. The scope stays closed; calling it again does nothing."""
        self._closed = True
        members, self._members = self.members(), []
        for member in reversed(members):
            end(member)

    def __len__(self) -> int:
        return len(self.members())

    def __repr__(self) -> str:
        return f"<Scope {self.name!r}, {len(self)} members{', closed' if self._closed else ''}>"


def end(member: Any) -> None:
    """Cancel `member`; close one that has no ``cancel()``."""
    cancel = getattr(member, "cancel", None)
    if cancel is None:
        cancel = member.close
    cancel()
