import threading
from collections import defaultdict, deque

import pytest

from berrymq import worker_pool
from berrymq.worker_pool import WorkerPool
from tests.support.deliveries import Gate, follower, message
from tests.support.waiting import wait_until


@pytest.fixture
def failures():
    return []


@pytest.fixture
def pools(failures):
    made = []

    def make(size):
        made.append(WorkerPool(lambda *failure: failures.append(failure), size))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def test_different_followers_run_in_parallel(pools):
    pool = pools(2)
    both = threading.Barrier(2)
    for _ in range(2):
        pool.submit(follower(lambda message: both.wait(10)), message())
    assert pool.drain(10)
    assert not both.broken


def test_one_follower_gets_its_messages_one_at_a_time_and_in_order(pools, failures):
    pool = pools(4)
    seen = defaultdict(list)
    running = defaultdict(int)

    def follow(name):
        def run(message):
            running[name] += 1
            assert running[name] == 1
            seen[name].append(message.args[0])
            running[name] -= 1

        return run

    followers = [follower(follow(name)) for name in range(5)]
    for number in range(200):
        for one in followers:
            pool.submit(one, message(number))
    assert pool.drain(10)
    assert failures == []
    assert all(seen[name] == list(range(200)) for name in range(5))


def test_a_concurrent_follower_runs_several_times_at_once(pools):
    pool = pools(3)
    all_at_once = threading.Barrier(3)
    one = follower(lambda message: all_at_once.wait(10), concurrent=True)
    for _ in range(3):
        pool.submit(one, message())
    assert pool.drain(10)
    assert not all_at_once.broken


def test_the_backlog_counts_what_runs(pools):
    pool = pools(1)
    gate = Gate()
    slow = follower(gate)
    for number in range(3):
        pool.submit(slow, message(number))
    assert gate.entered.acquire(timeout=10)
    assert pool.backlog == 3
    assert not pool.drain(0.01)
    for _ in range(3):
        gate.go.release()
    assert pool.drain(10)
    assert gate.seen == [0, 1, 2]


def test_the_pool_grows_and_shrinks(pools):
    pool = pools(1)
    gate = Gate()
    for _ in range(3):
        pool.submit(follower(gate), message())
    assert gate.entered.acquire(timeout=10)
    assert not gate.entered.acquire(timeout=0.05)
    pool.resize(3)
    assert pool.size == 3
    assert gate.entered.acquire(timeout=10)
    assert gate.entered.acquire(timeout=10)
    pool.resize(1)
    assert len(pool._threads) == 3
    for _ in range(3):
        gate.go.release()
    assert pool.drain(10)
    wait_until(lambda: len(pool._threads) == 1, "two have left")
    pool.submit(follower(gate), message(7))
    gate.go.release()
    assert pool.drain(10)
    assert gate.seen[-1] == 7


def test_errors_are_reported_and_the_rest_goes_on(pools, failures):
    pool = pools(1)

    def fail(message):
        raise ValueError(message.args[0])

    failing = follower(fail)
    for number in range(3):
        pool.submit(failing, message(number))
    assert pool.drain(10)
    assert [str(error) for _, _, error in failures] == ["0", "1", "2"]


def test_closing_finishes_what_was_submitted_and_joins(pools):
    pool = pools(2)
    gate = Gate()
    one = follower(gate)
    for number in range(3):
        pool.submit(one, message(number))
    closing = threading.Thread(target=pool.close)
    closing.start()
    for _ in range(3):
        gate.go.release()
    closing.join(10)
    assert gate.seen == [0, 1, 2]
    assert pool._threads == set()


def test_closing_without_waiting_finishes_what_was_submitted_all_the_same(pools):
    pool, gate = pools(2), Gate()
    pool.submit(follower(gate), message(7))
    assert gate.entered.acquire(timeout=10)
    pool.close(wait=False)
    assert pool._threads
    assert gate.seen == []
    gate.go.release()
    wait_until(lambda: not pool._threads, "the workers end")
    assert gate.seen == [7]


def test_what_comes_after_the_close_is_delivered_by_its_sender(pools, failures):
    pool, got = pools(1), []
    one = follower(lambda message: got.append((message.args[0], threading.current_thread())))
    failing = follower(lambda message: 1 / 0)
    pool.close()
    pool.submit(one, message(1))
    pool.submit_many([(one, message(2)), (failing, message(3))])
    assert got == [(1, threading.current_thread()), (2, threading.current_thread())]
    assert [type(error) for _, _, error in failures] == [ZeroDivisionError]
    assert pool.backlog == 0


def test_closing_from_within_does_not_wait_for_itself(pools):
    pool, closed = pools(2), []
    pool.submit(follower(lambda message: closed.append(pool.close())), message())
    wait_until(lambda: not pool._threads, "the workers end")
    assert closed == [None]


def test_draining_from_within_would_wait_for_itself(pools, failures):
    pool = pools(2)
    pool.submit(follower(lambda message: pool.drain()), message())
    assert pool.drain(10)
    assert "cannot be called on one of them" in str(failures[0][2])


def test_a_destructor_that_submits_while_something_is_submitted(pools, monkeypatch):
    pool = pools(1)
    got, submitting = [], []
    gate = Gate()
    pool.submit(follower(gate), message())
    one = follower(lambda message: got.append(message.args[0]))

    def make(items):
        if not submitting:
            submitting.append(1)
            pool.submit(one, message("destructor"))
        return deque(items)

    monkeypatch.setattr(worker_pool, "deque", make)
    pool.submit(one, message("submitted"))
    gate.go.release()
    assert pool.drain(10)
    assert got == ["destructor", "submitted"]
