"""For all tests: nothing of the user's own berryMQ is touched, and in CI nothing is skipped."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from berrymq import default_bus
from berrymq.bridge.peers_log import rate_limit

# How long an example takes depends on the machine; each test has a time limit of its own.
settings.register_profile("berrymq", deadline=None)
settings.load_profile("berrymq")


# Who runs the tests in the background may have these ignored, which children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Spare the garbage collector, which each IPython shell runs at its end, what stays for the whole run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def default_bus_is_left_as_found() -> Iterator[None]:
    """Fail the test that leaves a follower on the default bus, not the ones after it."""
    before = set(default_bus.subscriptions())
    yield
    left = [subscription for subscription in default_bus.subscriptions() if subscription not in before]
    for subscription in left:
        subscription.cancel()
    assert not left, f"left on the default bus: {left}"


@pytest.fixture(autouse=True)
def each_test_logs_what_peers_cause() -> None:
    """Leave out no line because of what a former test has logged."""
    rate_limit.forget()


@pytest.fixture(autouse=True, scope="session")
def private_runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep connection files in a directory of the test run, and hide hubs that the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("BERRYMQ_", "JUPYTERHUB_", "JPY_"))]:
            patch.delenv(name)
        directory = tmp_path_factory.mktemp("runtime")
        directory.chmod(0o700)
        patch.setenv("BERRYMQ_RUNTIME_DIR", str(directory))
        yield


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that left out a test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped:
        reporter.write_line(f"{len(skipped)} tests were skipped; in CI that is a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
