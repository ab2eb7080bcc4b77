"""A node whose followers lag holds its neighbours back, by the number of messages and by their size."""

import pytest

from berrymq.bridge.network import arrivals
from tests.support.network import Network

SIZE = 1_000_000


class Held:
    """Delivers nothing until it is told."""

    def __init__(self):
        self.waiting = []

    @property
    def backlog(self):
        return len(self.waiting)

    def submit(self, subscription, message):
        self.waiting.append(message)

    def submit_many(self, deliveries):
        self.waiting += [message for _, message in deliveries]

    def close(self, wait=True):
        pass


@pytest.fixture
def network():
    network = Network(2)
    network.link(*network.nodes)
    return network


def test_large_messages_are_held_back_long_before_there_are_many(network):
    one, two = network.nodes
    held = two.bus.gateway.deliverer = Held()
    two.bus.follow("test:*", lambda message: None)
    network.settle()
    for _ in range(60):
        one.bus.twitter("test:run", "x" * SIZE)
    network.settle()
    assert two.traffic.arrivals.is_behind()
    assert len(held.waiting) * SIZE <= arrivals.MAX_BACKLOG_BYTES + two.limits.window_bytes + SIZE
    while held.waiting or one.peer(two.id).session.stats.queued:
        held.waiting.clear()
        network.settle()
    assert not two.traffic.arrivals.is_behind()
    assert one.peer(two.id).session.stats.dropped == 0


def test_what_a_queue_has_already_holds_nobody_back(network):
    one, two = network.nodes
    held = two.bus.gateway.deliverer = Held()
    two.bus.follow("small:*", lambda message: None)
    two.bus.follow("large:*", lambda message: None, direct=True)
    network.settle()
    for _ in range(100):
        one.bus.twitter("small:run")
        one.bus.twitter("large:run", "x" * SIZE)
        network.settle()
    assert len(held.waiting) == 100
    assert not two.traffic.arrivals.is_behind()
