"""Show output below a certain cell, from another thread, task or cell.

A kernel labels everything it publishes with the header of the request that caused it, and the front end shows
it below the cell that made this request. `Output` records the labels of the running cell, and applies them
within a `with` block in the calling thread or task alone.

- ipykernel 7 keeps every label in a context variable, so these are set and reset.
- ipykernel 6 does so for `print` only. What `display` publishes there passes hooks of the thread; one of ours
  rewrites the label.

Programs that run notebooks (nbclient, nbconvert, papermill) drop output that is labelled with a cell that has
ended. There, the running cell shows the output of earlier cells.

A page drops output that is labelled with a cell that it did not run itself: after a reload, with any former
cell. The kernel detects a reload by the session of the next request. From then on, the output of former cells
is shown by the cell that ran last in the new page.
"""

from __future__ import annotations

import contextvars
import sys
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from types import TracebackType

    from IPython.core.interactiveshell import InteractiveShell

Label = tuple[contextvars.ContextVar[Any], Any]
"""A context variable of ipykernel, and its value."""

# The names that ipykernel gives to its context variables.
LABELS = frozenset({"parent_header", "shell_parent", "shell_parent_ident"})

# The header that `display` is to use, for kernels that keep no context variable for it.
DISPLAY_HEADER: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(
    "berrymq_display_header", default=None
)


class Output:
    """Where the output of the running cell is shown, recorded to send output there later.

    Made in the cell, on its thread; used on any thread later.

    Args:
        shell: its kernel sends the output.
    """

    latest: ClassVar[Output | None] = None
    """The one of the cell that began last in this process."""
    latest_in_page: ClassVar[Output | None] = None
    """The one of the cell of a page that began last in this process."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.closes_with_cell = is_headless(shell)
        """Output after the end of the cell would be dropped."""
        self.may_lack_page = is_cell_unnamed(shell) and not self.closes_with_cell
        """The cell may belong to a terminal instead of a page that shows views."""
        self.header = header_of(shell)
        """The header of the request that ran the cell; None outside a kernel."""
        self.page = page_of(shell)
        """The page that ran the cell, which is another one after a reload; None for other front ends."""
        self.labels: list[Label] = [
            (variable, value)
            for variable, value in contextvars.copy_context().items()
            if variable.name in LABELS
        ]
        """What ipykernel's context variables have to be, for output to appear below the cell."""
        kept_in_context = any(variable.name == "shell_parent" for variable, _ in self.labels)
        self.relabels_display = self.header is not None and not kept_in_context
        """Whether `display` needs a hook (ipykernel 6)."""
        if self.relabels_display:
            self.labels.append((DISPLAY_HEADER, self.header))

    def begin(self) -> None:
        """Record that the cell begins."""
        Output.latest = self
        if self.page is not None:
            Output.latest_in_page = self

    def redirected(self) -> Redirected:
        """Send the output of the calling thread or task here inside a `with`."""
        return Redirected(self.destination())

    def destination(self) -> Output:
        """Return this output, or that of a later cell if the front end would drop output here.

        The module's description has the two cases: a program that runs notebooks, and a page that was
        reloaded.
        """
        if self.closes_with_cell:
            return Output.latest or self
        latest = Output.latest_in_page
        if self.page is not None and latest is not None and latest.page != self.page:
            return latest
        return self

    def show_error(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        """Show a traceback here, as if the cell had raised it, without making the running cell fail.

        Args:
            kind: the class of the error.
            error: the error.
            traceback: the frames to show.
        """
        # Not shell.showtraceback: the error that it records would become the result of the running cell.
        lines = self.shell.InteractiveTB.structured_traceback(kind, error, traceback, tb_offset=0)
        hook: Any = self.shell.displayhook
        header = self.destination().header
        if header is None or not hasattr(hook, "pub_socket"):
            sys.stdout.write(self.shell.InteractiveTB.stb2text(lines) + "\n")
            return
        sys.stdout.flush()
        sys.stderr.flush()
        content = {"ename": kind.__name__, "evalue": str(error), "traceback": lines}
        topic = hook.topic.replace(b"execute_result", b"error") if hook.topic else None
        hook.session.send(hook.pub_socket, "error", content, header, ident=topic)


class Redirected:
    """The block of `Output.redirected`; a generator would cost more than all the rest.

    Args:
        output: where output goes inside the block.
    """

    __slots__ = ("_output", "_publisher", "_tokens")

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> None:
        """Apply the labels."""
        self._tokens = [variable.set(value) for variable, value in self._output.labels]
        self._publisher: Any = None
        if self._output.relabels_display:
            publisher = self._output.shell.display_pub
            if hasattr(publisher, "register_hook"):  # else output is being captured
                publisher.register_hook(relabel)
                self._publisher = publisher

    def __exit__(self, *_: object) -> None:
        """Restore the former labels."""
        if self._publisher is not None:
            self._publisher.unregister_hook(relabel)
        for (variable, _value), token in zip(self._output.labels, self._tokens, strict=True):
            variable.reset(token)


def is_headless(shell: InteractiveShell) -> bool:
    """Return whether a program runs the cells: it accepts no requests for input."""
    if not hasattr(shell, "get_parent"):
        return False
    return shell.get_parent().get("content", {}).get("allow_stdin") is False


def is_cell_unnamed(shell: InteractiveShell) -> bool:
    """Return whether the front end does not identify the cell, as those with an open notebook do."""
    return hasattr(shell, "get_parent") and "cellId" not in shell.get_parent().get("metadata", {})


def page_of(shell: InteractiveShell) -> str | None:
    """Return the session of the page (JupyterLab, Notebook) that runs a cell; None for other front ends."""
    if not hasattr(shell, "get_parent"):
        return None
    request = shell.get_parent()
    # A console beside a notebook has a session of its own, and does not send this.
    return request["header"]["session"] if "deletedCells" in request.get("metadata", {}) else None


def header_of(shell: InteractiveShell) -> dict[str, Any] | None:
    """Return the header of the request that runs, None outside a kernel."""
    if not hasattr(shell, "get_parent"):
        return None
    header = shell.get_parent().get("header")
    return dict(header) if header else None


def relabel(published: dict[str, Any]) -> dict[str, Any]:
    """Give a message that `display` is about to publish the header that applies here."""
    header = DISPLAY_HEADER.get()
    if header is not None:
        published["parent_header"] = header
    return published
