import threading
from collections import deque

import pytest

from berrymq.delivery_thread import DeliveryThread
from tests.support.deliveries import Gate, follower, message
from tests.support.waiting import wait_until


@pytest.fixture
def failures():
    return []


@pytest.fixture
def thread(failures):
    made = DeliveryThread(lambda *failure: failures.append(failure))
    yield made
    made.close()


def test_deliveries_run_in_order_on_one_lazily_started_thread(thread):
    got = []
    one = follower(lambda message: got.append((1, message.args[0], threading.current_thread())))
    other = follower(lambda message: got.append((2, message.args[0], threading.current_thread())))
    assert thread._thread is None
    for number in range(20):
        thread.submit_many([(one, message(number))])
        thread.submit_many([(other, message(number))])
    assert thread.drain(10)
    assert [(follower, number) for follower, number, _ in got] == [
        (follower, number) for number in range(20) for follower in (1, 2)
    ]
    (used,) = {used for _, _, used in got}
    assert used.name == "berrymq delivery"
    assert used.daemon


def test_after_a_close_the_next_starts_another_that_stays(thread):
    used = []
    one = follower(lambda message: used.append(threading.current_thread()))
    for _ in range(2):
        thread.submit_many([(one, message())])
        assert thread.drain(10)
        thread.submit_many([(one, message())])
        assert thread.drain(10)
        thread.close()
    first, second, third, fourth = used
    assert first is second
    assert third is fourth
    assert second is not third


def test_the_backlog_counts_what_runs(thread):
    gate = Gate()
    slow = follower(gate)
    assert thread.backlog == 0
    assert thread.drain(0)
    thread.submit_many([(slow, message())])
    thread.submit_many([(slow, message())])
    assert gate.entered.acquire(timeout=10)
    assert thread.backlog == 2
    assert not thread.drain(0.01)
    gate.go.release()
    assert gate.entered.acquire(timeout=10)
    assert thread.backlog == 1
    gate.go.release()
    assert thread.drain(10)
    assert thread.backlog == 0


def test_an_idle_thread_is_woken_by_a_submission(thread):
    got = []
    one = follower(lambda message: got.append(message.args[0]))
    for number in range(5):
        thread.submit_many([(one, message(number))])
        assert thread.drain(10)
        wait_until(lambda: thread._waiting, "it sleeps", interval=0.001)
    assert got == [0, 1, 2, 3, 4]


def test_an_idle_thread_ends_and_another_is_started(thread):
    thread.idle_timeout = 0.001
    got = []
    one = follower(lambda message: got.append(message.args[0]))
    for number in range(3):
        thread.submit_many([(one, message(number))])
        assert thread.drain(10)
        wait_until(lambda: thread._thread is None, "it leaves", interval=0.001)
    assert got == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(), KeyboardInterrupt()])
def test_errors_are_reported_and_the_thread_goes_on(thread, failures, error):
    def fail(message):
        raise error

    got = []
    failing = follower(fail)
    thread.submit_many([(failing, message(1))])
    thread.submit_many([(follower(got.append), message(2))])
    assert thread.drain(10)
    assert [(failed, one.args, what) for failed, one, what in failures] == [(failing, (1,), error)]
    assert len(got) == 1


def test_closing_finishes_what_was_submitted(thread):
    gate = Gate()
    thread.submit_many([(follower(gate), message(1))])
    thread.submit_many([(follower(gate), message(2))])
    thread.close(wait=False)
    gate.go.release()
    gate.go.release()
    thread.close()
    assert gate.seen == [1, 2]
    thread.close()


def test_closing_from_within_does_not_wait_for_itself(thread):
    thread.submit_many([(follower(lambda message: thread.close()), message())])
    assert thread.drain(10)


def test_draining_from_within_would_wait_for_itself(thread, failures):
    thread.submit_many([(follower(lambda message: thread.drain()), message())])
    assert thread.drain(10)
    assert "cannot be called on it" in str(failures[0][2])


def test_an_idle_thread_holds_no_references(thread, collect):
    import weakref

    one = message()
    reference = weakref.ref(one)
    thread.submit_many([(follower(lambda message: None), one)])
    del one
    assert thread.drain(10)
    wait_until(lambda: thread._waiting, "it sleeps", interval=0.001)
    collect()
    assert reference() is None


def test_a_delivery_that_is_being_taken_counts_in_the_backlog(thread):
    taken, go = threading.Event(), threading.Event()

    class SlowDeque(deque):
        def popleft(self):
            item = super().popleft()
            taken.set()
            go.wait(10)
            return item

    thread._batches = SlowDeque()
    got = []
    thread.submit_many([(follower(got.append), message())])
    assert taken.wait(10)
    assert not thread.drain(0)
    go.set()
    assert thread.drain(10)
    assert len(got) == 1
