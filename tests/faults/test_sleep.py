"""A laptop that sleeps, and a clock that is set: the connections are dead without having said so."""

import time

import pytest

from tests.support.network import Network
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

HOUR = 3600.0


@pytest.fixture
def network():
    network = Network(ttl=100)
    yield network
    network.close()


@pytest.fixture
def one(network):
    return network.node("one")


@pytest.fixture
def other(network):
    return network.node("other")


@pytest.fixture
def link(network, one, other):
    return network.link(one, other)


@pytest.fixture
def recorder(network, link, other):
    recorder = Recorder(other.bus)
    network.settle()
    return recorder


def publish(network, node, *numbers):
    for number in numbers:
        node.bus.twitter("test:run", number)
    network.loop.run_due()


def test_a_link_that_stood_before_goes_on_however_long_it_was(network, one, other, link, recorder):
    publish(network, one, *range(5))
    network.loop.jump(HOUR)
    network.loop.run_due()
    network.cut(link)
    publish(network, one, 5)
    network.resume(link, other)
    network.settle()
    assert recorder.values == list(range(6))
    stats = link.peer.stream.snapshot()
    assert (stats.dropped, stats.lost, stats.in_flight, stats.buffered) == (0, 0, 0, 0)


def test_only_one_of_the_two_slept(network, one, other, link, recorder):
    """The other side has cut the silent connection long since, and waits within its ttl."""
    publish(network, one, *range(5))
    network.cut(link, there_first=True)
    network.loop.advance(50)
    publish(network, one, 5)
    network.resume(link, other)
    network.settle()
    assert recorder.values == list(range(6))


def test_a_link_that_was_cut_before_is_over_after_its_ttl_and_that_is_counted(
    network, link, recorder, caplog
):
    """It is the listening side that gives up what it has for the other one."""
    one, other = network.nodes
    back = Recorder(one.bus, "back:*")
    network.settle()
    network.cut(link)
    peer = other.peers[one.id]
    for number in range(5):
        other.bus.twitter("back:run", number)
    network.loop.run_due()
    network.loop.jump(HOUR)
    network.loop.run_due()
    assert not other.peers
    assert peer.stream.stats.dropped == 5
    assert "5 messages for 'one' were dropped" in caplog.text
    network.resume(link, other)
    network.settle()
    assert link.stats.lost == 5
    other.bus.twitter("back:run", "new")
    publish(network, one, "new")
    network.settle()
    assert (back.values, recorder.values) == (["new"], ["new"])


def test_a_short_nap_is_not_noticed(network, one, other, link, recorder):
    network.loop.jump(10)
    publish(network, one, 1)
    network.settle()
    assert recorder.values == [1]
    assert link.stats.cuts == 0


@pytest.mark.parametrize("jump", [-10 * 365 * 86_400, -HOUR, HOUR, 10 * 365 * 86_400, 2**60])
def test_a_clock_that_is_set_does_no_harm(jump, monkeypatch):
    """Links go by the monotonic clock; the other one is only shown."""
    now = time.time
    with Nodes(2) as nodes:
        recorder = Recorder(nodes[1].bus)
        link = nodes.link(nodes[0], nodes[1])
        nodes.settle()
        nodes[0].bus.twitter("test:run", 0)
        recorder.wait_for(1)
        monkeypatch.setattr(time, "time", lambda: now() + jump)
        monkeypatch.setattr("berrymq.messages.time", lambda: now() + jump, raising=False)
        for number in range(1, 100):
            nodes[0].bus.twitter("test:run", number)
        assert recorder.wait_for(100) == list(range(100))
        wait(lambda: nodes.peer(nodes[0], nodes[1]).stream.idle, "all is acknowledged")
        assert link.stats.cuts == 0
        assert nodes[0].bus.ask("nobody:follows", timeout=5) == []
