"""The ends of the peers' links: pyzmq and nats-py, each as its documentation recommends for speed.

``python -m benchmarks.peers KIND`` starts one. Of the options of each, these were measured to be fastest:

- pyzmq: single-part messages of JSON that begin with the identifier, which is what a subscription filters by;
  no high-water mark, so that nothing is dropped and no call waits; blocking calls on the main thread.
  `recv_into` a buffer, ``ipc://`` and a bounded PUSH are no faster.
- nats-py: subjects are checked by the server alone; a flush every `FLUSH` messages; one subscription with a
  callback. Pulling with `next_msg` is a third as fast; uvloop makes no difference.
- msgspec: an encoder and typed decoders that are made once, the keywords as a Struct outside of garbage
  collection.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import nats
import zmq

from benchmarks.workload import Counter, exit_with_standard_input, say, time_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

FLUSH = 100
"""The number of messages after which nats-py is flushed."""


class Keywords(msgspec.Struct, gc=False):
    """The keywords of a message."""

    loss: float
    name: str


encode = msgspec.json.Encoder().encode
decode_number = msgspec.json.Decoder(int).decode


def zmq_receiver(kind: str) -> None:
    """Receive with SUB or PULL, on the main thread."""
    socket = zmq.Context().socket(zmq.SocketType[kind])
    socket.set_hwm(0)
    if kind == "SUB":
        socket.subscribe(b'["test:')
    socket.bind("tcp://127.0.0.1:*")
    exit_with_standard_input()
    say(endpoint=socket.get_string(zmq.LAST_ENDPOINT))
    decode = msgspec.json.Decoder(tuple[str, list[int], Keywords]).decode
    receive, counter = socket.recv, Counter()
    handle = counter.handle
    while True:
        identifier, args, kwargs = decode(receive())
        if identifier == "test:run":
            handle(args, kwargs)
        else:
            counter.report()


def zmq_sender(kind: str, endpoint: str) -> None:
    """Send with PUSH or XPUB, which is a PUB that reports its subscriptions."""
    socket = zmq.Context().socket(zmq.SocketType[kind])
    socket.set_hwm(0)
    socket.connect(endpoint)
    if kind == "XPUB":
        socket.recv()  # messages before the subscription are dropped
    say()
    send = socket.send
    for line in sys.stdin:
        messages = int(line.split()[1])
        began = time.monotonic()
        for number in range(messages):
            send(encode(("test:run", (number,), {"loss": 0.12, "name": "train"})))
        send(encode(("test:last", (messages,), {"loss": 0.12, "name": "train"})))
        say(began=began)
    socket.close(linger=0)


def zmq_replier() -> None:
    """Reply with REP, on the main thread."""
    socket = zmq.Context().socket(zmq.REP)
    socket.bind("tcp://127.0.0.1:*")
    exit_with_standard_input()
    say(endpoint=socket.get_string(zmq.LAST_ENDPOINT))
    decode = msgspec.json.Decoder(tuple[str, list[int], Keywords]).decode
    receive, send = socket.recv, socket.send
    while True:
        _, args, _ = decode(receive())
        send(encode(args[0]))


def zmq_requester(endpoint: str) -> None:
    """Request with REQ, on the main thread."""
    socket = zmq.Context().socket(zmq.REQ)
    socket.connect(endpoint)
    say()
    send, receive = socket.send, socket.recv

    def ask(number: int) -> int:
        send(encode(("test:ask", (number,), {"loss": 0.12, "name": "train"})))
        return decode_number(receive())

    for line in sys.stdin:
        say(seconds=time_each(ask, int(line.split()[1])))
    socket.close(linger=0)


def nats_receiver(url: str) -> None:
    """Receive, count and answer with nats-py."""
    asyncio.run(_nats_receiver(url))


async def _nats_receiver(url: str) -> None:
    client = await nats.connect(url, skip_subject_validation=True)
    decode = msgspec.json.Decoder(tuple[list[int], Keywords]).decode
    counter = Counter()
    handle = counter.handle

    async def receive(message: Msg) -> None:
        args, kwargs = decode(message.data)
        if message.subject == "test.run":
            handle(args, kwargs)
        elif message.subject == "test.ask":
            await message.respond(encode(args[0]))
        else:
            counter.report()

    await client.subscribe("test.*", cb=receive)
    await client.flush()
    say()
    while await _line():
        pass
    await client.close()


def nats_sender(url: str) -> None:
    """Publish and request with nats-py."""
    asyncio.run(_nats_sender(url))


async def _nats_sender(url: str) -> None:
    client = await nats.connect(url, skip_subject_validation=True)
    say()
    while line := await _line():
        command, number = line.split()
        if command == "send":
            say(began=await _nats_send(client, int(number)))
        else:
            say(seconds=await _nats_ask(client, int(number)))
    await client.close()


async def _nats_send(client: Client, messages: int) -> float:
    publish = client.publish
    began = time.monotonic()
    for number in range(messages):
        await publish("test.run", encode(((number,), {"loss": 0.12, "name": "train"})))
        if not number % FLUSH:
            await client.flush()
    await publish("test.last", encode(((messages,), {"loss": 0.12, "name": "train"})))
    await client.flush()
    return began


async def _nats_ask(client: Client, questions: int) -> list[float]:
    taken = []
    for number in range(questions):
        began = time.perf_counter()
        payload = encode(((number,), {"loss": 0.12, "name": "train"}))
        reply = await client.request("test.ask", payload, timeout=10)
        answer = decode_number(reply.data)
        taken.append(time.perf_counter() - began)
        if answer != number:
            raise ValueError(f"{number} was asked, and {answer!r} answered")
    return taken


async def _line() -> str:
    """Return the next line of the standard input, empty at its end, without blocking the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def zmq_array_receiver() -> None:
    """Receive arrays with PULL, without a copy, and say when each had arrived and had been read."""
    import numpy as np

    socket = zmq.Context().socket(zmq.PULL)
    socket.bind("tcp://127.0.0.1:*")
    exit_with_standard_input()
    say(endpoint=socket.get_string(zmq.LAST_ENDPOINT))
    while True:
        head, frame = socket.recv_multipart(copy=False)
        form = msgspec.json.decode(head.buffer)
        array = np.frombuffer(frame.buffer, form["dtype"]).reshape(form["shape"])
        arrived = time.monotonic()
        total = float(array.sum())
        say(arrived=arrived, read=time.monotonic(), total=total)


def zmq_array_sender(endpoint: str, size: str) -> None:
    """Send an array of so many bytes with PUSH, without a copy, each time it is told to."""
    import numpy as np

    socket = zmq.Context().socket(zmq.PUSH)
    socket.connect(endpoint)
    array = np.ones(int(size) // 8)
    say()
    for _ in sys.stdin:
        began = time.monotonic()
        head = encode({"dtype": array.dtype.str, "shape": array.shape})
        socket.send_multipart([head, array], copy=False)
        say(began=began)


KINDS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        zmq_receiver,
        zmq_sender,
        zmq_replier,
        zmq_requester,
        zmq_array_receiver,
        zmq_array_sender,
        nats_receiver,
        nats_sender,
    )
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](*sys.argv[2:])
