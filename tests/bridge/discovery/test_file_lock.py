import os
import signal
import subprocess
import sys
import threading

import pytest

from berrymq.bridge.discovery import file_lock
from berrymq.bridge.discovery.file_lock import acquire, close_inherited, is_locked, try_lock
from tests.support.waiting import wait_until

HOLDER = """
import sys
from pathlib import Path
from berrymq.bridge.discovery.file_lock import acquire
with acquire(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def run(code, path):
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout.split(), done.stderr


class TestAcquire:
    def test_one_holder_at_a_time(self, holder, path):
        assert is_locked(path)
        with pytest.raises(TimeoutError, match="lock is locked by another process"):
            acquire(path, 0.05)

    def test_another_descriptor_of_the_same_process_is_another_holder(self, path):
        with acquire(path):
            assert is_locked(path)
            with pytest.raises(TimeoutError):
                acquire(path)
        assert not is_locked(path)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_holder_that_is_killed_releases_it(self, holder, path, number):
        threading.Timer(0.05, holder.send_signal, (number,)).start()
        acquire(path, 10).release()

    def test_a_holder_that_is_stopped_keeps_it(self, holder, path):
        holder.send_signal(signal.SIGSTOP)
        try:
            assert is_locked(path)
        finally:
            holder.send_signal(signal.SIGCONT)

    def test_it_is_released_after_an_error(self, path):
        with pytest.raises(ZeroDivisionError), acquire(path):
            raise ZeroDivisionError
        acquire(path).release()

    def test_releasing_twice_closes_no_file_that_was_opened_since(self, path):
        lock = acquire(path)
        lock.release()
        with path.open() as other:
            lock.release()
            assert os.fstat(other.fileno())

    def test_a_file_that_is_removed_meanwhile_is_not_the_one(self, path, monkeypatch):
        """Its holder would believe to be alone, and so would the next, who creates a new one."""
        real = file_lock.try_lock

        def removed_first(descriptor):
            monkeypatch.setattr(file_lock, "try_lock", real)
            path.unlink()
            return real(descriptor)

        monkeypatch.setattr(file_lock, "try_lock", removed_first)
        with acquire(path, 1) as lock:
            assert lock.is_at(path)
            assert is_locked(path)

    def test_a_look_at_it_does_not_keep_it_from_who_tries_for_a_moment(self, path):
        acquire(path).release()
        looking = os.open(path, os.O_RDONLY)
        assert try_lock(looking, shared=True)
        threading.Timer(0.05, os.close, (looking,)).start()
        acquire(path, 10).release()

    def test_two_that_look_at_once_do_not_take_each_other_for_the_holder(self, path):
        acquire(path).release()
        looking = os.open(path, os.O_RDONLY)
        assert try_lock(looking, shared=True)
        assert not is_locked(path)
        os.close(looking)

    def test_its_file_is_private(self, path):
        umask = os.umask(0)
        try:
            acquire(path).release()
        finally:
            os.umask(umask)
        assert path.stat().st_mode & 0o777 == 0o600

    def test_a_link_is_not_followed(self, path):
        path.symlink_to(path.with_name("elsewhere"))
        with pytest.raises(OSError, match="not a regular file"):
            acquire(path)
        assert not is_locked(path)
        assert not path.with_name("elsewhere").exists()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on Windows")
    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
    def test_nor_is_a_pipe_or_a_directory_waited_for(self, path, make):
        make(path)
        with pytest.raises(OSError, match="not a regular file"):
            acquire(path)
        assert not is_locked(path)

    def test_a_file_system_without_locks_is_an_error(self, path, monkeypatch):
        def unsupported(*_):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(file_lock.fcntl, "flock", unsupported)
        with pytest.raises(OSError, match="not implemented"):
            acquire(path)
        assert not is_locked(path)
        assert not file_lock._held

    @pytest.mark.parametrize("make", [lambda path: None, lambda path: path.symlink_to("nowhere")])
    def test_what_is_not_there_is_not_locked(self, path, make):
        make(path)
        assert not is_locked(path)


class TestChildren:
    def test_a_program_that_is_started_does_not_keep_it(self, path):
        code = """
import subprocess, sys
from pathlib import Path
from berrymq.bridge.discovery.file_lock import acquire
lock = acquire(Path(sys.argv[1]))
null = subprocess.DEVNULL
child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=null, stderr=null)
print(child.pid)
"""
        (pid,), errors = run(code, path)
        try:
            assert not errors
            assert not is_locked(path)
        finally:
            os.kill(int(pid), signal.SIGKILL)

    def test_a_forked_child_that_gives_it_up_does_not_keep_it(self, path):
        code = """
import os, sys, time
from pathlib import Path
from berrymq.bridge.discovery.file_lock import acquire, close_inherited, is_locked
path = Path(sys.argv[1])
lock = acquire(path)
ready, done = os.pipe()
pid = os.fork()
if not pid:
    close_inherited()
    lock.release()
    os.write(done, b"x")
    os.closerange(0, 3)
    time.sleep(60)
os.read(ready, 1)
print(pid, is_locked(path), flush=True)
os._exit(0)
"""
        (pid, held), errors = run(code, path)
        try:
            assert not errors
            assert held == "True"  # closing it in the child has not unlocked it for the parent
            wait_until(lambda: not is_locked(path), "the release", timeout=5)
        finally:
            os.kill(int(pid), signal.SIGKILL)

    def test_all_of_them_are_given_up(self, tmp_path):
        locks = [acquire(tmp_path / name) for name in "abc"]
        close_inherited()
        assert [lock.descriptor for lock in locks] == [-1] * 3
        assert not any(is_locked(tmp_path / name) for name in "abc")
        assert not any(lock.is_at(tmp_path / name) for lock, name in zip(locks, "abc", strict=True))
