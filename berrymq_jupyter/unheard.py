"""A word to who sends, from a cell, what nobody follows.

Sending to nobody is no mistake, so it is said quietly: in a line below the cell, once for each identifier in
a run of the cell, and only for lines of the cell itself. Functions and followers send without a word.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from berrymq import Identifier, default_bus

from .cells import Cell, running
from .live import open_links

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Unheard:
    """Says in one shell that nobody follows what was sent."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._looked_at: WeakKeyDictionary[Cell, set[str]] = WeakKeyDictionary()

    def tell(self, identifier: Identifier, local: dict[str, Any] | None) -> None:
        """Print that nobody follows the identifier, if so; `local` are the names where it was sent."""
        cell = running()
        if cell is None or local is not self._shell.user_ns:
            return
        looked_at = self._looked_at.setdefault(cell, set())
        if identifier.text in looked_at:
            return
        looked_at.add(identifier.text)
        note = nobody_follows(identifier)
        if note is not None:
            sys.stdout.write(f"{note}\n")


def nobody_follows(identifier: Identifier) -> str | None:
    """Say that nobody follows an identifier, and what may be the reason; None if somebody does, or may."""
    if any(
        followed.matches(identifier)
        for entry in default_bus.subscriptions()
        for followed in entry.identifiers
    ):
        return None
    if identifier.is_local:
        return f"nobody follows {identifier} here, and a name that begins with '_' never leaves this process"
    links = [link for link in open_links() if link.node.bus is default_bus]
    if not links:
        return f"nobody follows {identifier} here; %link joins others"
    if any(link.state != "linked" for link in links):
        return None  # who is cut off can't know
    if any(link.is_followed(identifier) for link in links):
        return None
    return f"nobody follows {identifier} at present"
