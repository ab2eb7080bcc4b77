"""Links over a network that fails, under load: nothing is lost, doubled or put out of order."""

import os
import random
import threading
import time

import pytest

from berrymq.bridge.errors import LinkError
from berrymq.bridge.node import connector as connector_module
from berrymq.bridge.node.connector import Connector
from berrymq.bridge.protocol.limits import Limits
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

CUTS = int(os.environ.get("BERRYMQ_TEST_CUTS", "200"))
"""How often a link is cut under load; 1,000 for a full run."""


@pytest.fixture
def at_once(monkeypatch):
    """Links come back at once, however often they are cut."""
    monkeypatch.setattr(connector_module, "STEADY_SECONDS", -1.0)


@pytest.fixture
def nodes():
    with Nodes(2) as nodes:
        yield nodes


class Publisher:
    """Publishes numbers without end, on a thread of its own."""

    def __init__(self, node, pause=0.001):
        self.published = 0
        self._node = node
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _publish(self):
        while not self._over.wait(self._pause):
            for _ in range(random.randrange(1, 20)):
                text = "x" * random.choice((1, 10, 2_000))
                self._node.bus.twitter("test:run", self.published, text)
                self.published += 1

    def stop(self):
        self._over.set()
        self._thread.join(20)
        return self.published


@pytest.mark.timeout(60 + CUTS // 5)
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("by_hub", [False, True], ids=["direct", "by a hub"])
def test_many_cuts_under_load(record_property, by_hub):
    cuts_wanted = CUTS // 2 if by_hub else CUTS
    with Nodes(2) as nodes:
        other = nodes.hub() if by_hub else nodes[1]
        with FaultProxy(nodes.listening_address(other)) as proxy:
            recorders = [Recorder(node.bus) for node in nodes.all]
            link = nodes.link(nodes[0], other, proxy)
            if by_hub:
                nodes.link(nodes[1], other)
            nodes.settle()
            publishers = [Publisher(node) for node in nodes.all]
            try:
                for number in range(1, cuts_wanted + 1):
                    wait(lambda: link.connected, "the link is back")
                    time.sleep(random.choice((0, 0, 0.001, 0.01)))
                    while not proxy.cut():
                        time.sleep(0.001)
                    wait(lambda number=number: link.stats.cuts >= number, "the cut is seen")
            finally:
                published = [publisher.stop() for publisher in publishers]
            for recorder in recorders:
                recorder.wait_for(sum(published))
            nodes.settle()
            for node, recorder in zip(nodes.all, recorders, strict=True):
                for one, count in zip(nodes.all, published, strict=True):
                    assert recorder.of(None if one is node else one.name) == list(range(count))
                (peer,) = node.peers.values()
                stats = peer.stream.snapshot()
                assert stats.dropped == stats.lost == stats.in_flight == stats.buffered == 0
            assert link.stats.cuts >= cuts_wanted
            record_property("cuts", link.stats.cuts)
            record_property("messages", sum(published))
            print(f"{link.stats.cuts} cuts, {sum(published)} messages: 0 lost, 0 doubled, 0 out of order")


@pytest.mark.usefixtures("at_once")
def test_cuts_of_both_ways_of_a_ring():
    """What goes both ways round a ring is told apart by its number, whatever is cut."""
    with Nodes(4) as nodes:
        recorders = [Recorder(node.bus) for node in nodes.all]
        proxies = [FaultProxy(nodes.listening_address(node)) for node in nodes.all]
        links = []
        for index, proxy in enumerate(proxies):
            proxy.__enter__()
            links.append(nodes.link(nodes[index - 1], nodes[index], proxy))
        try:
            nodes.settle()
            publisher = Publisher(nodes[0])
            for _ in range(30):
                random.choice(proxies).cut()
                time.sleep(0.005)
            published = publisher.stop()
            for recorder in recorders[1:]:
                recorder.wait_for(published)
            wait(lambda: all(link.connected for link in links), "all links are back")
            nodes.settle()
            for recorder in recorders[1:]:
                assert sorted(recorder.values) == list(range(published))
        finally:
            for proxy in proxies:
                proxy.__exit__()


@pytest.mark.usefixtures("at_once")
def test_questions_are_answered_over_cuts(nodes):
    asker, answerer = nodes.all
    answerer.bus.follow("calc:add", lambda message: sum(message.args))
    with FaultProxy(nodes.listening_address(answerer)) as proxy:
        link = nodes.link(asker, answerer, proxy)
        nodes.settle()
        over = threading.Event()

        def cut():
            while not over.wait(0.02):
                proxy.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            for number in range(200):
                assert asker.bus.ask("calc:add", number, 1, timeout=20) == [number + 1]
        finally:
            over.set()
            thread.join(10)
        assert link.stats.cuts > 0


@pytest.mark.parametrize("delay", [0.02, 0.1])
def test_a_slow_network_only_takes_longer(nodes, delay):
    with FaultProxy(nodes.listening_address(nodes[1])) as proxy:
        recorder = Recorder(nodes[1].bus)
        proxy.delay = delay
        nodes.link(nodes[0], nodes[1], proxy)
        nodes.settle()
        for number in range(2_000):
            nodes[0].bus.twitter("test:run", number)
        assert recorder.wait_for(2_000) == list(range(2_000))


def test_a_half_open_connection_is_noticed_and_nothing_is_lost():
    with (
        Nodes(2, limits=Limits(keepalive=0.1)) as nodes,
        FaultProxy(nodes.listening_address(nodes[1])) as proxy,
    ):
        recorder = Recorder(nodes[1].bus)
        link = nodes.link(nodes[0], nodes[1], proxy)
        nodes.settle()
        proxy.swallow()
        for number in range(100):
            nodes[0].bus.twitter("test:run", number)
        wait(lambda: link.stats.cuts, "the silence is noticed")
        proxy.swallow(False)
        assert recorder.wait_for(100) == list(range(100))


def test_a_silent_link_that_is_well_is_not_cut():
    with Nodes(2, limits=Limits(keepalive=0.1)) as nodes:
        link = nodes.link(nodes[0], nodes[1])
        time.sleep(1.0)
        assert link.connected
        assert link.stats.cuts == nodes.peer(nodes[1], nodes[0]).stream.stats.cuts == 0


def test_a_cut_on_the_heels_of_the_answer_is_a_cut(nodes, monkeypatch):
    interconnect = Connector._interconnect
    cuts = iter([True, False])

    def cut_short(self, dialled, key):
        answer = interconnect(self, dialled, key)
        if next(cuts, False):
            proxy.cut()
        return answer

    with FaultProxy(nodes.listening_address(nodes[1])) as proxy:
        recorder = Recorder(nodes[1].bus)
        link = nodes.link(nodes[0], nodes[1], proxy)
        nodes.settle()
        monkeypatch.setattr(Connector, "_interconnect", cut_short)
        proxy.cut()
        wait(lambda: link.stats.cuts, "the cut is seen")
        nodes[0].bus.twitter("test:run", 1)
        assert recorder.wait_for(1) == [1]
        assert next(cuts, None) is None, "it was not cut short"


def test_a_black_hole_at_the_first_attempt_is_an_error_in_time(nodes):
    with FaultProxy(nodes.listening_address(nodes[1])) as proxy:
        proxy.swallow()
        began = time.monotonic()
        with pytest.raises(LinkError, match="did not answer in time"):
            nodes.connector(nodes[0], nodes[1], proxy).open(0.3)
        assert time.monotonic() - began < 5


class TestLongCuts:
    """A cut that outlasts the ttl, or brings more than can be kept: every loss is counted and told."""

    def test_what_the_side_that_comes_back_has_missed_is_told_to_it(self, nodes, caplog):
        """It is the listening side that gives up; the other one learns of it in its own stats."""
        here, there = nodes.all
        recorder = Recorder(here.bus)
        with FaultProxy(nodes.listening_address(there)) as proxy:
            link = nodes.link(here, there, proxy, ttl=0.2)
            nodes.settle()
            there.bus.twitter("test:run", "before")
            recorder.wait_for(1)
            nodes.settle()
            proxy.refuse()
            peer = nodes.peer(there, here)
            wait(lambda: not peer.connected, "the cut is seen")
            for number in range(10):
                there.bus.twitter("test:run", number)
            wait(lambda: not there.peers, "the link is given up")
            assert "10 messages for 'n0' were dropped: it did not reconnect in time" in caplog.text
            assert peer.stream.stats.dropped == 10
            before = link.stats
            received = before.received
            proxy.refuse(False)
            wait(lambda: link.connected and here.id in there.peers, "there is a new link")
            wait(lambda: link.stats.lost == 10, "the loss is told")
            nodes.settle()
            there.bus.twitter("test:run", "new")
            assert recorder.wait_for(2) == ["before", "new"]
            assert link.stats is before
            assert (link.stats.received, link.stats.cuts) == (received + 1, 1)

    def test_what_this_side_has_published_meanwhile_arrives_all_the_same(self, nodes):
        here, there = nodes.all
        recorder = Recorder(there.bus)
        with FaultProxy(nodes.listening_address(there)) as proxy:
            link = nodes.link(here, there, proxy, ttl=0.2)
            nodes.settle()
            here.bus.twitter("test:run", 0)
            recorder.wait_for(1)
            nodes.settle()
            proxy.refuse()
            wait(lambda: not there.peers, "the link is given up")
            for number in range(1, 1_000):
                here.bus.twitter("test:run", number)
            proxy.refuse(False)
            assert recorder.wait_for(1_000) == list(range(1_000))
            assert link.stats.dropped == link.stats.lost == 0
            assert link.stats.sent == 1_000

    def test_more_than_can_be_kept_is_dropped_counted_and_told(self):
        limits = Limits(window_messages=100, buffer_messages=200, frame_messages=50)
        with Nodes(2, limits=limits) as nodes:
            here, there = nodes.all
            recorder = Recorder(there.bus)
            with FaultProxy(nodes.listening_address(there)) as proxy:
                link = nodes.link(here, there, proxy)
                nodes.settle()
                proxy.refuse()
                wait(lambda: not link.connected, "the cut is seen")
                for number in range(3_000):
                    here.bus.twitter("test:run", number, "x" * 3_000)
                wait(lambda: not here.outbox, "all is in the link's buffer or dropped")
                proxy.refuse(False)
                wait(lambda: len(recorder.messages) + link.stats.dropped == 3_000, "each is accounted for")
                peer = nodes.peer(there, here)
                wait(lambda: peer.stream.stats.lost == link.stats.dropped, "the loss is told")
                assert link.stats.dropped >= 2_400
                assert recorder.values == sorted(recorder.values)
                assert recorder.values[-1] == 2_999

    def test_who_blocks_waits_until_it_is_over(self):
        limits = Limits(window_messages=100, buffer_messages=200, frame_messages=50)
        with Nodes(2, limits=limits) as nodes:
            here, there = nodes.all
            recorder = Recorder(there.bus)
            with FaultProxy(nodes.listening_address(there)) as proxy:
                link = nodes.link(here, there, proxy, ttl=0.2)
                nodes.settle()
                here.outbox.overflow = "block"
                proxy.refuse()
                wait(lambda: not there.peers, "the link is given up there")
                published = []

                def publish():
                    for number in range(3_000):
                        here.bus.twitter("test:run", number)
                        published.append(number)

                thread = threading.Thread(target=publish)
                thread.start()
                count = -1
                while count != len(published):
                    count = len(published)
                    time.sleep(0.2)
                assert count < 1_000, "it waits"
                proxy.refuse(False)
                thread.join(30)
                assert recorder.wait_for(3_000) == list(range(3_000))
                assert link.stats.dropped == link.stats.lost == 0

    def test_stats_never_go_back(self, nodes):
        here, there = nodes.all
        recorder = Recorder(there.bus)
        back = Recorder(here.bus, "back:*")
        grown = ("sent", "received", "dropped", "lost", "duplicates", "cuts")
        with FaultProxy(nodes.listening_address(there)) as proxy:
            link = nodes.link(here, there, proxy, ttl=0.2)
            nodes.settle()
            former = [0] * len(grown)
            for turn in range(5):
                here.bus.twitter("test:run", turn)
                there.bus.twitter("back:run", turn)
                recorder.wait_for(turn + 1)
                back.wait_for(turn + 1)
                nodes.settle()
                proxy.refuse()
                wait(lambda: not there.peers, "the link is given up")
                proxy.refuse(False)
                wait(lambda: link.connected and there.peers, "there is a new link")
                nodes.settle()
                now = [getattr(link.stats, name) for name in grown]
                assert all(one >= other for one, other in zip(now, former, strict=True)), (now, former)
                former = now
            assert dict(zip(grown, former, strict=True)) == {
                "sent": 5,
                "received": 5,
                "dropped": 0,
                "lost": 0,
                "duplicates": 0,
                "cuts": 5,
            }
