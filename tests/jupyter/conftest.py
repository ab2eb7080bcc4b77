"""A shell in this process, and lone kernels of every ipykernel that is asked for."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.blocking.client import BlockingKernelClient
from traitlets.config import Config

from berrymq import default_bus
from tests.support.jupyter_server import private_environment
from tests.support.kernel import Cell, Kernel
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
# More interpreters whose ipykernel is to be tested, beside the one that runs the tests: joined as in PATH.
INTERPRETERS = [sys.executable, *filter(None, os.environ.get("BERRYMQ_TEST_KERNELS", "").split(os.pathsep))]


class Shell:
    """An IPython shell in this process: cells go in, what they printed comes out."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        InteractiveShell.clear_instance()
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self.ip: Any = InteractiveShell.instance(config=config)
        self._capture = capture

    def run(self, cell: str, cell_id: str | None = None) -> str:
        """Run a cell, and return all that it printed or showed."""
        self._capture.readouterr()
        self.ip.run_cell(cell, store_history=True, cell_id=cell_id)
        printed = self._capture.readouterr()
        return (printed.out + printed.err).strip()

    def __getitem__(self, name: str) -> Any:
        return self.ip.user_ns[name]

    def close(self) -> None:
        """Let nothing of this shell reach the next test."""
        if "berrymq_jupyter" in self.ip.extension_manager.loaded:
            self.run("%unload_ext berrymq_jupyter")
        self.ip._atexit_once()
        InteractiveShell.clear_instance()


@pytest.fixture
def bare_shell(capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    shell = Shell(capsys)
    yield shell
    shell.close()
    assert default_bus.subscriptions() == []


@pytest.fixture
def shell(bare_shell: Shell) -> Shell:
    assert bare_shell.run("%load_ext berrymq_jupyter") == ""
    return bare_shell


class LoneKernel(Kernel):
    """A kernel without a Jupyter server."""

    def __init__(self, home: Path, interpreter: str) -> None:
        self._cells = {}
        connection = home / "kernel.json"
        environment = private_environment(home) | {"PYTHONPATH": str(ROOT)}
        command = [interpreter, "-m", "ipykernel_launcher", "-f", str(connection)]
        with (home / "kernel.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
        wait_until(
            lambda: self._process.poll() is not None or is_json(connection), "connection file of the kernel"
        )
        self._client = BlockingKernelClient(connection_file=str(connection))
        self._client.load_connection_file()
        # No heartbeat: a kernel on a machine that is busy misses beats, and would be taken for dead.
        self._client.start_channels(hb=False)
        self._client.wait_for_ready(timeout=40)

    def interrupt(self) -> None:
        """Press the stop button."""
        self._client.control_channel.send(self._client.session.msg("interrupt_request", {}))

    def open_subshell(self) -> str | None:
        """Have the kernel open a subshell and return its id; None if it has none (ipykernel 6)."""
        info = self._client.kernel_info(reply=True, timeout=20)["content"]
        if "kernel subshells" not in info.get("supported_features", []):
            return None
        request = self._client.session.msg("create_subshell_request", {})
        self._client.control_channel.send(request)
        while True:
            reply = self._client.get_control_msg(timeout=20)
            if reply["parent_header"].get("msg_id") == request["header"]["msg_id"]:
                return str(reply["content"]["subshell_id"])

    def start_in(self, subshell: str, source: str, cell_id: str) -> Cell:
        """Send a cell to a subshell and do not wait for it."""
        message = self._client.session.msg("execute_request", {"code": source, "silent": False})
        message["header"]["subshell_id"] = subshell
        message["metadata"] = {"cellId": cell_id}
        cell = self._cells[message["header"]["msg_id"]] = Cell(source)
        self._client.shell_channel.send(message)
        return cell

    def reload_page(self) -> None:
        """Go on as a page does that was reloaded: with another session, and without its former cells."""
        self._client.session.session = uuid4().hex
        self._cells = {}

    def use_console(self) -> None:
        """Go on as a console of the same page does."""
        self._client.session.session = uuid4().hex
        self.is_console = True

    def send_comm(self, comm_id: str, data: dict[str, Any]) -> None:
        """Say something as the page's side of a widget."""
        content = {"comm_id": comm_id, "data": data}
        self._client.shell_channel.send(self._client.session.msg("comm_msg", content))

    def close(self) -> None:
        """End the kernel."""
        self._client.shutdown()
        self._client.stop_channels()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()


def is_json(file: Path) -> bool:
    """Whether a file is written to its end."""
    try:
        json.loads(file.read_text())
    except (OSError, ValueError):
        return False
    return True


@pytest.fixture(scope="module", params=INTERPRETERS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneKernel]:
    kernel = LoneKernel(tmp_path_factory.mktemp("kernel"), request.param)
    yield kernel
    kernel.close()


@pytest.fixture
def loaded(kernel: LoneKernel) -> Iterator[LoneKernel]:
    """A kernel with the extension, and `receive(identifier, ...)`, which acts as a link does."""
    cell = kernel.run(
        "%load_ext berrymq_jupyter\n"
        "import threading\n"
        "from berrymq import Message, default_bus, follow, following_function, twitter\n"
        "def receive(identifier, *args, **kwargs):\n"
        "    message = Message.make(identifier, args, kwargs, source='elsewhere')\n"
        "    threading.Thread(target=default_bus.gateway.receive, args=[[message]]).start()"
    )
    assert cell.error is None, cell.text
    yield kernel
    kernel.is_console = False
    kernel.run("%unload_ext berrymq_jupyter")
