"""Starting the hub of this machine: one for each user, in a process that outlives who started it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.discovery.candidates import Found, token_for
from berrymq.bridge.discovery.connection_file import read_all
from berrymq.bridge.discovery.running_servers import answers
from berrymq.bridge.discovery.runtime_directory import runtime_directory
from berrymq.bridge.errors import LinkError

from .file_lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["IDLE_SECONDS", "READY", "RUNNING", "STARTED", "Launched", "launch_hub", "start_hub"]

IDLE_SECONDS = 60.0
"""How long a hub that was started on demand stays after its last node has left."""

READY = "ready"
"""The first word of the line by which a hub says that it listens; its URL follows."""

STARTED, RUNNING = "started", "already running"
"""How the process in between says which; the URL follows."""

_START_SECONDS = 15.0
_FOREIGN = ("BERRYMQ_HUB_", "JPY_", "JUPYTERHUB_")
_ROOT = Path(__file__).resolve().parents[3]
_FLAGS: int = sum(getattr(subprocess, flag, 0) for flag in ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW"))


class Launched(NamedTuple):
    """A hub that runs detached.

    Attributes:
        url: where it listens.
        is_new: it was started by this call; else it ran already.
    """

    url: str
    is_new: bool


def start_hub(*, idle: float = IDLE_SECONDS, timeout: float = _START_SECONDS) -> Found:
    """Start the hub of this user, or find the one that was started in the meantime; wait until it answers.

    A process in between starts it and ends at once, so the hub is nobody's child: nobody has to collect it,
    and it has neither the terminal nor the open files of who asked for it.

    Raises:
        LinkError: there is none after ``timeout`` seconds, or it gave up. The text has the hub's own reason.
    """
    command = _command("--detached", "--idle", f"{idle:g}")
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
            cwd=_ROOT.anchor,
            env=_environment(),
            start_new_session=True,
            creationflags=_FLAGS,
        )
    except subprocess.TimeoutExpired:
        raise LinkError(f"the hub did not start within {timeout:g} seconds") from None
    except OSError as error:
        raise LinkError(f"can't start a hub with {command[0]}: {error.strerror or error}") from error
    how, _, url = done.stdout.strip().rpartition(" ")
    found = token_for(url) if done.returncode == 0 else None
    if found is None:
        reason = _last_line(done.stderr) or f"its starter ended with code {done.returncode}"
        raise LinkError(f"can't start a hub: {reason}")
    return Found(found.url, found.access_token, "started a hub" if how == STARTED else found.found_by)


def launch_hub(arguments: Sequence[str] = (), *, timeout: float = _START_SECONDS) -> Launched:
    """Start ``berrymq hub`` with these arguments, detached, unless a hub of this user answers already.

    The work of the process in between. Several that do this at once get one hub.

    Raises:
        LinkError: there is none after ``timeout`` seconds, or it gave up.
    """
    deadline = time.monotonic() + timeout
    try:
        with file_lock(runtime_directory() / "hub.lock", timeout):
            for info in read_all():
                # A Jupyter server is a hub as well: a second one beside it would part those who meet there.
                if info.kind != "node" and answers(info.url, info.access_token):
                    return Launched(info.url, is_new=False)
            return Launched(_spawn(arguments, max(1.0, deadline - time.monotonic())), is_new=True)
    except TimeoutError:
        raise LinkError(f"another process has been starting a hub for {timeout:g} seconds") from None
    except OSError as error:
        raise LinkError(f"can't start a hub: {error.strerror or error}") from error


def _spawn(arguments: Sequence[str], timeout: float) -> str:
    """Start the process of the hub; gives its URL once it listens."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        _command(*arguments, "--detach-when-ready"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        cwd=_ROOT.anchor,
        env=_environment(),
        start_new_session=True,
        creationflags=_FLAGS,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as output, process.stderr as errors:
        late = threading.Timer(timeout, process.kill)
        late.start()
        word, _, url = output.readline().strip().partition(" ")
        late.cancel()
        if word == READY:
            return url
        raise LinkError(_last_line(errors.read()) or f"the hub did not start within {timeout:g} seconds")


def _command(*arguments: str) -> list[str]:
    """``berrymq hub`` with this Python, whatever is on the path. Others can read it: no secret here."""
    if not sys.executable:
        raise LinkError("can't start a hub: this Python has no executable. Start one with: berrymq hub")
    return [sys.executable, "-P", "-m", "berrymq", "hub", *arguments]


def _environment() -> dict[str, str]:
    """The environment of a hub: what belongs to the one notebook that asks for it is left out."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    if _ROOT.name not in ("site-packages", "dist-packages"):  # a source tree, which may not be installed
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), str(_ROOT))))
    return environ


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].removeprefix("berrymq: ")
