import subprocess
import sys
import threading

import pytest

from berrymq.bridge.hub.file_lock import file_lock

HOLDER = """
import sys
from pathlib import Path
from berrymq.bridge.hub.file_lock import file_lock
with file_lock(Path(sys.argv[1]), 0):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_at_a_time(holder, tmp_path):
    with pytest.raises(TimeoutError, match="locked by another process"), file_lock(tmp_path / "lock", 0.05):
        pass


def test_it_is_let_go_by_one_that_dies(holder, tmp_path):
    threading.Timer(0.05, holder.kill).start()
    with file_lock(tmp_path / "lock", 10):
        pass


def test_it_is_let_go_at_the_end_and_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), file_lock(tmp_path / "lock", 0):
        raise ZeroDivisionError
    with file_lock(tmp_path / "lock", 0):
        pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), file_lock(tmp_path / "lock", 0):
        pass
    assert not (tmp_path / "elsewhere").exists()
