"""What does not grow: many identifiers, many registrations, many queues and messages."""

import gc
import tracemalloc

import pytest

from berrymq import Bus, Queue, identifiers


@pytest.fixture
def growth():
    """Measure, in bytes, by how much a function leaves more behind when it runs once more."""

    def measure(function):
        tracemalloc.start()
        try:
            for _ in range(2):
                function()  # fills caches, which are bounded
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            function()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return after - before

    return measure


def test_many_different_identifiers(bus, growth):
    start = iter(range(10**9))

    def send():
        for _ in range(20_000):
            bus.twitter(f"a:{next(start)}")

    # The table of routes is emptied when it is full, so it may have been emptier the first time.
    assert growth(send) < 1_500_000
    assert len(bus._table) <= 4096
    assert identifiers.parse_text.cache_info().currsize <= 4096


def test_many_followers_that_come_and_go(bus, growth):
    def churn():
        for number in range(5_000):
            bus.follow(f"a:{number}", lambda message: None).cancel()

    assert growth(churn) < 50_000
    assert bus._registry._index == {}


def test_many_objects_that_come_and_go(bus, growth):
    class Owner:
        def follow(self, message):
            pass

    def churn():
        for _ in range(5_000):
            owner = Owner()
            bus.follow("a:b", owner.follow)

    assert growth(churn) < 50_000
    assert bus._registry._index == {}


def test_many_queues_that_come_and_go(bus, growth):
    def churn():
        for number in range(2_000):
            with Queue(f"a:{number}", number % 2 == 0, maxsize=number % 3, bus=bus):
                bus.twitter(f"a:{number}")

    assert growth(churn) < 100_000
    assert bus._shared._known == {}


def test_many_messages_and_failures(bus, growth):
    bus.follow("a:b", lambda message: 1 / 0)
    queue = Queue("a:b", maxsize=10, bus=bus)

    def send():
        for number in range(3_000):
            with pytest.raises(ZeroDivisionError):
                bus.twitter("a:b", number)

    assert growth(send) < 50_000
    assert queue.qsize() == 10


def test_many_buses(growth):
    def churn():
        for _ in range(500):
            bus = Bus()
            bus.follow("a:b", lambda message: None)
            bus.twitter("a:b")

    assert growth(churn) < 50_000
