"""The note below a cell that sends a message without followers.

Sending such a message is no error, so the note is one line, printed once for each identifier in a run of the
cell, and only for magics in the cell itself, not in functions or followers.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from berrymq import Identifier, default_bus

from .cells import Cell, running
from .links import open_links

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class UnfollowedNotes:
    """Prints a note below each cell of a shell that sends a message without followers.

    Args:
        shell: its cells.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._checked: WeakKeyDictionary[Cell, set[str]] = WeakKeyDictionary()
        """The identifiers that each cell has sent so far."""

    def check(self, identifier: Identifier, local: dict[str, Any] | None) -> None:
        """Print a note if the identifier has no followers.

        Args:
            identifier: was sent just now.
            local: the names where it was sent; other names than the notebook's are those of a function.
        """
        cell = running()
        if cell is None or local is not self._shell.user_ns:
            return
        checked = self._checked.setdefault(cell, set())
        if identifier.text in checked:
            return
        checked.add(identifier.text)
        note = note_on(identifier)
        if note is not None:
            sys.stdout.write(f"{note}\n")


def note_on(identifier: Identifier) -> str | None:
    """Return a note that an identifier has no followers, and why; None if it has, or may have, some."""
    if any(
        followed.matches(identifier)
        for entry in default_bus.subscriptions()
        for followed in entry.identifiers
    ):
        return None
    if identifier.is_local:
        return f"no followers of {identifier} here, and a name that begins with '_' never leaves this process"
    links = open_links(default_bus)
    if not links:
        return f"no followers of {identifier} here; %link joins other nodes"
    if any(link.state != "linked" for link in links):
        return None  # the followers at a hub are unknown while the link is cut
    if any(link.is_followed(identifier) for link in links):
        return None
    return f"no followers of {identifier} at present"
