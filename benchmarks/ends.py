"""The ends of berryMQ's links, each in a process of its own: ``python -m benchmarks.ends KIND`` starts one.

They use the public functions of `berrymq`: `twitter` and `ask` on the main thread of one process, plain
functions as followers in the other.
"""

from __future__ import annotations

import asyncio
import gc
import queue
import resource
import secrets
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psutil

import berrymq
from benchmarks.workload import Counter, say, time_each
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.node.memories import Memories

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 30.0
"""The timeout of all steps, in seconds."""
TICK = 0.005
"""Seconds between the messages of a steady load."""


def listener() -> None:
    """Receive on a direct link, as its listening side."""
    counter = _follow(berrymq.default_bus)
    token = secrets.token_urlsafe()
    node = berrymq.init_connection(access_token=token, name="receiver")
    _receive(counter, url=node.url, access_token=token)
    berrymq.close_connection()


def receiver(url: str, access_token: str) -> None:
    """Receive through a hub."""
    bus = berrymq.Bus()
    counter = _follow(bus)
    with berrymq.link(url, access_token=access_token, bus=bus, name="receiver"):
        _receive(counter)


def _follow(bus: berrymq.Bus) -> Counter:
    counter = Counter()
    handle = counter.handle

    def run(message: berrymq.Message) -> None:
        handle(message.args, message.kwargs)

    def last(_: berrymq.Message) -> None:
        counter.report()

    def answer(message: berrymq.Message) -> Any:
        return message.args[0]

    bus.follow("test:run", run)
    bus.follow("test:last", last)
    bus.follow("test:ask", answer)
    return counter


def _receive(counter: Counter, **where: str) -> None:
    """Print the address of this end; for each line read, print the number of messages received so far."""
    say(**where)
    for _ in sys.stdin:
        say(received=counter.received, at=time.monotonic())


def sender(url: str, access_token: str) -> None:
    """Send and ask, on a direct link or through a hub."""
    bus = berrymq.Bus()
    with berrymq.link(url, access_token=access_token, bus=bus, name="sender") as link:
        _wait_for_receiver(bus)
        say()
        load: Load | None = None
        for line in sys.stdin:
            command, number = line.split()
            if command == "send":
                began = _send(bus, int(number))
                link.flush(TIMEOUT)
                say(began=began)
            elif command == "ask":
                say(seconds=time_each(lambda asked: _ask(bus, asked), int(number)))
            elif command == "load":
                if load is not None:
                    load.stop()
                    link.flush(TIMEOUT)
                load = Load(bus, link, int(number)) if int(number) else None
                say()


def _send(bus: berrymq.Bus, messages: int) -> float:
    twitter = bus.twitter
    began = time.monotonic()
    for number in range(messages):
        twitter("test:run", number, loss=0.12, name="train")
    twitter("test:last", messages, loss=0.12, name="train")
    return began


def _ask(bus: berrymq.Bus, number: int) -> Any:
    (answer,) = bus.ask("test:ask", number, loss=0.12, name="train", timeout=TIMEOUT)
    return answer


def _wait_for_receiver(bus: berrymq.Bus) -> None:
    """Wait until messages of this process reach the receiver: it has answered."""
    deadline = time.monotonic() + TIMEOUT
    while not bus.ask("test:ask", 0, loss=0.12, name="train", timeout=TIMEOUT):
        if time.monotonic() > deadline:
            raise TimeoutError("no receiver on this link")
        time.sleep(0.01)


class Load:
    """A steady load: a number of messages a second, on a thread of its own, until it is stopped.

    Messages that can't be sent in time are skipped. Twice a second it waits until the other side has
    everything, so that no backlog grows where the link is slower than this.

    Args:
        bus: the bus to send on.
        link: the link that is loaded.
        rate: messages a second.
    """

    def __init__(self, bus: berrymq.Bus, link: berrymq.Link, rate: int) -> None:
        self._bus, self._link, self._rate = bus, link, rate
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until it has."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        twitter, burst = self._bus.twitter, int(self._rate * TICK)
        due = flushed = time.monotonic()
        while not self._stopped.is_set():
            for number in range(burst):
                twitter("test:run", number, loss=0.12, name="train")
            now = time.monotonic()
            if now - flushed > 0.5:
                self._link.flush(TIMEOUT)
                flushed = now = time.monotonic()
            due = max(due + TICK, now - 20 * TICK)
            self._stopped.wait(max(0.0, due - now))


def crowd(url: str, access_token: str, number: str) -> None:
    """Link many nodes to a hub, each of which follows something that is never sent."""
    with ExitStack() as stack:
        for one in range(int(number)):
            bus = berrymq.Bus()
            bus.follow(f"other{one}:run", print)
            stack.enter_context(berrymq.link(url, access_token=access_token, bus=bus, name=f"other {one}"))
        say()
        sys.stdin.read()


def followers(url: str, access_token: str, number: str) -> None:
    """Link many nodes, each of which follows what is sent.

    For each number read, wait until all have so many messages in total, and say when that was.
    """
    counts = [0] * int(number)

    def count_at(one: int) -> Callable[[berrymq.Message], None]:
        def count(_: berrymq.Message) -> None:
            counts[one] += 1

        return count

    with ExitStack() as stack:
        for one in range(int(number)):
            bus = berrymq.Bus()
            bus.follow("test:run", count_at(one), direct=True)
            stack.enter_context(berrymq.link(url, access_token=access_token, bus=bus, name=f"other {one}"))
        say()
        for line in sys.stdin:
            deadline = time.monotonic() + TIMEOUT
            while sum(counts) < int(line):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{sum(counts)} of {line.strip()} messages arrived")
                time.sleep(0.0005)
            say(at=time.monotonic())


def _ignore(message: berrymq.Message) -> None:
    """Do nothing."""


def identifiers(url: str, access_token: str, number: str) -> None:
    """Print how long it takes until the last of many identifiers is known to be followed by another node.

    And how many tasks of asyncio there are then, which are nats-py's.
    """
    one, other = berrymq.Bus(), berrymq.Bus()
    with (
        berrymq.link(url, access_token=access_token, bus=one, name="one") as link,
        berrymq.link(url, access_token=access_token, bus=other, name="other"),
    ):
        began = time.monotonic()
        for each in range(int(number)):
            other.follow(f"test{each}:run", _ignore)
        while not link.is_followed(f"test{int(number) - 1}:run"):
            time.sleep(0.0002)
        seconds = time.monotonic() - began
        tasks = sum(isinstance(one, asyncio.Task) and not one.done() for one in gc.get_objects())
        say(seconds=seconds, tasks=tasks)
        sys.stdin.read()


def array_receiver(url: str, access_token: str) -> None:
    """Receive arrays, and say when each had arrived and had been read."""
    bus = berrymq.Bus()

    def run(message: berrymq.Message) -> None:
        arrived = time.monotonic()
        total = float(message.args[0].sum())
        say(arrived=arrived, read=time.monotonic(), total=total)

    bus.follow("test:array", run)
    bus.follow("test:ask", lambda message: message.args[0])
    with berrymq.link(url, access_token=access_token, bus=bus, name="receiver"):
        say()
        sys.stdin.read()


def array_sender(url: str, access_token: str, size: str) -> None:
    """Send an array of so many bytes, each time it is told to."""
    import numpy as np

    array = np.ones(int(size) // 8)
    bus = berrymq.Bus()
    with berrymq.link(url, access_token=access_token, bus=bus, name="sender"):
        _wait_for_receiver(bus)
        say()
        for _ in sys.stdin:
            began = time.monotonic()
            bus.twitter("test:array", array)
            say(began=began)


def apart_receiver(*listening: str) -> None:
    """Receive arrays over a direct link, in pieces, and say when each had arrived.

    Args:
        listening: URL and access token of the other side; by default this side listens.
    """
    import numpy as np

    _share_no_memory()
    bus = berrymq.default_bus
    before = 0

    def run(message: berrymq.Message) -> None:
        arrived = time.monotonic()
        total = float(np.sum(message.args[0]))
        say(arrived=arrived, read=time.monotonic(), total=total, peak=_peak() - before)

    bus.follow("test:array", run)
    bus.follow("test:ask", lambda message: message.args[0])
    linked = _link_directly("receiver", listening)
    before = _peak()
    say(**linked)
    sys.stdin.read()


def apart_sender(size: str, *listening: str) -> None:
    """Send an array over a direct link, in pieces, or ask, as each line requests; see `apart_receiver`."""
    import numpy as np

    _share_no_memory()
    bus = berrymq.default_bus
    linked = _link_directly("sender", listening)
    array = np.ones(int(size) // 8)
    before = 0
    say(**linked)
    for number, line in enumerate(sys.stdin):
        if number == 0:
            _wait_for_receiver(bus)
            bus.ask("test:ask", array[:10_000])  # modules that any array loads do not count for this one
            before = _peak() - array.nbytes
        command, count = line.split()
        if command == "ask":
            say(seconds=time_each(lambda asked: _ask(bus, asked), int(count)))
            continue
        began = time.monotonic()
        bus.twitter("test:array", array)
        say(began=began, peak=_peak() - before)


def _link_directly(name: str, listening: tuple[str, ...]) -> dict[str, str]:
    """Link to the other side, or listen; return URL and access token."""
    if listening:
        url, token = listening
        berrymq.interconnect(url, access_token=token)
    else:
        token = secrets.token_urlsafe()
        url = berrymq.init_connection(access_token=token, name=name).url
    return {"url": url, "token": token}


def table_sharer(url: str, access_token: str, size: str) -> None:
    """Share a table of so many bytes, each time it is told to."""
    import numpy as np
    import pandas as pd

    table = pd.DataFrame({f"c{number}": np.ones(int(size) // 80) for number in range(10)})
    bus = berrymq.Bus()
    with berrymq.link(url, access_token=access_token, bus=bus, name="sharer"):
        say()
        for _ in sys.stdin:
            berrymq.share("table", table, bus=bus)
            say(at=time.monotonic())


def table_taker(url: str, access_token: str) -> None:
    """Take what is shared as soon as that is announced, or when told to; say how long it took."""
    bus = berrymq.Bus()
    announced = queue.SimpleQueue[float]()
    bus.follow("table@berrymq:shared", lambda _: announced.put(time.monotonic()))
    with berrymq.link(url, access_token=access_token, bus=bus, name="taker"):
        say()
        table = None
        for line in sys.stdin:
            table = None
            gc.collect()
            if line == "release\n":
                say()
                continue
            before = psutil.Process().memory_full_info().uss  # takes some milliseconds
            began = announced.get(timeout=TIMEOUT) if line == "announced\n" else time.monotonic()
            table = berrymq.take("table", bus=bus)
            taken = time.monotonic()
            after = psutil.Process().memory_full_info().uss
            say(seconds=taken - began, added=after - before, rows=len(table), total=float(table["c3"].sum()))


def _share_no_memory() -> None:
    """Have links do as between two machines."""
    Memories.can_open = staticmethod(lambda _: False)  # type: ignore[method-assign]
    Endpoint.is_loopback = property(lambda _: False)  # type: ignore[assignment,method-assign]


def _peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first() -> None:
    """Link where there is no hub yet, and print how long that took."""
    began = time.monotonic()
    with berrymq.link(name="first"):
        say(seconds=time.monotonic() - began)
        sys.stdin.read()


KINDS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        *(listener, receiver, sender, crowd, followers, identifiers, first),
        *(array_receiver, array_sender, apart_receiver, apart_sender, table_sharer, table_taker),
    )
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](*sys.argv[2:])
