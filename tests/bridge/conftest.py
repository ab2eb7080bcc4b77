import os
import signal
from contextlib import suppress

import pytest

from berrymq.bridge.discovery.connection_file import read_live
from berrymq.bridge.payload.registry import by_name, by_type
from tests.support.leftovers import end_leftovers
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_linked():
    """Fail the file of tests that leaves a link, a node or a port, not the files after it."""
    yield
    left = end_leftovers()
    assert not left, f"left linked: {left}"


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """A runtime directory of the test's own, also for the processes that it starts.

    Hubs that are left there are ended.
    """
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(directory))
    for name in [name for name in os.environ if name.startswith(("BERRYMQ_HUB_", "JPY_", "JUPYTER"))]:
        monkeypatch.delenv(name)
    yield directory
    if directory.exists():
        directory.chmod(0o700)
        for info in read_live(directory):
            if info.kind == "hub" and info.pid != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(info.pid, signal.SIGTERM)
                wait_until(lambda info=info: info not in read_live(directory), f"end of {info!r}")


@pytest.fixture
def registry():
    """What a test registers ends with it."""
    kept = [(table, dict(table)) for table in (by_type, by_name)]
    yield
    for table, content in kept:
        table.clear()
        table.update(content)
