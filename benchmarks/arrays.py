"""Arrays between two processes, against pyzmq without copies, and tables that are shared.

A sample is one array: from the call that sends it until the receiver has it as an array of numpy (`arrived`),
and until it has read all of it (`read`). The next one is sent when the receiver says so. Over a network link,
which is loopback here without shared memory, arrays come in pieces; the side that dials masks what it sends,
as WebSocket demands of clients.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from urllib.parse import urlsplit

from benchmarks.harness import Against, Row, duration
from benchmarks.processes import End, running_hub
from tests.support.faults import FaultProxy

PACKAGES = ["pyzmq", "numpy", "msgspec", "pandas"]
BYTES = 100_000_000
ROUNDS = 12
WARM_UP = 3
TARGET = 5.0
NETWORK_TARGET = 0.6
PEAK_TARGET = 2.0
"""Of the memory of a side beyond what it has before the array, in arrays, to one decimal: the array itself
counts, its copy, and 2 MiB for a piece that is being sent."""
SLOW_RATES = [200_000, 1_000_000, 5_000_000]
"""Bytes a second."""
HELD_UP_SECONDS = 0.050
QUESTIONS = 40
TABLE_BYTES = 1_000_000_000
TAKE_SECONDS = 0.010
ADDED_BYTES = 1_000_000
TABLE_ROUNDS = 5

Samples = dict[str, list[dict[str, float]]]


def run() -> list[Row]:
    """Measure arrays through a hub, over direct links without shared memory, and shared tables."""
    return [*arrays(), *arrays_over_a_network(), *beside_arrays(), *shared_tables()]


def arrays() -> list[Row]:
    """Measure arrays through a hub, and with pyzmq, in turns."""
    with ExitStack() as stack:
        hub = stack.enter_context(running_hub())
        receiver = stack.enter_context(hub.end("array_receiver"))
        ours = stack.enter_context(hub.end("array_sender", str(BYTES)))
        samples = in_turns(stack, {"ours": (ours, receiver)})
    what = f"an array of {BYTES / 1e6:.0f} MB"
    return [
        compare(f"{what}, arrived", samples, "ours", "arrived", TARGET),
        compare(f"{what}, read", samples, "ours", "read", None),
    ]


def arrays_over_a_network() -> list[Row]:
    """Measure arrays over direct links in both directions, and with pyzmq, in turns."""
    with ExitStack() as stack:
        enter = stack.enter_context
        listens = enter(End("ends", "apart_receiver"))
        dials = enter(End("ends", "apart_sender", str(BYTES), *listens.ready.values()))
        sender = enter(End("ends", "apart_sender", str(BYTES)))
        receiver = enter(End("ends", "apart_receiver", *sender.ready.values()))
        samples = in_turns(stack, {"upload": (dials, listens), "download": (sender, receiver)})
    rows = []
    for name in ("download", "upload"):
        what = f"{BYTES / 1e6:.0f} MB over a network, {name}"
        rows.append(compare(what, samples, name, "arrived", NETWORK_TARGET))
        for side in ("sender", "receiver"):
            peak = round(max(sample[f"{side}_peak"] for sample in samples[name]) / BYTES, 1)
            row = Row(f"{what}: memory of the {side}", None)
            row.against.append(Against("the array", None, peak, PEAK_TARGET))
            rows.append(row)
    return rows


def beside_arrays() -> list[Row]:
    """Measure how long an array on a slow link holds small messages up: questions, one after the other."""
    rows = []
    for rate in SLOW_RATES:
        with ExitStack() as stack:
            receiver = stack.enter_context(End("ends", "apart_receiver"))
            url, token = receiver.ready.values()
            at = urlsplit(url)
            proxy = stack.enter_context(FaultProxy((str(at.hostname), at.port or 0)))
            sender = stack.enter_context(End("ends", "apart_sender", str(BYTES), proxy.url, token))
            proxy.rate = rate
            sender.request("ask 1")
            alone = sender.request(f"ask {QUESTIONS}")["seconds"]
            sender.request("send 1")
            beside = sender.request(f"ask {QUESTIONS}")["seconds"]
            proxy.cut()
        held_up = statistics.median(beside) - statistics.median(alone)
        what = f"a message beside an array, at {rate / 1e6:.1f} MB/s"
        row = Row(what, held_up * 1e9, [], f"slowest {duration(max(beside) * 1e9)}")
        row.against.append(Against("the limit", HELD_UP_SECONDS * 1e9, held_up / HELD_UP_SECONDS, 1.0))
        rows.append(row)
    return rows


def in_turns(stack: ExitStack, pairs: dict[str, tuple[End, End]]) -> Samples:
    """Send arrays by each pair of sender and receiver, and by pyzmq, in turns.

    Args:
        stack: ends the processes of pyzmq.
        pairs: by name.
    """
    zmq_receiver = stack.enter_context(End("peers", "zmq_array_receiver"))
    theirs = stack.enter_context(End("peers", "zmq_array_sender", zmq_receiver.ready["endpoint"], str(BYTES)))
    sides = [*pairs.items(), ("pyzmq", (theirs, zmq_receiver))]
    samples: Samples = {name: [] for name, _ in sides}
    for turn in range(ROUNDS + WARM_UP):
        for name, (sender, receiver) in sides if turn % 2 else sides[::-1]:
            sender.write("send 1")
            arrived, sent = receiver.read(), sender.read()
            if turn >= WARM_UP:
                sample = {key: arrived[key] - sent["began"] for key in ("arrived", "read")}
                sample |= {"receiver_peak": arrived.get("peak", 0), "sender_peak": sent.get("peak", 0)}
                samples[name].append(sample)
    return samples


def compare(what: str, samples: Samples, name: str, until: str, target: float | None) -> Row:
    """Compare the time until an array has arrived, or has been read."""
    mine, theirs = ([sample[until] for sample in samples[side]] for side in (name, "pyzmq"))
    ratio = statistics.median(other / one for one, other in zip(mine, theirs, strict=True))
    row = Row(what, statistics.median(mine) * 1e9, [], gigabytes(mine))
    row.against.append(
        Against("pyzmq, zero-copy", statistics.median(theirs) * 1e9, ratio, target, True, gigabytes(theirs))
    )
    return row


def gigabytes(seconds: list[float]) -> str:
    """Tell how many a second that is, and the slowest sample."""
    typical = statistics.median(seconds)
    return f"{BYTES / typical / 1e9:.1f} GB/s, slowest {duration(max(seconds) * 1e9)}"


def shared_tables() -> list[Row]:
    """Measure the time to take a table after it was announced, and the memory that a second taker needs."""
    seconds, added = [], []
    with ExitStack() as stack:
        hub = stack.enter_context(running_hub())
        first, second = (stack.enter_context(hub.end("table_taker")) for _ in range(2))
        sharer = stack.enter_context(hub.end("table_sharer", str(TABLE_BYTES)))
        for _ in range(TABLE_ROUNDS):
            for taker in (first, second):
                taker.request("release")
            first.write("announced")
            sharer.request("share")
            seconds.append(first.read()["seconds"])
            added.append(second.request("take")["added"])
    what = f"a shared table of {TABLE_BYTES / 1e9:.0f} GB"
    taken = statistics.median(seconds)
    row = Row(f"{what}, taken", taken * 1e9, [], f"slowest {duration(max(seconds) * 1e9)}")
    row.against.append(Against("the limit", TAKE_SECONDS * 1e9, taken / TAKE_SECONDS, 1.0))
    memory = Row(f"{what}: memory of a second taker", None, [], f"{statistics.median(added) / 1e6:.2f} MB")
    memory.against.append(Against("the limit", None, statistics.median(added) / ADDED_BYTES, 1.0))
    return [row, memory]
