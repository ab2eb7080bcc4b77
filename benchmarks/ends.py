"""The far ends of the links that are measured, each in a process of its own.

``python -m benchmarks.ends KIND`` starts one. It says where it is in one line of JSON on its standard output,
and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

import berrymq
from berrymq.bridge.loop import run
from berrymq.bridge.payload import encode
from berrymq.bridge.protocol.frames import WireMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
PAUSE = 0.005
"""Seconds between the messages of a flood."""
CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "json": (lambda value: json.dumps(value).encode(), json.loads),
    "msgspec": (msgspec.json.encode, msgspec.json.decode),
}
"""How pyzmq's side writes and reads its JSON: with the standard library, or with what berryMQ uses."""


@contextmanager
def far_end(
    kind: str, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """Run one in a process of its own; what it says of itself, and the process."""
    command = [sys.executable, "-m", "benchmarks.ends", kind, *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the far end {kind} ended with {process.wait()}")
        try:
            yield {**json.loads(line), "process": process}
        finally:
            process.stdin.close()


def count_on(bus: berrymq.Bus) -> None:
    """Count ``test:run``, tell the number when ``test:last`` comes, and answer ``test:ask``."""
    counted = 0

    def run(_: berrymq.Message) -> None:
        nonlocal counted
        counted += 1

    def last(_: berrymq.Message) -> None:
        nonlocal counted
        bus.twitter("test:counted", counted)
        counted = 0

    bus.follow("test:run", run)
    bus.follow("test:last", last)
    bus.follow("test:ask", lambda message: message.args[0])


def listening() -> None:
    """Listen for a direct link."""
    count_on(berrymq.default_bus)
    node = berrymq.init_connection()
    wait(url=node.url, token=node.access_token)
    berrymq.close_connection()


def joined(url: str, token: str) -> None:
    """Join a hub, as one who follows."""
    bus = berrymq.Bus()
    count_on(bus)
    with berrymq.link(url, access_token=token, bus=bus, name="far end"):
        wait()


def crowd(url: str, token: str, number: str) -> None:
    """Join a hub as many nodes, each of which follows something that nobody says."""
    for one in range(int(number)):
        bus = berrymq.Bus()
        bus.follow(f"other{one}:run", print)
        berrymq.link(url, access_token=token, bus=bus, name=f"other {one}")
    wait()


def flood(url: str, token: str, rate: str) -> None:
    """Join a hub and put so many messages a second on the link to it, without the work of a bus."""
    with berrymq.link(url, access_token=token, bus=berrymq.Bus(), name="flood") as link:
        run(_flood(link, int(rate)))


async def _flood(link: berrymq.Link, rate: int) -> None:
    loop = asyncio.get_running_loop()
    node, (peer,) = link.node, link.node.neighbours
    payload = Raw(encode((1,), {"loss": 0.12, "name": "train"}))
    ended = loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({}), flush=True)
    began, sent = loop.time(), 0
    while not ended.done():
        due = int((loop.time() - began) * rate)
        # What the hub is too slow for is left out, not kept for later.
        for sequence in range(max(sent, due - rate // 10), due) if peer.session.room[0] > rate // 2 else ():
            peer.session.send(WireMessage("test:run", payload, node.name, time.time(), node.id, sequence + 1))
        sent = due
        peer.pump()
        await asyncio.sleep(PAUSE)


def counting(url: str, token: str) -> None:
    """Join a hub and count what comes over the link, without the work of a bus; a line asks for it."""
    bus, counted = berrymq.Bus(), 0
    bus.follow("test:run", print)

    def receive(_: object, batch: list[WireMessage]) -> None:
        nonlocal counted
        counted += len(batch)

    with berrymq.link(url, access_token=token, bus=bus, name="counting") as link:
        link.node.traffic.receive = receive  # type: ignore[method-assign]
        print(json.dumps({}), flush=True)
        for _ in sys.stdin:
            print(counted, flush=True)


def pyzmq(codec: str) -> None:
    """Do with pyzmq what `listening` does: PUB/SUB into a function, and REQ/REP."""
    import zmq

    decode = CODECS[codec][1]
    context = zmq.Context()
    subscriber, counted, replier = context.socket(zmq.SUB), context.socket(zmq.PUSH), context.socket(zmq.REP)
    subscriber.set_hwm(0)
    subscriber.subscribe(b"test:")
    ports = {
        "publish": subscriber.bind_to_random_port("tcp://127.0.0.1"),
        "counted": counted.bind_to_random_port("tcp://127.0.0.1"),
        "ask": replier.bind_to_random_port("tcp://127.0.0.1"),
    }
    threading.Thread(target=_count, args=(subscriber, counted, decode), daemon=True).start()
    threading.Thread(target=_reply, args=(replier, codec), daemon=True).start()
    wait(**ports)
    os._exit(0)  # both threads wait for more


def _count(subscriber: Any, counted: Any, decode: Callable[[bytes], Any]) -> None:
    number = 0

    def run(_args: list[Any], _kwargs: dict[str, Any]) -> None:
        nonlocal number
        number += 1

    while True:
        topic, body = subscriber.recv_multipart()
        args, kwargs = decode(body)
        if topic == b"test:run":
            run(args, kwargs)
        else:
            counted.send(b"%d" % number)
            number = 0


def _reply(replier: Any, codec: str) -> None:
    encode, decode = CODECS[codec]
    while True:
        args, _ = decode(replier.recv())
        replier.send(encode(args[0]))


def wait(**told: object) -> None:
    """Say where it is, and wait until it is to end."""
    print(json.dumps(told), flush=True)
    sys.stdin.read()


KINDS: dict[str, Callable[..., None]] = {
    function.__name__: function for function in (listening, joined, crowd, flood, counting, pyzmq)
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](*sys.argv[2:])
