"""The command line. Its modules are imported in `main`, which expects Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .interrupts import command_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Args:
        argv: the arguments without the program's name; None for those of this process, which then is the
            command, and ends after this call.

    Returns:
        0 for success, 1 for an error, 130 for Ctrl-C. Other signals and wrong arguments raise `SystemExit`.
    """
    try:
        with command_signals(is_program=argv is None):
            from .command_line import run

            return run(argv)
    except KeyboardInterrupt:
        return 130
