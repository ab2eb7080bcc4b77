"""A hub of its own for the clients in other languages, and a Python program on it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hubs import has_ended
from tests.support.waiting import wait_until

PEER = Path(__file__).with_name("peer.py")
ORIGIN = "http://localhost:1"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of programs that find a hub of these tests alone, which ends after them."""
    directory = tmp_path_factory.mktemp("hub")
    directory.chmod(0o700)
    environ = {**os.environ, "BERRYMQ_RUNTIME_DIR": str(directory)}
    subprocess.run(
        [sys.executable, "-m", "berrymq", "hub", "--detached"], env=environ, check=True, timeout=60
    )
    pid = json.loads((directory / "hub.json").read_text())["pid"]
    with subprocess.Popen(
        [sys.executable, PEER], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as peer:
        assert peer.stdout is not None
        assert peer.stdout.readline() == "ready\n"
        yield environ
    os.kill(pid, 15)
    wait_until(lambda: has_ended(pid), "end of the hub")
