"""The hub's process, started for real."""

import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from berrymq import Bus, Queue
from berrymq.bridge import link
from berrymq.bridge.discovery.connection_file import publish, read_all
from berrymq.bridge.discovery.running_servers import answers
from berrymq.bridge.errors import LinkError
from berrymq.bridge.hub import starting as hub
from berrymq.bridge.hub.starting import start_hub
from tests.support.waiting import wait_until


def the_hub():
    (info,) = read_all()
    return info


def gone(pid):
    """What has ended but was not collected yet by its parent, whoever that is here, is gone, too."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("runtime")
class TestStartHub:
    def test_it_answers_when_it_is_there(self):
        found = start_hub()
        info = the_hub()
        assert (info.kind, info.name) == ("hub", "hub")
        assert (found.url, found.access_token) == (info.url, info.access_token)
        assert found.found_by == "started a hub"
        assert answers(found.url, found.access_token)
        assert not answers(found.url, "another-token-of-some-length")

    def test_it_is_a_process_apart(self, runtime):
        with socket.create_server(("127.0.0.1", 0)) as ours:
            ours.set_inheritable(True)
            start_hub()
            process = psutil.Process(the_hub().pid)
            assert os.getpid() not in [parent.pid for parent in process.parents()]
            assert os.getsid(process.pid) == process.pid
            assert process.cwd() == "/"
            assert process.terminal() is None
            files = Path(f"/proc/{process.pid}/fd")
            held = [str(file.readlink()) for file in files.iterdir()]
            assert f"socket:[{os.fstat(ours.fileno()).st_ino}]" not in held
            assert [str((files / number).readlink()) for number in "012"] == [os.devnull] * 3
            assert not [name for name in held if name.startswith("pipe:")]

    def test_its_secret_is_in_no_list_of_processes(self):
        found = start_hub()
        process = psutil.Process(the_hub().pid)
        assert found.access_token not in " ".join([*process.cmdline(), *process.environ().values()])

    def test_it_does_not_take_over_what_belongs_to_the_notebook(self, monkeypatch):
        for name in ("JPY_SESSION_NAME", "JPY_PARENT_PID", "BERRYMQ_HUB_TOKEN", "JUPYTERHUB_API_TOKEN"):
            monkeypatch.setenv(name, "1")
        start_hub()
        environ = psutil.Process(the_hub().pid).environ()
        assert not [name for name in environ if name.startswith(("JPY_", "BERRYMQ_HUB_", "JUPYTERHUB"))]
        assert environ["BERRYMQ_RUNTIME_DIR"] == os.environ["BERRYMQ_RUNTIME_DIR"]

    def test_who_start_one_at_once_get_the_same(self):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: start_hub(), range(4)))
        assert len({each.url for each in found}) == 1
        assert [each.found_by for each in found].count("started a hub") == 1
        assert len(read_all()) == 1

    def test_one_that_died_is_followed_by_another(self):
        first = start_hub()
        os.kill(the_hub().pid, signal.SIGKILL)
        second = start_hub()
        assert second.url != first.url
        assert second.found_by == "started a hub"

    def test_a_jupyter_server_is_a_hub_as_well(self, runtime):
        first = start_hub()
        (file,) = runtime.glob("hub-*.json")
        pid = the_hub().pid
        file.unlink()
        with publish(url=first.url, access_token=first.access_token, name="jupyter-8888", kind="jupyter"):
            assert start_hub().url == first.url
        psutil.Process(pid).terminate()

    def test_one_that_hangs_is_followed_by_another(self):
        first = start_hub()
        stopped = the_hub().pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert start_hub().url != first.url
        finally:
            os.kill(stopped, signal.SIGCONT)

    def test_it_writes_a_private_log(self, runtime):
        start_hub()
        assert stat.S_IMODE((runtime / "hub.log").stat().st_mode) == 0o600

    def test_it_can_not_be_started_in_time(self):
        with pytest.raises(LinkError, match=r"did not start within 0\.01 seconds"):
            start_hub(timeout=0.01)

    def test_it_has_no_private_place(self, runtime):
        runtime.chmod(0o755)
        with pytest.raises(LinkError, match=r"can't start a hub: .* is open to other users"):
            start_hub()

    def test_it_can_not_write(self, runtime):
        (runtime / "hub.lock").mkdir()
        with pytest.raises(LinkError, match=r"can't start a hub: .*Is a directory"):
            start_hub()

    def test_it_dies_of_an_error_of_its_own(self, runtime):
        (runtime / "hub.log").mkdir()
        with pytest.raises(LinkError, match=r"can't start a hub: can't write .*hub.log: Is a directory"):
            start_hub()

    def test_a_python_that_has_no_executable(self, monkeypatch):
        monkeypatch.setattr(sys, "executable", None)
        with pytest.raises(LinkError, match=r"has no executable\. Start one with: berrymq hub"):
            start_hub()

    def test_a_python_that_can_not_be_started(self, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(LinkError, match=r"can't start a hub with .*: No such file or directory"):
            start_hub()

    def test_a_python_without_berrymq(self, monkeypatch):
        monkeypatch.setattr(
            hub, "_command", lambda *_: [sys.executable, "-c", "raise SystemExit('berrymq: nothing here')"]
        )
        with pytest.raises(LinkError, match="can't start a hub: nothing here"):
            start_hub()

    def test_a_starter_that_says_nothing(self, monkeypatch):
        monkeypatch.setattr(hub, "_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
        with pytest.raises(LinkError, match="its starter ended with code 3"):
            start_hub()

    def test_somebody_else_is_starting_one_for_ever(self, monkeypatch, runtime):
        with (
            hub.file_lock(runtime / "hub.lock", 0),
            pytest.raises(LinkError, match="starting a hub for 0 seconds"),
        ):
            hub.launch_hub(timeout=0)


@pytest.mark.usefixtures("runtime")
class TestItsEnd:
    def test_when_nobody_comes(self):
        start_hub(idle=1.0)
        pid = read_all()[0].pid if read_all() else None
        wait_until(lambda: read_all() == [], "removal of the connection file")
        assert pid is None or wait_until(lambda: gone(pid), "end of the process")

    def test_when_the_last_has_left(self):
        found = start_hub(idle=1.0)
        pid = the_hub().pid
        with link(found.url, access_token=found.access_token, bus=Bus()) as one:
            with link(found.url, access_token=found.access_token, bus=Bus(), name="other"):
                pass
            with pytest.raises(psutil.TimeoutExpired):
                psutil.Process(pid).wait(2.0)  # twice the time, and one is still there
            assert one.state == "linked"
        wait_until(lambda: gone(pid), "end of the hub", timeout=10)

    def test_a_node_that_was_killed_has_left(self):
        found = start_hub(idle=0.5)
        pid = the_hub().pid
        code = "import berrymq, sys; berrymq.link(); print('linked', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as node:
            assert node.stdout.readline() == b"linked\n", found
            node.kill()
        wait_until(lambda: gone(pid), "end of the hub", timeout=10)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_by_a_signal(self, number, runtime):
        start_hub()
        pid = the_hub().pid
        os.kill(pid, number)
        wait_until(lambda: gone(pid), "end of the hub")
        assert sorted(path.name for path in runtime.iterdir()) == ["hub.lock", "hub.log"]


@pytest.mark.usefixtures("runtime")
class TestItIsFoundAndStarted:
    def test_the_first_link_starts_it_and_the_second_finds_it(self):
        with link(bus=Bus(), name="one") as one, link(bus=Bus(), name="two") as two:
            assert one.found_by == "started a hub"
            assert two.found_by == "connection file"
            assert one.url == two.url
            everyone = {"one", "two", "hub"}
            wait_until(lambda: {node.name for node in one.nodes()} == everyone, "news of the second")

    def test_its_nodes_move_to_its_successor(self):
        one_bus, two_bus = Bus(), Bus()
        heard = Queue("test:*", bus=two_bus)
        with link(bus=one_bus, name="one") as one, link(bus=two_bus, name="two") as two:
            former = one.url
            os.kill(the_hub().pid, signal.SIGKILL)
            wait_until(
                lambda: {one.state, two.state} == {"linked"} and one.url == two.url != former, "new hub"
            )
            assert len(read_all()) == 1
            one_bus.twitter("test:run", 1)
            assert heard.get(timeout=10).args == (1,)
