import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.node import outbox as module
from berrymq.bridge.node.outbox import Outbox


def outbox(room=lambda: 1 << 30, may_wait=lambda: True):
    return Outbox(room, may_wait)


def numbers(taken):
    return [int(message) for _, messages in taken for message in messages]


def take(box):
    return box.take(most_bytes=1 << 20)


def put(box, number, size=0):
    return box.put("a:b", b"%0*d" % (size, number))


def test_what_is_put_is_taken_in_order():
    box = outbox()
    for number in range(3):
        put(box, number)
    assert numbers(take(box)) == [0, 1, 2]
    assert take(box) == []


def test_the_first_who_puts_something_sees_to_it_and_the_next_when_that_is_done():
    box = outbox()
    assert put(box, 0)
    assert not put(box, 1)
    take(box)
    assert not put(box, 2), "who has taken has not looked for the last time"
    assert numbers(take(box)) == [2]
    assert take(box) == []
    assert put(box, 3)


def test_it_is_true_while_something_is_in_it_or_is_being_taken_care_of():
    box = outbox()
    assert not box
    put(box, 0)
    assert box
    take(box)
    assert box
    assert take(box) == []
    assert not box


@pytest.mark.parametrize(("bound", "value"), [("MAX_MESSAGES", 2), ("MAX_BYTES", 25)])
def test_the_oldest_make_room_and_are_counted(monkeypatch, bound, value):
    monkeypatch.setattr(module, bound, value)
    box = outbox()
    for number in range(5):
        put(box, number, size=10)
    assert box.dropped == 3
    assert numbers(take(box)) == [3, 4]


def test_a_single_message_over_the_bound_is_kept(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 5)
    box = outbox()
    put(box, 1, size=10)
    assert numbers(take(box)) == [1]
    assert box.dropped == 0


class TestBlocking:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_MESSAGES", 8)

    def test_a_publisher_waits_for_room_and_loses_nothing(self):
        box = outbox()
        box.overflow = "block"
        done = threading.Event()

        def publish():
            for number in range(200):
                put(box, number)
            done.set()

        publisher = threading.Thread(target=publish)
        publisher.start()
        taken = []
        while not done.is_set() or box:
            taken += take(box)
        publisher.join()
        assert numbers(taken) == list(range(200))
        assert box.dropped == 0

    def test_it_waits_for_room_on_the_links_as_well(self):
        asked = threading.Event()
        room = [0]

        def room_left():
            asked.set()
            return room[0]

        box = outbox(room_left)
        box.overflow = "block"
        publisher = threading.Thread(target=put, args=(box, 1))
        publisher.start()
        assert asked.wait(10)
        assert take(box) == []
        room[0] = 5
        box.wake()
        publisher.join(10)
        assert numbers(take(box)) == [1]

    @pytest.mark.parametrize("release", ["close", "overflow"])
    def test_what_ends_the_waiting(self, release):
        asked = threading.Event()
        box = outbox(lambda: asked.set() or 0)
        box.overflow = "block"
        publisher = threading.Thread(target=put, args=(box, 1))
        publisher.start()
        assert asked.wait(10)
        if release == "close":
            box.close()
        else:
            box.overflow = "drop_oldest"
        publisher.join(10)
        assert not publisher.is_alive()
        assert box.overflow == ("block" if release == "close" else "drop_oldest")

    def test_who_may_not_wait_does_not(self):
        box = outbox(lambda: 0, may_wait=lambda: False)
        box.overflow = "block"
        for number in range(10):
            put(box, number)
        assert numbers(take(box)) == list(range(2, 10))
        assert box.dropped == 2


def test_many_publishers_and_takers_lose_nothing(monkeypatch):
    monkeypatch.setattr(sys, "setswitchinterval", sys.setswitchinterval)
    former = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        box, taken, lock = outbox(), [], threading.Lock()

        def empty():
            with lock:
                while groups := take(box):
                    taken.extend(groups)

        def publish(first):
            for number in range(first, first + 2_000):
                if put(box, number):
                    empty()

        publishers = [threading.Thread(target=publish, args=(first,)) for first in (0, 10_000, 20_000)]
        for publisher in publishers:
            publisher.start()
        for publisher in publishers:
            publisher.join()
    finally:
        sys.setswitchinterval(former)
    assert not box, "nobody has seen to the last message"
    found = numbers(taken)
    for first in (0, 10_000, 20_000):
        assert [number for number in found if first <= number < first + 2_000] == list(
            range(first, first + 2_000)
        )


@given(
    st.lists(st.tuples(st.sampled_from(["a:b", "c:d"]), st.integers(1, 40).map(lambda size: b"x" * size))),
    st.integers(1, 60),
)
def test_groups_keep_the_order_and_have_one_identifier_and_a_bound(items, most):
    box = outbox()
    for identifier, message in items:
        box.put(identifier, message)
    parts = box.take(most)
    assert [(identifier, message) for identifier, messages in parts for message in messages] == items
    for _, messages in parts:
        assert len(messages) == 1 or sum(map(len, messages)) <= most
