"""Load into an IPython shell, and unload without a trace.

``%load_ext berrymq`` and ``%load_ext berrymq_jupyter`` call `load`, ``%unload_ext`` calls `unload`; both only
once for each shell. What is added, all of which `Extension.close` takes away again:

    magics             `FollowingMagics`, `SendingMagics` …, registered with the shell
    completion         a matcher for lines that begin with one of them
    cells              hooks before and after each cell, which make what it registers its own
    display            formatters of messages, links, subscriptions and queues
    error reports      for failures of deliveries without a caller, shown below the cell that followed
    main-thread delivery, if ``%link --deliver main`` asks for it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from berrymq import Queue, Subscription, default_bus
from berrymq.delivery_thread import DeliveryThread

from .cells import Cells
from .completion import MagicCompleter, RecentIdentifiers
from .errors import ErrorReport
from .following import FollowingMagics
from .formatters import link_html, message_html, print_link, print_value, printed
from .keeping import KeepingMagics
from .linking import LinkingMagics
from .main_thread import MainThreadDeliverer, scheduler_of
from .sending import SendingMagics
from .sharing import SharingMagics
from .view_display import Shown, is_notebook

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
    from IPython.core.magic import Magics

EXTENSIONS: WeakKeyDictionary[InteractiveShell, Extension] = WeakKeyDictionary()


def load(shell: InteractiveShell) -> None:
    """Add the magics and the display of our objects to `shell`, and scopes to its cells.

    Loading twice does nothing.

    Args:
        shell: IPython's, in a kernel or a terminal.
    """
    if shell not in EXTENSIONS:
        EXTENSIONS[shell] = Extension(shell)


def unload(shell: InteractiveShell) -> None:
    """Undo that, and close what cells have registered and `%link` has joined.

    It prints what has ended with it. Followers that were registered outside of cells stay.
    """
    extension = EXTENSIONS.pop(shell, None)
    if extension is not None:
        extension.close()


class Extension:
    """What was added to one shell.

    Its parts know each other through it alone, so each can be tested with a bare shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._deliverer: MainThreadDeliverer | None = None
        self._cells = Cells(shell)
        self._shown = Shown()
        self._linking = LinkingMagics(shell, self.deliver_on)
        self._sharing = SharingMagics(shell)
        self._magics: list[Magics] = [
            SendingMagics(shell),
            FollowingMagics(shell, self._cells, self._shown),
            KeepingMagics(shell),
            self._sharing,
            self._linking,
        ]
        for magics in self._magics:
            shell.register_magics(magics)
        self._recent = RecentIdentifiers()
        self._matcher = MagicCompleter(self._functions(), shell.Completer, self._recent).matcher
        shell.Completer.custom_matchers.append(self._matcher)
        self._format()
        shell.events.register("pre_run_cell", self._cells.before)
        shell.events.register("post_run_cell", self._after)
        default_bus.hooks.append(self._recent.collect)
        default_bus.hooks.append(self._cells.adopt)
        self._former_report = default_bus.on_background_error
        self._report = ErrorReport(shell, self._cells)
        default_bus.on_background_error = self._report
        self._cells.join_running()

    def close(self) -> None:
        """Remove everything from the shell and the bus.

        First nothing new is collected, then what cells own is ended, then the links are closed, and last what
        shows and delivers is removed.
        """
        default_bus.hooks.remove(self._recent.collect)
        default_bus.hooks.remove(self._cells.adopt)
        self._shell.events.unregister("pre_run_cell", self._cells.before)
        self._shell.events.unregister("post_run_cell", self._after)
        ended, shared, left = self._cells.close(), self._sharing.close(), self._linking.close()
        if ended or shared or left:
            parts = [f"{ended} followers, queues and views of cells"] if ended else []
            parts += [f"{shared} shared values"] if shared else []
            parts += ["the link"] if left else []
            print(  # noqa: T201 - in answer to a magic
                f"ended with the extension: {' and '.join(parts)}; run those cells again to have them back"
            )
        self._stop_delivering()
        if default_bus.on_background_error is self._report:
            default_bus.on_background_error = self._former_report
        self._shell.Completer.custom_matchers.remove(self._matcher)
        self._unformat()
        self._unregister_magics()

    def deliver_on(self, thread: Literal["thread", "main"]) -> None:
        """Choose the thread on which followers get messages of links.

        Args:
            thread: ``"main"`` for the thread that runs cells; it gets the messages between cells and at their
                ends.
        """
        former, self._deliverer = self._deliverer, None
        if thread == "main":
            self._deliverer = former or MainThreadDeliverer(
                default_bus.gateway.failed, scheduler_of(self._shell)
            )
            default_bus.gateway.deliverer = self._deliverer
        elif former is not None:
            default_bus.gateway.deliverer = None
            former.close(wait=False)

    def _after(self, result: ExecutionResult | None) -> None:
        """Handle the end of a cell.

        In a terminal it also delivers what links have brought, with ``--deliver main``.
        """
        self._recent.collect()
        self._cells.after(result)
        if self._deliverer is not None and not is_notebook(self._shell):
            self._deliverer.turn()  # a terminal has no loop that runs between its prompts

    def _stop_delivering(self) -> None:
        """Finish the deliveries of links; none are added, since the links are closed."""
        self.deliver_on("thread")
        if isinstance(default_bus.gateway.deliverer, DeliveryThread):
            default_bus.gateway.deliverer.close(wait=False)

    # -- magics ----------------------------------------------------------------------------------------------

    def _functions(self) -> dict[str, Any]:
        """Return our magics by name."""
        return {
            name: found
            for magics in self._magics
            for kind in magics.magics.values()
            for name, found in kind.items()
        }

    def _unregister_magics(self) -> None:
        """Remove the magics, but none that was registered under the same name since."""
        manager = self._shell.magics_manager
        for magics in self._magics:
            for kind, functions in magics.magics.items():
                for name, function in functions.items():
                    if manager.magics[kind].get(name) == function:
                        del manager.magics[kind][name]
            manager.registry.pop(type(magics).__name__, None)

    # -- display ---------------------------------------------------------------------------------------------

    def _format(self) -> None:
        """Register the display of our objects.

        By the names of classes where possible, so that nothing is imported for it.
        """
        formatter = self._shell.display_formatter
        if formatter is None:
            return
        html = formatter.formatters["text/html"]
        html.for_type_by_name("berrymq.bridge.api", "Link", link_html)
        html.for_type_by_name("berrymq.messages", "Message", message_html)
        plain = formatter.formatters["text/plain"]
        plain.for_type_by_name("berrymq.bridge.api", "Link", print_link)
        plain.for_type_by_name("berrymq.messages", "Message", print_value)
        plain.for_type(Subscription, printed)
        if is_notebook(self._shell):
            shower = formatter.ipython_display_formatter
            shower.for_type(Queue, self._shown.show_value)

    def _unformat(self) -> None:
        """Remove the display of our objects."""
        formatter = self._shell.display_formatter
        if formatter is None:
            return
        html = formatter.formatters["text/html"]
        html.pop("berrymq.bridge.api.Link", None)
        html.pop("berrymq.messages.Message", None)
        plain = formatter.formatters["text/plain"]
        plain.pop("berrymq.bridge.api.Link", None)
        plain.pop("berrymq.messages.Message", None)
        plain.pop(Subscription, None)
        shower = formatter.ipython_display_formatter
        shower.pop(Queue, None)
        for kind in self._shown.kinds:
            shower.pop(kind, None)
