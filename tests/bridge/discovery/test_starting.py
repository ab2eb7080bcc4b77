"""Starting a hub; here it is a program that only locks, publishes and says that it is ready."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from berrymq.bridge.discovery import starting
from berrymq.bridge.discovery.connection_file import publish, read_hub, read_live
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.file_lock import acquire, is_locked
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.discovery.runtime_directory import RuntimeDirectoryError
from berrymq.bridge.discovery.starting import hub_lock, launch_hub, start_hub
from berrymq.bridge.errors import LinkError
from tests.support.descriptors import open_files
from tests.support.waiting import wait_until

HUB = """
import os, signal, sys, time
from berrymq.bridge.discovery.connection_file import publish
from berrymq.bridge.discovery.starting import hub_lock
from berrymq.bridge.errors import LinkError

def end(*_):
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
delay = float(os.environ.get("STUB_DELAY", "0"))
try:
    with hub_lock():
        time.sleep(delay)
        url = f"http://127.0.0.1:{os.getpid() % 60_000 + 1024}/"
        with publish(url=url, access_token="sesame-open-sesame-open", name="hub", kind="hub"):
            print("ready", url, flush=True)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            os.close(nothing)
            time.sleep(120)
except LinkError as error:
    sys.exit(f"a line before it\\nberrymq: {error}")
"""

STARTER = """
import sys
from berrymq.bridge.discovery import starting
starting._command = lambda *arguments: [sys.executable, "-P", sys.argv[1], *arguments]
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "hub.py"
    path.write_text(HUB)
    return path


@pytest.fixture
def stub(monkeypatch, program, runtime):
    """Has the stub started in place of ``berrymq hub``."""
    command = lambda *arguments: [sys.executable, "-P", str(program), *arguments]
    monkeypatch.setattr(starting, "_command", command)
    return program


def starter(program, code):
    """A process of its own that starts a hub, or whatever the code does."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTER + textwrap.dedent(code), str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def stopped(stub):
    """A hub that runs, but does not answer."""
    found = start_hub()
    os.kill(found.info.pid, signal.SIGSTOP)
    yield found
    with suppress(ProcessLookupError):
        os.kill(found.info.pid, signal.SIGCONT)


def processes(program):
    """How many hubs run or are about to."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return sum(str(program) in line and "-S" not in line for line in lines)


@pytest.mark.usefixtures("stub")
class TestStart:
    def test_it_listens_when_it_is_there(self):
        found = start_hub()
        info = read_hub()
        assert (info.kind, info.name) == ("hub", "hub")
        assert (found.endpoint, found.access_token, found.info) == (info.endpoint, info.access_token, info)
        assert found.found_by == "started a hub"
        assert found.access_token not in repr(found)

    def test_what_it_is_told(self):
        start_hub(idle=7.5)
        assert psutil.Process(read_hub().pid).cmdline()[3:] == ["--idle", "7.5", "--detach-when-ready"]

    def test_one_that_runs_is_found(self):
        first = launch_hub(["--port", "8137"])
        assert first.is_new
        assert launch_hub(["--port", "8138"]) == (first.info, False)
        found = start_hub()
        assert (found.info, found.found_by) == (first.info, "connection file")

    def test_it_is_a_process_apart(self):
        with socket.create_server(("127.0.0.1", 0)) as ours:
            ours.set_inheritable(True)
            start_hub()
            process = psutil.Process(read_hub().pid)
            assert os.getpid() not in [parent.pid for parent in process.parents()]
            assert os.getsid(process.pid) == process.pid
            assert process.cwd() == "/"
            assert process.terminal() is None
            held = open_files(process.pid).values()
            assert f"socket:[{os.fstat(ours.fileno()).st_ino}]" not in held
            assert not [name for name in held if name.startswith("pipe:")]
        assert psutil.Process().children() == []  # not even one that has ended

    def test_it_does_not_take_over_what_belongs_to_the_notebook(self, monkeypatch):
        for name in ("JPY_SESSION_NAME", "JPY_PARENT_PID", "BERRYMQ_HUB_TOKEN", "JUPYTERHUB_API_TOKEN"):
            monkeypatch.setenv(name, "1")
        start_hub()
        environ = psutil.Process(read_hub().pid).environ()
        assert not [name for name in environ if name.startswith(("JPY_", "BERRYMQ_HUB_", "JUPYTERHUB"))]
        assert environ["BERRYMQ_RUNTIME_DIR"] == os.environ["BERRYMQ_RUNTIME_DIR"]


class TestOneHub:
    def test_threads_that_start_one_at_once_get_the_same(self, stub):
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: start_hub(), range(8)))
        assert len({each.endpoint for each in found}) == 1
        assert [each.found_by for each in found].count("started a hub") == 1
        wait_until(lambda: processes(stub) == 1, "the end of those that came too late", timeout=5)
        assert len(read_live()) == 1

    @pytest.mark.parametrize("delay", ["0", "0.3"])
    def test_processes_that_start_one_at_once_get_the_same(self, stub, runtime, monkeypatch, delay):
        monkeypatch.setenv("STUB_DELAY", delay)
        code = "found = starting.start_hub(); print(found.endpoint, found.found_by, sep='|')"
        starters = [starter(stub, code) for _ in range(5)]
        results = [process.communicate(timeout=30) for process in starters]
        assert [errors for _, errors in results] == [""] * 5
        told = [output.strip().split("|") for output, _ in results]
        assert len({url for url, _ in told}) == 1
        assert [found_by for _, found_by in told].count("started a hub") == 1
        wait_until(lambda: processes(stub) == 1, "the end of those that came too late", timeout=5)

    def test_one_that_died_is_followed_by_another(self, stub):
        first = start_hub()
        os.kill(first.info.pid, signal.SIGKILL)
        wait_until(lambda: read_hub() is None, "its end")
        second = start_hub(unanswered=[first])
        assert second.info.pid != first.info.pid
        assert second.found_by == "started a hub"

    def test_one_that_is_about_to_end_is_waited_for(self, stub, runtime):
        """It has removed its connection file, and holds the lock while it lets the last nodes go."""
        ending = acquire(runtime / "hub.lock")
        threading.Timer(0.2, ending.release).start()
        assert start_hub().found_by == "started a hub"

    def test_one_that_is_about_to_listen_is_waited_for(self, stub, monkeypatch):
        monkeypatch.setenv("STUB_DELAY", "0.5")
        first = starter(stub, "print(starting.start_hub().endpoint)")
        wait_until(lambda: processes(stub) == 1, "the first hub", interval=0.01)
        found = start_hub()
        assert first.communicate()[0].strip() == found.endpoint.url
        assert processes(stub) == 1

    def test_one_that_is_killed_while_it_starts_is_followed_by_another(self, stub, runtime, monkeypatch):
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from berrymq.bridge.discovery.starting import *; h = hub_lock(); input()",
            ],
            stdin=subprocess.PIPE,
        )
        wait_until(lambda: is_locked(runtime / "hub.lock"), "the lock", interval=0.01)
        threading.Timer(0.2, holder.kill).start()
        assert start_hub().found_by == "started a hub"
        holder.communicate()


class TestAHubThatDoesNotAnswer:
    def test_is_no_reason_to_start_another(self, stub, stopped):
        for unanswered in ([stopped], [Found(stopped.endpoint, "t", "environment")]):
            pid = stopped.info.pid
            with pytest.raises(
                LinkError, match=rf"\(process {pid}\) did not answer in time: .*kill -9 {pid}"
            ):
                start_hub(unanswered=unanswered)
        assert processes(stub) == 1

    def test_is_found_as_long_as_nobody_has_tried_it(self, stopped):
        elsewhere = Found(Endpoint.parse("http://127.0.0.1:1/"), "t", "environment")
        assert start_hub(unanswered=[elsewhere]).info == stopped.info

    def test_may_have_been_about_to_end(self, stub, stopped):
        threading.Timer(0.2, os.kill, (stopped.info.pid, signal.SIGKILL)).start()
        assert start_hub(unanswered=[stopped]).info.pid != stopped.info.pid

    def test_is_told_from_a_later_one_at_the_same_port(self, runtime):
        with publish(url="http://127.0.0.1:8137/", access_token="t", name="former", kind="hub") as file:
            former = Found(file.info.endpoint, "t", "connection file", file.info)
        with publish(url="http://127.0.0.1:8137/", access_token="t", name="later", kind="hub") as file:
            assert start_hub(unanswered=[former]).info == file.info

    def test_before_it_listens_is_told_by_its_number(self, stub, runtime):
        with (
            hub_lock(),
            pytest.raises(LinkError, match=rf"\(process {os.getpid()}\) has not been ready for 0\.1 s"),
        ):
            start_hub(timeout=0.1)
        assert processes(stub) == 0


class TestTheLock:
    def test_is_for_one(self, runtime):
        with hub_lock() as lock:
            assert lock.is_at(runtime / "hub.lock")
            with pytest.raises(LinkError, match=rf"runs already \(process {os.getpid()}\)"):
                hub_lock()
        hub_lock(runtime).release()

    def test_that_was_tidied_away_still_is(self, runtime):
        with hub_lock(), publish(url="http://h:1/", access_token="t", name="hub", kind="hub"):
            (runtime / "hub.lock").unlink()
            with pytest.raises(LinkError, match=rf"runs already \(process {os.getpid()}\)"):
                hub_lock()
        hub_lock().release()

    def test_is_taken_from_those_who_only_look(self, runtime):
        stop = threading.Event()

        def look():
            while not stop.is_set():
                is_locked(runtime / "hub.lock")

        looking = threading.Thread(target=look)
        looking.start()
        try:
            for _ in range(200):
                hub_lock().release()
        finally:
            stop.set()
            looking.join()

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
    def test_something_else_in_its_place(self, runtime, make):
        make(runtime / "hub.lock")
        with pytest.raises(LinkError, match=r"can't lock .*hub.lock: it is not a regular file"):
            hub_lock()

    @pytest.mark.parametrize("content", ["", "\xff", "x", "12 34"])
    def test_of_a_process_that_has_not_said_which_it_is(self, runtime, content):
        with acquire(runtime / "hub.lock"):
            (runtime / "hub.lock").write_text(content, encoding="latin-1")
            with pytest.raises(LinkError, match=r"runs already$"):
                hub_lock()


class TestAHubThatCanNotBeStarted:
    def started(self, monkeypatch, code):
        monkeypatch.setattr(starting, "_command", lambda *_: [sys.executable, "-c", code])
        with pytest.raises(LinkError) as caught:
            start_hub(timeout=5)
        return str(caught.value)

    def test_gives_its_reason(self, runtime, monkeypatch):
        code = "import sys; sys.exit('Traceback\\nberrymq: nothing here')"
        assert self.started(monkeypatch, code) == "can't start a hub: nothing here"

    def test_or_none(self, runtime, monkeypatch):
        assert (
            self.started(monkeypatch, "raise SystemExit(3)")
            == "can't start a hub: it ended without saying why"
        )

    def test_or_is_ready_and_gone(self, runtime, monkeypatch):
        assert (
            self.started(monkeypatch, "print('ready http://h:1/')") == "can't start a hub: it ended at once"
        )

    def test_or_has_the_lock_in_its_way(self, stub, runtime):
        (runtime / "hub.lock").mkdir()
        with pytest.raises(LinkError, match=r"can't start a hub: can't lock .*not a regular file"):
            start_hub()

    def test_in_time_is_killed(self, stub, runtime, monkeypatch):
        monkeypatch.setenv("STUB_DELAY", "60")
        with pytest.raises(LinkError, match=r"did not start within 0\.\d+ seconds"):
            start_hub(timeout=0.5)
        wait_until(lambda: processes(stub) == 0, "its end", timeout=5)
        monkeypatch.setenv("STUB_DELAY", "0")
        assert start_hub().found_by == "started a hub"

    def test_in_no_time(self, stub):
        with pytest.raises(LinkError, match="did not start within 0 seconds"):
            start_hub(timeout=0)

    def test_without_a_private_directory(self, stub, runtime):
        runtime.chmod(0o755)
        with pytest.raises(RuntimeDirectoryError, match="open to other users"):
            start_hub()


@pytest.mark.usefixtures("runtime")
class TestThePython:
    @pytest.mark.parametrize(
        "name",
        [
            "python",
            "python3",
            "python3.11",
            "python3.13t",
            "Python",
            "PYTHON.EXE",
            "pythonw.exe",
            "python_d.exe",
            "python3-intel64",
            "python3.11-dbg",
            ".python3.12-wrapped",
            "pypy3.11",
            "graalpy",
        ],
    )
    def test_is_told_by_its_name(self, monkeypatch, name):
        monkeypatch.setattr(sys, "executable", f"/nowhere/{name}")
        assert starting._command("--idle", "1") == [
            f"/nowhere/{name}", "-P", "-m", "berrymq", "hub", "--idle", "1",
        ]  # fmt: skip

    def test_may_have_another_name_that_leads_to_it(self, monkeypatch, tmp_path):
        (tmp_path / "py3").symlink_to("/nowhere/python3.11")
        monkeypatch.setattr(sys, "executable", str(tmp_path / "py3"))
        assert starting._command()[0] == str(tmp_path / "py3")

    @pytest.mark.parametrize(
        "name",
        [
            "app",
            "blender",
            "R",
            "uwsgi",
            "pythonista",
            "python-app.bin",
            "mypython",
            "Python App",
            "ruby.exe",
        ],
    )
    def test_an_application_does_not_start_itself_again(self, monkeypatch, name):
        monkeypatch.setattr(sys, "executable", f"/nowhere/{name}")
        with pytest.raises(
            LinkError, match=rf"'{name}' is not a Python interpreter; start one by hand with: berrymq hub"
        ):
            start_hub()

    def test_nor_does_one_that_is_frozen(self, monkeypatch):
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        with pytest.raises(LinkError, match="not a Python interpreter; start one by hand with: berrymq hub"):
            start_hub()

    @pytest.mark.parametrize("executable", [None, ""])
    def test_that_has_no_executable(self, monkeypatch, executable):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(LinkError, match="has no executable; start one by hand with: berrymq hub"):
            start_hub()

    def test_that_is_not_there(self, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(LinkError, match=r"can't start a hub with .*python: No such file or directory"):
            start_hub()

    def test_finds_our_package_in_a_source_tree_after_what_the_user_says(self, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", "/theirs")
        root = str(Path(starting.__file__).parents[3])
        assert starting._environment()["PYTHONPATH"] == f"/theirs{os.pathsep}{root}"
        monkeypatch.setattr(starting, "_ROOT", Path("/usr/lib/python3/dist-packages"))
        assert starting._environment()["PYTHONPATH"] == "/theirs"


class TestAnEndingInterpreter:
    def test_that_can_start_no_process_any_more(self, stub, monkeypatch):
        def refuse(*_, **__):
            raise RuntimeError("can't fork at interpreter shutdown")

        monkeypatch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(LinkError, match="this process is ending: can't fork at interpreter shutdown"):
            start_hub()

    def test_an_exit_handler_gets_a_hub_or_a_link_error(self, stub):
        """Which of both, is up to the version of Python."""
        process = starter(
            stub,
            """
            import atexit
            from berrymq.bridge.errors import LinkError

            @atexit.register
            def last():
                try:
                    print(starting.start_hub().found_by)
                except LinkError as error:
                    print(error)
            """,
        )
        output, errors = process.communicate(timeout=30)
        assert output.startswith(("started a hub", "can't start a hub, for this process is ending"))
        assert not errors
