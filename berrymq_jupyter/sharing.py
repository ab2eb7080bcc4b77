"""`%share`, `%take`, `%shares` and `%unshare`: magics for values that are shared by name.

A value is shared by `berrymq.share`; these magics add the notebook's variables to that, one-line errors, and
an end: what `%share` has shared is unshared when the extension is unloaded.
"""

from __future__ import annotations

from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, magics_class

from .arguments import evaluate_arguments, namespace_of, one_line, shorten, split_word, without_comment
from .magic import argument, magic
from .options import parse, seconds

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from berrymq import ShareInfo

UNITS = ("bytes", "kB", "MB", "GB", "TB")
"""Each a thousand of the one before."""


@magics_class
class SharingMagics(Magics):
    """The magics that share values with other notebooks and programs."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._names: set[str] = set()
        """What %share has shared."""

    def close(self) -> int:
        """Unshare what %share has shared; return how many values those were.

        Values that were unshared otherwise in between do not count.
        """
        ended = 0
        if self._names:
            import berrymq

            for name in self._names:
                with suppress(berrymq.NotSharedError):
                    berrymq.unshare(name)
                    ended += 1
        return ended

    @magic(
        "line",
        argument("name", help="the name to share by; alone, that of the variable to share"),
        argument("value", nargs="?", help="a Python expression; default: the variable of that name"),
        local_names=True,
    )
    def share(self, line: str, local_ns: dict[str, Any] | None = None) -> None:
        """Share a value by name: every linked notebook and program gets it by %take.

        It is copied now; later changes are not seen by others. Arrays and tables lie in shared memory, one
        copy on the machine however many take them.

        Examples:
            %share df
            %share prices df.tail(100)
        """
        import berrymq

        name, rest = split_word(without_comment(line.strip()))
        if not name:
            raise UsageError("a name is missing, as in: %share df")
        args, kwargs = evaluate_arguments(rest.strip() or name, namespace_of(self.shell, local_ns))
        if kwargs or len(args) != 1:
            raise UsageError(f"one value is shared by one name, not {shorten(rest)}")
        try:
            info = berrymq.share(name, args[0])
        except (berrymq.PayloadError, berrymq.IdentifierError) as error:
            raise UsageError(one_line(error)) from None
        self._names.add(name)
        print(f"shared: {describe(info)}")  # noqa: T201 - in answer to a magic

    @magic(
        "line",
        argument(
            "--timeout",
            type=seconds,
            default=30.0,
            metavar="SECONDS",
            help="how long to wait for the node that shares it; default: 30",
        ),
        argument("name", help="the name that the value is shared by"),
    )
    def take(self, line: str) -> Any:
        """Return a value that a linked notebook or program shares.

        It may be written to; no other process sees that.

        Examples:
            df = %take prices
        """
        import berrymq

        options = parse(self.take, line, "df = %take prices")
        try:
            return berrymq.take(options.name, timeout=options.timeout)
        except (berrymq.NotSharedError, berrymq.IdentifierError, berrymq.AskTimeout) as error:
            raise UsageError(one_line(error)) from None

    @magic("line")
    def shares(self, line: str) -> ShareList:
        """List the values that this notebook and linked ones share: name, type, shape, size, node, age."""
        import berrymq

        parse(self.shares, line, "%shares")
        return ShareList(berrymq.shares())

    @magic("line", argument("name", help="the name that the value is shared by"))
    def unshare(self, line: str) -> None:
        """Share a value of this notebook no more. Those who have taken it keep it.

        Examples:
            %unshare prices
        """
        import berrymq

        options = parse(self.unshare, line, "%unshare prices")
        try:
            berrymq.unshare(options.name)
        except berrymq.NotSharedError as error:
            raise UsageError(one_line(error)) from None


class ShareList(list["ShareInfo"]):
    """Values that are shared, shown one a line."""

    def __repr__(self) -> str:
        if not self:
            return "nothing is shared: %share NAME shares a variable"
        return "\n".join(describe(info) for info in self)


def describe(info: ShareInfo) -> str:
    """Return what is shared in one line.

    Such as "prices: DataFrame 1,000 x 3, 24.1 kB, by worker, 5 s ago". Names of other nodes are made
    printable.
    """
    from berrymq.printable import printable

    shape = " x ".join(f"{side:,}" for side in info.shape)
    age = max(0, int(time() - info.shared_at))
    parts = [f"{info.type} {shape}".strip(), size_text(info.bytes)]
    if info.node is not None:
        parts.append(f"by {info.node}")
    if age >= 1:
        parts.append(f"{age:,} s ago")
    return printable(f"{info.name}: {', '.join(parts)}")


def size_text(size: float) -> str:
    """Return a number of bytes in the unit that reads best."""
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {UNITS[-1]}"


def names_to_take() -> list[str]:
    """Return the names of shared values that are known without asking, for completion.

    A shared value is announced as an identifier in the namespace ``berrymq`` that its node follows.
    """
    from berrymq import Identifier, default_bus

    from .links import linked_nodes

    texts = {identifier.text for entry in default_bus.subscriptions() for identifier in entry.identifiers}
    texts.update(text for node in linked_nodes() for text in node.follows)
    return [Identifier(text).name for text in texts if text.endswith("@berrymq:take")]
