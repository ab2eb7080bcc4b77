"""Scopes: what is registered inside one ends with it.

A notebook gives each cell its own. A module has one while it is imported: when it is executed again, as by
`importlib.reload`, what its former execution registered ends. That comes first: what a module makes while a
cell imports it is the module's, and not the cell's.
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

_making = ForkSafeLock()
_current: ContextVar[Scope | None] | None = None
"""The scope of this thread or task; None until there is one, for `contextvars` is not free to load."""


def current() -> Scope | None:
    """Return the scope that was made current for this thread or task, or None."""
    return None if _current is None else _current.get()


def current_variable() -> ContextVar[Scope | None]:
    """Return the variable of the current scope, made by the first that wants to set it."""
    global _current  # noqa: PLW0603  # there is one of it
    if _current is None:
        import contextvars

        with _making:
            if _current is None:
                _current = contextvars.ContextVar("berrymq scope", default=None)
    return _current


def owner() -> Scope | None:
    """Return the scope that what is made here and now belongs to, or None.

    That is the one of the module whose import the caller is part of; else the current one.
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

    Each import makes a new spec, and so does each reload: that tells one execution from another.
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

    For what begins and ends apart; ``with scope.collecting()`` is for the rest.
    """
    current_variable().set(scope)


class Scope:
    """Collects, weakly, what is registered inside it; `close` ends all of that.

    ::

        scope = Scope("cell 3")
        with scope.collecting():
            follow("test:*", print)
        scope.close()                   # the follower is cancelled
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._members: list[ref[Any]] = []
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
        """Collect something with a ``cancel()`` or ``close()``. In a closed scope it is ended at once."""
        if self._closed:
            end(member)
            return
        if len(self._members) % 256 == 255:  # now and then, forget what is gone
            self._members = [known for known in self._members if known() is not None]
        self._members.append(ref(member))

    def members(self) -> list[Any]:
        """What was collected and is still there, in order."""
        return [member for member in [known() for known in self._members] if member is not None]

    def close(self) -> None:
        """End everything that was collected, the latest first."""
        self._closed = True
        members, self._members = self.members(), []
        for member in reversed(members):
            end(member)

    def __len__(self) -> int:
        return len(self.members())

    def __repr__(self) -> str:
        return f"<Scope {self.name!r}, {len(self)} members{', closed' if self._closed else ''}>"


def end(member: Any) -> None:
    """Cancel or close `member`."""
    cancel = getattr(member, "cancel", None)
    if cancel is None:
        cancel = member.close
    cancel()
