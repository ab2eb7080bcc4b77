"""The credit on simulated links: it fills them, and delays other messages by little."""

import random
from collections import deque

import pytest

from berrymq.bridge.node.credit import FIRST_BYTES, LEAST_BYTES, MOST_BYTES, Credit


class Link:
    """A link with a rate and a round trip, over which pieces are pulled as fast as the credit allows.

    Args:
        rate: bytes a second.
        round_trip: seconds.
        busy: the mean of the times for which the receiver does nothing, in seconds.
        free: the mean of the times between these.
    """

    def __init__(self, rate, round_trip, *, busy=0.0, free=1e9):
        self.rate, self.round_trip, self.busy, self.free = rate, round_trip, busy, free
        self.choose = random.Random(1)
        self.busy_at = free
        self.credit = Credit()
        self.now = self.idle_at = 0.0
        self.in_flight = 0
        self.asked = deque()
        self.arrived = 0
        self.delays = []
        """How long a message would have waited for pieces, when each was asked for."""

    def pull(self, seconds):
        until = self.now + seconds
        while self.now < until:
            while self.in_flight < self.credit.size:
                size = self.credit.piece
                self.in_flight += size
                self.idle_at = max(self.idle_at, self.now + self.round_trip) + size / self.rate
                self.delays.append(self.idle_at - self.now - self.round_trip)
                self.asked.append((self.idle_at, self.credit.ask(size, self.in_flight, self.now)))
            at, asked = self.asked.popleft()
            self.now = max(self.now, at)
            if self.now > self.busy_at:
                self.now = max(self.now, self.busy_at + self.busy * self.choose.uniform(0.5, 1.5))
                self.busy_at = self.now + self.free * self.choose.uniform(0.5, 1.5)
            self.in_flight -= asked.size
            self.arrived += asked.size
            self.credit.arrived(asked, self.now)
        return self


@pytest.mark.parametrize("round_trip", [0.0002, 0.02, 0.1])
@pytest.mark.parametrize("rate", [1e5, 2e5, 1e6, 1e7, 1e8])
def test_it_fills_a_link_and_delays_others_by_little(rate, round_trip):
    link = Link(rate, round_trip).pull(10.0)
    before, since = link.arrived, link.now
    link.delays.clear()
    link.pull(5.0)
    possible = min(rate, MOST_BYTES / (round_trip + MOST_BYTES / rate))
    assert (link.arrived - before) / (link.now - since) > 0.7 * possible
    assert max(link.delays) < 0.035


@pytest.mark.parametrize("rate", [1e5, 2e5, 1e6, 1e7, 1e8])
def test_it_begins_with_little_delay(rate):
    assert max(Link(rate, 0.002).pull(1.0).delays) < 0.045


def test_it_begins_small_and_is_bounded():
    assert Credit().size == FIRST_BYTES
    assert Link(1e10, 0.0001).pull(0.5).credit.size == MOST_BYTES
    assert Link(1e4, 0.0001).pull(20.0).credit.size == LEAST_BYTES


@pytest.mark.parametrize("free", [0.02, 0.2])
def test_a_busy_process_does_not_shrink_it(free):
    link = Link(1e9, 0.0002, busy=0.06, free=free).pull(2.0)
    before = link.arrived
    link.pull(10.0)
    assert link.credit.size > MOST_BYTES // 2
    assert link.arrived - before > 2e9


@pytest.mark.parametrize("rate", [2e5, 1e6, 1e7])
@pytest.mark.parametrize("free", [0.02, 0.2])
def test_pieces_that_arrive_together_after_a_busy_time_do_not_prove_more_than_the_link_has(rate, free):
    link = Link(rate, 0.0002, busy=0.06, free=free).pull(2.0)
    link.delays.clear()
    link.pull(10.0)
    assert max(link.delays) < 0.06


def test_it_follows_a_link_that_becomes_slow():
    link = Link(1e8, 0.01).pull(3.0)
    link.rate = 1e6
    link.pull(10.0)
    link.delays.clear()
    link.pull(2.0)
    assert max(link.delays) < 0.05
