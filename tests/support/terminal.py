"""Plain IPython in a terminal: no kernel, no Jupyter."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect

from tests.support.jupyter_server import private_environment

PROMPT = r"In \[\d+\]: "


class Terminal:
    """An IPython session in a pseudo-terminal, spoken to line by line."""

    def __init__(self, home: Path, *, timeout: float = 30) -> None:
        environment = private_environment(home) | {"TERM": "dumb", "COLUMNS": "200"}
        self._child = pexpect.spawn(
            sys.executable,
            [
                *("-m", "IPython", "--simple-prompt", "--colors=NoColor", "--no-banner", "--no-confirm-exit"),
                "--HistoryManager.enabled=False",
            ],
            env=environment,
            encoding="utf-8",
            timeout=timeout,
            dimensions=(50, 200),
        )
        self._child.setecho(False)
        self._child.expect(PROMPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, line: str) -> str:
        """Enter a line, wait for the next prompt, return what was printed between."""
        self._child.sendline(line)
        self._child.expect(PROMPT)
        return str(self._child.before).replace("\r\n", "\n").strip()

    def wait_for(self, pattern: str) -> str:
        """Wait until the terminal shows something, with nothing typed."""
        self._child.expect(pattern)
        return str(self._child.after)

    def close(self) -> int | None:
        """Leave as a person does, with `exit`, and return the exit status."""
        if self._child.isalive():
            self._child.sendline("exit")
            self._child.expect(pexpect.EOF)
        self._child.close()
        return self._child.exitstatus
