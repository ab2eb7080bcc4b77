"""A real Jupyter server in a process of its own, with directories of its own.

    with JupyterServer(tmp_path, app="jupyterlab") as server:
        server.get("api/kernels")

Nothing of the user's own Jupyter is read, nothing of it is left behind.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Self

from tests.support.hubs import end_hubs
from tests.support.waiting import wait_until

FOREIGN = ("JUPYTER", "JPY_", "BERRYMQ", "IPYTHON", "XDG_", "PYTHONDONTWRITEBYTECODE")
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}
# Each page of Lab would have the server look at its build, for a second, before anything else.
LAB_PAGE = {"buildCheck": False}
MOST_OF_SOCKET = 100
"""How long the path of a Unix socket may be; systems differ by a few characters."""


def private_environment(home: Path) -> dict[str, str]:
    """The environment of a user who has just been created, with `home` as the home directory."""
    home.mkdir(parents=True, exist_ok=True)
    runtime = home / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return own | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter-config"),
        "JUPYTER_DATA_DIR": str(home / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(home / "jupyter-runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "BERRYMQ_RUNTIME_DIR": str(runtime),
        "PYTHONUNBUFFERED": "1",
    }


class ShortPath:
    """Another path to a directory, short enough for the sockets that kernels make there.

    Over TCP kernels are given ports that were free a while ago; with so many connections as tests make,
    somebody else has one of them now and then, and that kernel never starts.

    Args:
        directory: what it leads to.
    """

    def __init__(self, directory: Path) -> None:
        self.path: str | None = None
        """None where a socket's name would be too long all the same."""
        self._directory = tempfile.mkdtemp(prefix="bmq-")
        path = Path(self._directory, "r")
        if len(str(path)) < MOST_OF_SOCKET - len("/kernel-") - len(str(uuid.uuid4())) - len("-ipc-5"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.symlink_to(directory, target_is_directory=True)
            self.path = str(path)

    def remove(self) -> None:
        """Leave nothing but the directory that it led to."""
        shutil.rmtree(self._directory, ignore_errors=True)


class JupyterServer:
    """One Jupyter server on a loopback port.

    Args:
        home: an empty directory for everything it writes; notebooks are served from `home/notebooks`.
        app: the module to run: `jupyterlab`, or `jupyter_server` for one without pages.
        arguments: further command line arguments.
        port: where it listens, if not on a free one.
    """

    token = "token-of-the-tests"

    def __init__(
        self, home: Path, *, app: str = "jupyter_server", arguments: tuple[str, ...] = (), port: int = 0
    ) -> None:
        self.home = home
        self.root = home / "notebooks"
        self.environment = private_environment(home)
        self._short = ShortPath(home / "jupyter-runtime")
        self.log_path = home / "server.log"
        self.url = ""
        self._app = app
        self._port = port
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
        settings = self.home / "jupyter-config" / "labconfig"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "default_setting_overrides.json").write_text(json.dumps(LAB_SETTINGS))
        (settings / "page_config.json").write_text(json.dumps(LAB_PAGE))
        command = [
            *(sys.executable, "-m", self._app),
            *("--no-browser", "--allow-root", f"--port={self._port}", "--ip=127.0.0.1"),
            f"--ServerApp.root_dir={self.root}",
            f"--IdentityProvider.token={self.token}",
            *self._arguments,
        ]
        if self._short.path is not None:
            self.environment["JUPYTER_RUNTIME_DIR"] = self._short.path
            command.append("--KernelManager.transport=ipc")
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self.root, start_new_session=True
            )
        try:
            self.url = wait_until(self._announced_url, "address of the Jupyter server", timeout=60)
            wait_until(self._answers, "answer of the Jupyter server", timeout=30)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the server and its kernels wrote so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End the server as Ctrl-C of a terminal does, by force when it does not listen; then the hub."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        self._short.remove()
        end_hubs(self.home)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Call the server's REST API and return what it answers, parsed."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def get(self, path: str) -> Any:
        """GET from the server's REST API."""
        return self.request("GET", path)

    def add_notebook(self, source: Path, name: str | None = None) -> str:
        """Copy a notebook into the served directory and return its path there."""
        target = self.root / (name or source.name)
        shutil.copyfile(source, target)
        return target.name

    def shut_down_kernels(self, *, but: str = "") -> None:
        """End all sessions and kernels, so that the next test finds an empty server.

        Args:
            but: the path of a notebook whose kernel stays.
        """
        stays = None
        for session in self.get("api/sessions"):
            if session["path"] == but:
                stays = session["kernel"]["id"]
            else:
                self.request("DELETE", f"api/sessions/{session['id']}")
        for kernel in self.get("api/kernels"):
            if kernel["id"] != stays:
                self.request("DELETE", f"api/kernels/{kernel['id']}")

    def _announced_url(self) -> str:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the Jupyter server ended with {self._process.returncode}:\n{self.log}")
        for announced in (self.home / "jupyter-runtime").glob("jpserver-*.json"):
            try:
                return str(json.loads(announced.read_text())["url"])
            except ValueError:  # half written
                return ""
        return ""

    def _answers(self) -> bool:
        try:
            return bool(self.get("api/status"))
        except OSError:
            return False
