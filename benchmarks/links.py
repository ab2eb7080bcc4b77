"""Links between processes on loopback, against pyzmq carrying the same JSON; hubs; a hub in a Jupyter server.

Two processes work at once here, so it is the clock on the wall that counts; the sides take turns.
"""

from __future__ import annotations

import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import zmq

import berrymq
from benchmarks.ends import CODECS, ROOT, far_end
from benchmarks.harness import Against, Row
from tests.support.jupyter_server import JupyterServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = ["pyzmq", "msgspec", "tornado", "jupyter_server"]
MESSAGES = 15_000
ROUNDS = 7
QUESTIONS = 60
CROWD = 50
LOAD = 100_000
REQUESTS = 250
JUPYTER_ROUNDS = 2
HEARTBEATS = 5.0
"""Seconds in which each node on a link shows that it is there."""
PATIENCE = 60.0


class Near:
    """This side of a link of ours: says things to a far end that counts, and asks it."""

    def __init__(self, url: str, token: str) -> None:
        self.bus = berrymq.Bus()
        self.counted: queue.Queue[int] = queue.Queue()
        self.bus.follow("test:counted", lambda message: self.counted.put(message.args[0]))
        self.link = berrymq.link(url, access_token=token, bus=self.bus, name="near")
        until = time.monotonic() + PATIENCE
        while not any("test:last" in node.follows for node in self.link.nodes() if not node.here):
            assert time.monotonic() < until, "the far end did not come"
            time.sleep(0.01)

    def send(self, messages: int) -> float:
        """Seconds until so many messages are with the follower at the far end."""
        twitter = self.bus.twitter
        started = time.perf_counter()
        for number in range(messages):
            twitter("test:run", number, loss=0.12, name="train")
        twitter("test:last")
        counted = self.counted.get(timeout=PATIENCE)
        taken = time.perf_counter() - started
        assert counted == messages, f"{counted} of {messages} arrived"
        return taken

    def ask(self) -> None:
        """One question and its answer."""
        assert self.bus.ask("test:ask", 1, loss=0.12, name="train", timeout=PATIENCE) == [1]

    def close(self) -> None:
        """End the link."""
        self.link.close()
        self.bus.close()


class NearZmq:
    """The same with pyzmq."""

    def __init__(self, codec: str, publish: int, counted: int, ask: int) -> None:
        self.encode, self.decode = CODECS[codec]
        self.context = zmq.Context()
        self.publisher, self.counted = self.context.socket(zmq.PUB), self.context.socket(zmq.PULL)
        self.asker = self.context.socket(zmq.REQ)
        self.publisher.set_hwm(0)
        for socket, port in ((self.publisher, publish), (self.counted, counted), (self.asker, ask)):
            socket.connect(f"tcp://127.0.0.1:{port}")
        self.counted.setsockopt(zmq.RCVTIMEO, 100)
        while True:  # what is said before the subscription has come is lost
            self.publisher.send_multipart([b"test:last", self.encode([[], {}])])
            try:
                self.counted.recv()
            except zmq.Again:
                continue
            break
        while self.counted.poll(200):
            self.counted.recv()
        self.counted.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))

    def send(self, messages: int) -> float:
        """Seconds until so many messages are with the function at the far end."""
        publish, encode = self.publisher.send_multipart, self.encode
        started = time.perf_counter()
        for number in range(messages):
            publish([b"test:run", encode([[number], {"loss": 0.12, "name": "train"}])])
        publish([b"test:last", encode([[], {}])])
        counted = int(self.counted.recv())
        taken = time.perf_counter() - started
        assert counted == messages, f"{counted} of {messages} arrived"
        return taken

    def ask(self) -> None:
        """One request and its reply."""
        self.asker.send(self.encode([[1], {"loss": 0.12, "name": "train"}]))
        assert self.decode(self.asker.recv()) == 1

    def close(self) -> None:
        """End it."""
        self.context.destroy(linger=0)


def run() -> list[Row]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["BERRYMQ_RUNTIME_DIR"] = directory
        return [*against_pyzmq(), uninterested(), *beside_jupyter(Path(directory) / "jupyter")]


def against_pyzmq() -> list[Row]:
    """Messages one way, and questions and answers; on a direct link, through a hub, and with pyzmq."""
    with ExitStack() as stack:
        sides: dict[str, Near | NearZmq] = {}
        there = stack.enter_context(far_end("listening"))
        sides["berryMQ"] = Near(there["url"], there["token"])
        hub = stack.enter_context(a_hub())
        stack.enter_context(far_end("joined", hub["url"], hub["token"]))
        sides["through a hub"] = Near(hub["url"], hub["token"])
        for codec, name in (("json", "pyzmq, json"), ("msgspec", "pyzmq, msgspec")):
            there = stack.enter_context(far_end("pyzmq", codec))
            sides[name] = NearZmq(codec, there["publish"], there["counted"], there["ask"])
        for side in sides.values():
            stack.callback(side.close)
        sending = in_turns({name: side.send for name, side in sides.items()}, MESSAGES)
        asking = in_turns({name: lambda _, ask=side.ask: p50(ask) for name, side in sides.items()}, 1)
    return [
        row("a message, process to process, into a follower", sending, {"pyzmq, json": 1.0}),
        row("ask, process to process, p50", asking, {"pyzmq, json": 2.0}),
    ]


def in_turns(
    sides: dict[str, Callable[[int], float]], number: int, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """The seconds for each one of a number of things, by side, a value a round."""
    taken = defaultdict(list)
    for turn in range(rounds + 1):
        for name, measured in sides.items():
            seconds = measured(number) / number
            if turn:  # the first round warms up
                taken[name].append(seconds)
    return taken


def p50(ask: Callable[[], None]) -> float:
    """The median of the seconds that a question takes."""
    taken = []
    for _ in range(QUESTIONS):
        started = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def row(what: str, taken: dict[str, list[float]], targets: dict[str, float]) -> Row:
    """Our direct link against the others."""
    mine = taken.pop("berryMQ")
    made = Row(what, statistics.median(mine) * 1e9, note=f"{1 / statistics.median(mine):,.0f} a second")
    for name, times in taken.items():
        ratio = statistics.median(one / other for one, other in zip(mine, times, strict=True))
        made.against.append(Against(name, statistics.median(times) * 1e9, ratio, targets.get(name)))
    return made


def uninterested() -> Row:
    """What a hub works for a message, its own processor time, with many other nodes on it and with none."""
    with ExitStack() as stack:
        hubs = {}
        for name, number in (("alone", 0), ("crowded", CROWD)):
            hub = stack.enter_context(a_hub())
            stack.enter_context(far_end("crowd", hub["url"], hub["token"], str(number)))
            stack.enter_context(far_end("joined", hub["url"], hub["token"]))
            near = Near(hub["url"], hub["token"])
            stack.callback(near.close)
            hubs[name] = Hub(near, hub["pid"])
        before = {name: hub.clock() for name, hub in hubs.items()}
        time.sleep(HEARTBEATS)
        for name, hub in hubs.items():
            hub.at_rest = (hub.clock() - before[name]) / HEARTBEATS
        taken = in_turns({name: hub.work for name, hub in hubs.items()}, MESSAGES // 2, 2 * ROUNDS)
    alone, crowded = taken["alone"], taken["crowded"]
    ratio = statistics.median(one / other for one, other in zip(crowded, alone, strict=True))
    against = Against("without them", statistics.median(alone) * 1e9, ratio, 1.05)
    note = f"a hub of {CROWD} that are silent works {hubs['crowded'].at_rest * 1e3:.1f} ms a second"
    return Row(f"hub's work for a message, {CROWD} others", statistics.median(crowded) * 1e9, [against], note)


class Hub:
    """Messages through a hub, and what it works for them beyond what it does when nothing passes."""

    def __init__(self, near: Near, pid: int) -> None:
        self.near = near
        self.at_rest = 0.0
        self._clock = (~pid << 3) | 2  # how Linux numbers the processor clock of another process

    def clock(self) -> float:
        """The seconds of the processor that it took so far."""
        return time.clock_gettime(self._clock)

    def work(self, messages: int) -> float:
        """The seconds of the processor that it takes for messages."""
        before = self.clock()
        taken = self.near.send(messages)
        return self.clock() - before - self.at_rest * taken


def beside_jupyter(directory: Path) -> list[Row]:
    """Jupyter's own answers, while the hub in it is idle and while it is busy.

    Beside it, while a hub elsewhere on this machine is busy: what is lost to the load of the machine alone.
    """
    with JupyterServer(directory) as server, ExitStack() as stack:
        published = directory / "run"
        (file,) = wait_until(lambda: list(published.glob("*.json")), "the server's hub")
        told = json.loads(file.read_text())
        hub = stack.enter_context(a_hub())
        answers(server)
        idle, busy, apart, rates = [], [], [], []
        for _ in range(JUPYTER_ROUNDS):
            idle.append(answers(server))
            with flooded(told["url"], told["access_token"]) as rate:
                busy.append(answers(server))
            rates.append(rate[0])
            with flooded(hub["url"], hub["token"]):
                apart.append(answers(server))
    half, most = zip(*[map(statistics.median, zip(*one, strict=True)) for one in (busy, idle)], strict=True)
    note = f"p50 {half[0] * 1e3:.2f} ms, idle {half[1] * 1e3:.2f} ms; {LOAD:,} a second were sent"
    made = Row(
        f"Jupyter's p99 at {statistics.median(rates):,.0f} messages a second", most[0] * 1e9, note=note
    )
    for name, other, target in (("idle", idle, 2.0), ("the same load beside it", apart, None)):
        ratio = statistics.median(one[1] / two[1] for one, two in zip(busy, other, strict=True))
        made.against.append(Against(name, statistics.median(p99 for _, p99 in other) * 1e9, ratio, target))
    return [made]


@contextmanager
def flooded(url: str, token: str) -> Iterator[list[float]]:
    """A hub through which much passes; how many messages a second that was, afterwards."""
    rate: list[float] = []
    with far_end("counting", url, token) as counting, far_end("flood", url, token, str(LOAD)):
        time.sleep(0.5)  # until it is at its pace
        before, since = counted(counting["process"]), time.monotonic()
        yield rate
        rate.append((counted(counting["process"]) - before) / (time.monotonic() - since))


def counted(counting: subprocess.Popen[str]) -> int:
    """How many messages have come to that far end."""
    assert counting.stdin is not None
    assert counting.stdout is not None
    counting.stdin.write("\n")
    counting.stdin.flush()
    return int(counting.stdout.readline())


def answers(server: JupyterServer) -> tuple[float, float]:
    """The p50 and the p99 of the seconds that the server takes to answer."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE)
    taken = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        connection.request("GET", "/api/status", headers={"Authorization": f"token {server.token}"})
        answer = connection.getresponse()
        answer.read()
        taken.append(time.perf_counter() - started)
        assert answer.status == 200, answer.status
        time.sleep(0.005)
    connection.close()
    cuts = statistics.quantiles(taken, n=100)
    return statistics.median(taken), cuts[98]


@contextmanager
def a_hub() -> Iterator[dict[str, Any]]:
    """A hub in a process of its own, among no others."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "BERRYMQ_RUNTIME_DIR": directory}
        with subprocess.Popen(
            [sys.executable, "-m", "berrymq", "hub"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                until = time.monotonic() + PATIENCE
                while not (files := list(Path(directory).glob("*.json"))):
                    assert time.monotonic() < until, "the hub did not start"
                    time.sleep(0.02)
                told = json.loads(files[0].read_text())
                yield {"url": told["url"], "token": told["access_token"], "pid": process.pid}
            finally:
                process.terminate()
