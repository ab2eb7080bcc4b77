"""Display a view at once, and not a second time as the value of its cell.

`%queue` and `%follow` show a view while their cell still runs, and return an object whose display, where it
is the value of that cell, would be the same view. `Shown` remembers what was shown in which cell, and drops
the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .cells import Cell, running

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def is_notebook(shell: InteractiveShell) -> bool:
    """Return whether the front end of a kernel can show views."""
    return hasattr(shell, "kernel")


def view_of(shown: Any) -> Any:
    """Return the view of a queue; of a view, itself.

    Args:
        shown: a queue, or one of the views in ``widgets``.
    """
    from berrymq import Queue

    if not isinstance(shown, Queue):
        return shown
    from .widgets import QueueView

    return QueueView(shown)


class Shown:
    """Displays queues and views, each once a cell.

    `show` is called by the magics, `show_value` by IPython for the value of a cell.
    """

    def __init__(self) -> None:
        self._cells: WeakKeyDictionary[Any, Cell] = WeakKeyDictionary()
        """The cell that has shown each object."""
        self.kinds: set[type] = set()
        """The classes of views whose display as a value is ours."""

    def take_over(self, shell: InteractiveShell, kind: type) -> None:
        """Have `show_value` display objects of a class that was not loaded with the extension.

        It is
        registered by the class itself, not by its name: each widget may have its own class, of the same
        name.
        """
        if kind not in self.kinds and shell.display_formatter is not None:
            self.kinds.add(kind)
            shell.display_formatter.ipython_display_formatter.for_type(kind, self.show_value)

    def show(self, value: Any) -> None:
        """Display a queue or view now."""
        cell = running()
        if cell is not None:
            self._cells[value] = cell
        view_of(value)._ipython_display_()

    def show_value(self, value: Any) -> None:
        """Display a queue or view as the value of a cell, unless this cell has shown it already."""
        cell = self._cells.pop(value, None)
        if cell is None or cell is not running():
            view_of(value)._ipython_display_()
