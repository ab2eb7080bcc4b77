"""Ctrl-C and other signals that end a command: it closes its link, and shows no traceback.

It takes over from ``berrymq.interrupts``, which covers the time until this module is imported.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["command_signals"]


@contextmanager
def command_signals(*, is_program: bool) -> Iterator[None]:
    """Raise an exception on the first signal; end the process at once on the second.

    Ctrl-C raises `KeyboardInterrupt`, the others `SystemExit` with 128 and the number of the signal. A signal
    that is ignored, as under nohup, stays ignored.

    Args:
        is_program: only the exit of the interpreter follows, in which Ctrl-C then ends it quietly.
    """
    latest = 0

    def on_signal(number: int, _: object) -> NoReturn:
        nonlocal latest
        latest = number
        signal.signal(number, signal.SIG_DFL)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
        # It arrived in the middle of a destructor, which swallows exceptions.
        if latest and issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
            signal.raise_signal(latest)
        sys.__unraisablehook__(unraisable)

    if is_program:
        sys.unraisablehook = on_unraisable
    former = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            try:
                former[number] = signal.signal(number, on_signal)
            except ValueError:  # another thread than the main one gets no signals
                break
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_DFL if is_program else handler)
