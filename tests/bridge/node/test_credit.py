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
        stalls: returns seconds for which the receiver does nothing after a piece.
    """

    def __init__(self, rate, round_trip, stalls=lambda: 0.0):
        self.rate, self.round_trip, self.stalls = rate, round_trip, stalls
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
                self.asked.append((self.idle_at, size, self.in_flight, self.now))
            at, size, in_flight, asked_at = self.asked.popleft()
            self.now = max(self.now, at)
            self.in_flight -= size
            self.arrived += size
            self.credit.arrived(size, in_flight, asked_at, self.now)
            self.now += self.stalls()
        return self


@pytest.mark.parametrize("round_trip", [0.0002, 0.02, 0.1])
@pytest.mark.parametrize("rate", [1e6, 1e7, 1e8])
def test_it_fills_a_link_and_delays_others_by_little(rate, round_trip):
    link = Link(rate, round_trip).pull(10.0)
    before, since = link.arrived, link.now
    link.delays.clear()
    link.pull(5.0)
    possible = min(rate, MOST_BYTES / (round_trip + MOST_BYTES / rate))
    assert (link.arrived - before) / (link.now - since) > 0.7 * possible
    assert max(link.delays) < 0.05


def test_it_begins_small_and_is_bounded():
    assert Credit().size == FIRST_BYTES
    assert Link(1e10, 0.0001).pull(0.5).credit.size == MOST_BYTES
    assert Link(1e4, 0.0001).pull(20.0).credit.size == LEAST_BYTES


def test_a_busy_process_does_not_shrink_it_for_long():
    choose = random.Random(1)
    link = Link(1e9, 0.0002).pull(1.0)
    assert link.credit.size == MOST_BYTES
    link.stalls = lambda: choose.choice((0.0, 0.0, 0.0, 0.06))
    link.pull(10.0)
    assert link.credit.size > 1_000_000


def test_it_follows_a_link_that_becomes_slow():
    link = Link(1e8, 0.01).pull(3.0)
    link.rate = 1e6
    link.pull(10.0)
    link.delays.clear()
    link.pull(2.0)
    assert max(link.delays) < 0.05
