"""berryMQ in IPython and Jupyter: magics, live views, and what a Jupyter server does for the hub.

    %load_ext berrymq_jupyter

Modules are imported when they are used: a Jupyter server that loads its extension imports no widgets, and a
terminal imports no server. The modules:

    extension                       loading and unloading
    sending, following, linking,
    keeping, sharing                the magics
    magic, arguments, options       how a magic is declared, and how its line is parsed
    completion                      Tab
    follow_body                     the body of a `%%follow` cell
    cells, output                   what was registered in which cell; output below that cell
    main_thread                     `%link --deliver main`
    links, formatters, tables,
    hub_tables                      what is shown of links, messages, followers and the hub
    view_display, line_log          views below a cell, or lines where no page shows them
    unfollowed, errors              the note on messages without followers; tracebacks and errors of one line
    widgets, server                 the views; the extension of the Jupyter server
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .widgets import MessageLog, NetworkView, ProgressView, QueueView, SendForm

__all__ = [
    "MessageLog",
    "NetworkView",
    "ProgressView",
    "QueueView",
    "SendForm",
    "load_ipython_extension",
    "unload_ipython_extension",
]

VIEWS = frozenset({"MessageLog", "NetworkView", "ProgressView", "QueueView", "SendForm"})
"""The views that are exported, and imported only when they are used."""


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Load into a shell: what `%load_ext berrymq_jupyter` calls.

    Args:
        shell: gets the magics, and the hooks around its cells.
    """
    from .extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Unload from a shell: what `%unload_ext berrymq_jupyter` calls.

    Args:
        shell: loses the magics and hooks. What its cells have registered, and the link of `%link`, end.
    """
    from .extension import unload

    unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Return the extension, as a Jupyter server looks for it: its module, and its class."""
    from .server import BerryMQHub

    return [{"module": "berrymq_jupyter.server", "app": BerryMQHub}]


def __getattr__(name: str) -> Any:
    if name in VIEWS:
        from . import widgets

        return getattr(widgets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
