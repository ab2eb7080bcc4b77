"""`%twitter`, `%talk` and `%ask`: magics that send.

They call the functions of the same name of the default bus, so what they do is described there. The docstring
of a magic is the help that `%twitter?` shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.magic import Magics, magics_class

from berrymq import default_bus

from .arguments import Arguments, evaluate_arguments, namespace_of, split_identifier
from .errors import raise_to_user, show_interrupt
from .magic import argument, magic
from .options import seconds, split_options
from .unfollowed import UnfollowedNotes, note_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

T = TypeVar("T")


@magics_class
class SendingMagics(Magics):
    """The magics that send messages.

    Args:
        shell: is extended by them.
    """

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._notes = UnfollowedNotes(shell)

    @magic(
        "line_cell",
        argument("identifier", help="where the message goes: name:action"),
        argument("arguments", nargs="?", help="a Python argument list: 1, x=2, *more, **options"),
        local_names=True,
    )
    def twitter(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> None:
        """Send a message to everyone who follows its identifier, here and over links.

        The rest of the line is a Python argument list, evaluated like that of a call. With %%twitter the text
        of the cell is the first argument.

        Examples:
            %twitter train:epoch 3, loss=0.12
            %twitter "long name:run" *values, **options

            %%twitter note:add
            Any text.
        """
        __tracebackhide__ = True
        example = "%twitter test:run 1, x=2" if cell is None else "%%twitter note:add"
        identifier, rest = split_identifier(line, example)
        args, kwargs = self._arguments(rest, cell, local_ns)
        sending(lambda: default_bus.twitter(identifier, *args, **kwargs))
        self._notes.check(identifier, local_ns)

    @magic(
        "line_cell",
        argument("identifier", help="where the message goes: name:action"),
        argument("callback", help="where each answer is sent: name:action"),
        argument("arguments", nargs="?", help="a Python argument list: 1, x=2, *more, **options"),
        local_names=True,
    )
    def talk(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> None:
        """Send a message and have each follower's return value sent to a second identifier.

        The first argument of each answer is what a follower returned; if it raised, `message.error` is the
        error. With %%talk the text of the cell is the first argument.

        Examples:
            %talk price:get price:is "ACME", currency="EUR"
        """
        __tracebackhide__ = True
        example = "%talk price:get price:is 'ACME'" if cell is None else "%%talk text:translate text:is"
        identifier, rest = split_identifier(line, example)
        if not rest:
            raise UsageError(f"the identifier for the answers is missing, as in: {example}")
        callback, rest = split_identifier(rest, example)
        args, kwargs = self._arguments(rest, cell, local_ns)
        sending(lambda: default_bus.talk(identifier, callback, *args, **kwargs))
        self._notes.check(identifier, local_ns)
        if note_on(identifier) is None:  # else there are no answers, whose followers would matter
            self._notes.check(callback, local_ns)

    @magic(
        "line_cell",
        argument(
            "--timeout",
            type=seconds,
            default=10.0,
            metavar="SECONDS",
            help="how long to wait for answers; default: 10",
        ),
        argument("identifier", help="where the message goes: name:action"),
        argument("arguments", nargs="?", help="a Python argument list: 1, x=2, *more, **options"),
        local_names=True,
    )
    def ask(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> list[Any]:
        """Send a message, wait for the followers' return values, and return them as a list.

        With %%ask the text of the cell is the first argument.

        Examples:
            %ask price:get "ACME"
            answers = %ask --timeout 2 price:get "ACME"
        """
        __tracebackhide__ = True
        example = "%ask price:get 'ACME'" if cell is None else "%%ask text:translate"
        options, identifier, rest = split_options(self.ask, line, example)
        args, kwargs = self._arguments(rest, cell, local_ns)
        if "timeout" in kwargs:
            raise UsageError(f"set the timeout with an option, as in: %ask --timeout 3 {identifier}")
        answers = sending(lambda: default_bus.ask(identifier, *args, timeout=options.timeout, **kwargs))
        self._notes.check(identifier, local_ns)
        return answers

    def _arguments(self, text: str, cell: str | None, local: dict[str, Any] | None) -> Arguments:
        """Evaluate the argument list on a line; the text of a cell comes before it.

        Args:
            text: the list.
            cell: the text of the cell; None for a line magic.
            local: the names where the magic is used.
        """
        args, kwargs = evaluate_arguments(text, namespace_of(self.shell, local))
        return Arguments(args if cell is None else (cell.removesuffix("\n"), *args), kwargs)


def sending(send: Callable[[], T]) -> T:
    """Send; a mistake of the sender is shown as one line, an error of a follower with its traceback.

    Args:
        send: sends, and returns the result.

    Raises:
        UsageError: the sender made a mistake.
        Exception: of a follower; see `raise_to_user`.
    """
    __tracebackhide__ = True
    try:
        return send()
    except KeyboardInterrupt as interrupt:
        show_interrupt(interrupt)
        raise
    except Exception as error:  # noqa: BLE001 - followers raise what they like, and it is raised again
        raise_to_user(error)
