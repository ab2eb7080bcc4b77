"""Followers, queues and routes under fire from several threads. Tests are bounded by counts, not by time."""

import contextlib
import gc
import random
import sys
import threading

import pytest

from berrymq import Bus, Empty, Message, Queue


@pytest.fixture(autouse=True)
def eager_switching():
    """Let threads take turns as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def run_together(*functions):
    """Run all of them at the same time, each in a thread; raise what one of them raised."""
    barrier = threading.Barrier(len(functions))
    errors = []

    def run(function):
        barrier.wait(10)
        try:
            function()
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
        assert not thread.is_alive(), "a deadlock"
    if errors:
        raise errors[0]


def test_a_steady_follower_loses_and_doubles_nothing_while_others_come_and_go(bus):
    got = []
    bus.follow("a:b", lambda message: got.append(message.args[0]))
    count = 1500

    def send(base):
        for number in range(base, base + count):
            bus.twitter("a:b", number)

    def churn():
        for _ in range(count):
            with bus.follow("a:*", lambda message: None), bus.follow("*:b", lambda message: None):
                pass

    run_together(lambda: send(0), lambda: send(count), churn, churn)
    assert sorted(got) == list(range(2 * count))
    assert len(bus.subscriptions()) == 1


def test_what_is_sent_after_a_registration_arrives_and_after_a_cancellation_does_not(bus):
    def live():
        for _ in range(400):
            got = []
            identifier = f"a:{random.randrange(5)}"
            handle = bus.follow(identifier, got.append)
            bus.twitter(identifier, threading.get_ident())
            handle.cancel()
            mine = [message for message in got if message.args == (threading.get_ident(),)]
            assert len(mine) == 1
            bus.twitter(identifier, threading.get_ident())
            assert [message for message in got if message.args == (threading.get_ident(),)] == mine

    run_together(*[live] * 4)
    assert bus.subscriptions() == []


def test_objects_die_while_messages_fly(bus):
    class Owner:
        def __init__(self):
            self.cycle = self  # only garbage collection, at any moment, ends it

        def follow(self, message):
            pass

        def __del__(self):
            bus.twitter("owner:gone")

    gone = []
    bus.follow("owner:gone", gone.append)
    count = 300

    def live():
        for _ in range(count):
            owner = Owner()
            bus.follow("a:b", owner.follow)
            bus.twitter("a:b")
            bus.twitter(f"a:{random.random()}")

    def collect():
        for _ in range(20):
            gc.collect()

    run_together(live, live, collect)
    gc.collect()
    assert len(gone) == 2 * count
    assert len(bus.subscriptions()) == 1


def test_garbage_collection_in_every_operation_does_not_deadlock(bus):
    class Owner:
        def __init__(self):
            self.cycle = self
            self.queue = Queue("a:*", maxsize=3, bus=bus)
            self.handle = bus.follow("a:b", lambda message: None)

        def __del__(self):
            self.handle.cancel()
            self.queue.close()
            bus.follow("late:x", print)
            bus.twitter("a:new")
            bus.unfollow("late:x")

    threshold = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:

        def live():
            for number in range(150):
                Owner()
                bus.twitter(f"a:{number}")
                bus.gateway.interests()
                bus.subscriptions()

        run_together(live, live)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert bus.subscriptions() == []


def test_two_buses_that_send_to_each_other(bus):
    other, pings, pongs = Bus("other"), [], []
    bus.follow("ping:x", lambda message: other.twitter("pong:y") if message.args[0] else None)
    other.follow("pong:y", lambda message: bus.twitter("ping:x", 0))
    bus.follow("ping:x", pings.append)
    other.follow("pong:y", pongs.append)

    def from_here():
        for _ in range(500):
            bus.twitter("ping:x", 1)

    def from_there():
        for _ in range(500):
            other.twitter("pong:y")

    run_together(from_here, from_there)
    assert len(pongs) == 1000
    assert sorted(message.args[0] for message in pings) == [0] * 1000 + [1] * 500


def test_the_pool_while_it_grows_shrinks_and_closes(bus):
    seen = {name: [] for name in range(4)}
    for numbers in seen.values():
        bus.follow("a:b", lambda message, numbers=numbers: numbers.append(message.args[0]))
    count = 400

    def send():
        for number in range(count):
            bus.twitter("a:b", number)

    def resize():
        for size in [1, 4, 2, 0, 3, 1, 0, 2] * 4:
            bus.set_multiplicity(size)

    run_together(send, resize)
    bus.set_multiplicity(0)
    # Each follower got everything, once. Where the pool came and went, order is that of the threads.
    assert all(sorted(numbers) == list(range(count)) for numbers in seen.values())


def test_order_within_the_pool_while_it_grows_and_shrinks(bus):
    seen = {name: [] for name in range(4)}
    bus.set_multiplicity(2)
    for numbers in seen.values():
        bus.follow("a:b", lambda message, numbers=numbers: numbers.append(message.args[0]))

    def send():
        for number in range(600):
            bus.twitter("a:b", number)

    def resize():
        for size in [1, 4, 2, 3] * 10:
            bus.set_multiplicity(size)

    run_together(send, resize)
    assert bus.drain(20)
    assert all(numbers == list(range(600)) for numbers in seen.values())


def test_mutes_from_many_threads_end_in_sound(bus):
    got = []
    handle = bus.follow("a:b", got.append)

    def mute():
        for _ in range(300):
            with bus.mute("a:b"), bus.mute(handle):
                bus.twitter("a:b")

    run_together(*[mute] * 3)
    assert got == []
    bus.twitter("a:b")
    assert len(got) == 1


def test_queues_that_are_taken_from_closed_and_forgotten(bus):
    taken = []

    def send():
        for number in range(1500):
            bus.twitter("a:b", number)

    def take():
        for _ in range(60):
            queue = Queue("a:*", bool(random.getrandbits(1)), maxsize=4, bus=bus)
            with contextlib.suppress(Empty):
                taken.extend(queue.get(timeout=0.001) for _ in range(5))
            if random.getrandbits(1):
                queue.close()

    run_together(send, take, take)
    gc.collect()
    assert bus.subscriptions() == []
    assert bus._shared._known == {}


def test_received_messages_stay_in_order_beside_other_senders(bus):
    seen = []
    bus.follow("far:x", lambda message: seen.append(message.args[0]))
    count = 1000

    def receive():
        for number in range(count):
            bus.gateway.receive([Message.make("far:x", (number,), source="nb2")])

    def send():
        for _ in range(count):
            bus.twitter("near:x")

    run_together(receive, send)
    assert bus.drain(20)
    assert seen == list(range(count))
