import asyncio
import socket
from types import SimpleNamespace

import pytest

from berrymq import Bus
from berrymq.bridge.client.connector import Connector
from berrymq.bridge.discovery.candidates import Found
from berrymq.bridge.errors import LinkError
from berrymq.bridge.network.peer import Peer
from berrymq.bridge.node import Node
from berrymq.bridge.server.listener import listen
from tests.support.faults import FaultProxy


class Heard:
    """What a node's follower gets, and an event for when it is enough."""

    def __init__(self, node):
        self.values = []
        self.changed = asyncio.Event()
        node.bus.follow("x:*", self.take, direct=True)

    def take(self, message):
        self.values.append(message.args[0])
        self.changed.set()

    async def until(self, values):
        while len(self.values) < len(values):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        assert self.values == values


@pytest.fixture
async def pair():
    """Two nodes that listen."""
    nodes = [Node(Bus(name), name=name) for name in "ab"]
    for node in nodes:
        await listen(node)
    yield nodes
    for node in nodes:
        await node.close()


@pytest.fixture
def runtime_info():
    """A connection file, as far as it tells whether its process is there."""
    return SimpleNamespace(is_live=True)


def connector(node, other, url=None):
    return Connector(node, lambda: [Found(url or other.url, other.access_token, "test")], ttl=10)


async def until(condition):
    """For what happens on the loop without an event of its own."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is state of the node, which tells nobody
            await asyncio.sleep(0.005)


async def test_no_side_keeps_small_frames_back(pair):
    a, b = pair
    link = connector(a, b)
    await link.open()
    (accepted,) = b.listener.sockets
    for stream in (link._connection.socket.protocol.stream, accepted.ws_connection.stream):
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await link.close()


async def test_two_nodes_that_dial_each_other_at_once_have_one_link(pair):
    a, b = pair
    heard = Heard(a)
    one, other = connector(a, b), connector(b, a)
    await asyncio.gather(one.open(), other.open())
    assert (a.connected_peers, b.connected_peers) == (1, 1)
    for number in range(5):
        b.bus.twitter("x:y", number)
    await heard.until(list(range(5)))
    await one.close()
    await other.close()


async def test_a_second_connector_to_the_same_node_uses_the_link_that_is_there(pair):
    a, b = pair
    heard = Heard(b)
    first, second = connector(a, b), connector(a, b, b.url.replace("127.0.0.1", "localhost"))
    await first.open()
    await second.open()
    assert second.peer is first.peer
    await second.close()
    a.bus.twitter("x:y", 1)
    await heard.until([1])
    await first.close()


@pytest.mark.parametrize("cuts", [1, 5])
async def test_a_link_comes_back_after_a_cut_and_nothing_is_lost(pair, cuts):
    a, b = pair
    heard = Heard(b)
    link = connector(a, b)
    await link.open()
    for number in range(cuts):
        a.bus.twitter("x:y", 2 * number)
        link.peer.transport.close("cut")
        a.bus.twitter("x:y", 2 * number + 1)
        await until(lambda: link.peer.connected)
    await heard.until(list(range(2 * cuts)))
    assert link.peer.session.stats.cuts == cuts
    await link.close()


async def test_one_that_breaks_the_protocol_when_the_link_comes_back_is_tried_again(pair, monkeypatch):
    a, b = pair
    heard = Heard(b)
    link = connector(a, b)
    await link.open()
    attach, attempts = Peer.attach, []

    def break_it_twice(peer, transport, received):
        if peer is link.peer and len(attempts) < 2:
            attempts.append(received)
            received = 1_000_000  # it confirms what was never sent
        attach(peer, transport, received)

    monkeypatch.setattr(Peer, "attach", break_it_twice)
    link.peer.transport.close("cut")
    a.bus.twitter("x:y", 1)
    await heard.until([1])
    assert len(attempts) == 2
    await link.close()


async def test_what_was_not_confirmed_goes_to_a_new_incarnation(pair):
    a, b = pair
    places = [Found(b.url, b.access_token, "test")]
    link = Connector(a, lambda: places, ttl=10)
    await link.open()
    follower = b.bus.follow("x:*", lambda message: None)
    await until(lambda: a.record_of(b.id).follows)
    await b.close()
    follower.cancel()
    successor = Node(Bus("c"), name="b")
    a.bus.twitter("x:y", 1)  # it is kept, since the former one may come back
    heard = Heard(successor)
    await listen(successor)
    places[:] = [Found(successor.url, successor.access_token, "test")]
    await heard.until([1])
    await link.close()
    await successor.close()


async def test_a_node_is_not_linked_to_itself(pair):
    a, _ = pair
    with pytest.raises(LinkError, match="can't be linked to itself"):
        await connector(a, a).open()


async def test_places_that_do_not_answer_are_named(pair, unused_tcp_port):
    a, b = pair
    wrong = Found(b.url, "x" * 20, "test")
    nobody = Found(f"http://127.0.0.1:{unused_tcp_port}/", None, "test")
    with pytest.raises(LinkError) as caught:
        await Connector(a, lambda: [wrong, nobody], ttl=10).open()
    assert f"{b.url} refused the access token" in str(caught.value)
    assert f"nothing answers at {nobody.url}" in str(caught.value)
    assert "xxxx" not in str(caught.value)


async def test_whose_process_has_ended_is_not_dialled_again(pair, runtime_info):
    """Another user's process may listen there by now, and would get the access token."""
    a, b = pair
    places = [Found(b.url, b.access_token, "connection file", runtime_info)]
    link = Connector(a, lambda: places, ttl=10)
    await link.open()
    runtime_info.is_live = False
    stranger = Node(Bus("c"), name="c")
    await listen(stranger)
    places[:] = [Found(stranger.url, stranger.access_token, "connection file", runtime_info)]
    (before,) = a.neighbours
    before.transport.close("cut")
    await until(lambda: link.found.url == stranger.url)
    assert b.connected_peers == 0
    await link.close()
    await stranger.close()


async def test_one_that_does_not_see_the_end_is_not_waited_for(pair, monkeypatch):
    monkeypatch.setattr("berrymq.bridge.client.dialing.CLOSE_SECONDS", 0.1)
    a, b = pair
    async with FaultProxy(b.address) as proxy:
        link = connector(a, b, proxy.url)
        await link.open()
        stream = link._connection.socket.protocol.stream
        proxy.swallow()
        await link.close(flush=0)
        assert stream.closed()


async def test_a_link_outlives_a_lack_of_files(pair, caplog):
    a, b = pair
    troubles = []

    def find():
        if troubles:
            raise troubles.pop()
        return [Found(b.url, b.access_token, "test")]

    link = Connector(a, find, ttl=10)
    await link.open()
    troubles += [OSError(24, "Too many open files"), RuntimeError("can't start new thread")]
    link.found = None
    link.peer.transport.close("cut")
    await until(lambda: not troubles and link.peer.connected)
    assert "a link can't be made at present" in caplog.text
    await link.close()


async def test_a_refused_resume_leaves_the_link_as_it_is(pair):
    a, b = pair
    link = connector(a, b)
    await link.open()
    there = b.peer(a.id)
    with pytest.raises(ValueError, match="was acknowledged"):
        there.attach(there.transport, 10**9)
    assert there.connected
    await link.close()


async def test_one_whose_closing_is_interrupted_is_closed_all_the_same(pair):
    a, b = pair
    b.bus.follow("test:*", lambda message: None)
    link = connector(a, b)
    await link.open()
    link.peer.session.holding = True  # nothing goes, so its end has to wait
    a.bus.twitter("test:run", 1)
    await a.traffic.flush_outbox()
    closing = asyncio.ensure_future(link.close(flush=60))
    await until(lambda: link.closed)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert a.peers == 0
    await until(lambda: b.peers == 0)
