"""What is done when the interpreter leaves: after whatever the program itself has registered for that.

`atexit` calls last what was registered first. So this is registered when berryMQ is imported, and a program's
own farewells still find their followers, and their links.
"""

from __future__ import annotations

import atexit
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Step", "at_exit", "leave"]


class Step(IntEnum):
    """What comes first, and what after it."""

    DELIVERIES = 0
    LINKS = 1


_steps: dict[Step, Callable[[], object]] = {}


def at_exit(step: Step, function: Callable[[], object]) -> None:
    """Have `function` called when the interpreter leaves; one for each step."""
    _steps[step] = function


@atexit.register
def leave() -> None:
    """Do all steps, in their order."""
    for step in Step:
        if step in _steps:
            _steps[step]()
