"""The hubs that a test's user has started: found by their connection files, ended after the test."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.support.waiting import wait_until


def connection_files(home: Path) -> list[Path]:
    """The private connection files of the user whose home directory this is."""
    return sorted((home / "run").rglob("*.json"))


def wait_for_hub(home: Path) -> dict[str, Any]:
    """What the connection file of the hub says, once it is there: a server answers before its hub does."""
    file = home / "run" / "hub.json"
    wait_until(file.exists, "connection file of the hub")
    told: dict[str, Any] = json.loads(file.read_text())
    return told


def has_ended(pid: int) -> bool:
    """Whether a process has ended, also if whatever is its parent here has not waited for it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_hubs(home: Path) -> None:
    """End each hub that was started there, and wait until it is gone."""
    for file in connection_files(home):
        pid = json.loads(file.read_text())["pid"]
        if pid == os.getpid() or has_ended(pid):
            continue
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda pid=pid: has_ended(pid), "end of the hub")


@contextmanager
def running_hub(directory: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run `berrymq hub` with a runtime directory of its own; yield what its connection file says.

    Args:
        directory: the runtime directory.
        arguments: of the command.
    """
    directory.chmod(0o700)
    command = [sys.executable, "-m", "berrymq", "hub", "--detached", *arguments]
    environment = {**os.environ, "BERRYMQ_RUNTIME_DIR": str(directory)}
    subprocess.run(command, env=environment, check=True, timeout=60)
    told: dict[str, Any] = json.loads((directory / "hub.json").read_text())
    try:
        yield told
    finally:
        with suppress(ProcessLookupError):
            os.kill(told["pid"], signal.SIGTERM)
        wait_until(lambda: has_ended(told["pid"]), "end of the hub")
