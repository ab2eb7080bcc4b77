import threading
from collections import deque
from queue import Full

import pytest

from berrymq import Message
from berrymq.stores import BoundedStore, Store, Waiters
from tests.support.waiting import wait_until


def message(number):
    return Message.make("a:b", (number,))


def numbers(store):
    return [one.args[0] for one in store.items]


class Front:
    """Stands in for a queue."""


class TestWaiters:
    def test_the_longest_waiter_is_woken(self):
        waiters, woken = Waiters(), []
        waiters.append(lambda: woken.append(1))
        waiters.append(lambda: woken.append(2))
        waiters.wake()
        assert woken == [1]
        waiters.wake_all()
        waiters.wake()
        assert woken == [1, 2]

    def test_a_waiter_that_stops_waiting_is_not_woken(self):
        waiters = Waiters()
        waiters.append(print)
        waiters.discard(print)
        waiters.discard(print)
        assert not waiters


class TestStore:
    def test_messages_keep_their_order(self):
        store = Store()
        for number in range(3):
            store.put(message(number))
        assert numbers(store) == [0, 1, 2]
        store.took()
        assert store.dropped == 0

    def test_a_message_wakes_one_waiter(self):
        store, woken = Store(), []
        store.waiters.append(lambda: woken.append(1))
        store.waiters.append(lambda: woken.append(2))
        store.put(message(0))
        assert woken == [1]

    def test_a_waiter_that_stops_wakes_the_next_while_there_is_a_message(self):
        store, woken = Store(), []
        store.waiters.append(lambda: woken.append(1))
        store.stop_waiting(print)
        assert woken == []
        store.items.append(message(0))
        store.stop_waiting(print)
        assert woken == [1]
        store.stop_waiting(print)

    def test_closing_ends_the_subscription_once_and_wakes_all(self):
        store, woken = Store(), []
        store.on_close = lambda: woken.append("closed")
        store.waiters.append(lambda: woken.append(1))
        store.waiters.append(lambda: woken.append(2))
        store.close()
        assert store.closed
        assert woken == ["closed", 1, 2]

    def test_a_store_is_open_while_a_queue_is_attached(self, collect):
        store = Store()
        one, other = Front(), Front()
        assert store.attach(one)
        assert store.attach(other)
        store.detach(id(one))
        assert not store.closed
        assert not store.closed
        store.detach(id(one))  # a second time is nothing
        assert not store.closed
        del other
        collect()
        assert store.closed
        assert not store.attach(one)


class TestBoundedStore:
    @pytest.mark.parametrize(
        ("overflow", "kept", "dropped"), [("drop_oldest", [2, 3, 4], 2), ("drop_newest", [0, 1, 2], 2)]
    )
    def test_what_happens_to_messages_beyond(self, overflow, kept, dropped):
        store = BoundedStore(3, overflow)
        for number in range(5):
            store.put(message(number))
        assert numbers(store) == kept
        assert store.dropped == dropped

    def test_one_that_is_taken_just_before_it_would_be_dropped(self):
        class Items(deque):
            def popleft(self):
                raise IndexError  # another thread was faster

        store = BoundedStore(1, "drop_oldest", Items([message(0)]))
        store.put(message(1))
        assert store.dropped == 0

    def test_raising_at_the_sender(self):
        store = BoundedStore(1, "raise")
        store.put(message(0))
        with pytest.raises(Full, match=r"the queue is full \(maxsize=1\) and did not take in 'a:b'"):
            store.put(message(1))
        assert numbers(store) == [0]
        assert store.dropped == 1

    def test_a_message_wakes_one_waiter(self):
        store, woken = BoundedStore(1, "drop_oldest"), []
        store.waiters.append(lambda: woken.append(1))
        store.put(message(0))
        store.put(message(1))
        assert woken == [1]

    def test_the_sender_waits_for_capacity(self):
        store = BoundedStore(1, "block")
        store.put(message(0))
        sender = threading.Thread(target=store.put, args=(message(1),))
        sender.start()
        wait_until(lambda: store._senders, "the sender waits")
        assert numbers(store) == [0]
        store.items.popleft()
        store.took()
        sender.join(10)
        assert numbers(store) == [1]
        store.took()

    def test_closing_lets_the_sender_go(self):
        store = BoundedStore(1, "block")
        store.put(message(0))
        sender = threading.Thread(target=store.put, args=(message(1),))
        sender.start()
        wait_until(lambda: store._senders, "the sender waits")
        store.close()
        sender.join(10)
        assert numbers(store) == [0]
        store.put(message(2))  # a thread that had looked the queue up before
        assert numbers(store) == [0]

    def test_several_senders_wait_and_none_is_forgotten(self):
        store = BoundedStore(1, "block")
        senders = [threading.Thread(target=store.put, args=(message(number),)) for number in range(8)]
        for sender in senders:
            sender.start()
        got = []
        while len(got) < 8:
            wait_until(lambda: store.items, "a message")
            got.append(store.items.popleft().args[0])
            store.took()
        for sender in senders:
            sender.join(10)
        assert sorted(got) == list(range(8))

    def test_a_sender_that_stops_waiting_wakes_the_next(self):
        store = BoundedStore(1, "block")
        store.put(message(0))
        woken = []
        # A message was taken just before it went to sleep: it goes on, and wakes the next waiter.
        store._senders.append(lambda: woken.append(1))

        class Closing(type(store.items)):
            def __len__(self):
                return 0

        store.items = Closing()
        assert store._wait_for_capacity()
        assert woken == [1]

    def test_dropped_messages_die_without_the_lock_held(self):
        store = BoundedStore(1, "drop_oldest")
        free = []

        class Payload:
            def __del__(self):
                thread = threading.Thread(target=lambda: free.append(store._lock.__enter__()))
                thread.start()
                thread.join(5)

        store.put(Message.make("a:b", (Payload(),)))
        store.put(message(1))
        assert free == [None]

    def test_after_a_fork_the_lock_is_free(self):
        store = BoundedStore(1, "drop_oldest")
        with store._lock:
            store._lock.after_fork()
            worker = threading.Thread(target=store.put, args=(message(0),))
            worker.start()
            worker.join(10)
            assert numbers(store) == [0]
            store._lock.__enter__()
