"""Programs in processes of their own, and what one thread hears while others speak."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

from berrymq import Bus, Message

PREFACE = "import berrymq, os, sys, threading, time\n"


def run_script(text: str, *, timeout: float = 50, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, "-c", PREFACE + textwrap.dedent(text)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Listening:
    """What is heard of an identifier, for a thread that waits for it."""

    def __init__(self, bus: Bus, identifier: str = "test:*") -> None:
        self.messages: list[Message] = []
        self._changed = threading.Condition()
        bus.follow(identifier, self._take, direct=True)

    def _take(self, message: Message) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    @property
    def values(self) -> list[Any]:
        """The source and the first argument of each message."""
        return [(message.source, message.args[0]) for message in self.messages]

    def have(self, count: int, timeout: float = 30.0) -> list[Any]:
        """Wait until so many messages have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, timeout), self.values[-5:]
            return self.values
