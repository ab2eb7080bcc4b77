"""The core against pyee, psygnal, blinker and PyPubSub: sending, registering, queues, import."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from itertools import count, repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import blinker
import psygnal
from pubsub import pub
from pyee import EventEmitter

from benchmarks.harness import Against, Row, Side, compare, measure
from berrymq import Bus, Queue

PACKAGES = ["pyee", "psygnal", "blinker", "Pypubsub"]
ROOT = Path(__file__).parents[1]
OTHERS = 100_000


def handlers(number: int) -> list[Any]:
    """Return functions of one argument that do nothing, each a different one."""
    return [eval("lambda message: None") for _ in range(number)]


def ours(followers: int) -> Side:
    """Measure sending on a bus of ours."""
    bus = Bus()
    for handler in handlers(followers):
        bus.follow("test:run", handler)
    return Side("berryMQ", "twitter('test:run', 1)", {"twitter": bus.twitter})


def with_pyee(followers: int) -> Side:
    """Measure the same with pyee."""
    emitter = EventEmitter()
    for handler in handlers(followers):
        emitter.on("test:run", handler)
    return Side("pyee", "emit('test:run', 1)", {"emit": emitter.emit})


def with_psygnal(followers: int) -> Side:
    """Measure the same with psygnal, which must be the compiled one."""
    assert psygnal._compiled, "this psygnal is not compiled"  # its own flag

    class Sender:
        run = psygnal.Signal(int)

    sender = Sender()
    kept = handlers(followers)
    for handler in kept:
        sender.run.connect(handler)
    return Side("psygnal (compiled)", "emit(1)", {"emit": sender.run.emit, "sender": sender, "kept": kept})


def with_blinker(followers: int) -> Side:
    """Measure the same with blinker."""
    signal = blinker.Signal()
    kept = handlers(followers)
    for handler in kept:
        signal.connect(handler, weak=False)
    return Side("blinker", "send(1)", {"send": signal.send})


def with_pypubsub(followers: int) -> Side:
    """Measure the same with PyPubSub."""
    kept = handlers(followers)
    for handler in kept:
        pub.subscribe(handler, f"run{followers}")
    return Side("PyPubSub", f"send('run{followers}', message=1)", {"send": pub.sendMessage, "kept": kept})


def sending(followers: int, targets: dict[str, float]) -> Row:
    """Compare sending to some followers."""
    peers = [make(followers) for make in (with_pyee, with_psygnal, with_blinker, with_pypubsub)]
    return compare(
        f"twitter to {followers} follower{'s' * (followers > 1)}",
        ours(followers),
        peers,
        targets,
        number=4_000 // followers,
    )


def sending_beside_others() -> Row:
    """Compare sending to one follower while very many follow other identifiers."""
    few, many = Bus(), Bus()
    for handler, bus in zip(handlers(2), (few, many), strict=True):
        bus.follow("test:run", handler)
    for number, handler in enumerate(handlers(OTHERS)):
        many.follow(f"other{number}:run", handler)
    statement = "twitter('test:run', 1)"
    return compare(
        f"twitter to 1 follower beside {OTHERS:,} others",
        Side("beside others", statement, {"twitter": many.twitter}),
        [Side("alone", statement, {"twitter": few.twitter})],
        {"alone": 1.1},
    )


def first_use() -> Row:
    """Measure the extra cost of an identifier's first message, in units of 5 microseconds."""
    bus = Bus()
    (handler,) = handlers(1)
    bus.follow("test:*", handler)
    numbers, number, rounds = count(), 2_000, 40
    fresh: dict[str, Any] = {"twitter": bus.twitter}

    def prepare() -> None:
        fresh["texts"] = iter([f"test:run{next(numbers)}" for _ in range(number)])

    statement = "twitter(next(texts), 1)"
    new, known = measure(
        [
            Side("new", statement, fresh, prepare),
            Side("known", statement, {"twitter": bus.twitter, "texts": repeat("test:run")}),
        ],
        number,
        rounds,
    )
    above = median(one - other for one, other in zip(new, known, strict=True)) * 1e9
    return Row(
        "first use of an identifier, above later ones", above, [Against("5 us", 5_000, above / 5_000, 1.0)]
    )


def queueing() -> Row:
    """Compare putting a message into a queue and taking it out."""
    bus = Bus()
    mine = Queue("test:run", bus=bus)
    theirs: queue.Queue[int] = queue.Queue()
    simple: queue.SimpleQueue[int] = queue.SimpleQueue()
    return compare(
        "Queue: send and get",
        Side(
            "berryMQ",
            "twitter('test:run', 1); get()",
            {"twitter": bus.twitter, "get": mine.get, "mine": mine},
        ),
        [
            Side("queue.Queue", "put(1); get()", {"put": theirs.put, "get": theirs.get}),
            Side("queue.SimpleQueue", "put(1); get()", {"put": simple.put, "get": simple.get}),
        ],
        {"queue.Queue": 0.45},
    )


def importing(rounds: int = 25) -> Row:
    """Compare imports, each time in a new interpreter, in turns; all of them from compiled files."""
    taken: dict[str, list[float]] = {name: [] for name in ("berrymq", "blinker", "pyee", "psygnal")}
    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(rounds + 1):
            for name, times in taken.items():
                program = (
                    f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); start = time.process_time(); "
                    f"import {name}; print(time.process_time() - start)"
                )
                done = subprocess.run(
                    [sys.executable, "-c", program],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                if turn:  # the first one compiles
                    times.append(float(done.stdout))
    mine = taken.pop("berrymq")
    row = Row("import", min(mine) * 1e9)
    for name, times in taken.items():
        ratio = median(one / other for one, other in zip(mine, times, strict=True))
        row.against.append(Against(name, min(times) * 1e9, ratio, 1.0 if name == "blinker" else None))
    return row


def run() -> list[Row]:
    """Measure everything."""
    return [
        sending(1, {"pyee": 0.4}),
        sending(10, {"psygnal (compiled)": 0.25}),
        sending_beside_others(),
        first_use(),
        queueing(),
        importing(),
    ]
