"""A kernel of a real Jupyter server, spoken to as a front end does: cells go in, outputs come back by cell.

    kernel = server_kernels.start("a.ipynb")
    cell = kernel.run("print('hello')")
    assert cell.text == "hello"

Outputs are kept with the cell whose header they carry, also those that come long after its end.
"""

import queue
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

from tests.support.jupyter_server import JupyterServer
from tests.support.waiting import wait_until

ANSI = re.compile(r"\x1b\[[0-9;]*m")
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Cell:
    """A cell that was sent to a kernel, and what it has shown so far."""

    source: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    @property
    def text(self) -> str:
        """Streams, plain forms of values and tracebacks, in order of arrival."""
        return ANSI.sub("", "".join(_text_of(output) for output in self.outputs)).strip()

    def stream(self, name: str) -> str:
        """What it wrote to ``stdout`` or ``stderr``."""
        return "".join(output["text"] for output in self.outputs if output.get("name") == name)

    @property
    def error(self) -> str | None:
        """The name of the exception that the cell ended with."""
        return next((output["ename"] for output in self.outputs if "ename" in output), None)

    @property
    def widgets(self) -> int:
        """How many widgets it shows."""
        return sum(WIDGET in output.get("data", {}) for output in self.outputs)


class Kernel:
    """One kernel of a Jupyter server, with a session, so that it has a notebook's name."""

    is_console = False
    """Cells come from a console, and not from a notebook."""

    def __init__(self, server: JupyterServer, path: str) -> None:
        session = server.request(
            "POST",
            "api/sessions",
            {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}},
        )
        self.path = path
        self._server = server
        self._session_id = session["id"]
        self._cells: dict[str, Cell] = {}
        connection = server.home / "jupyter-runtime" / f"kernel-{session['kernel']['id']}.json"
        wait_until(connection.exists, f"connection file of the kernel of {path}")
        self._client = BlockingKernelClient(connection_file=str(connection))
        self._client.load_connection_file()
        # No heartbeat: a kernel on a machine that is busy misses beats, and would be taken for dead.
        self._client.start_channels(hb=False)
        self._client.wait_for_ready(timeout=40)

    def start(self, source: str, *, cell_id: str | None = None) -> Cell:
        """Send a cell and do not wait for it; `cell_id` names the cell in the notebook, as Lab does."""
        content = {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,  # as Lab does: else this would be a program that runs notebooks
            "stop_on_error": False,
        }
        message = self._client.session.msg("execute_request", content)
        message["metadata"] = {"cellId": cell_id or f"cell-{len(self._cells)}"}
        if not self.is_console:
            message["metadata"]["deletedCells"] = []
        cell = self._cells[message["header"]["msg_id"]] = Cell(source)
        self._client.shell_channel.send(message)
        return cell

    def run(self, source: str, *, cell_id: str | None = None, timeout: float = 30) -> Cell:
        """Send a cell and wait for its end."""
        return self.finish(self.start(source, cell_id=cell_id), timeout=timeout)

    def finish(self, cell: Cell, *, timeout: float = 30) -> Cell:
        """Wait for the end of a cell that was started."""
        self.wait(lambda: cell.ended, f"end of {cell.source!r}", timeout=timeout)
        return cell

    def wait(self, condition: Callable[[], object], what: str, *, timeout: float = 20) -> None:
        """Take in what the kernel publishes until `condition` holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            try:
                message = self._client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                shown = {cell.source: cell.text for cell in self._cells.values()}
                raise TimeoutError(f"{what}: not within {timeout:g} s; cells show {shown}") from None
            self._take(message)

    def wait_for_text(self, cell: Cell, text: str, *, timeout: float = 20) -> None:
        """Wait until a cell shows `text`, be it during its run or long after."""
        self.wait(lambda: text in cell.text, f"{text!r} under {cell.source!r}", timeout=timeout)

    def wait_for_follower(self, identifier: str) -> None:
        """Wait until this kernel, which is linked, knows of another node that follows the identifier."""
        cell = self.run(
            "import time as _time, berrymq as _berrymq\n"
            "_deadline = _time.monotonic() + 20\n"
            "while not any(\n"
            f"    {identifier!r} in node.follows and not node.here\n"
            "    for link in _berrymq.links() for node in link.nodes()\n"
            "):\n"
            f"    assert _time.monotonic() < _deadline, 'no followers of {identifier}'\n"
            "    _time.sleep(0.005)"
        )
        assert cell.error is None, cell.text

    def close(self) -> None:
        """End the session and its kernel."""
        self._client.stop_channels()
        self._server.request("DELETE", f"api/sessions/{self._session_id}")

    def _take(self, message: dict[str, Any]) -> None:
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if cell is None:
            return
        kind, content = message["msg_type"], message["content"]
        if kind in ("stream", "display_data", "execute_result", "error", "update_display_data"):
            cell.outputs.append(content)
        elif kind == "clear_output":
            cell.outputs.clear()
        elif kind == "status" and content["execution_state"] == "idle":
            cell.ended = True


def _text_of(output: dict[str, Any]) -> str:
    if "traceback" in output:
        return "\n".join(output["traceback"]) + "\n"
    if "data" in output:
        return str(output["data"].get("text/plain", "")) + "\n"
    return str(output["text"])
