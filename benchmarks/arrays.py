"""Arrays between two processes of one machine, against pyzmq without copies.

A sample is one array: from the call that sends it until the receiver has it as an array of numpy (`arrived`),
and until it has read all of it (`read`). The next one is sent when the receiver says so.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from benchmarks.harness import Against, Row, duration
from benchmarks.processes import End, running_hub

PACKAGES = ["pyzmq", "numpy", "msgspec"]
BYTES = 100_000_000
ROUNDS = 12
WARM_UP = 3
TARGET = 5.0


def run() -> list[Row]:
    """Measure arrays through a hub, and with pyzmq, in turns."""
    with ExitStack() as stack:
        hub = stack.enter_context(running_hub())
        receiver = stack.enter_context(hub.end("array_receiver"))
        ours = stack.enter_context(hub.end("array_sender", str(BYTES)))
        zmq_receiver = stack.enter_context(End("peers", "zmq_array_receiver"))
        theirs = stack.enter_context(
            End("peers", "zmq_array_sender", zmq_receiver.ready["endpoint"], str(BYTES))
        )
        taken: dict[str, list[dict[str, float]]] = {"ours": [], "pyzmq": []}
        sides = [("ours", ours, receiver), ("pyzmq", theirs, zmq_receiver)]
        for turn in range(ROUNDS + WARM_UP):
            for name, sender, other in sides if turn % 2 else sides[::-1]:
                sender.write("send 1")
                arrived = other.read()
                began = sender.read()["began"]
                if turn >= WARM_UP:
                    taken[name].append({key: arrived[key] - began for key in ("arrived", "read")})
    return [compare("arrived", taken, TARGET), compare("read", taken, None)]


def compare(what: str, taken: dict[str, list[dict[str, float]]], target: float | None) -> Row:
    """Compare the time until an array has arrived, or has been read."""
    mine, theirs = ([sample[what] for sample in taken[name]] for name in ("ours", "pyzmq"))
    pairs = zip(mine, theirs, strict=True)
    ratio = statistics.median(other / one for one, other in pairs)
    row = Row(f"an array of {BYTES / 1e6:.0f} MB, {what}", statistics.median(mine) * 1e9, [], gigabytes(mine))
    row.against.append(
        Against("pyzmq, zero-copy", statistics.median(theirs) * 1e9, ratio, target, True, gigabytes(theirs))
    )
    return row


def gigabytes(seconds: list[float]) -> str:
    """Tell how many a second that is, and the slowest sample."""
    typical = statistics.median(seconds)
    return f"{BYTES / typical / 1e9:.1f} GB/s, slowest {duration(max(seconds) * 1e9)}"
