import threading
from collections import defaultdict, deque

import pytest

from berrymq import Message, workers
from berrymq.identifiers import Identifier
from berrymq.subscriptions import Subscription
from berrymq.targets import make_target
from berrymq.workers import DeliveryThread, WorkerPool
from tests.support.waiting import wait_until


def follower(function, **options):
    made = Subscription((Identifier.parse("a:b"),), make_target(function), **options)
    made._start(lambda entry: None)
    return made


def message(number=0):
    return Message.make("a:b", (number,))


@pytest.fixture
def failures():
    return []


@pytest.fixture
def thread(failures):
    made = DeliveryThread(lambda *failure: failures.append(failure))
    yield made
    made.close()


@pytest.fixture
def pools(failures):
    made = []

    def make(size):
        made.append(WorkerPool(lambda *failure: failures.append(failure), size))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


class Gate:
    """A follower that says when it runs, and goes on when it may."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.seen = []

    def __call__(self, message):
        self.entered.release()
        assert self.go.acquire(timeout=10)
        self.seen.append(message.args[0])


class TestDeliveryThread:
    def test_deliveries_run_in_order_on_one_lazily_started_thread(self, thread):
        got = []
        one = follower(lambda message: got.append((1, message.args[0], threading.current_thread())))
        other = follower(lambda message: got.append((2, message.args[0], threading.current_thread())))
        assert thread._thread is None
        for number in range(20):
            thread.submit(one, message(number))
            thread.submit(other, message(number))
        assert thread.drain(10)
        assert [(who, number) for who, number, _ in got] == [
            (who, number) for number in range(20) for who in (1, 2)
        ]
        (used,) = {used for _, _, used in got}
        assert used.name == "berrymq delivery"
        assert used.daemon

    def test_after_a_close_the_next_starts_another_that_stays(self, thread):
        used = []
        one = follower(lambda message: used.append(threading.current_thread()))
        for _ in range(2):
            thread.submit(one, message())
            assert thread.drain(10)
            thread.submit(one, message())
            assert thread.drain(10)
            thread.close()
        first, second, third, fourth = used
        assert first is second
        assert third is fourth
        assert second is not third

    def test_the_backlog_counts_what_runs(self, thread):
        gate = Gate()
        slow = follower(gate)
        assert thread.backlog == 0
        assert thread.drain(0)
        thread.submit(slow, message())
        thread.submit(slow, message())
        assert gate.entered.acquire(timeout=10)
        assert thread.backlog == 2
        assert not thread.drain(0.01)
        gate.go.release()
        assert gate.entered.acquire(timeout=10)
        assert thread.backlog == 1
        gate.go.release()
        assert thread.drain(10)
        assert thread.backlog == 0

    def test_an_idle_thread_is_woken_by_a_submission(self, thread):
        got = []
        one = follower(lambda message: got.append(message.args[0]))
        for number in range(5):
            thread.submit(one, message(number))
            assert thread.drain(10)
            wait_until(lambda: thread._waiting, "it sleeps", interval=0.001)
        assert got == [0, 1, 2, 3, 4]

    def test_an_idle_thread_ends_and_another_is_started(self, thread):
        thread.patience = 0.001
        got = []
        one = follower(lambda message: got.append(message.args[0]))
        for number in range(3):
            thread.submit(one, message(number))
            assert thread.drain(10)
            wait_until(lambda: thread._thread is None, "it leaves", interval=0.001)
        assert got == [0, 1, 2]

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(), KeyboardInterrupt()])
    def test_errors_are_reported_and_the_thread_goes_on(self, thread, failures, error):
        def fail(message):
            raise error

        got = []
        failing = follower(fail)
        thread.submit(failing, message(1))
        thread.submit(follower(got.append), message(2))
        assert thread.drain(10)
        assert [(who, one.args, what) for who, one, what in failures] == [(failing, (1,), error)]
        assert len(got) == 1

    def test_closing_finishes_what_was_submitted(self, thread):
        gate = Gate()
        thread.submit(follower(gate), message(1))
        thread.submit(follower(gate), message(2))
        thread.close(wait=False)
        gate.go.release()
        gate.go.release()
        thread.close()
        assert gate.seen == [1, 2]
        thread.close()

    def test_closing_from_within_does_not_wait_for_itself(self, thread):
        thread.submit(follower(lambda message: thread.close()), message())
        assert thread.drain(10)

    def test_draining_from_within_would_wait_for_itself(self, thread, failures):
        thread.submit(follower(lambda message: thread.drain()), message())
        assert thread.drain(10)
        assert "cannot be called on it" in str(failures[0][2])

    def test_nothing_is_kept_alive_by_an_idle_thread(self, thread, collect):
        import weakref

        one = message()
        reference = weakref.ref(one)
        thread.submit(follower(lambda message: None), one)
        del one
        assert thread.drain(10)
        wait_until(lambda: thread._waiting, "it sleeps", interval=0.001)
        collect()
        assert reference() is None


class TestWorkerPool:
    def test_different_followers_run_in_parallel(self, pools):
        pool = pools(2)
        both = threading.Barrier(2)
        for _ in range(2):
            pool.submit(follower(lambda message: both.wait(10)), message())
        assert pool.drain(10)
        assert not both.broken

    def test_one_follower_gets_its_messages_one_at_a_time_and_in_order(self, pools, failures):
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

    def test_a_concurrent_follower_runs_several_times_at_once(self, pools):
        pool = pools(3)
        all_at_once = threading.Barrier(3)
        one = follower(lambda message: all_at_once.wait(10), concurrent=True)
        for _ in range(3):
            pool.submit(one, message())
        assert pool.drain(10)
        assert not all_at_once.broken

    def test_the_backlog_counts_what_runs(self, pools):
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

    def test_the_pool_grows_and_shrinks(self, pools):
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

    def test_errors_are_reported_and_the_rest_goes_on(self, pools, failures):
        pool = pools(1)

        def fail(message):
            raise ValueError(message.args[0])

        failing = follower(fail)
        for number in range(3):
            pool.submit(failing, message(number))
        assert pool.drain(10)
        assert [str(error) for _, _, error in failures] == ["0", "1", "2"]

    def test_closing_finishes_what_was_submitted_and_joins(self, pools):
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

    def test_closing_without_waiting_finishes_what_was_submitted_all_the_same(self, pools):
        pool, gate = pools(2), Gate()
        pool.submit(follower(gate), message(7))
        assert gate.entered.acquire(timeout=10)
        pool.close(wait=False)
        assert pool._threads
        assert gate.seen == []
        gate.go.release()
        wait_until(lambda: not pool._threads, "the workers end")
        assert gate.seen == [7]

    def test_what_comes_after_the_close_is_delivered_by_its_sender(self, pools, failures):
        pool, got = pools(1), []
        one = follower(lambda message: got.append((message.args[0], threading.current_thread())))
        failing = follower(lambda message: 1 / 0)
        pool.close()
        pool.submit(one, message(1))
        pool.submit_many([(one, message(2)), (failing, message(3))])
        assert got == [(1, threading.current_thread()), (2, threading.current_thread())]
        assert [type(error) for _, _, error in failures] == [ZeroDivisionError]
        assert pool.backlog == 0

    def test_closing_from_within_does_not_wait_for_itself(self, pools):
        pool, closed = pools(2), []
        pool.submit(follower(lambda message: closed.append(pool.close())), message())
        wait_until(lambda: not pool._threads, "the workers end")
        assert closed == [None]

    def test_draining_from_within_would_wait_for_itself(self, pools, failures):
        pool = pools(2)
        pool.submit(follower(lambda message: pool.drain()), message())
        assert pool.drain(10)
        assert "cannot be called on one of them" in str(failures[0][2])

    def test_a_destructor_that_submits_while_something_is_submitted(self, pools, monkeypatch):
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

        monkeypatch.setattr(workers, "deque", make)
        pool.submit(one, message("submitted"))
        gate.go.release()
        assert pool.drain(10)
        assert got == ["destructor", "submitted"]
