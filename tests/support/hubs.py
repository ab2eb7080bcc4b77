"""The hubs that a test's user has started: found by their connection files, ended after the test."""

import json
import os
import signal
from pathlib import Path

import psutil

from tests.support.waiting import wait_until


def connection_files(home: Path) -> list[Path]:
    """The private connection files of the user whose home directory this is."""
    return sorted((home / "run").rglob("*.json"))


def wait_for_connection_files(home: Path, number: int = 1) -> list[Path]:
    """The same, once there are so many: a server answers before it has published its hub."""
    wait_until(lambda: len(connection_files(home)) >= number, f"{number} connection files")
    return connection_files(home)


def end_hubs(home: Path) -> None:
    """End each hub that was started there, and wait until it is gone."""
    for file in connection_files(home):
        pid = json.loads(file.read_text())["pid"]
        if pid == os.getpid() or not psutil.pid_exists(pid):
            continue
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda pid=pid: not psutil.pid_exists(pid), "end of the hub")
