import threading

import pytest

from berrymq.bridge.network.outbox import Outbox, Outgoing


def message(number, size=1):
    return Outgoing(f"test:{number}", b"x" * size, 0.0)


class Wakes:
    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


@pytest.fixture
def wake():
    return Wakes()


def identifiers(taken):
    return [outgoing.identifier for outgoing in taken]


def test_what_is_put_is_taken_in_order(wake):
    outbox = Outbox(wake, max_messages=10, max_bytes=100)
    for number in range(3):
        outbox.put(message(number))
    assert identifiers(outbox.take(10, 100)) == ["test:0", "test:1", "test:2"]
    assert not outbox


def test_it_wakes_once_until_somebody_has_looked(wake):
    outbox = Outbox(wake, max_messages=10, max_bytes=100)
    outbox.put(message(0))
    outbox.put(message(1))
    assert wake.count == 1
    outbox.take(1, 100)
    outbox.put(message(2))
    assert wake.count == 2


def test_takes_no_more_than_asked_for_by_number_and_by_size(wake):
    outbox = Outbox(wake, max_messages=10, max_bytes=100)
    for number in range(4):
        outbox.put(message(number, size=10))
    assert identifiers(outbox.take(1, 100)) == ["test:0"]
    assert identifiers(outbox.take(10, 25)) == ["test:1", "test:2"]
    assert outbox.take(10, 9) == []
    assert len(outbox) == 1


@pytest.mark.parametrize(
    "bounds", [{"max_messages": 2, "max_bytes": 100}, {"max_messages": 9, "max_bytes": 25}]
)
def test_the_oldest_make_room_and_are_counted(wake, bounds):
    outbox = Outbox(wake, **bounds)
    for number in range(5):
        outbox.put(message(number, size=10))
    assert outbox.dropped == 3
    assert identifiers(outbox.take(10, 100)) == ["test:3", "test:4"]


def test_a_single_message_over_the_bound_is_kept(wake):
    outbox = Outbox(wake, max_messages=2, max_bytes=5)
    outbox.put(message(0, size=10))
    assert identifiers(outbox.take(10, 100)) == ["test:0"]


def test_a_blocking_sender_waits_for_room_and_loses_nothing(wake):
    outbox = Outbox(wake, max_messages=2, max_bytes=100)
    outbox.overflow = "block"
    taken = []
    done = threading.Event()

    def send():
        for number in range(100):
            outbox.put(message(number))
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    while not done.is_set() or outbox:
        taken += outbox.take(1, 100)
    sender.join()
    assert identifiers(taken) == [f"test:{number}" for number in range(100)]
    assert outbox.dropped == 0


def test_closing_lets_a_blocked_sender_go(wake):
    outbox = Outbox(wake, max_messages=1, max_bytes=100)
    outbox.overflow = "block"
    outbox.put(message(0))
    sender = threading.Thread(target=outbox.put, args=(message(1),))
    sender.start()
    outbox.close()
    sender.join(timeout=10)
    assert not sender.is_alive()


def test_who_may_not_wait_does_not():
    outbox = Outbox(lambda: None, max_messages=1, max_bytes=100, may_wait=lambda: False)
    outbox.overflow = "block"
    outbox.put(Outgoing("a:b", b"1", 0.0))
    outbox.put(Outgoing("a:b", b"2", 0.0))
    assert [outgoing.payload for outgoing in outbox.take(9, 100)] == [b"2"]
    assert outbox.dropped == 1
