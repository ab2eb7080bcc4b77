"""The workload that all links carry, and the format in which an end reports.

A message is ``test:run`` with one number as its argument and two keywords. ``test:last`` is sent after the
last of them, and has the receiver report how many have arrived. ``test:ask`` is answered with its argument.

An end prints one JSON object a line: first its address, once it is ready; then one for each command on its
standard input. It exits at the end of its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Counter:
    """The receiver's handler: counts messages with decoded arguments."""

    def __init__(self) -> None:
        self.received = 0

    def handle(self, _args: Sequence[Any], _kwargs: Mapping[str, Any] | object) -> None:
        """Count a message."""
        self.received += 1

    def report(self) -> None:
        """Report the number of messages, and when the last of them was handled; start again at 0."""
        at = time.monotonic()
        say(received=self.received, at=at)
        self.received = 0


def say(**values: Any) -> None:
    """Print a line of JSON."""
    print(json.dumps(values), flush=True)


def time_each(ask: Callable[[int], Any], questions: int) -> list[float]:
    """Ask one question after the other, each with its number, and return the seconds of each.

    Raises:
        ValueError: the answer does not fit the question.
    """
    taken = []
    for number in range(questions):
        began = time.perf_counter()
        answer = ask(number)
        taken.append(time.perf_counter() - began)
        if answer != number:
            raise ValueError(f"{number} was asked, and {answer!r} answered")
    return taken


def exit_with_standard_input() -> None:
    """Exit at the end of the standard input, even if the main thread is blocked."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
