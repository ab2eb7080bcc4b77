import os
import platform
import subprocess
import sys

import pytest

from berrymq.bridge import processes
from berrymq.bridge.processes import Process, is_running, start_mark, this_process


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_this_process_runs():
    assert is_running(os.getpid())
    assert is_running(os.getpid(), start_mark(os.getpid()))


def test_another_process_runs_until_it_is_gone(child):
    mark = start_mark(child.pid)
    assert is_running(child.pid, mark)
    child.kill()
    child.wait()
    assert not is_running(child.pid, mark)
    assert start_mark(child.pid) is None


def test_one_that_ended_and_was_not_collected_is_gone(child):
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(child.pid)


def test_a_later_one_of_the_same_number_is_another():
    assert not is_running(os.getpid(), "12345")


def test_marks_differ(child):
    assert start_mark(child.pid) != start_mark(1)


@pytest.mark.parametrize("pid", [0, -1, pytest.param(-os.getpid(), id="negative"), 2**22 + 1, 2**40, 10**30])
def test_no_process_has_such_a_number(pid):
    assert not is_running(pid)


class TestWithoutProc:
    @pytest.fixture(autouse=True)
    def no_proc(self, tmp_path, monkeypatch):
        monkeypatch.setattr(processes, "_PROC", str(tmp_path))

    def test_a_process_of_ours(self, child):
        assert is_running(child.pid)
        child.kill()
        child.wait()
        assert not is_running(child.pid)

    def test_there_are_no_marks_and_any_fits(self):
        assert start_mark(os.getpid()) is None
        assert is_running(os.getpid(), "12345")

    def test_one_of_another_user_is_not_ours(self, monkeypatch):
        def forbidden(pid, signal):
            raise PermissionError

        monkeypatch.setattr(os, "kill", forbidden)
        assert not is_running(os.getpid())


class TestProcess:
    def test_this_one_has_not_ended(self):
        assert this_process().pid == os.getpid()
        assert not this_process().has_ended

    def test_another_one_ends(self, child):
        process = Process(this_process().machine, child.pid, start_mark(child.pid))
        assert not process.has_ended
        child.kill()
        child.wait()
        assert process.has_ended

    def test_of_one_on_another_machine_nothing_is_known(self, child):
        process = Process("another", child.pid, start_mark(child.pid))
        child.kill()
        child.wait()
        assert not process.has_ended

    def test_the_machine_is_the_same_in_each_process_and_tells_nothing(self):
        script = "from berrymq.bridge.processes import this_process; print(this_process().machine)"
        machine = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert machine.stdout.strip() == this_process().machine
        assert platform.node() not in this_process().machine

    def test_a_system_without_proc_has_a_machine_too(self, tmp_path, monkeypatch):
        here = this_process().machine
        monkeypatch.setattr(processes, "_BOOT_ID", str(tmp_path / "none"))
        processes._machine.cache_clear()
        elsewhere = this_process().machine
        processes._machine.cache_clear()
        assert elsewhere != here
        assert len(elsewhere) == len(here)


def test_a_name_with_parentheses_does_not_confuse(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PROC", str(tmp_path))
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) Z 1) (b) S " + " ".join(map(str, range(4, 53))))
    assert start_mark(7) == "22"
    assert is_running(7, "22")
