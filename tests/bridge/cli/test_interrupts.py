"""Ctrl-C and other signals at any moment, from the first import on: no traceback, no link left behind."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from berrymq import Bus
from berrymq.bridge import link
from berrymq.bridge.cli import main
from berrymq.bridge.discovery.starting import start_hub
from tests.support.waiting import wait_until

MODULE = [sys.executable, "-m", "berrymq"]
SCRIPT = [str(Path(sys.executable).with_name("berrymq"))]
TIMEOUT = 30

pytestmark = pytest.mark.usefixtures("runtime")

INTERRUPTING = """
    # As if Ctrl-C came while a module is imported: the signal is handled at the next step of the interpreter.
    import os, signal, sys

    def hook(event, args):
        if event == "import" and args[0] == os.environ["INTERRUPT_AT"] and not done:
            done.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    done = []
    sys.addaudithook(hook)
"""

IN_A_DESTRUCTOR = """
    import os, signal, sys

    class Dying:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)

    def hook(event, args):
        if event == "import" and args[0] == "berrymq.bridge.cli.commands":
            Dying()

    sys.addaudithook(hook)
"""


@pytest.fixture
def interrupting(tmp_path):
    """The environment in which a process gets a signal when it imports the module that it names."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(INTERRUPTING))
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}


class TestWhileItIsLoaded:
    @pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
    @pytest.mark.parametrize(
        "module",
        [
            "berrymq.bus",
            "berrymq.routes",
            "berrymq.bridge.cli.command_line",
            "argparse",
            "berrymq.bridge.cli.values",
            "berrymq.bridge.cli.terminal",
            "msgspec",
            "berrymq.bridge.cli.commands",
            "berrymq.bridge.api",
            "berrymq.bridge.transport.dialling",
        ],
    )
    def test_ctrl_c_shows_no_traceback(self, interrupting, command, module):
        done = subprocess.run(
            [*command, "nodes"],
            env=interrupting | {"INTERRUPT_AT": module},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("", "")
        assert done.returncode in (130, -signal.SIGINT)

    @pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
    def test_ctrl_c_in_a_destructor_ends_it_too(self, interrupting, command):
        path = Path(interrupting["PYTHONPATH"].partition(os.pathsep)[0]) / "sitecustomize.py"
        path.write_text(textwrap.dedent(IN_A_DESTRUCTOR))
        done = subprocess.run(
            [*command, "nodes"],
            env=interrupting,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")

    def test_other_programs_that_import_it_are_interrupted_as_ever(self, interrupting):
        program = """
            import signal
            try:
                import berrymq
            except KeyboardInterrupt:
                print("interrupted")
            import berrymq
            print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=interrupting | {"INTERRUPT_AT": "berrymq.routes"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("interrupted\nTrue\n", "")

    def test_a_program_of_the_same_name_is_interrupted_as_ever(self, tmp_path):
        program = tmp_path / "berrymq"
        program.write_text(
            "import sys; sys.path[:] = [path for path in sys.path if path != sys.path[0]]\n"
            "import berrymq, signal\n"
            "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
        )
        done = subprocess.run(
            [sys.executable, str(program)],
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("True\n", "")


class TestWhileItRuns:
    @pytest.fixture
    def here(self):
        found = start_hub()
        bus = Bus()
        with link(found.endpoint.url, access_token=found.access_token, bus=bus, name="here") as joined:
            yield bus, joined

    def others(self, joined):
        return [node for node in joined.nodes() if not node.here and not node.hub]

    @pytest.mark.parametrize(
        ("name", "code"),
        [("SIGINT", 130), ("SIGTERM", 128 + signal.SIGTERM), ("SIGHUP", 128 + signal.SIGHUP)],
    )
    @pytest.mark.parametrize("command", ["follow", "get"])
    def test_it_leaves_its_link_at_a_signal(self, here, command, name, code):
        _, joined = here
        with subprocess.Popen(
            [*MODULE, command, "test:*"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            wait_until(lambda: joined.is_followed("test:x"), "the follower")
            process.send_signal(getattr(signal, name))
            assert process.communicate(timeout=TIMEOUT) == (b"", b"")
            assert process.returncode == code
        wait_until(lambda: not self.others(joined), "its end", timeout=2)

    def test_ctrl_c_ends_it_although_its_output_is_stuck(self, here):
        """The first one interrupts the write; the exit may be stuck in the next, until the second one."""
        bus, joined = here
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        command = [*MODULE, "follow", "--json", "test:*"]
        with subprocess.Popen(
            command, env=buffered, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            wait_until(lambda: joined.is_followed("test:x"), "the follower")
            for number in range(2000):
                bus.twitter("test:run", number, "x" * 100)
            wait_until(lambda: waiting_bytes(process.stdout) > 60_000, "a full pipe")
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT) in (130, -signal.SIGINT)
            assert process.stderr.read() == b""

    def test_an_ignored_ctrl_c_stays_ignored(self, here):
        """As in the background of a shell without job control."""
        bus, joined = here
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *MODULE, "get", "test:*"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            wait_until(lambda: joined.is_followed("test:x"), "the follower")
            process.send_signal(signal.SIGINT)
            bus.twitter("test:run")
            out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, err) == (0, b"")
        assert b"test:run" in out


def waiting_bytes(pipe):
    """How much has been written into a pipe that was not read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_program_may_call_it_again_and_again(capsys):
    for _ in range(2):
        assert main(["nodes"]) == 1
    assert capsys.readouterr().err.count("berrymq: no hub of yours runs") == 2


def test_called_in_a_program_it_leaves_the_handlers_as_they_were():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(SystemExit):
        main(["--version"])
    assert [signal.getsignal(number) for number in numbers] == before
