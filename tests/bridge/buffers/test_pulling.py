"""Arrays over links whose sides share no memory: they are pulled in pieces, between other messages."""

import numpy as np
import pandas as pd
import pytest

import berrymq
from berrymq.identifiers import Identifier
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

LARGE = np.arange(100_000.0)
HUGE = np.arange(3_000_000.0)


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Each process is on a machine of its own, as far as it can tell."""
    monkeypatch.setattr("berrymq.bridge.node.memories.Memories.can_open", lambda self, probe: False)


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture(params=["direct", "back", "hub", "chain"])
def pair(request, nodes):
    one, two = nodes.add("one"), nodes.add("two")
    if request.param == "hub":
        hub = nodes.hub()
        nodes.link(one, hub)
        nodes.link(two, hub)
    elif request.param == "chain":
        middle = nodes.add("middle")
        nodes.link(one, middle)
        nodes.link(two, middle)
    elif request.param == "back":
        nodes.link(two, one)
    else:
        nodes.link(one, two)
    return one, two


def all_is_released(nodes):
    return all(
        peer.stream.idle and not peer.pulls and not len(peer.stream.offers)
        for router in nodes.routers
        for peer in router.peers.values()
    )


def held_by(routers):
    return sum(router.memories.pool._bytes for router in routers)


class TestArrays:
    def test_arrive_equal_and_writable(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", HUGE, LARGE[:10_000], table=pd.DataFrame({"a": LARGE}), small=1)
        there.wait_for(1)
        message = there.messages[0]
        assert np.array_equal(message.args[0], HUGE)
        assert np.array_equal(message.args[1], LARGE[:10_000])
        assert message.kwargs["table"]["a"].sum() == LARGE.sum()
        message.args[0][0] = 5
        wait(lambda: all_is_released(nodes), "all is released")

    def test_stay_in_order_with_small_messages_of_the_same_identifier(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        for number in range(60):
            one.bus.twitter("test:run", number, LARGE + number if number % 3 else number)
        assert there.wait_for(60) == list(range(60))
        for message in there.messages:
            assert np.max(message.args[1] - message.args[0]) == (LARGE[-1] if message.args[0] % 3 else 0)

    def test_of_questions_and_answers(self, nodes, pair):
        one, two = pair
        two.bus.follow("calc:double", lambda message: 2 * message.args[0])
        two.bus.follow("calc:double", lambda message: message.args[0][:50_000])
        nodes.settle()
        double, part = one.bus.ask("calc:double", HUGE)
        assert np.array_equal(double, 2 * HUGE)
        assert np.array_equal(part, HUGE[:50_000])
        wait(lambda: all_is_released(nodes), "all is released")

    def test_that_are_shared_are_taken(self, nodes, pair):
        one, two = pair
        berrymq.share("prices", pd.DataFrame({"a": HUGE}), bus=one.bus)
        nodes.settle()
        for _ in range(2):
            there = berrymq.take("prices", bus=two.bus)
            assert np.array_equal(there["a"], HUGE)
        berrymq.unshare("prices", bus=one.bus)

    def test_reach_several_receivers(self, nodes):
        hub, one = nodes.hub(), nodes.add()
        nodes.link(one, hub)
        others = [nodes.add() for _ in range(3)]
        for other in others:
            nodes.link(other, hub)
        recorders = [Recorder(other.bus) for other in others]
        nodes.settle()
        for number in range(5):
            one.bus.twitter("test:run", number, HUGE)
        for recorder in recorders:
            assert recorder.wait_for(5) == list(range(5))
            assert np.array_equal(recorder.messages[-1].args[1], HUGE)

    def test_that_are_retained_come_first(self, nodes):
        hub, one, late = nodes.hub(), nodes.add(), nodes.add()
        nodes.link(one, hub)
        nodes.settle()
        kept = Identifier.parse("test:*")
        with hub.lock:
            hub.histories.keep(hub.room(None), kept, 100, "test")
            hub.announcements.schedule(hub.room(None), [kept])
        nodes.settle()
        for number in range(4):
            one.bus.twitter("test:run", number, LARGE + number)
        wait(lambda: hub.messages >= 4, "they are retained")
        nodes.link(late, hub)
        seen = []
        late.bus.follow("test:*", seen.append, past=True)
        wait(lambda: len(seen) == 4, "they are replayed")
        assert [message.args[0] for message in seen] == list(range(4))
        assert all(message.args[1][0] == message.args[0] for message in seen)
