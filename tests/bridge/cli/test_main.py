"""The command line, in processes of its own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pexpect
import psutil
import pytest

from berrymq import Bus, Queue
from berrymq.bridge import connect_via_queue, link
from berrymq.bridge.discovery.connection_file import publish, read_live
from berrymq.bridge.discovery.starting import start_hub
from tests.support.waiting import wait_until

COMMAND = [sys.executable, "-m", "berrymq"]
TIMEOUT = 30

pytestmark = pytest.mark.usefixtures("runtime")


def berrymq(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@contextmanager
def running(*arguments, **options):
    """One that runs until the block ends."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, *arguments], text=True, **pipes | options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def here():
    """This process, linked to a hub."""
    found = start_hub()
    bus = Bus()
    with link(found.endpoint.url, access_token=found.access_token, bus=bus, name="here") as joined:
        yield bus, joined


def followed(joined, identifier):
    """Wait until a program follows it."""
    wait_until(
        lambda: [node for node in joined.nodes() if not node.here and identifier in node.follows],
        f"follower of {identifier}",
    )


class TestHelp:
    @pytest.mark.parametrize("command", [[], ["hub"], ["follow"], ["twitter"], ["get"], ["nodes"]])
    def test_each_has_one_with_examples(self, command):
        done = berrymq(*command, "--help")
        assert done.returncode == 0
        assert " ".join(["usage: berrymq", *command]) in done.stdout
        assert "examples:\n  berrymq" in done.stdout
        assert "==SUPPRESS==" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 100

    def test_version(self):
        assert berrymq("--version").stdout == f"berrymq {metadata.version('berrymq')}\n"

    def test_it_is_installed_as_berrymq(self):
        (script,) = metadata.entry_points(group="console_scripts", name="berrymq")
        assert script.value == "berrymq.bridge.cli:main"

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ([], "the following arguments are required: COMMAND"),
            (["sing"], "invalid choice: 'sing'"),
            (["follow"], "the following arguments are required: IDENTIFIER"),
            (["follow", "a:b:c"], "argument IDENTIFIER: "),
            (["twitter", "test:run", "x=1", "x=2"], "the keyword x is given twice"),
            (["twitter"], "berrymq twitter: error: the following arguments are required: IDENTIFIER\n"),
            (
                ["twitter", "_test:run"],
                "a name that begins with '_' never leaves its process: _test:run",
            ),
            (
                ["twitter", "test:run", "--loud"],
                "arguments: --loud; a value that begins with - stands behind --",
            ),
            (["nodes", "all"], "berrymq nodes: error: unrecognized arguments: all"),
            (["get", "test:*", "--timeout", "soon"], "argument --timeout: soon is not a number of seconds"),
            (["hub", "--port", "70000"], "70000 is not a port"),
            (["hub", "--allow-origin", "example.org"], "'example.org' is not an origin"),
            (["hub", "--access-token", "x"], "unrecognized arguments: --access-token x"),
        ],
    )
    def test_a_wrong_command_line(self, arguments, text):
        done = berrymq(*arguments)
        assert done.returncode == 2
        assert text in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


class TestHub:
    def test_it_says_where_it_is_and_ends_at_ctrl_c(self):
        with running("hub") as process:
            line = process.stdout.readline()
            (info,) = read_live()
            assert line == f"berryMQ hub at {info.url}\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 130
            assert err == ""
            assert info.access_token not in out
            assert read_live() == []

    def test_it_ends_at_sigterm(self):
        with running("hub") as process:
            process.stdout.readline()
            process.terminate()
            assert process.wait(TIMEOUT) == 0

    def test_at_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            done = berrymq("hub", "--port", str(port))
        assert done.returncode == 1
        assert done.stderr == f"berrymq: can't listen on 127.0.0.1:{port}: Address already in use\n"

    def test_where_one_runs_already_its_address_is_named(self):
        with running("hub") as process:
            process.stdout.readline()
            (info,) = read_live()
            done = berrymq("hub")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"berrymq: a hub of yours runs already at {info.url} (process {info.pid})\n"

    @pytest.mark.parametrize("more", [[], ["--detached"]])
    def test_a_file_in_the_place_of_the_runtime_directory(self, more, tmp_path):
        file = tmp_path / "file"
        file.touch()
        done = berrymq("hub", *more, BERRYMQ_RUNTIME_DIR=str(file))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"berrymq: can't use {file} for connection files: ")
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGHUP", "SIGINT"])
    def test_when_it_ends_its_nodes_are_not_left_waiting(self, signal_name):
        with running("hub") as process:
            url = process.stdout.readline().split()[-1]
            with running("follow", "test:*") as following:
                wait_until(lambda: "test:*" in berrymq("nodes").stdout, "the follower")
                process.send_signal(getattr(signal, signal_name))
                assert process.wait(TIMEOUT) == (130 if signal_name == "SIGINT" else 0)
                assert following.poll() is None
                wait_until(lambda: [info for info in read_live() if info.url != url], "the next hub")

    def test_its_memory_is_bounded_as_told(self):
        with running("hub", "--memory", "1", "--idle", "600") as process:
            url = process.stdout.readline().split()[-1]
            info = read_live()[0]
            with connect_via_queue(url, "test:*", access_token=info.access_token) as queue:
                bus = Bus()
                with link(url, access_token=info.access_token, bus=bus) as joined:
                    for number in range(64):
                        bus.twitter("test:run", number, text="x" * 65536)
                    assert joined.flush(TIMEOUT)
                first = queue.get(timeout=TIMEOUT)
                assert first.args[0] > 40

    @pytest.mark.parametrize("more", [[], ["--detached"]])
    def test_beyond_this_machine_it_needs_tls_or_a_flag(self, more):
        done = berrymq("hub", "--host", "0.0.0.0", *more)
        assert done.returncode == 2
        assert "give --certificate FILE, or --allow-insecure" in done.stderr
        assert read_live() == []

    @pytest.mark.parametrize(
        ("host", "where"),
        [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],
    )
    def test_it_is_found_wherever_it_listens(self, host, where):
        with running("hub", "--host", host, "--allow-insecure") as process:
            assert process.stdout.readline().startswith(f"berryMQ hub at http://{where}:")
            assert "hub" in berrymq("nodes").stdout

    def test_an_access_token_from_a_file(self, tmp_path):
        file = tmp_path / "token"
        file.write_text("sesame-open-sesame-open\n")
        with running("hub", "--access-token-file", str(file)) as process:
            process.stdout.readline()
            assert read_live()[0].access_token == "sesame-open-sesame-open"

    @pytest.mark.parametrize(
        ("content", "text"),
        [(b"short", "16 to 1024 characters"), (b"\xff" * 20, "can't read"), (None, "No such file")],
    )
    def test_a_bad_access_token(self, tmp_path, content, text):
        file = tmp_path / "token"
        if content is not None:
            file.write_bytes(content)
        done = berrymq("hub", "--access-token-file", str(file))
        assert done.returncode == 1
        assert text in done.stderr
        assert done.stderr.count("\n") == 1

    def test_a_bad_certificate(self, tmp_path):
        done = berrymq("hub", "--certificate", str(tmp_path / "none.pem"))
        assert done.returncode == 1
        assert "No such file" in done.stderr
        assert done.stderr.count("\n") == 1

    def test_in_the_background(self):
        done = berrymq("hub", "--detached", "--idle", "30")
        (info,) = read_live()
        assert (done.returncode, done.stdout) == (0, f"started {info.url}\n")
        again = berrymq("hub", "--detached")
        assert (again.returncode, again.stdout) == (0, f"already running {info.url}\n")

    def test_in_the_background_with_all_its_options(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "token").write_text("sesame-open-sesame-open")
        options = [
            "--host=localhost",
            "--port=0",
            "--allow-insecure",
            "--allow-host=lab",
            "--allow-origin=http://lab",
        ]
        done = berrymq("hub", "--detached", "--access-token-file", "token", *options)
        assert done.returncode == 0, done.stderr
        assert read_live()[0].access_token == "sesame-open-sesame-open"

    def test_in_the_background_it_reports_what_went_wrong(self, tmp_path):
        done = berrymq("hub", "--detached", "--certificate", str(tmp_path / "none.pem"))
        assert done.returncode == 1
        assert "No such file" in done.stderr
        assert done.stderr.startswith("berrymq: ")
        assert done.stderr.count("\n") == 1


class TestFollow:
    def test_prints_messages_as_they_come(self, here):
        bus, joined = here
        with running("follow", "test:*") as process:
            followed(joined, "test:*")
            bus.twitter("test:run", 1, x="a")
            assert process.stdout.readline().endswith("  test:run  here  1, x='a'\n")
            bus.twitter("other:run")
            bus.twitter("test:stop")
            assert process.stdout.readline().endswith("  test:stop  here\n")

    def test_as_json(self, here):
        bus, joined = here
        with running("follow", "--json", "test:*") as process:
            followed(joined, "test:*")
            bus.twitter("test:run", 1, x=None)
            said = json.loads(process.stdout.readline())
            assert said.pop("sent_at") > 1.6e9
            assert said == {"id": "test:run", "args": [1], "kwargs": {"x": None}, "source": "here"}

    def test_what_matches_twice_is_printed_once(self, here):
        bus, joined = here
        with running("follow", "test:*", "*:run") as process:
            followed(joined, "*:run")
            bus.twitter("test:run")
            bus.twitter("other:run")
            assert "test:run" in process.stdout.readline()
            assert "other:run" in process.stdout.readline()

    def test_ctrl_c_ends_it_cleanly(self, here):
        with running("follow", "test:*") as process:
            followed(here[1], "test:*")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT)
            assert (process.returncode, out, err) == (130, "", "")

    def test_so_does_a_reader_that_has_read_enough(self, here):
        bus, joined = here
        with running("follow", "test:*") as process:
            followed(joined, "test:*")
            process.stdout.close()
            bus.twitter("test:run")
            assert process.wait(TIMEOUT) == 0
            assert process.stderr.read() == ""

    def test_a_reader_that_lags_loses_nothing(self, here):
        bus, joined = here
        with running("follow", "--json", "test:*") as process:
            followed(joined, "test:*")
            for number in range(5000):
                bus.twitter("test:run", number)
            assert [json.loads(process.stdout.readline())["args"] for _ in range(5000)] == [
                [n] for n in range(5000)
            ]

    def test_it_starts_a_hub_where_there_is_none(self):
        with running("follow", "test:*"):
            wait_until(lambda: [info for info in read_live() if info.kind == "hub"], "a hub")

    def test_in_colour_on_a_terminal(self, here):
        bus, joined = here
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        terminal = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "follow", "test:*"],
            env=environment | {"TERM": "xterm"},
            encoding="utf-8",
            timeout=TIMEOUT,
        )
        followed(joined, "test:*")
        bus.twitter("test:run")
        terminal.expect_exact("\x1b[36;1mtest:run\x1b[0m")
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 130


class TestTwitter:
    def test_sends_a_message(self, here):
        bus, joined = here
        queue = Queue("test:*", bus=bus)
        assert joined.flush(TIMEOUT)
        done = berrymq("twitter", "test:run", "1", "x=2", "two words", "--name", "cli")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        message = queue.get(timeout=TIMEOUT)
        assert (message.id, message.args, dict(message.kwargs)) == ("test:run", (1, "two words"), {"x": 2})
        assert message.source == "cli"

    def test_options_may_stand_among_the_values(self, here):
        bus, joined = here
        queue = Queue("test:*", bus=bus)
        assert joined.flush(TIMEOUT)
        done = berrymq("twitter", "test:run", "1", "--name", "cli", "x=2", "3")
        assert (done.returncode, done.stderr) == (0, "")
        message = queue.get(timeout=TIMEOUT)
        assert (message.args, dict(message.kwargs), message.source) == ((1, 3), {"x": 2}, "cli")

    def test_negative_numbers(self, here):
        bus, joined = here
        queue = Queue("test:*", bus=bus)
        assert joined.flush(TIMEOUT)
        berrymq("twitter", "test:run", "--", "-1", "-x")
        assert queue.get(timeout=TIMEOUT).args == (-1, "-x")

    def test_says_when_nobody_follows(self, here):
        done = berrymq("twitter", "test:run")
        assert (done.returncode, done.stderr) == (0, "berrymq: no followers of test:run at present\n")

    def test_without_a_hub(self):
        done = berrymq("twitter", "test:run")
        assert done.returncode == 1
        assert done.stderr.startswith("berrymq: no hub of yours runs on this machine")
        assert read_live() == []

    def test_to_a_hub_that_does_not_answer(self):
        with publish(url="http://127.0.0.1:9/", access_token="x" * 20, name="gone", kind="hub"):
            done = berrymq("twitter", "test:run")
        assert done.returncode == 1
        assert done.stderr.startswith("berrymq: nothing is listening at http://127.0.0.1:9/")
        assert done.stderr.count("\n") == 1

    def test_to_a_place_that_is_none(self):
        done = berrymq("twitter", "--url", "http://127.0.0.1:9/", "test:run")
        assert done.returncode == 1
        assert "http://127.0.0.1:9/" in done.stderr
        assert done.stderr.count("\n") == 1


class TestGet:
    def test_options_may_stand_among_the_identifiers(self):
        done = berrymq("get", "a:*", "--timeout", "0.1", "b:*")
        assert (done.returncode, done.stderr) == (1, "berrymq: no message within 0.1 seconds\n")
        done = berrymq("get", "a:*", "--timeout", "0.1", "b:c:d")
        assert done.returncode == 2
        assert "more than one ':'" in done.stderr

    def test_prints_the_next_message(self, here):
        bus, joined = here
        with running("get", "task:*") as process:
            followed(joined, "task:*")
            bus.twitter("task:new", 1)
            bus.twitter("task:new", 2)
            out, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, err
            assert out.endswith("  task:new  here  1\n")
            assert out.count("\n") == 1

    def test_or_several(self, here):
        bus, joined = here
        with running("get", "task:*", "--count", "2", "--json") as process:
            followed(joined, "task:*")
            bus.twitter("task:new", 1)
            bus.twitter("task:new", 2)
            out, _ = process.communicate(timeout=TIMEOUT)
            assert [json.loads(line)["args"] for line in out.splitlines()] == [[1], [2]]

    def test_waits_no_longer_than_told(self, here):
        done = berrymq("get", "task:*", "--timeout", "0.1")
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "",
            "berrymq: no message within 0.1 seconds\n",
        )


class TestNodes:
    def test_lists_who_is_there(self, here):
        bus, joined = here
        with bus.follow("test:*", print):
            assert joined.flush(TIMEOUT)
            lines = berrymq("nodes").stdout.splitlines()
        assert lines[0].split() == ["NODE", "FOLLOWS"]
        assert sorted(line.split() for line in lines[1:]) == [["here", "test:*"], ["hub", "(hub)"]]

    def test_as_json(self, here):
        lines = berrymq("nodes", "--json").stdout.splitlines()
        assert {json.loads(line)["name"] for line in lines} == {"here", "hub"}

    def test_of_a_room(self, here):
        assert "here" not in berrymq("nodes", "--room", "other").stdout


class TestAccess:
    """A hub that only its access token leads to."""

    @pytest.fixture
    def place(self, tmp_path, monkeypatch):
        token = tmp_path / "token"
        token.touch(stat.S_IRUSR | stat.S_IWUSR)
        token.write_text("sesame-open-sesame-open")
        with running("hub", "--access-token-file", str(token)) as process:
            url = process.stdout.readline().split()[-1]
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path / "elsewhere"))
            yield url, token

    def test_from_a_file(self, place):
        url, token = place
        assert "hub" in berrymq("nodes", "--url", url, "--access-token-file", str(token)).stdout

    def test_from_the_environment(self, place):
        url, token = place
        assert "hub" in berrymq("nodes", BERRYMQ_HUB_URL=url, BERRYMQ_HUB_TOKEN=token.read_text()).stdout
        assert "hub" in berrymq("nodes", "--url", url, BERRYMQ_HUB_TOKEN=token.read_text()).stdout

    def test_none(self, place):
        done = berrymq("nodes", "--url", place[0])
        assert done.returncode == 1
        assert done.stderr == (
            f"berrymq: no link to {place[0]}: an access token is required: "
            "pass it with --access-token-file FILE\n"
        )

    def test_a_wrong_one_is_not_shown(self, place):
        done = berrymq("nodes", "--url", place[0], BERRYMQ_HUB_TOKEN="wrong-wrong-wrong-wrong")
        assert done.returncode == 1
        assert "wrong-wrong" not in done.stderr


class TestWhoWatches:
    """Who only prints what passes takes no part in it."""

    @pytest.mark.parametrize("command", ["follow", "get"])
    def test_it_answers_no_question(self, here, command):
        bus, joined = here
        asker = Bus()
        hub = read_live()[0]
        with (
            running(command, "calc:*") as process,
            bus.follow("calc:add", lambda message: sum(message.args)),
            link(hub.url, access_token=hub.access_token, bus=asker, name="asker") as asking,
        ):
            followed(joined, "calc:*")
            wait_until(lambda: asking.is_followed("calc:add"), "the follower that answers")
            assert asker.ask("calc:add", 1, 2, timeout=TIMEOUT) == [3]
            assert process.stdout.readline().endswith("  calc:add  asker  1, 2\n")
            if command == "follow":  # the other has got what it waited for
                assert asker.ask("calc:other", timeout=TIMEOUT) == []
                assert process.stdout.readline().endswith("  calc:other  asker\n")

    def test_it_sends_nothing_to_a_callback(self, here):
        bus, joined = here
        answers = Queue("calc:sum", bus=bus)
        with running("follow", "calc:*") as process:
            followed(joined, "calc:*")
            bus.talk("calc:add", "calc:sum", 1, 2)
            assert process.stdout.readline().endswith("  calc:add  here  1, 2\n")
            bus.twitter("calc:sum", "the last")
            assert answers.get(timeout=TIMEOUT).args == ("the last",)
            assert process.stdout.readline().endswith("  calc:sum  here  'the last'\n")

    def test_a_reader_that_has_stopped_holds_deliveries_back(self, here):
        """What it has not printed is kept by the sender, not by this process."""
        bus, joined = here
        with running("follow", "--json", "test:*") as process:
            followed(joined, "test:*")
            inside = psutil.Process(process.pid)
            before = inside.memory_info().rss
            for number in range(60_000):
                bus.twitter("test:run", number, "x" * 1000)
            wait_until(lambda: (size := inside.memory_info().rss) and size == unchanged(inside), "rest")
            assert inside.memory_info().rss - before < 48 * 1024 * 1024
            first = json.loads(process.stdout.readline())
            assert first["args"][0] == 0


def unchanged(process):
    """How much memory a process has after a moment."""
    time.sleep(0.5)
    return process.memory_info().rss


class TestOutputThatGoesNowhere:
    @pytest.mark.skipif(
        not Path("/dev/full").exists(), reason="this system has no device that is always full"
    )
    @pytest.mark.parametrize("command", ["nodes", "get test:*", "follow test:*", "hub --detached"])
    def test_a_full_disk(self, here, command):
        bus, joined = here
        with shell(f"{command} > /dev/full") as process:
            if "test" in command:
                followed(joined, "test:*")
                bus.twitter("test:run")
            _, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, err) == (1, "berrymq: can't write: No space left on device\n")

    @pytest.mark.skipif(
        not Path("/dev/full").exists(), reason="this system has no device that is always full"
    )
    def test_a_full_disk_for_a_hub(self):
        with shell("hub > /dev/full") as process:
            _, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, err) == (1, "berrymq: can't write: No space left on device\n")
        assert read_live() == []

    @pytest.mark.parametrize("command", ["nodes", "get test:*", "follow test:*"])
    def test_a_reader_that_has_gone(self, here, command):
        bus, joined = here
        with shell(f"{command} 2>&1 | true") as process:
            if "test" in command:
                followed(joined, "test:*")
                bus.twitter("test:run")
            out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out, err) == (0, "", "")
        wait_until(lambda: not [node for node in joined.nodes() if not (node.here or node.hub)], "its end")

    @pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    @pytest.mark.parametrize("command", ["nodes", "hub --detached", "twitter test:run", "nodes --url x"])
    def test_streams_that_are_closed(self, here, command, closed):
        with shell(f"{command} {closed}") as process:
            out, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == (1 if "--url" in command else 0)
        assert "Traceback" not in out + err


def shell(command):
    """A command line of the shell that begins with ours."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        ["sh", "-c", f"set -f; {sys.executable} -m berrymq {command}"], text=True, **pipes
    )


class TestKeep:
    def test_the_hub_keeps_lists_and_gives_it_again(self, here):
        bus, joined = here
        assert berrymq("keep").stdout == "nothing is kept\n"
        assert berrymq("keep", "test:*", "--last", "5", "--name", "cli").stdout == ""
        wait_until(lambda: joined.is_followed("test:run"), "the hub follows")
        for number in range(7):
            bus.twitter("test:run", number)
        bus.twitter("other:run", 1)
        assert joined.flush(10)
        listed = berrymq("keep").stdout
        assert listed.startswith("test:*  5 messages, ")
        assert "  the last 5  since " in listed
        assert listed.endswith(" by cli\n")
        told = json.loads(berrymq("keep", "--json").stdout)
        assert [(one["id"], one["count"]) for one in told["identifiers"]] == [("test:run", 5)]
        with running("follow", "--json", "--past", "3", "test:run", "*:run") as process:
            assert process.stdout is not None
            lines = [json.loads(process.stdout.readline()) for _ in range(3)]
            assert [(line["args"], line["past"]) for line in lines] == [([n], True) for n in (4, 5, 6)]
            bus.twitter("test:run", 7)
            line = json.loads(process.stdout.readline())
            assert (line["args"], "past" in line) == ([7], False)
            bus.twitter("other:run", 2)
            assert json.loads(process.stdout.readline())["args"] == [2]
        with running("follow", "test:run", "--past") as process:
            assert process.stdout is not None
            assert process.stdout.readline().endswith("  (past)\n")
        assert berrymq("keep", "test:*", "--drop").returncode == 0
        gone = berrymq("keep", "test:*", "--drop")
        assert (gone.returncode, gone.stderr) == (1, "berrymq: test:* is not kept here\n")

    @pytest.mark.parametrize("arguments", [["--drop"], ["a:b", "--last", "0"], ["_a:b"]])
    def test_what_is_wrong_is_said(self, arguments):
        assert berrymq("keep", *arguments).returncode == 2

    def test_without_a_hub_there_is_nothing_to_tell(self):
        told = berrymq("keep", "a:*")
        assert told.returncode == 1
        assert "no hub of yours runs" in told.stderr
