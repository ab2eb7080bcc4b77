"""A hub of its own for the clients in other languages, and a Python program on it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hubs import running_hub

PEER = Path(__file__).with_name("peer.py")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of programs that find a hub of these tests alone, which ends after them."""
    directory = tmp_path_factory.mktemp("hub")
    environ = {**os.environ, "BERRYMQ_RUNTIME_DIR": str(directory)}
    with (
        running_hub(directory),
        subprocess.Popen(
            [sys.executable, PEER], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer,
    ):
        assert peer.stdout is not None
        assert peer.stdout.readline() == "ready\n"
        yield environ
