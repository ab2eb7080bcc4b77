"""`%keep`: what the hub retains for those who come later."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.core.magic import Magics, magics_class

from berrymq import BerryMQError

from .arguments import parse_identifier
from .errors import one_line_errors
from .magic import argument, magic
from .options import message_count, parse

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from berrymq.bridge.keeping import Kept

__all__ = ["KeepingMagics"]

EXAMPLE = "%keep train:*"


class KeptTable:
    """What the hub keeps: the value of `%keep` alone.

    Args:
        kept: what `berrymq.keep` returns without an argument.
    """

    def __init__(self, kept: Kept) -> None:
        from .hub_tables import kept_table

        self.table = kept_table(kept)

    def __repr__(self) -> str:
        return self.table.text()

    def _repr_html_(self) -> str:
        return self.table.html() if self.table.rows else f"<div>{escape(self.table.empty)}</div>"


@magics_class
class KeepingMagics(Magics):
    """The magic of the hub's history."""

    shell: InteractiveShell

    @magic(
        "line",
        argument(
            "--last",
            type=message_count,
            metavar="N",
            help="how many messages of each identifier; default: 1000",
        ),
        argument("--drop", action="store_true", help="keep them no more, and release what is retained"),
        argument("identifier", nargs="?", help="what to keep: name:action; * stands for any name or action"),
    )
    def keep(self, line: str) -> KeptTable | None:
        """Have the hub retain the newest messages for those who come later; alone, list what it keeps.

        A notebook that is opened later sees them: its %follow begins with them. They last as long as the hub,
        also after this kernel has ended; on NATS they are stored by the server.

        Examples:
            %keep train:*
            %keep --last 5000 train:*
            %keep
            %keep --drop train:*
        """
        from berrymq import keep

        options = parse(self.keep, line, EXAMPLE)
        if options.drop and (options.identifier is None or options.last is not None):
            raise UsageError("name one identifier to keep no more, as in: %keep --drop train:*")
        if options.last is not None and options.identifier is None:
            raise UsageError(f"name an identifier to keep, as in: %keep --last {options.last} train:*")
        with one_line_errors(BerryMQError):
            if options.identifier is None:
                return KeptTable(keep())
            last = 0 if options.drop else options.last or 1_000
            keep(parse_identifier(options.identifier), last=last)
        return None
