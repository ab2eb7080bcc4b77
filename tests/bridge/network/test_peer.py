"""A neighbour whose connection was cut, and whose process may have ended with it."""

import pytest

from berrymq.bridge.network.peer import PROCESS_CHECK_SECONDS
from tests.support.network import Network


class FakeProcess:
    has_ended = False
    checks = 0

    def __getattribute__(self, name):
        if name == "has_ended":
            FakeProcess.checks += 1
        return super().__getattribute__(name)


@pytest.fixture
def process():
    FakeProcess.checks = 0
    return FakeProcess()


@pytest.fixture
def network(process):
    network = Network(2)
    one, other = network.nodes
    one.bus.follow("test:*", lambda message: None)
    network.link(one, other, process)
    network.settle()
    return network


def after_a_cut(network, seconds):
    one, other = network.nodes
    network.cut(one, other)
    other.bus.twitter("test:run", 1)
    network.loop.run_due()
    network.loop.advance(seconds)


def test_one_that_runs_is_waited_for(network):
    after_a_cut(network, 900)
    one, other = network.nodes
    assert network.resume(one, other)
    network.settle()
    assert one.peer(other.id).session.stats.received == 1


def test_one_that_has_ended_is_not(network, process, caplog):
    process.has_ended = True
    after_a_cut(network, PROCESS_CHECK_SECONDS)
    _, other = network.nodes
    assert other.peers == 0
    assert "node 0 has ended: 1 messages for it were dropped" in caplog.text
    assert len(other.nodes()) == 1


def test_one_that_ends_later_is_waited_for_until_then(network, process):
    after_a_cut(network, 10)
    _, other = network.nodes
    assert other.peers == 1
    process.has_ended = True
    network.loop.advance(PROCESS_CHECK_SECONDS)
    assert other.peers == 0


def test_while_it_is_connected_nobody_looks(network):
    after_a_cut(network, 10)
    assert network.resume(*network.nodes)
    network.settle()
    checks = FakeProcess.checks
    network.loop.advance(4 * PROCESS_CHECK_SECONDS)  # silent, but not so long that it counts as cut again
    assert FakeProcess.checks == checks > 0
