"""Waiting on a state, with a limit: the only place where tests poll."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(
    probe: Callable[[], Value], what: str, *, timeout: float = 30.0, interval: float = 0.05
) -> Value:
    """Ask `probe` until it returns something true and return that.

    Raises:
        TimeoutError: the state named by `what` did not come within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)
    return value
