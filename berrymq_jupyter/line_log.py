"""Print messages as lines: what `%follow` does where no page can show a log.

A terminal with IPython is recognised at once. `jupyter console` is a kernel like that of a notebook, but no
page ever opens a view. So a log is continued as lines if no page has opened it while the kernel was idle and
able to notice one; but not where the front end names the cell, as notebooks do: there the page may open a
view late, when it is scrolled into sight.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from berrymq import default_bus
from berrymq.subscribers import SKIPPED

from .cells import running
from .formatters import message_line

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from berrymq import Message
    from berrymq.subscribers import Skipped

    from .cells import Cell
    from .widgets import MessageLog

__all__ = ["print_message", "print_without_page"]

PAGE_SECONDS = 3.0
"""The time within which a page opens a view, of which only seconds count in which the kernel was idle."""
LATE_SECONDS = 0.3
"""A check that is later than this means that the kernel was busy."""


def print_message(message: Message) -> Skipped:
    """Print a message as one line.

    A log only watches, so it is no answer to a question: an asker would get None from each terminal that
    follows, beside the answers.

    Returns:
        `SKIPPED`, the result of a follower that does not answer.
    """
    sys.stdout.write(message_line(message) + "\n")
    return SKIPPED


def print_without_page(shell: InteractiveShell, log: MessageLog) -> None:
    """Continue a log as lines if no page opens it. To be called in the cell that shows it.

    Args:
        shell: that of the cell.
        log: is shown.
    """
    cell, kernel = running(), getattr(shell, "kernel", None)
    if cell is not None and kernel is not None and cell.output.may_lack_page:
        PageWatch(kernel.io_loop, log, cell)


class PageWatch:
    """Waits for the page, on the kernel's event loop, and starts printing lines if none opens the view.

    Args:
        loop: the kernel's; its thread runs all of this.
        log: the view that a page would open.
        cell: where the lines appear.
    """

    def __init__(self, loop: Any, log: MessageLog, cell: Cell) -> None:
        self._loop = loop
        self._log = log
        self._cell = cell
        self._was_idle = False
        loop.add_callback(self._wait)

    def _wait(self) -> None:
        self._due = monotonic() + PAGE_SECONDS / 2
        self._loop.call_later(PAGE_SECONDS / 2, self._check)

    def _check(self) -> None:
        """Print lines if no page has opened the view while the kernel was idle for two waits in a row."""
        if self._log.closed or self._log.channel.received_at is not None:
            return
        was_idle, self._was_idle = self._was_idle, monotonic() - self._due < LATE_SECONDS
        if was_idle and self._was_idle:
            self._begin()
        else:
            self._wait()

    def _begin(self) -> None:
        """Print the messages so far, then each that follows."""
        with self._cell.resumed():
            shown = {id(message): message for message in self._log.messages()}
            for message in shown.values():
                print_message(message)

            def continue_log(message: Message) -> Skipped:
                return SKIPPED if id(message) in shown else print_message(message)

            default_bus.follow(self._log.identifier, continue_log)
