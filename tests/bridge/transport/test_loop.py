"""The I/O loop, and the thread of it that a process has while it needs one."""

import signal
import socket
import threading
import time

import pytest

from berrymq import Bus
from berrymq.bridge.runtime import runtime
from berrymq.bridge.transport.loop import IoLoop
from tests.support.waiting import wait_until


def io_threads():
    return [thread for thread in threading.enumerate() if thread.name == "berrymq I/O"]


@pytest.fixture
def loop():
    loop = IoLoop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.stop()
    thread.join(10)
    assert not thread.is_alive()


class TestThread:
    @pytest.fixture(autouse=True)
    def ended(self):
        assert runtime().end_if_idle()
        yield
        assert runtime().end_if_idle()

    def test_importing_starts_none(self):
        assert io_threads() == []

    def test_one_serves_all(self):
        assert runtime().loop is runtime().loop
        assert len(io_threads()) == 1

    def test_an_idle_one_ends_and_the_next_link_starts_another(self):
        first = runtime().loop
        assert runtime().end_if_idle()
        assert io_threads() == []
        assert runtime().loop is not first

    def test_what_is_linked_or_listens_keeps_it(self):
        from berrymq.bridge.local_nodes import forget_unlinked, node_of

        node = node_of(Bus(), "here", None)
        assert not runtime().end_if_idle()
        assert len(io_threads()) == 1
        forget_unlinked(node)

    def test_many_threads_that_need_it_at_once_get_one(self):
        begin, found = threading.Barrier(8), []

        def look():
            begin.wait(10)
            found.append(runtime().loop)

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(set(map(id, found))) == 1
        assert len(io_threads()) == 1


class TestCalls:
    def test_they_run_in_their_order_on_its_thread(self, loop):
        done, ran = threading.Event(), []
        for number in range(1000):
            loop.call(lambda number=number: ran.append((number, loop.is_current)))
        loop.call(done.set)
        assert done.wait(10)
        assert ran == [(number, True) for number in range(1000)]
        assert not loop.is_current

    def test_what_a_call_adds_is_for_the_next_turn(self, loop):
        done, ran = threading.Event(), []

        def again(left):
            ran.append(left)
            if left:
                loop.call(again, left - 1)
            else:
                done.set()

        loop.call(again, 5)
        assert done.wait(10)
        assert ran == [5, 4, 3, 2, 1, 0]

    def test_one_that_fails_is_logged_and_the_others_go_on(self, loop, caplog):
        done = threading.Event()
        loop.call(lambda: 1 / 0)
        loop.call(done.set)
        assert done.wait(10)
        assert "ZeroDivisionError" in caplog.text

    def test_none_that_many_threads_make_is_missed(self, loop):
        ran = []
        begin = threading.Barrier(4)

        def make(thread):
            begin.wait(10)
            for number in range(5_000):
                loop.call(ran.append, (thread, number))

        threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        wait_until(lambda: len(ran) == 20_000, "all have run", interval=0.005)
        for thread in range(4):
            assert [number for one, number in ran if one == thread] == list(range(5_000))

    @pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no such signals")
    def test_a_signal_handler_may_make_one_on_the_thread_that_waits(self):
        loop, ran = IoLoop(), []

        def handler(number, frame):
            loop.call_from_signal(ran.append, number)
            loop.call_from_signal(loop.stop)

        former = signal.signal(signal.SIGUSR1, handler)
        try:
            threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1)).start()
            loop.run()
        finally:
            signal.signal(signal.SIGUSR1, former)
        assert ran == [signal.SIGUSR1]


class TestTimers:
    def test_they_fire_in_the_order_in_which_they_are_due(self, loop):
        done, ran = threading.Event(), []
        for delay in (0.03, 0.01, 0.02):
            loop.call_later(delay, ran.append, delay)
        loop.call_later(0.05, done.set)
        assert done.wait(10)
        assert ran == [0.01, 0.02, 0.03]

    def test_one_that_is_cancelled_does_not(self, loop):
        done, ran = threading.Event(), []
        timer = loop.call_later(0.01, ran.append, 1)
        timer.cancel()
        loop.call_later(0.03, done.set)
        assert done.wait(10)
        assert ran == []

    def test_a_far_one_does_not_keep_near_ones(self, loop):
        done = threading.Event()
        loop.call_later(1e9, lambda: None)
        began = time.monotonic()
        loop.call_later(0.01, done.set)
        assert done.wait(10)
        assert time.monotonic() - began < 5

    def test_many_that_were_cancelled_are_not_kept(self, loop):
        """A token that is used renews its expiry each time."""
        done = threading.Event()

        def renew():
            loop.call_later(500.0, lambda: None)
            for _ in range(100_000):
                loop.call_later(1000.0, lambda: None).cancel()
            done.set()

        loop.call(renew)
        assert done.wait(30)
        settled = threading.Event()
        loop.call(loop.call, settled.set)
        assert settled.wait(10)
        assert len(loop._timers) < 10_000


class TestSockets:
    def test_what_can_be_read_is_called_back(self, loop):
        here, there = socket.socketpair()
        with here, there:
            came = threading.Event()
            loop.call(loop.watch, here, lambda mask: (here.recv(10), came.set()))
            there.send(b"x")
            assert came.wait(10)
            done = threading.Event()
            loop.call(loop.unwatch, here)
            loop.call(done.set)
            assert done.wait(10)

    def test_one_that_another_thread_reads_is_left_alone_meanwhile(self, loop):
        here, there = socket.socketpair()
        with here, there:
            called = threading.Event()

            def callback(mask):
                here.recv(10)
                called.set()

            loop.call(loop.watch, here, callback)
            turned = threading.Event()
            loop.call(turned.set)
            assert turned.wait(10)
            if not loop.suspend(here):
                pytest.skip("this system does not take that from another thread")
            there.send(b"x")
            assert not called.wait(0.1)
            assert here.recv(10) == b"x"
            loop.watch(here, callback)
            there.send(b"y")
            assert called.wait(10)
            done = threading.Event()
            loop.call(loop.unwatch, here)
            loop.call(done.set)
            assert done.wait(10)

    def test_one_that_is_paused_while_the_loop_ends_is_closed_when_it_is_given_back(self):
        loop = IoLoop()
        thread = threading.Thread(target=loop.run)
        thread.start()
        here, there = socket.socketpair()
        with there:
            loop.watch(here, lambda _: None)
            assert loop.suspend(here)
            loop.stop()
            thread.join(10)
            loop.watch(here, lambda _: None)
            assert here.fileno() == -1

    def test_of_a_paused_socket_the_end_is_not_told_either(self, loop):
        """Else the loop would turn without a rest until the other thread has dealt with it."""
        here, there = socket.socketpair()
        with here:
            calls = []
            take_turn(loop, loop.watch, here, calls.append)
            if not loop.suspend(here):
                pytest.skip("this system does not take that from another thread")
            there.close()
            for _ in range(3):
                take_turn(loop)
            assert calls == []
            take_turn(loop, loop.unwatch, here)


def take_turn(loop, *call):
    """Have the loop make a call, and wait until it has turned once more."""
    if call:
        loop.call(*call)
    turned = threading.Event()
    loop.call(turned.set)
    assert turned.wait(10)
