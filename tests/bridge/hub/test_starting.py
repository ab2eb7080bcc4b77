"""The hub's own process, started for real."""

import os
import signal
import stat
import subprocess
import sys

import psutil
import pytest

from berrymq import Bus, Queue
from berrymq.bridge import link
from berrymq.bridge.discovery.connection_file import read_hub, read_live
from berrymq.bridge.discovery.file_lock import is_locked
from berrymq.bridge.discovery.starting import start_hub
from berrymq.bridge.errors import LinkError
from tests.support.descriptors import open_files
from tests.support.waiting import wait_until


def is_gone(pid):
    """Whether it has ended, also if whatever is its parent here has not waited for it."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("runtime")
class TestStart:
    def test_it_is_detached(self):
        process = psutil.Process(start_hub().info.pid)
        assert os.getpid() not in [parent.pid for parent in process.parents()]
        assert os.getsid(process.pid) == process.pid
        assert process.terminal() is None
        held = open_files(process.pid)
        assert [held[number] for number in "012"] == [os.devnull] * 3
        assert not [name for name in held.values() if name.startswith("pipe:")]

    def test_its_secret_is_in_no_list_of_processes(self):
        found = start_hub()
        process = psutil.Process(found.info.pid)
        assert found.access_token not in " ".join([*process.cmdline(), *process.environ().values()])

    def test_it_writes_a_private_log(self, runtime):
        start_hub()
        assert stat.S_IMODE((runtime / "hub.log").stat().st_mode) == 0o600

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("victim")])
    @pytest.mark.parametrize("name", ["hub.log", "hub.lock"])
    def test_that_fails_gives_its_reason(self, runtime, make, name):
        make(runtime / name)
        with pytest.raises(
            LinkError, match=rf"can't start a hub: can't \w+ .*{name}: it is not a regular file"
        ):
            start_hub()
        assert not is_locked(runtime / "hub.lock")
        assert not (runtime / "victim").exists()

    def test_a_directory_where_it_would_say_where_it_is(self, runtime):
        (runtime / "hub.json").mkdir()
        with pytest.raises(LinkError, match=r"can't start a hub: can't write .*hub.json"):
            start_hub()

    @pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("victim")])
    def test_something_else_where_it_would_say_where_it_is_makes_way(self, runtime, make):
        make(runtime / "hub.json")
        assert start_hub().info is not None
        assert not (runtime / "victim").exists()

    def test_a_second_one_by_hand_says_which_runs(self):
        found = start_hub()
        done = subprocess.run(
            [sys.executable, "-m", "berrymq", "hub"], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 1
        where = f"{found.endpoint.url} (process {found.info.pid})"
        assert done.stderr == f"berrymq: a hub of yours runs already at {where}\n"


@pytest.mark.usefixtures("runtime")
class TestEnd:
    def test_when_nothing_links(self):
        pid = start_hub(idle=0.5).info.pid
        wait_until(lambda: is_gone(pid), "the end of the hub")
        assert read_live() == []

    def test_when_the_last_node_has_left(self):
        found = start_hub(idle=1.0)
        pid = found.info.pid
        with link(found.endpoint.url, access_token=found.access_token, bus=Bus()) as one:
            with link(found.endpoint.url, access_token=found.access_token, bus=Bus(), name="other"):
                pass
            with pytest.raises(psutil.TimeoutExpired):
                psutil.Process(pid).wait(2.0)  # twice the time, and one is still there
            assert one.state == "linked"
        wait_until(lambda: is_gone(pid), "the end of the hub", timeout=10)

    def test_when_the_last_node_was_killed(self):
        pid = start_hub(idle=0.5).info.pid
        code = "import berrymq, sys; berrymq.link(); print('linked', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as node:
            assert node.stdout.readline() == b"linked\n"
            node.kill()
        wait_until(lambda: is_gone(pid), "the end of the hub", timeout=10)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_by_a_signal(self, number, runtime):
        pid = start_hub().info.pid
        os.kill(pid, number)
        wait_until(lambda: is_gone(pid), "the end of the hub")
        assert sorted(path.name for path in runtime.iterdir()) == ["hub.lock", "hub.log"]
        assert not is_locked(runtime / "hub.lock")


@pytest.mark.usefixtures("runtime")
class TestLinks:
    def test_the_first_starts_it_and_the_second_finds_it(self):
        with link(bus=Bus(), name="one") as one, link(bus=Bus(), name="two") as two:
            assert one.found_by == "started a hub"
            assert two.found_by == "connection file"
            assert one.url == two.url
            everyone = {"one", "two", "hub"}
            wait_until(lambda: {node.name for node in one.nodes()} == everyone, "news of the second")

    def test_move_to_its_successor(self):
        one_bus, two_bus = Bus(), Bus()
        received = Queue("test:*", bus=two_bus)
        with link(bus=one_bus, name="one") as one, link(bus=two_bus, name="two") as two:
            former = read_hub()
            os.kill(former.pid, signal.SIGKILL)
            wait_until(lambda: one.url == two.url != former.url, "new hub")
            wait_until(lambda: len(one.nodes()) == 3, "news of the second")
            assert len(read_live()) == 1
            one_bus.twitter("test:run", 1)
            assert received.get(timeout=10).args == (1,)

    def test_of_one_that_does_not_answer_say_so_and_start_no_second(self):
        pid = start_hub().info.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(LinkError):
                link(bus=Bus(), name="one", timeout=3)
            assert [info.pid for info in read_live()] == [pid]
        finally:
            os.kill(pid, signal.SIGCONT)
