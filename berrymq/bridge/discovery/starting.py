"""Starting the hub: one for each user and machine, in a process that outlives the one that started it.

The hub process itself holds the lock ``hub.lock`` in the runtime directory as long as it runs (`hub_lock`).
While it is locked no other hub is started, and a starter waits for the hub's connection file. It does not
matter whether the hub answers, so no second one is started beside one that is stopped or overloaded.

Of several processes that start a hub at the same time, one hub gets the lock; the others end, and their
starters find the connection file of the first.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.errors import LinkError

from .connection_file import ConnectionInfo, read_hub
from .file_lock import POLL_SECONDS, FileLock, acquire, is_locked, open_regular
from .finding import Found
from .runtime_directory import runtime_directory

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["IDLE_SECONDS", "READY", "START_SECONDS", "Launched", "hub_lock", "launch_hub", "start_hub"]

IDLE_SECONDS = 60.0
"""The idle timeout of a hub that was started on demand: seconds without a node until it ends."""

START_SECONDS = 15.0
"""The time for a hub to start listening."""

READY = "ready"
"""The first word of the line that a hub prints when it listens, before its URL. Then it closes its output."""

_LOCK_FILE = "hub.lock"
_MAX_NUMBER = 20
"""The most characters that are read of the lock file."""
_LOCK_SECONDS = 0.1
"""The time for a hub to take the lock: `is_locked` in other processes holds it for microseconds."""

_GRACE_SECONDS = 1.0
"""The time to find out whether a hub that did not answer was just shutting down."""

_FOREIGN = ("BERRYMQ_HUB_", "JPY_", "JUPYTERHUB_")
"""Beginnings of environment variables that belong to the notebook that starts the hub, not to the hub."""
_ROOT = Path(__file__).resolve().parents[3]
"""The directory that holds the package `berrymq`."""
_FLAGS: int = sum(getattr(subprocess, flag, 0) for flag in ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW"))
_PYTHON = re.compile(r"\.?(?:python|pypy|graalpy)w?[\d.]*[td]?(?:[-_]\w+)*(?:\.exe)?", re.IGNORECASE)
"""Names of the executable of a Python interpreter."""

_RUNS_ALREADY = "a hub of yours runs already"
_BY_HAND = "start one by hand with: berrymq hub"

# The intermediate process: it starts in 10 ms since it imports nothing, and may fork since it has one thread.
# It writes the hub's process number first, so that a hub that hangs can be killed.
_LAUNCHER = """
import os, sys
if not os.fork():
    os.setsid()
    os.write(1, b"%d\\n" % os.getpid())
    os.execv(sys.argv[1], sys.argv[1:])
"""
if sys.platform == "win32":  # pragma: no cover
    _LAUNCHER = f"import subprocess, sys; subprocess.Popen(sys.argv[1:], creationflags={_FLAGS})"


class Launched(NamedTuple):
    """A detached hub.

    Attributes:
        info: its connection file.
        is_new: it was started by this call; else it ran already.
    """

    info: ConnectionInfo
    is_new: bool


def hub_lock(directory: Path | None = None) -> FileLock:
    """Become the hub of this user, for as long as the returned lock is held.

    To be acquired before the hub listens, and released after it has removed its connection file.

    Args:
        directory: by default the runtime directory.

    Returns:
        The lock, held; its file has the number of this process, for the errors of others.

    Raises:
        LinkError: another process is the hub or about to be, or the file system supports no locks.
    """
    directory = directory or runtime_directory()
    path = directory / _LOCK_FILE
    try:
        lock = acquire(path, _LOCK_SECONDS)
    except TimeoutError:
        raise LinkError(f"{_RUNS_ALREADY}{_owner_of(path)}") from None
    except OSError as error:
        raise LinkError(f"can't lock {path}: {error.strerror or error}") from error
    # A live hub may hold the lock of a former file of that name, which was tidied away.
    if (info := read_hub(directory)) is not None:
        lock.release()
        raise LinkError(f"{_RUNS_ALREADY} (process {info.pid})")
    with suppress(OSError):  # on a full disk the errors of others lack the number
        os.ftruncate(lock.descriptor, 0)
        os.write(lock.descriptor, b"%d\n" % os.getpid())
    return lock


def start_hub(
    *, idle: float = IDLE_SECONDS, timeout: float = START_SECONDS, unanswered: Collection[Found] = ()
) -> Found:
    """Start the hub of this user, or find the one that another process has started; return once it listens.

    An intermediate process starts it and ends at once, so that the hub is not a child of this process, which
    would have to wait for its end; it inherits neither the terminal nor open files.

    Args:
        idle: seconds without a node after which the hub ends.
        timeout: seconds within which it has to listen.
        unanswered: the nodes that the caller has just dialled in vain.

    Returns:
        Where it listens, and its access token.

    Raises:
        LinkError: no hub listens after ``timeout`` seconds; it could not start; or the one that runs is among
            the ``unanswered``, which is no reason to start a second one. The text says what to do.
    """
    launched = launch_hub(("--idle", f"{idle:g}"), timeout=timeout, unanswered=unanswered)
    info = launched.info
    found_by = "started a hub" if launched.is_new else "connection file"
    return Found(info.endpoint, info.access_token, found_by, info)


def launch_hub(
    arguments: Sequence[str] = (), *, timeout: float = START_SECONDS, unanswered: Collection[Found] = ()
) -> Launched:
    """Start ``berrymq hub`` with these arguments, detached, unless a hub of this user runs already.

    Concurrent calls of several processes result in one hub. The rest is as in `start_hub`.

    Args:
        arguments: of ``berrymq hub``.
        timeout: seconds within which it has to listen.
        unanswered: the nodes that the caller has just dialled in vain.

    Returns:
        The hub, and whether this call has started it.

    Raises:
        LinkError: as in `start_hub`.
    """
    began = time.monotonic()
    directory = runtime_directory()
    while True:
        if (info := read_hub(directory)) is not None:
            if not any(_leads_to(found, info) for found in unanswered):
                return Launched(info, is_new=False)
            if time.monotonic() - began > min(_GRACE_SECONDS, timeout):
                raise LinkError(info.no_answer)
        elif not is_locked(directory / _LOCK_FILE):
            reason = _spawn(arguments, max(0.0, began + timeout - time.monotonic()))
            if (info := read_hub(directory)) is not None:
                return Launched(info, is_new=reason is None)
            # Another process may have become the hub, so that this one gave up: check again then.
            if reason is None or not reason.startswith(_RUNS_ALREADY):
                raise LinkError(f"can't start a hub: {reason or 'it ended at once'}")
        elif time.monotonic() - began > timeout:
            raise LinkError(
                f"a hub of yours{_owner_of(directory / _LOCK_FILE)} has not been ready "
                f"for {timeout:.2g} seconds: end that process, and the next link starts another"
            )
        time.sleep(POLL_SECONDS)


def _leads_to(found: Found, info: ConnectionInfo) -> bool:
    """Return whether a node was this hub, and not a former one at the same port."""
    return found.info == info if found.info is not None else found.endpoint == info.endpoint


def _spawn(arguments: Sequence[str], timeout: float) -> str | None:
    """Start a hub process and wait until it listens; return None, or why it ended instead.

    Args:
        arguments: of ``berrymq hub``.
        timeout: seconds; 0 fails at once.

    Raises:
        LinkError: no process can be started, or it was too slow and has been killed.
    """
    command = _command(*arguments, "--detach-when-ready")
    launcher = [command[0], "-S", "-P", "-c", _LAUNCHER, *command]
    try:
        with subprocess.Popen(  # noqa: S603 - our own command
            launcher,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_ROOT.anchor,
            env=_environment(),
            start_new_session=True,
            creationflags=_FLAGS,
        ) as process:
            try:
                # The hub inherits both pipes, and closes them when it is ready, or ends.
                output, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as late:
                _end(late.stdout)
                raise LinkError(f"the hub did not start within {timeout:.3g} seconds") from None
    except OSError as error:
        raise LinkError(f"can't start a hub with {command[0]}: {error.strerror or error}") from error
    except RuntimeError as error:  # "can't fork", or start a thread, "at interpreter shutdown"
        raise LinkError(f"can't start a hub, for this process is ending: {error}") from error
    if any(line.startswith(READY.encode()) for line in output.splitlines()):
        return None
    text = errors.decode(errors="replace").strip()
    return text.rpartition("\n")[2].removeprefix("berrymq: ") or "it ended without saying why"


def _end(output: bytes | None) -> None:
    """Kill a hub that hangs. Its output is still open, so its number can't be another process's yet."""
    number = (output or b"").partition(b"\n")[0]
    if number.isdigit():
        with suppress(OSError):
            os.kill(int(number), getattr(signal, "SIGKILL", signal.SIGTERM))


def _command(*arguments: str) -> list[str]:
    """Return the command line of ``berrymq hub``, with this Python. Other users can read it: no secrets."""
    return [_python(), "-P", "-m", "berrymq", "hub", *arguments]


def _python() -> str:
    """Return the path of the Python interpreter.

    Raises:
        LinkError: there is none, but an application that embeds Python and would only start itself again.
    """
    executable = sys.executable
    if not executable:
        raise LinkError(f"can't start a hub: this Python has no executable; {_BY_HAND}")
    path = Path(executable)
    names = (path.name, path.resolve().name)  # for a link to an interpreter that has another name
    if getattr(sys, "frozen", False) or not any(_PYTHON.fullmatch(name) for name in names):
        raise LinkError(f"can't start a hub: {path.name!r} is not a Python interpreter; {_BY_HAND}")
    return executable


def _environment() -> dict[str, str]:
    """Return the environment of a hub, without the variables of the notebook that starts it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    if _ROOT.name not in ("site-packages", "dist-packages"):  # a source tree, which may not be installed
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), str(_ROOT))))
    # glibc otherwise keeps freed memory between large blocks: measured 600 MiB with 240 in use, and 390 so.
    environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(256 * 1024))
    return environ


def _owner_of(path: Path) -> str:
    """Return which process holds the hub's lock, in parentheses; "" if it has not written that yet."""
    try:
        with open(open_regular(path), encoding="ascii") as file:  # noqa: PTH123 - pathlib takes no descriptor
            number = file.read(_MAX_NUMBER).strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" (process {number})" if number.isdigit() else ""
