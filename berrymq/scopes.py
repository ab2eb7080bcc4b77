"""Scopes: what is registered inside one ends with it. They replace what a cell or module registered before.

A notebook gives each cell its own. A module has one while it is imported: when it is executed again, as by
`importlib.reload`, what its former execution registered ends. The module's scope takes precedence: what a
module registers while a cell imports it belongs to the module.

What a function of a module registers when a cell calls it is replaced only if the cell calls it again, and it
registers again. A function that registers at its first call alone, since it caches an object or sets
something up lazily, would otherwise have it end for good when the cell runs again.

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
    from collections.abc import Iterable, Iterator
    from contextvars import ContextVar
    from types import FrameType

__all__ = ["Scope", "current", "make_current", "owner"]

CORE, NOTEBOOKS = "berrymq", "berrymq_jupyter"
"""The packages whose code registers on behalf of its caller. What the one for notebooks registers is the
cell's: magics are called by IPython, which is a module too."""

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


def owner() -> Scope | Maker | None:
    """Return what owns that which the caller registers, or None: its method `add` takes it.

    That is the scope of the module whose import the caller is part of, else the current scope, or the
    function of a module that was called in it. The stack shows it: the first frame of a module's or cell's
    own code decides.
    """
    frame: FrameType | None = sys._getframe(1)
    called: list[FrameType] = []
    """The frames between that code and this package, innermost first."""
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            scope = of_module(frame.f_globals)
            if scope is not None:
                return scope
            here = current()
            return None if here is None else maker_in(here, called, frame.f_globals)
        if called or _package(frame) != CORE:
            called.append(frame)
        frame = frame.f_back
    return current()


def maker_in(scope: Scope, called: list[FrameType], namespace: dict[str, Any]) -> Scope | Maker:
    """Return the function of a module that registers something in a scope, or the scope if its own code does.

    Args:
        scope: of the cell.
        called: the frames between the cell's code and this package, innermost first.
        namespace: the globals of the cell.
    """
    if not called or called[0].f_globals is namespace or _package(called[0]) == NOTEBOOKS:
        return scope
    outermost = next(frame for frame in reversed(called) if frame.f_globals is not namespace)
    return Maker(scope, (outermost.f_globals.get("__name__"), outermost.f_code.co_qualname))


def _package(frame: FrameType) -> str:
    """Return the name of the package that a frame is of, or ""."""
    name = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""


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
        self._made: dict[tuple[object, str], list[ref[Any]]] = {}
        """What functions of modules have registered, by function."""
        self._inherited: dict[tuple[object, str], list[ref[Any]]] = {}
        """The same of former executions, unless that function has registered something since."""
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

    def add_made(self, maker: tuple[object, str], member: Any) -> None:
        """Add what a function of a module has registered; end what it had registered in former executions.

        Args:
            maker: the module and the function.
            member: as for `add`.
        """
        if self._closed:
            end(member)
            return
        self._made.setdefault(maker, []).append(ref(member))
        for former in alive(self._inherited.pop(maker, [])):
            end(former)

    def succeed(self, former: Scope) -> None:
        """Take over what functions of modules have registered in a former execution.

        Args:
            former: its scope, to be closed next.
        """
        for found in (former._inherited, former._made):
            for maker, members in found.items():
                self._inherited.setdefault(maker, []).extend(members)
            found.clear()

    def members(self) -> list[Any]:
        """Return the members that are alive, in order; those of functions of modules at the end."""
        made = [
            member
            for found in (self._inherited, self._made)
            for members in found.values()
            for member in members
        ]
        return alive([*self._members, *made])

    def close(self) -> None:
        """End all members, the latest first. The scope stays closed; calling it again does nothing."""
        self._closed = True
        members, self._members = self.members(), []
        self._made.clear()
        self._inherited.clear()
        for member in reversed(members):
            end(member)

    def __len__(self) -> int:
        return len(self.members())

    def __repr__(self) -> str:
        return f"<Scope {self.name!r}, {len(self)} members{', closed' if self._closed else ''}>"


class Maker:
    """A function of a module that registers something while a cell calls it.

    Args:
        scope: of the cell.
        function: the module and the name of the function.
    """

    def __init__(self, scope: Scope, function: tuple[object, str]) -> None:
        self._scope = scope
        self._function = function

    def add(self, member: Any) -> None:
        """Add a member; see `Scope.add_made`."""
        self._scope.add_made(self._function, member)


def alive(members: Iterable[ref[Any]]) -> list[Any]:
    """Return the members that are alive."""
    return [member for member in [known() for known in members] if member is not None]


def end(member: Any) -> None:
    """Cancel `member`; close one that has no ``cancel()``."""
    cancel = getattr(member, "cancel", None)
    if cancel is None:
        cancel = member.close
    cancel()
