"""A hub dies, another one takes its place, and those it linked meet there: nothing is lost on the way."""

import asyncio

import pytest

from berrymq.bridge.client.connector import Connector
from berrymq.bridge.discovery.candidates import Found
from berrymq.bridge.network import handover
from berrymq.bridge.protocol.accounts import Limits
from berrymq.bridge.protocol.frames import SendMessages, WireMessage, decode_frame
from berrymq.bridge.protocol.retention import RETAIN_SECONDS
from berrymq.bridge.protocol.session import Session
from tests.support.nodes import Ears, Nodes, until


class Town:
    """Nodes at a hub, that find its successor when they are let."""

    def __init__(self, nodes, *names):
        self.nodes = nodes
        self.names = names
        self.places = {}

    async def __aenter__(self):
        self.hub = await self.nodes.add("hub", hub=True)
        for name in self.names:
            node = await self.nodes.add(name, listening=False)
            setattr(self, name, node)
            self.places[name] = [self.place]
            link = Connector(node, lambda name=name: self.places[name], ttl=1000.0)
            self.nodes.connectors.append(link)
            await link.open()
        await self.nodes.know_all()
        return self

    async def __aexit__(self, *_):
        pass

    @property
    def place(self):
        return Found(self.hub.url, self.hub.access_token, "the test")

    async def replace_hub(self):
        """The hub dies in the middle of its work; a new one is there, and nobody knows it yet."""
        dead = self.hub
        for peer in dead.neighbours:
            peer.transport.close("killed")
            peer.lost(peer.transport)
        await dead.close()
        self.nodes.all.remove(dead)
        self.hub = await self.nodes.add("hub again", hub=True)

    async def let_find(self, *names):
        for name in names:
            self.places[name].append(self.place)
        await until(
            lambda: all(self.hub.peer(getattr(self, name).id) is not None for name in names), "they are back"
        )


async def test_who_is_back_first_waits_for_the_others():
    async with Nodes() as nodes, Town(nodes, "one", "two", "three") as town:
        ears = [Ears(town.two), Ears(town.three)]
        await nodes.know_all()
        await town.replace_hub()
        town.one.bus.twitter("test:run", 0)
        await town.let_find("one")
        town.one.bus.twitter("test:run", 1)
        await town.let_find("two")
        town.one.bus.twitter("test:run", 2)
        await asyncio.sleep(0.05)
        assert ears[0].values == []
        await town.let_find("three")
        for ear in ears:
            assert await ear.have(3) == [0, 1, 2]
        assert town.one.neighbours[0].session.stats.dropped == 0


async def test_questions_wait_as_well():
    async with Nodes() as nodes, Town(nodes, "one", "two") as town:
        town.two.bus.follow("calc:add", lambda message: sum(message.args))
        await nodes.know_all()
        await town.replace_hub()
        await town.let_find("one")
        asked = asyncio.ensure_future(town.one.bus.aask("calc:add", 1, 2, timeout=10))
        await town.let_find("two")
        assert await asked == [3]


async def test_who_does_not_come_back_is_waited_for_a_while(monkeypatch, caplog):
    monkeypatch.setattr(handover, "HANDOVER_SECONDS", 0.3)
    async with Nodes() as nodes, Town(nodes, "one", "two", "three") as town:
        ears, _gone = Ears(town.three), Ears(town.two, "gone:*")
        await nodes.know_all()
        await town.replace_hub()
        town.one.bus.twitter("gone:for_ever", 0)
        town.one.bus.twitter("test:run", 1)
        await town.let_find("one", "three")
        assert await ears.have(1) == [1]
        (link,) = town.one.neighbours
        assert link.session.stats.dropped == 1
        assert "two did not come back within 0.3 seconds after the end of hub: 1 messages" in caplog.text
        assert "three" not in caplog.text
        town.one.bus.twitter("gone:for_ever", 2)
        assert link.session.stats.queued == 0


async def test_when_the_successor_dies_too_they_are_still_waited_for():
    async with Nodes() as nodes, Town(nodes, "one", "two") as town:
        ears = Ears(town.two)
        await nodes.know_all()
        await town.replace_hub()
        await town.let_find("one")
        town.one.bus.twitter("test:run", 0)
        await town.replace_hub()
        await town.let_find("one")
        town.one.bus.twitter("test:run", 1)
        await town.let_find("two")
        assert await ears.have(2) == [0, 1]


async def test_what_the_hub_had_taken_and_not_handed_on_arrives_once():
    async with Nodes() as nodes, Town(nodes, "one", "two", "three") as town:
        behind, ears = Ears(town.two), Ears(town.three)
        await nodes.know_all()
        town.hub.peer(town.two.id).session.holding = True  # as when its connection is slow
        for number in range(100):
            town.one.bus.twitter("test:run", number)
        await ears.have(100)
        (link,) = town.one.neighbours
        await until(lambda: link.session.is_flushed, "the hub has confirmed everything")
        assert behind.values == []
        await town.replace_hub()
        await town.let_find("one", "two", "three")
        town.one.bus.twitter("test:run", 100)
        for ear in (behind, ears):
            assert await ear.have(101) == list(range(101))


class TestRetention:
    @pytest.fixture
    def session(self):
        session = Session("1", 0.0, Limits(window_messages=10, frame_messages=3), to_hub=True)
        session.attach(0.0, 0)
        return session

    def say(self, session, numbers, now):
        for number in numbers:
            session.send(WireMessage("a:b", b"[[],{}]", "n", 0.0, "o", number))
        frames = [decode_frame(data) for data in session.outgoing(now)]
        session._heard = now
        session._acknowledge(frames[-1].params.n)

    def again(self, session, now):
        session.detach()
        session.restart("2")
        session.attach(now, 0)
        frames = [decode_frame(data) for data in session.outgoing(now)]
        return [m.sequence for frame in frames if isinstance(frame, SendMessages) for m in frame.params.batch]

    def test_the_latest_confirmed_messages_are_sent_to_a_successor(self, session):
        self.say(session, [1, 2], now=1.0)
        assert session.is_flushed
        assert self.again(session, now=9.0) == [1, 2]
        assert session.stats.sent == 2

    def test_not_those_that_were_confirmed_long_before(self, session):
        self.say(session, [1, 2], now=1.0)
        self.say(session, [3], now=1.0 + RETAIN_SECONDS)
        assert self.again(session, now=9.0) == [3]

    def test_not_more_than_a_window(self, session):
        for start in range(1, 30, 3):
            self.say(session, range(start, start + 3), now=1.0)
        assert self.again(session, now=1.0) == list(range(22, 31))

    def test_once(self, session):
        self.say(session, [1], now=1.0)
        self.again(session, now=1.0)
        session._acknowledge(session._window.last)
        session.discard()
        assert self.again(session, now=1.0) == []

    def test_others_than_hubs_get_nothing_twice(self):
        session = Session("1", 0.0)
        session.attach(0.0, 0)
        self.say(session, [1], now=1.0)
        assert self.again(session, now=1.0) == []


async def test_time_counts_only_while_the_successor_is_there(monkeypatch):
    monkeypatch.setattr(handover, "HANDOVER_SECONDS", 0.3)
    async with Nodes() as nodes, Town(nodes, "one", "two") as town:
        ears = Ears(town.two)
        await nodes.know_all()
        await town.replace_hub()
        await town.let_find("one")
        town.one.bus.twitter("test:run", 0)
        await town.replace_hub()  # the successor has died too, and nothing is there for longer than that
        await asyncio.sleep(0.4)
        assert town.one.neighbours[0].session.stats.dropped == 0
        await town.let_find("one", "two")
        assert await ears.have(1) == [0]


async def test_who_leaves_meanwhile_reaches_those_who_are_there():
    async with Nodes() as nodes, Town(nodes, "one", "two", "three") as town:
        ears, _gone = Ears(town.two), Ears(town.three)
        await nodes.know_all()
        await town.replace_hub()
        await town.let_find("one", "two")
        await until(lambda: town.one.record_of(town.two.id) is not None, "they know each other")
        town.one.bus.twitter("test:run", 0)
        await town.one.traffic.flush_outbox()
        link = next(link for link in nodes.connectors if link.node is town.one)
        assert await link.close(flush=0.4) == 0
        assert await ears.have(1) == [0]


async def test_what_waits_at_one_hub_for_another_goes_to_the_nodes_that_move_over():
    async with Nodes() as nodes, Town(nodes, "one") as town:
        stays = await nodes.add("stays", hub=True)
        await nodes.link(stays, town.hub)
        speaker = await nodes.add("speaker")
        await nodes.link(speaker, stays)
        ears = Ears(town.one)
        await nodes.know_all()
        await town.replace_hub()
        for number in range(10):
            speaker.bus.twitter("test:run", number)
        lost = next(peer for peer in stays.neighbours if peer.sees_all)
        await until(lambda: len(lost.session.pending()) == 10, "they wait for the lost hub")
        assert stays.traffic.lost_links.stranded(lost) == 10
        town.places["one"].append(Found(stays.url, stays.access_token, "the test"))
        assert await ears.have(10) == list(range(10))
        speaker.bus.twitter("test:run", 10)
        assert await ears.have(11) == list(range(11))
        assert stays.retire_peer(lost) == 0


async def test_what_waits_on_one_link_goes_over_the_other_one_when_both_lead_to_one_hub():
    async with Nodes() as nodes, Town(nodes, "one", "two") as town:
        other = await nodes.add("other", hub=True)
        await nodes.link(town.one, other)
        ears = Ears(town.two)
        await nodes.know_all(town.one, town.two)
        await town.replace_hub()
        for number in range(10):
            town.one.bus.twitter("test:run", number)
        await town.one.traffic.flush_outbox()
        there = Found(other.url, other.access_token, "the test")
        town.places["two"].append(there)
        await until(lambda: other.peer(town.two.id) is not None, "the other one has moved over")
        town.places["one"].append(there)
        assert await ears.have(10) == list(range(10))
        await until(lambda: town.one.peers == 1, "the lost link is over")


@pytest.mark.parametrize("joined", ["the lost one", "one that is linked to it", "nobody"])
async def test_a_copy_is_given_to_those_who_may_have_missed_it_and_to_nobody_twice(joined):
    """The hub that is lost may or may not have been linked to the one that stays."""
    async with Nodes() as nodes, Town(nodes, "one", "two") as town:
        stays = await nodes.add("stays", hub=True)
        if joined == "the lost one":
            await nodes.link(stays, town.hub)
        elif joined == "nobody":
            await nodes.link(town.one, stays)
        else:
            between = await nodes.add("between", hub=True)
            await nodes.link(stays, between)
            await nodes.link(between, town.hub)
        here = await nodes.add("here")
        await nodes.link(here, stays)
        missed, ears = Ears(town.two), Ears(here)
        await nodes.know_all()
        town.hub.peer(town.two.id).session.holding = True  # as when its connection is slow
        for number in range(10):
            town.one.bus.twitter("test:run", number)
        await ears.have(10)
        at_hub = town.one.peer(town.hub.id).session
        await until(lambda: at_hub.is_flushed, "the hub has confirmed everything")
        await town.replace_hub()
        there = Found(stays.url, stays.access_token, "the test")
        for name in ("two", "one"):
            town.places[name].append(there)
            await until(lambda name=name: stays.peer(getattr(town, name).id) is not None, "moved over")
        await until(lambda: town.one.peers == 1, "all goes over one link")
        town.one.bus.twitter("test:run", 10)
        for ear in (missed, ears):
            assert await ear.have(11) == list(range(11))


async def test_what_waits_for_a_lost_hub_reaches_nodes_that_come_back_behind_another():
    """The receiver of a hub's messages moves to a third hub, which the sender's hub meets only then."""
    async with Nodes() as nodes, Town(nodes, "ears") as town:
        speakers, third = await nodes.add("speaker's", hub=True), await nodes.add("third", hub=True)
        await nodes.link(speakers, town.hub)
        await nodes.link(third, town.hub)
        speaker = await nodes.add("speaker")
        await nodes.link(speaker, speakers)
        ears = Ears(town.ears)
        await nodes.know_all()
        town.hub.peer(town.ears.id).session.holding = True  # it takes them, and hands none of them on
        for number in range(5):
            speaker.bus.twitter("test:run", number)
        at_hub = speakers.peer(town.hub.id).session
        await until(lambda: at_hub.stats.sent == 5 and at_hub.is_flushed, "the hub has confirmed everything")
        await town.replace_hub()
        for number in range(5, 10):
            speaker.bus.twitter("test:run", number)
        await until(lambda: len(at_hub.pending()) == 10, "they wait for the lost hub")
        town.places["ears"].append(Found(third.url, third.access_token, "the test"))
        await until(lambda: third.peer(town.ears.id) is not None, "moved over")
        await nodes.link(third, speakers)
        assert await ears.have(10) == list(range(10))
        speaker.bus.twitter("test:run", 10)
        assert await ears.have(11) == list(range(11))


async def test_what_waits_on_a_link_that_is_cut_takes_another_way_first():
    async with Nodes() as nodes:
        speaker, listener, hub = [await nodes.add(name, hub=name == "hub") for name in ("one", "two", "hub")]
        ears = Ears(listener)
        link = await nodes.link(speaker, listener)
        await nodes.know_all(speaker, listener)
        found, link._find = link._find, list
        link.found = None  # so that it does not come back
        peer = speaker.peer(listener.id)
        peer.transport.close("cut")
        await until(lambda: not peer.connected, "the cut is seen")
        for number in range(10):
            speaker.bus.twitter("test:run", number)
        await until(lambda: len(peer.session.pending()) == 10, "they wait for the link")
        await nodes.link(listener, hub)
        await nodes.link(speaker, hub)
        for number in range(10, 20):
            speaker.bus.twitter("test:run", number)
        assert await ears.have(20) == list(range(20))
        link._find = found
        await until(lambda: peer.connected, "the link is back")
        speaker.bus.twitter("test:run", 20)
        assert await ears.have(21) == list(range(21))
