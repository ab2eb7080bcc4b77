"""`%follow`, `%unfollow`, `%followers` and `%queue`: magics that receive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, magics_class
from IPython.display import display

from berrymq import BerryMQError, Identifier, Message, Queue, default_bus

from .arguments import evaluate_expression, namespace_of, parse_identifier, shorten
from .cells import Cells, running
from .errors import one_line_errors
from .follow_body import compile_body
from .formatters import Followers
from .line_log import print_message, print_without_page
from .magic import argument, magic
from .options import message_count, parse, split_options, whole_number
from .view_display import Shown, is_notebook

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from berrymq import Subscription

    from .widgets import MessageLog

EXAMPLE = "%follow test:*"

PAST = argument(
    "--past",
    nargs="?",
    type=message_count,
    const=True,
    default=False,
    metavar="N",
    help="begin with the last N messages that the hub retains, or with all of them; see %%keep",
)
"""An option of several magics: without a number, all that the hub retains."""


@magics_class
class FollowingMagics(Magics):
    """The magics that follow and collect.

    Whatever they register belongs to the running cell, by the hooks of `Cells`: when the cell runs again its
    former followers, queues and views are ended first.
    """

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, cells: Cells, shown: Shown) -> None:
        super().__init__(shell)
        self._cells = cells
        self._shown = shown

    @magic(
        "line_cell",
        argument("identifier", help="what to follow: name:action; * stands for any name or action"),
        argument("handler", nargs="?", help="a function that is called with each message"),
        PAST,
        local_names=True,
    )
    def follow(
        self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None
    ) -> MessageLog | None:
        """Follow an identifier: show its messages, call a function with each, or run the cell for each.

        %follow alone shows a live log below the cell; in a terminal, a line a message. With a handler,
        %follow calls handler(message).

        %%follow runs the body of the cell once for each `message`, and what that prints and shows appears
        below the cell. The body may `return` and `await`. The value of its last line is shown, and is the
        answer to an %ask. In a body that is a cell magic, such as %%time, `message` is a variable of the
        notebook while that runs.

        Running a cell again replaces what it followed before. A log begins with what the hub retains (%keep);
        with --past, handlers and bodies do too, and `message.past` is true of those messages.

        Examples:
            %follow train:*
            %follow train:* print
            %follow train:* print --past 100

            %%follow train:*
            print(message.action, message.loss)
        """
        example = EXAMPLE if cell is None else f"%{EXAMPLE}"
        options, identifier, rest = split_options(self.follow, line, example)
        past = options.past
        if cell is not None:
            if rest:
                raise UsageError(
                    f"%%follow takes an identifier alone; its handler is the cell, not {shorten(rest)}"
                )
            self._follow_with_body(identifier, cell, past)
        elif rest:
            handler = evaluate_expression(rest, namespace_of(self.shell, local_ns))
            with one_line_errors(BerryMQError):
                default_bus.follow(identifier, handler, past=past)
        elif is_notebook(self.shell):
            from .widgets import MessageLog

            log = MessageLog(identifier, past=past or None)
            self._shown.take_over(self.shell, MessageLog)
            self._shown.show(log)
            print_without_page(self.shell, log)
            return log
        else:
            default_bus.follow(identifier, print_message, preview=True, past=past)
        return None

    def _follow_with_body(self, identifier: Identifier, body: str, past: bool | int) -> None:
        """Follow with the body of the cell, compiled to a function of `message`.

        Raises:
            UsageError: the body is empty, or can't be compiled.
        """
        if not body.strip():
            raise UsageError(
                "the cell has no body: write below %%follow what is to be done with each message"
            )
        cell = running()
        function = compile_body(self.shell, body, cell.text if cell is not None else "")
        default_bus.follow(identifier, showing_result(function), past=past)

    @magic(
        "line",
        argument(
            "--all", action="store_true", help="stop everything that was registered in this notebook's cells"
        ),
        argument("identifier", nargs="?", help="exactly what was followed: name:action"),
    )
    def unfollow(self, line: str) -> None:
        """Stop following an identifier: functions, bodies of cells and logs. Queues go on collecting.

        Examples:
            %unfollow train:*
            %unfollow --all
        """
        options = parse(self.unfollow, line, "%unfollow test:*")
        if options.all == (options.identifier is not None):
            raise UsageError("name one identifier, as in: %unfollow test:*  (or --all)")
        found = stoppable()
        if options.all:
            found = [entry for entry in found if self._cells.origin(entry) is not None]
        else:
            identifier = parse_identifier(options.identifier)
            found = [entry for entry in found if identifier in entry.identifiers]
            if not found:
                raise UsageError(self._why_none(identifier))
        for entry in found:
            entry.cancel()

    def _why_none(self, identifier: Identifier) -> str:
        """Return why %unfollow finds nothing to stop."""
        if any(identifier in entry.identifiers for entry in default_bus.subscriptions()):
            return f"{identifier} is collected by a queue, which goes on until its close() is called"
        return f"no followers of {identifier} here; %followers shows who follows what"

    @magic("line")
    def followers(self, line: str) -> Followers:
        """List the followers in this process, what they follow, and the cells that registered them.

        %links shows what other notebooks and programs follow.
        """
        parse(self.followers, line, "%followers")
        return Followers(default_bus.subscriptions(), self._cells)

    @magic(
        "line",
        argument(
            "--shared",
            action="store_true",
            help="take turns with all shared queues of the identifier, in all linked notebooks and programs: "
            "each message goes to one of them",
        ),
        argument(
            "--durable",
            metavar="NAME",
            help="have messages wait on NATS (%%link nats://…) also while no program has the queue: the next "
            "one of that name continues where the last one stopped",
        ),
        argument(
            "--maxsize",
            type=whole_number,
            default=0,
            metavar="N",
            help="how many messages the queue holds; default: any number",
        ),
        argument(
            "--overflow",
            choices=("drop_oldest", "drop_newest", "raise", "block"),
            default="drop_oldest",
            metavar="POLICY",
            help="what becomes of a message that finds the queue full: drop_oldest (default) makes room "
            "for it, drop_newest drops it, raise raises Full at its sender, block has the sender wait",
        ),
        PAST,
        argument("identifier", help="what to collect: name:action; * stands for any name or action"),
    )
    def queue(self, line: str) -> Queue:
        """Collect messages in a queue, show it, and return it.

        Examples:
            tasks = %queue task:*
            tasks.get()

            jobs = %queue --shared job:*

            notes = %queue --durable night note:*

            tasks = %queue --maxsize 100 --overflow drop_newest task:*
        """
        options = parse(self.queue, line, "%queue task:*")
        identifier = parse_identifier(options.identifier)
        with one_line_errors(ValueError):
            queue = Queue(
                identifier,
                shared=options.shared,
                maxsize=options.maxsize,
                overflow=options.overflow,
                durable=options.durable,
                past=options.past,
            )
        if is_notebook(self.shell):
            self._shown.show(queue)
        return queue


def showing_result(function: Callable[[Message], Any]) -> Callable[[Message], Any]:
    """Return `function` so that what it returns is shown, as the value of a cell is.

    What the follower returns is the answer to a question as well, so it is passed on.
    """
    from functools import wraps
    from inspect import iscoroutinefunction

    if iscoroutinefunction(function):

        @wraps(function)
        async def body(message: Message) -> Any:
            return shown(await function(message))
    else:

        @wraps(function)
        def body(message: Message) -> Any:
            return shown(function(message))

    return body


def shown(value: Any) -> Any:
    """Display `value` unless it is None; return it."""
    if value is not None:
        display(value)  # type: ignore[no-untyped-call]
    return value


def stoppable() -> list[Subscription]:
    """Return the followers that `%unfollow` can cancel: all of this process but queues."""
    return [entry for entry in default_bus.subscriptions() if not entry.is_queue]
