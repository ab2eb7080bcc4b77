"""A client that may publish on ``bmq.>`` can disturb a node, but neither crash it nor exhaust its memory."""

import asyncio
import json

import nats
import pytest

import berrymq
from berrymq import Bus
from berrymq.bridge.nats.channel import MAX_HELD_BYTES
from berrymq.bridge.nats.mesh import MAX_MEMBERS, MAX_REMOTES, Mesh
from berrymq.bridge.protocol.events import CloseCode
from tests.support.nats_server import NatsServer
from tests.support.nodes import wait
from tests.support.recorder import Recorder


@pytest.fixture
def links():
    with NatsServer() as server:
        yield [berrymq.link(server.url, bus=Bus(name), name=name) for name in ("one", "two")]
        for link in berrymq.links():
            link.close(flush=0)


def publish(link, *payloads, subject="bmq._.%.all"):
    """Publish on the server of a link, and return what its nodes have published for each other since."""

    async def run():
        client = await nats.connect(link.url)
        published, has_part = [], asyncio.Event()

        async def collect(message):
            published.append(message.data)
            if message.data.startswith(b"F "):
                has_part.set()

        await client.subscribe("bmq.>", cb=collect)
        await client.flush()
        link.node.bus.twitter("test:run", "before")
        for payload in payloads:
            await client.publish(subject, payload)
        await client.flush()
        await asyncio.wait_for(has_part.wait(), 10)
        await client.close()
        return published

    return asyncio.run(run())


def hello(id, **fields):
    return json.dumps({"kind": "hello", "id": id, **fields}).encode()


def test_forged_nodes_and_notices_leave_the_others_linked(links, caplog):
    one, two = links
    recorder = Recorder(two.node.bus)
    wait(lambda: one.is_followed("test:run"), "it is followed")
    forged = [hello(f"forged{number}", answer=True, members=["x" * 255] * 500) for number in range(20)]
    forged += [hello(f"squatter{number}") for number in range(MAX_REMOTES + 100)]
    forged += [
        b'{"kind":"open","id":"forged1","epoch":"e","received":5,"stream":"s"}',
        b'{"kind":"opened","id":"forged2","epoch":"e"}',
        b'{"kind":"cut","id":"%b","epoch":"wrong"}' % two.node.id.encode(),
        b'{"kind":"ping","id":"unknown","epoch":"e","number":9}',
        b"F unknown e 1 1\n{}",
        b"F %b wrong 1 1\n{}" % two.node.id.encode(),
        b"B %b wrong 1 1 1\n" % two.node.id.encode(),
        b"\xff\x00",
        b"",
    ]
    publish(one, *forged)
    one.node.bus.twitter("test:run", "after")
    assert recorder.wait_for(2) == ["before", "after"]
    assert [link.stats().cuts for link in links] == [0, 0]
    wait(lambda: f"there are {MAX_REMOTES} in the room" in caplog.text, "what is left out is said")
    assert all(len(peer.members) <= MAX_MEMBERS for peer in one.node.peers.values())


def test_forged_parts_are_held_within_bounds(links, monkeypatch):
    one, two = links
    codes = []
    close = Mesh.closed_here
    monkeypatch.setattr(Mesh, "closed_here", lambda *args: (codes.append(args[2]), close(*args)))
    recorder = Recorder(two.node.bus)
    wait(lambda: one.is_followed("test:run"), "it is followed")
    line = next(data for data in publish(one) if data.startswith(b"F ")).partition(b"\n")[0].decode()
    _, sender, epoch, number, _ = line.split(" ")
    subject = f"bmq._.%.{two.node.id}"
    size = 1_000_000
    parts = [
        f"F {sender} {epoch} {int(number) + 10 + index} 1\n".encode() + bytes(size)
        for index in range(2 * MAX_HELD_BYTES // size)
    ]
    publish(one, *parts, subject=subject)
    assert two.node.budget.held < 2 * MAX_HELD_BYTES
    wait(lambda: two.stats().cuts, "the connection is cut, and opened again")
    one.node.bus.twitter("test:run", "after")
    assert recorder.wait_for(3) == ["before", "before", "after"]
    assert one.stats().dropped == two.stats().dropped == 0
    assert set(codes) == {CloseCode.GOING_AWAY}  # nothing of the sender is wrong, so it may drop nothing
    assert two.node.budget.held < MAX_HELD_BYTES
