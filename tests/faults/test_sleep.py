"""A laptop that sleeps: the clock jumps, and the connections are dead without having said so."""

import pytest

from tests.support.network import Network

HOUR = 3600.0


@pytest.fixture
def network():
    network = Network(2, ttl=100)
    network.link(*network.nodes)
    return network


@pytest.fixture
def heard(network):
    heard = []
    network.nodes[1].bus.follow("test:*", lambda message: heard.append(message.args[0]), direct=True)
    network.settle()
    return heard


def sleep(network, seconds):
    """Time passes, and nobody is awake to see it."""
    network.loop.jump(seconds)


def test_a_link_that_stood_before_goes_on_however_long_it_was(network, heard):
    one, other = network.nodes
    for number in range(5):
        one.bus.twitter("test:run", number)
    network.loop.run_due()
    sleep(network, HOUR)
    network.loop.run_due()
    assert not one.peer(other.id).connected
    assert not other.peer(one.id).connected
    one.bus.twitter("test:run", 5)
    assert network.resume(one, other)
    network.settle()
    assert heard == list(range(6))
    stats = one.peer(other.id).session.stats
    assert (stats.dropped, stats.in_flight, stats.queued) == (0, 0, 0)


def test_only_one_of_the_two_slept(network, heard):
    """The other side has cut the silent connection long since, and waits within its ttl."""
    one, other = network.nodes
    for number in range(5):
        one.bus.twitter("test:run", number)
    network.loop.run_due()
    network.cut(one, other)
    network.loop.advance(50)
    one.bus.twitter("test:run", 5)
    assert network.resume(one, other)
    network.settle()
    assert heard == list(range(6))


def test_a_link_that_was_cut_before_is_over_after_its_ttl_and_that_is_counted(network, heard, caplog):
    one, other = network.nodes
    network.cut(one, other)
    for number in range(5):
        one.bus.twitter("test:run", number)
    network.loop.run_due()
    session = one.peer(other.id).session
    sleep(network, HOUR)
    network.loop.run_due()
    assert one.peers == other.peers == 0
    assert session.stats.dropped == 5
    assert "5 messages for it were dropped" in caplog.text
    network.link(one, other)
    network.settle()
    one.bus.twitter("test:run", "new")
    network.settle()
    assert heard == ["new"]


def test_a_short_nap_is_not_noticed(network, heard):
    one, other = network.nodes
    sleep(network, 10)
    one.bus.twitter("test:run", 1)
    network.settle()
    assert heard == [1]
    assert one.peer(other.id).session.stats.cuts == 0
