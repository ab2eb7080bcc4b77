"""The driver of a client, as a process: commands go in, answers and events come out."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
LIMIT = 20.0
"""Seconds for anything that has to happen."""


class DriverError(AssertionError):
    """The driver does not keep to its protocol, or has ended."""


class Driver:
    """A running driver.

    Args:
        command: the command line.
        environment: further variables.
    """

    def __init__(self, command: str | Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.command = shlex.split(command) if isinstance(command, str) else list(command)
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self.messages: deque[dict[str, Any]] = deque()
        """What was followed, and not looked at yet."""
        self.states: list[str] = []
        """The states of the link so far."""
        self.errors = ""
        self._wrong = ""
        self._ended = False
        self._last = 0
        self._threads = [
            threading.Thread(target=self._read, name="driver", daemon=True),
            threading.Thread(target=self._read_errors, name="driver's stderr", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has neither ended nor said anything that is wrong."""
        return not self._ended and not self._wrong and self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    self._wrong = f"the driver printed {line[:300]!r}, which is no event: {error}"
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, event: dict[str, Any]) -> None:
        if "n" in event:
            if event["n"] in self._answers or ("ok" in event) == ("error" in event):
                raise ValueError("each command has one answer, with ok or error")
            self._answers[event["n"]] = event
        elif "message" in event:
            self.messages.append(event["message"])
        elif "state" in event:
            self.states.append(event["state"])
        else:
            raise ValueError("it has neither n nor message nor state")

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.errors = (self.errors + line.decode(errors="replace"))[-4000:]

    def send(self, command: dict[str, Any]) -> int:
        """Send a command; return its number."""
        self._last += 1
        line = json.dumps({**command, "n": self._last}, ensure_ascii=False)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise DriverError(f"the driver has ended: {self.errors[-1000:]}") from None
        return self._last

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = LIMIT) -> Any:
        """Wait until a condition holds, and return its value.

        Raises:
            DriverError: it does not within the time, or the driver has ended.
        """
        deadline = monotonic() + timeout
        with self._changed:
            while not (value := condition()):
                if self._wrong:
                    raise DriverError(self._wrong)
                if self._ended:
                    self._threads[1].join(1)
                    raise DriverError(f"the driver has ended, before {what}: {self.errors[-1000:]}")
                left = deadline - monotonic()
                if left <= 0:
                    raise DriverError(f"within {timeout:g} s: {what}. {self.errors[-500:]}")
                self._changed.wait(left)
            return value

    def answer(self, number: int, timeout: float = LIMIT) -> dict[str, Any]:
        """Wait for the answer to a command: ``{"ok": …}`` or ``{"error": …}``."""
        found: dict[str, Any] = self.wait(
            lambda: self._answers.get(number), f"no answer to command {number}", timeout
        )
        return {name: value for name, value in found.items() if name != "n"}

    def do(self, name: str, /, timeout: float = LIMIT, **parameters: Any) -> Any:
        """Send a command, and return what it gives.

        Raises:
            DriverError: it fails.
        """
        answer = self.answer(self.send({"do": name, **parameters}), timeout)
        if "error" in answer:
            raise DriverError(f"{name} failed: {answer['error']}")
        return answer["ok"]

    def message(self, timeout: float = LIMIT) -> dict[str, Any]:
        """Wait for the next message that was followed."""
        self.wait(lambda: self.messages, "no message arrived", timeout)
        return self.messages.popleft()

    def end(self, timeout: float = 5.0) -> int:
        """End stdin, wait for the end of the process, and return its exit code."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        return code
