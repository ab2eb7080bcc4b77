"""Track the running cell, and what was registered in each cell.

While a cell runs, its scope is the current one and owns the followers, queues and views that are made. When
the cell runs again, the former ones end first: nothing doubles. Each follower registered in a cell
runs as a part of it wherever its messages come from: what it prints, displays and registers belongs to it.

`Cells` holds the hooks of one shell: IPython calls `Cells.before` and `Cells.after` around each cell, and the
bus calls `Cells.adopt` for each new follower. `Cell` is one execution. Followers run on any thread, so the
running cell is a context variable.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from berrymq import scopes

from .errors import OURS
from .output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from berrymq import Subscription

# The cell that the running code belongs to: one that is being executed, or one whose follower is called.
RUNNING: contextvars.ContextVar[Cell | None] = contextvars.ContextVar("berrymq cell", default=None)


def running() -> Cell | None:
    """Return the cell that the calling code belongs to, or None."""
    return RUNNING.get()


class Cell:
    """One execution of a cell.

    Args:
        shell: executes it.
        info: IPython's description of the execution.

    Attributes:
        number: its execution number, as in ``In [3]``.
        text: its source.
        identity: the same for each execution of one cell, see `identity_of`.
        scope: owns what is registered in it.
        output: where its output is shown.
    """

    def __init__(self, shell: InteractiveShell, info: ExecutionInfo) -> None:
        # Not `execution_count`: in newer IPython that is one more while a cell runs.
        self.number: int = shell.displayhook.prompt_count
        self.text: str = info.raw_cell or ""
        self.identity = identity_of(info)
        self.scope = scopes.Scope(f"cell {self.number}")
        self.output = Output(shell)

    def resumed(self) -> Resumed:
        """Run a `with` block as a part of this cell: its output, its registrations."""
        return Resumed(self)

    def wrap(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return `function` as a part of this cell.

        Args:
            function: a follower, called with a message on any thread.
        """

        def in_cell(message: Any) -> Any:
            with self.resumed():
                return function(message)

        return in_cell

    def wrap_coroutine(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the coroutine function `function` as a part of this cell, across its awaits."""

        async def in_cell(message: Any) -> Any:
            with self.resumed():
                return await function(message)

        return in_cell

    def __repr__(self) -> str:
        return f"<Cell In [{self.number}]>"


class Resumed:
    """The block of `Cell.resumed`, which each delivery passes.

    A class instead of a generator, which would cost more for each message.

    Args:
        cell: becomes the running one.
    """

    __slots__ = ("_cell", "_redirected", "_scope", "_token")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._redirected = cell.output.redirected()

    def __enter__(self) -> None:
        """Make the cell the running one of this thread or task."""
        self._token = RUNNING.set(self._cell)
        self._scope = scopes.current()
        scopes.make_current(self._cell.scope)
        self._redirected.__enter__()

    def __exit__(self, *_: object) -> None:
        """Restore the former one."""
        self._redirected.__exit__()
        scopes.make_current(self._scope)
        RUNNING.reset(self._token)


class Cells:
    """The cells of one shell. Its methods are called by IPython before and after each, and by the bus.

    Args:
        shell: the shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._lock = threading.Lock()  # subshells run cells at the same time
        self._latest: dict[str, Cell] = {}
        """The latest execution of each cell, by its identity."""
        self._pages: set[str] = set()
        """The pages that have run a cell."""
        self._origins: WeakKeyDictionary[Subscription, Cell] = WeakKeyDictionary()
        """The cell that registered each follower."""

    def before(self, info: ExecutionInfo) -> None:
        """Begin a cell: end what its former execution registered, unless this one has a syntax error.

        With a syntax error nothing will run, so that the former followers go on.

        Args:
            info: IPython's description of the execution.
        """
        if running() is not None:
            return  # code that runs code: a part of the outer cell
        identity = identity_of(info)
        former = self._latest.get(identity)
        if former is not None and len(former.scope) and not self._parses(info):
            return
        cell = Cell(self._shell, info)
        with self._lock:
            former = self._latest.get(identity)
            self._latest[identity] = cell
        if former is not None:
            cell.scope.succeed(former.scope)
            close_quietly(former)
        RUNNING.set(cell)
        scopes.make_current(cell.scope)
        cell.output.begin()
        self._note_reload(cell)

    def _note_reload(self, cell: Cell) -> None:
        """Print, in the first cell that a reloaded page runs, which followers now print elsewhere."""
        page = cell.output.page
        if page is None or page in self._pages:
            return
        self._pages.add(page)
        with self._lock:
            numbers = {
                origin.number
                for subscription, origin in self._origins.items()
                if subscription.active and not subscription.direct and origin.output.page not in (None, page)
            }
        if numbers:
            cells = ", ".join(f"[{number}]" for number in sorted(numbers))
            sys.stdout.write(
                f"this page was loaded after {cells} had run: until they are run again, what their followers "
                "print appears below the cell that ran last\n"
            )

    def join_running(self) -> None:
        """Begin the cell that loads the extension, which began before the hooks were set."""
        info = executing(self._shell)
        if info is not None:
            self.before(info)

    def after(self, result: ExecutionResult | None) -> None:
        """End a cell. One that awaited ran in a context of its own, which has ended with it.

        Args:
            result: IPython's description of the result; None when it has none.
        """
        cell = running()
        info = result.info if result is not None else None
        if cell is None or (info is not None and identity_of(info) != cell.identity):
            return
        if cell.output.closes_with_cell:
            save_views()
        RUNNING.set(None)
        scopes.make_current(None)

    def adopt(self, subscription: Subscription) -> None:
        """Make a follower that is being registered a part of the running cell; a hook of the bus.

        Args:
            subscription: gets a wrapper, and as its location the cell.
        """
        cell = running()
        if cell is None:
            return
        with self._lock:
            self._origins[subscription] = cell
        subscription.where = where_written(self._shell, subscription.where, cell)
        if not subscription.direct:  # what collects neither prints nor registers
            subscription.wrap(cell.wrap_coroutine if subscription.is_async else cell.wrap)

    def origin(self, subscription: Subscription) -> Cell | None:
        """Return the cell that registered a follower, or None."""
        with self._lock:
            return self._origins.get(subscription)

    def close(self) -> int:
        """End everything that cells registered; return how many objects that were.

        Called when the extension is unloaded.
        """
        with self._lock:
            cells = list(self._latest.values())
            self._latest.clear()
        ended = sum([len(cell.scope) for cell in cells])
        for cell in cells:
            close_quietly(cell)
        if running() is not None:
            RUNNING.set(None)
            scopes.make_current(None)
        return ended

    def _parses(self, info: ExecutionInfo) -> bool:
        """Return whether a cell is free of syntax errors; IPython finds out only after the events."""
        try:
            self._shell.compile.ast_parse(
                self._shell.transform_cell(info.raw_cell)  # type: ignore[no-untyped-call]
            )
        except Exception:  # noqa: BLE001 - a transformer of input may raise what it likes, and the cell will not run
            return False
        return True


def save_views() -> None:
    """Update the saved forms of views while the front end still accepts output."""
    pump = sys.modules.get(f"{__package__}.widgets.pump")
    if pump is not None:
        pump.pump.save()


def identity_of(info: ExecutionInfo) -> str:
    """Return the identity of a cell: the front end's id, or else a hash of its text."""
    if info.cell_id is not None:
        return str(info.cell_id)
    return "text " + hashlib.sha256((info.raw_cell or "").encode("utf-8", "surrogatepass")).hexdigest()


def executing(shell: InteractiveShell) -> ExecutionInfo | None:
    """Return the cell that IPython executes now, or None."""
    result = shell.displayhook.exec_result  # where the value of the cell will be stored
    return result.info if result is not None else None


def where_written(shell: InteractiveShell, where: str | None, cell: Cell) -> str | None:
    """Return where a function is written, as users know it: which cell, and for code of ours no line.

    Args:
        shell: knows the names of cells.
        where: ``file:line``, as `Subscription.where` has it, or None.
        cell: the cell that registers the function.
    """
    filename, _, line = (where or "").rpartition(":")
    if filename.startswith(OURS):
        return f"Cell In[{cell.number}]"
    label = shell.compile.format_code_name(filename)
    return f"{label[0]} {label[1]}, line {line}" if label else where


def close_quietly(cell: Cell) -> None:
    """End what belongs to a cell; log errors, which must not keep the new execution from starting."""
    try:
        cell.scope.close()
    except Exception:
        logging.getLogger("berrymq").exception("something made in cell %s could not be ended", cell.number)
