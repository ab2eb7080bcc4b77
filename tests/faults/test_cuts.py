"""Links over a network that fails, under load: nothing is lost, doubled or put out of order."""

import asyncio
import os
import random
from functools import partial

import pytest

from berrymq.bridge.client import connector as connector_module
from berrymq.bridge.client.connector import Connector
from berrymq.bridge.discovery.candidates import Found
from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.accounts import Limits
from tests.support.faults import FaultProxy
from tests.support.nodes import Ears, Nodes, until

CUTS = int(os.environ.get("BERRYMQ_TEST_CUTS", "1000"))


@pytest.fixture
def at_once(monkeypatch):
    """Links come back at once, however often they are cut."""
    monkeypatch.setattr(connector_module, "STEADY_SECONDS", -1.0)


class Speaker:
    """Says numbers without end."""

    def __init__(self, node, pause=0.0):
        self.said = 0
        self._node = node
        self._pause = pause
        self._task = asyncio.ensure_future(self._speak())

    async def _speak(self):
        while True:
            for _ in range(random.randrange(1, 20)):
                self._node.bus.twitter("test:run", self.said, "x" * random.choice((1, 10, 2_000)))
                self.said += 1
            await asyncio.sleep(self._pause)

    async def stop(self):
        self._task.cancel()
        await asyncio.wait([self._task])
        return self.said


def cuts_are(link, number):
    """It has been cut so often. Whether it is cut is no question to ask: it may be back by then."""
    return link.peer.session.stats.cuts >= number


@pytest.mark.timeout(30 + CUTS // 10)
@pytest.mark.usefixtures("at_once")
async def test_many_cuts_under_load(record_property):
    async with Nodes(2) as nodes, FaultProxy(nodes[1].address) as proxy:
        ears = [Ears(node) for node in nodes.all]
        link = await nodes.link(nodes[0], nodes[1], proxy.url)
        await nodes.know_all()
        speakers = [Speaker(node, pause=0.001) for node in nodes.all]
        for number in range(1, CUTS + 1):
            await until(lambda: link.peer.connected, "the link is back")
            await asyncio.sleep(random.choice((0, 0, 0.001, 0.01)))
            assert proxy.cut()
            await until(partial(cuts_are, link, number), "the cut is seen")
        said = [await speaker.stop() for speaker in speakers]
        for ear in ears:
            await ear.have(sum(said))
        await nodes.are_silent()
        for node, other, ear in ((nodes[0], nodes[1], ears[0]), (nodes[1], nodes[0], ears[1])):
            assert ear.of(other.name) == list(range(said[nodes.all.index(other)]))
            assert ear.of(None) == list(range(said[nodes.all.index(node)]))
            stats = node.peer(other.id).session.stats
            assert stats.dropped == stats.lost == stats.in_flight == stats.queued == 0
        cuts = link.peer.session.stats.cuts
        assert cuts >= CUTS
        record_property("cuts", cuts)
        record_property("messages", sum(said))
        print(f"{cuts} cuts, {sum(said)} messages: 0 lost, 0 doubled, 0 out of order")


@pytest.mark.usefixtures("at_once")
async def test_cuts_of_both_ways_of_a_ring():
    """What goes both ways round a ring is told apart by its number, whatever is cut."""
    async with Nodes(4) as nodes:
        ears = [Ears(node) for node in nodes.all]
        proxies = [FaultProxy(node.address) for node in nodes.all]
        try:
            links = []
            for index in range(4):
                await proxies[index].__aenter__()
                links.append(await nodes.link(nodes[index - 1], nodes[index], proxies[index].url))
            await nodes.know_all()
            speaker = Speaker(nodes[0])
            for _ in range(30):
                random.choice(proxies).cut()
                await asyncio.sleep(0.005)
            said = await speaker.stop()
            for ear in ears[1:]:
                await ear.have(said)
            await until(lambda: all(link.peer.connected for link in links), "all links are back")
            await nodes.are_silent()
            for ear in ears[1:]:
                assert ear.values == list(range(said))
        finally:
            for proxy in proxies:
                await proxy.__aexit__()


@pytest.mark.parametrize("delay", [0.02, 0.1])
async def test_a_slow_network_only_takes_longer(delay):
    async with Nodes(2) as nodes, FaultProxy(nodes[1].address) as proxy:
        proxy.delay = delay
        ears = Ears(nodes[1])
        await nodes.link(nodes[0], nodes[1], proxy.url)
        await nodes.know_all()
        for number in range(2_000):
            nodes[0].bus.twitter("test:run", number)
        assert await ears.have(2_000) == list(range(2_000))


async def test_a_half_open_connection_is_noticed_and_nothing_is_lost(monkeypatch):
    async with Nodes(2, limits=Limits(heartbeat=0.1)) as nodes, FaultProxy(nodes[1].address) as proxy:
        ears = Ears(nodes[1])
        link = await nodes.link(nodes[0], nodes[1], proxy.url)
        monkeypatch.setattr(connector_module, "CONNECT_SECONDS", 0.5)
        await nodes.know_all()
        proxy.swallow()
        for number in range(100):
            nodes[0].bus.twitter("test:run", number)
        await until(lambda: not link.peer.connected, "the silence is noticed")
        assert proxy.connections >= 1
        proxy.swallow(False)
        assert await ears.have(100) == list(range(100))
        assert nodes[0].peer(nodes[1].id).session.stats.cuts >= 1


async def test_a_cut_on_the_heels_of_the_answer_is_a_cut(monkeypatch):
    interconnect = Connector._interconnect
    cuts = iter([True, False])

    async def cut_short(self, connection):
        answer = await interconnect(self, connection)
        if next(cuts, False):
            connection.close()
        return answer

    async with Nodes(2) as nodes, FaultProxy(nodes[1].address) as proxy:
        ears = Ears(nodes[1])
        link = await nodes.link(nodes[0], nodes[1], proxy.url)
        await nodes.know_all()
        monkeypatch.setattr(Connector, "_interconnect", cut_short)
        proxy.cut()
        await until(partial(cuts_are, link, 1), "the cut is seen")
        nodes[0].bus.twitter("test:run", 1)
        assert await ears.have(1) == [1]
        assert next(cuts, None) is None, "it was not cut short"


async def test_a_black_hole_at_the_first_attempt_is_an_error_in_time(monkeypatch):
    monkeypatch.setattr(connector_module, "CONNECT_SECONDS", 0.2)
    async with Nodes(2) as nodes, FaultProxy(nodes[1].address) as proxy:
        proxy.swallow()
        place = Found(proxy.url, nodes[1].access_token, "the test")
        connector = Connector(nodes[0], lambda: [place], ttl=10)
        with pytest.raises(LinkError, match="did not answer within"):
            await connector.open()


async def test_nobody_is_asked_without_end_while_nothing_answers(monkeypatch):
    monkeypatch.setattr(connector_module, "STEADY_SECONDS", 0.0)
    async with Nodes(2) as nodes, FaultProxy(nodes[1].address) as proxy:
        link = await nodes.link(nodes[0], nodes[1], proxy.url)
        await asyncio.sleep(0.01)
        proxy.refuses = True
        proxy.cut()
        before = proxy.connections
        await asyncio.sleep(1.0)
        assert 3 <= proxy.connections - before <= 8
        proxy.refuses = False
        await until(lambda: link.peer.connected, "the link is back")


async def test_who_stays_away_too_long_is_given_up_and_the_loss_is_counted(caplog):
    async with Nodes(2) as nodes, FaultProxy(nodes[1].address) as proxy:
        ears = Ears(nodes[1])
        link = await nodes.link(nodes[0], nodes[1], proxy.url, ttl=0.2)
        await nodes.know_all()
        peer = link.peer
        proxy.refuses = True
        proxy.cut()
        await until(lambda: not peer.connected, "the cut is seen")
        for number in range(10):
            nodes[0].bus.twitter("test:run", number)
        await until(lambda: peer.expired, "the session is given up")
        assert peer.session.stats.dropped == 10
        assert "10 messages for it were dropped" in caplog.text
        assert nodes[0].peers == 0
        proxy.refuses = False
        await until(lambda: link.peer is not peer and link.peer.connected, "there is a new link")
        await nodes.know_all()
        nodes[0].bus.twitter("test:run", "new")
        assert await ears.have(1) == ["new"]
