import os

import pytest


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """A runtime directory of the test's own, also for the processes that it starts."""
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(directory))
    for name in [name for name in os.environ if name.startswith(("BERRYMQ_HUB_", "JPY_", "JUPYTER"))]:
        monkeypatch.delenv(name)
    return directory
