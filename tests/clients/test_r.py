"""The R client: its own tests, at a hub; the lines of its README; a notebook with an R kernel."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from berrymq import Identifier, share
from tests.conformance.run import Stage, private_runtime
from tests.support.waiting import wait_until

CLIENT = Path(__file__).parents[2] / "clients" / "r"
ARGUMENTS = '"--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"'
KERNEL = '{"argv": ["%s", ' + ARGUMENTS + '], "display_name": "R", "language": "R"}'

TABLE = pd.DataFrame(
    {
        "n": [1, 2, 3],
        "text": ["a", None, "ü"],
        "flag": pd.array([True, None, False], dtype="boolean"),
        "maybe": pd.array([1, None, 3], dtype="Int64"),
        "kind": pd.Categorical(["u", None, "v"]),
        "size": pd.Categorical(["lo", "hi", "lo"], categories=["lo", "hi"], ordered=True),
        "at": pd.to_datetime(["2026-01-01 12:00", None, "2026-07-03 12:00"]).tz_localize("Europe/Berlin"),
        "took": pd.to_timedelta([1, None, 3], unit="s"),
        "day": [pd.Timestamp("2026-01-01").date(), None, pd.Timestamp("2026-01-03").date()],
        "any": [[1, 2], None, "x"],
    },
    index=["first", "second", "third"],
)
SHARED = {
    "c-order": np.arange(24, dtype="<i4").reshape(2, 3, 4),
    "fortran-order": np.asfortranarray(np.arange(24, dtype="<i4").reshape(2, 3, 4)),
    "complex": np.array([1 + 2j, -1j]),
    "logical": np.array([[True, False]]),
    "text": np.array(["ab", "ü☃", ""]),
    "int64": np.array([1, 2**40], "<i8"),
    "beyond": np.array([1, 2**60 + 1], "<i8"),
    "smallest": np.array([-(2**31), 5], "<i4"),
    "big-endian": np.array([[1, -2]], ">i2"),
    "half": np.array([1, -0.5, np.inf, np.nan], "<f2"),
    "masked": np.ma.array([1, 2], mask=[False, True]),
    "empty": np.zeros((0, 3)),
    "records": np.array([(1, b"a", 2.5), (2, b"b", 3.5)], [("n", "u1"), ("s", "S1"), ("x", "<f8")]),
    "times": np.array(["2026-01-01T12:00:00.5", "NaT"], "M8[ns]"),
    "days": np.array(["2026-01-01", "NaT"], "M8[D]"),
    "large": np.arange(2_000_000, dtype="<f8").reshape(1000, 2000),
    "table": TABLE,
    "indexed": TABLE[["n", "kind", "text"]].set_index(["n", "kind"]),
    "no-rows": TABLE.iloc[:0].reset_index(drop=True),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library of R with the package, as a user installs it."""
    assert shutil.which("Rscript"), (
        "R 4.1 or newer is needed for the tests of its client: see `make languages`"
    )
    directory = tmp_path_factory.mktemp("library")
    source = directory / "source"
    shutil.copytree(CLIENT, source)
    command = ["R", "CMD", "INSTALL", f"--library={directory}", "--no-test-load", str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def stage():
    """A private hub, found by its connection file, and a Python node on it that answers and shares."""
    with private_runtime() as runtime, Stage([], runtime) as made:
        bus = made.nodes.add("python", listening=False)
        released = threading.Event()
        bus.bus.follow("calc:add", lambda message: sum(message.args))
        bus.bus.follow("calc:echo", lambda message: message.args[0])
        bus.bus.follow("calc:transposed", lambda message: message.args[0].T)
        bus.bus.follow("calc:slow", lambda _: released.wait(5))
        bus.bus.follow("calc:fail", refuse)
        made.nodes.link(bus, made.hub)
        for name, value in SHARED.items():
            share(name, value, bus=bus.bus)
        made.python = bus
        yield made
        released.set()


def refuse(message):
    raise ValueError(f"it can't work on {list(message.args)}")


def environment(library, stage):
    return {
        **os.environ,
        "BERRYMQ_RUNTIME_DIR": str(stage.runtime),
        "R_LIBS": str(library),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "NO_COLOR": "1",
    }


def run(library, stage, *command):
    return subprocess.run(
        ["Rscript", "--no-init-file", *map(str, command)],
        check=False,
        cwd=CLIENT,
        env=environment(library, stage),
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )


@pytest.mark.timeout(150)
def test_its_own_tests(library, stage):
    code = """
      library(testthat)
      test_dir("tests/testthat", package = "berrymq", load_package = "installed", reporter = "check")
    """
    done = run(library, stage, "-e", code)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| WARN 0 |" in done.stdout, done.stdout
    allowed = "SKIP 1" if "bit64" in done.stdout else "SKIP 0"
    assert allowed in done.stdout, done.stdout


def blocks():
    return re.findall(r"```r\n(.*?)```", (CLIENT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_runs_as_printed(library, stage, tmp_path):
    first, _, _ = blocks()
    file = tmp_path / "example.R"
    file.write_text(first, encoding="utf-8")
    done = run(library, stage, file)
    assert (done.stdout, done.stderr, done.returncode) == (
        "train:epoch 3 0.12 \n[[1]]\n[1] 3\n\n",
        "",
        0,
    )


def test_the_loop_of_the_readme_works_until_it_is_interrupted(library, stage, tmp_path):
    _, loop, _ = blocks()
    file = tmp_path / "loop.R"
    ends = 'library(berrymq)\nhub <- bmq_connect()\ntryCatch({\n%s}, interrupt = function(e) cat("stopped"))'
    file.write_text(ends % loop, encoding="utf-8")
    received = []
    stage.python.bus.follow("fitted:mean", received.append)
    command = ["Rscript", "--no-init-file", str(file)]
    with subprocess.Popen(command, env=environment(library, stage), stdout=subprocess.PIPE) as process:
        peer = stage.nodes.peer(stage.python, stage.hub)
        wait_until(lambda: Identifier("fit:*") in peer.follows, "the interest of the queue", timeout=20)
        for number in range(3):
            stage.python.bus.twitter("fit:run", [1, 2, 6 + 3 * number])
        wait_until(lambda: len(received) == 3, "results", timeout=30)
        assert [message.args[0] for message in received] == [3, 4, 5]
        process.send_signal(2)
        assert process.communicate(timeout=30)[0] == b"stopped"


def test_level_1_without_the_package(library, stage, tmp_path):
    _, _, lines = blocks()
    file = tmp_path / "plain.R"
    file.write_text(lines + "cat(answers[[1]][[2]][[1]])\n", encoding="utf-8")
    done = run(library, stage, file)
    assert (done.stdout, done.stderr, done.returncode) == ("task:run 1 two \n3", "", 0)


@pytest.fixture
def kernel(library, stage, tmp_path):
    """An R kernel whose specification nobody else sees."""
    spec = tmp_path / "kernels" / "ir"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(KERNEL % shutil.which("R"), encoding="utf-8")
    manager = KernelManager(
        kernel_name="ir",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(spec.parent)], ensure_native_kernel=False),
        connection_file=str(tmp_path / "kernel.json"),
        transport="ipc" if sys.platform == "linux" else "tcp",
        ip=str(tmp_path / "k"),
    )
    manager.start_kernel(env={**environment(library, stage), "HOME": str(tmp_path)})
    client = manager.client()
    client.start_channels(hb=False)
    client.wait_for_ready(timeout=40)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def show(client, source):
    """Run a cell and return what it shows as text."""
    texts = []

    def output(message):
        content = message["content"]
        if message["msg_type"] == "stream":
            texts.append(content["text"])
        elif "data" in content:
            texts.append(content["data"]["text/plain"])
        elif message["msg_type"] == "error":
            texts.append(f"{content['ename']}: {content['evalue']}")

    client.execute_interactive(source, output_hook=output, timeout=40, allow_stdin=False)
    return "".join(texts).strip()


@pytest.mark.timeout(120)
def test_a_notebook_with_an_r_kernel(kernel, stage):
    manager, client = kernel
    received = []
    stage.python.bus.follow("note:*", received.append)
    shown = show(client, 'library(berrymq)\nhub <- bmq_connect(name = "notebook")\nhub')
    assert shown.startswith("<berryMQ hub at http://127.0.0.1:")
    assert show(client, 'queue <- bmq_queue(hub, "to:r")') == ""
    peer = stage.nodes.peer(stage.python, stage.hub)
    wait_until(lambda: Identifier("to:r") in peer.follows, "the interest of the queue", timeout=20)

    def arrives():
        show(client, 'bmq_send(hub, "note:one", 3, loss = 0.12)')
        return bool(received)

    wait_until(arrives, "a message", timeout=20)
    assert (received[0].args, received[0].kwargs) == ((3,), {"loss": 0.12})
    assert received[0].source == "notebook via hub"
    assert show(client, 'bmq_ask(hub, "calc:add", 1, 2)[[1]]') == "[1] 3"
    stage.python.bus.twitter("to:r", "ü", [1, 2])
    assert re.match(r'to:r "ü" 1:2  \(python', show(client, "bmq_pull(queue, 20)"))
    assert show(client, 'dim(bmq_take(hub, "c-order"))') == "[1] 2 3 4"
    table = show(client, 'bmq_take(hub, "table")[c("n", "kind")]')
    assert "third" in table
    assert "can't work" in show(client, 'bmq_ask(hub, "calc:fail", 1)')

    # A wait that never ends is stopped by the notebook's stop button, and nothing is lost.
    waiting = client.execute("cat('waits'); flush(stdout()); bmq_pull(queue)")
    while "waits" not in client.get_iopub_msg(timeout=30)["content"].get("text", ""):
        pass
    manager.interrupt_kernel()
    while client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") != waiting:
        pass
    while True:  # until then IRkernel aborts what comes, as it does for the cells behind one that fails
        message = client.get_iopub_msg(timeout=30)
        if (
            message["content"].get("execution_state") == "idle"
            and message["parent_header"]["msg_id"] == waiting
        ):
            break
    stage.python.bus.twitter("to:r", "after")
    assert show(client, "bmq_pull(queue, 20)$args[[1]]").endswith('[1] "after"')
