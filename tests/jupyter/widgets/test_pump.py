"""The thread that feeds views."""

import logging
import threading

import pytest

from berrymq_jupyter.widgets import pump as module
from berrymq_jupyter.widgets.pump import Pump


class Watched:
    """Counts its ticks."""

    def __init__(self, delay=None, sent=0, error=None):
        self.delay = delay
        self.sent = sent
        self.error = error
        self.waits = False
        self.ticked = threading.Semaphore(0)
        self.times = []

    def pending(self):
        return self.waits

    def tick(self, now):
        self.waits = False
        self.times.append(now)
        self.ticked.release()
        if self.error:
            raise self.error
        return self.sent, self.delay

    def await_tick(self, timeout=10.0):
        return self.ticked.acquire(timeout=timeout)


@pytest.fixture
def feeder():
    feeder = Pump()
    yield feeder
    for view in feeder.views:
        feeder.remove(view)
    if feeder.thread is not None:
        feeder.thread.join(10)
    assert feeder.thread is None


def test_the_pump_sleeps_until_it_is_woken(feeder):
    view = Watched()
    feeder.add(view)
    assert view.await_tick()
    assert not view.await_tick(0.2)
    assert feeder.asleep
    feeder.wake()
    assert view.await_tick()


def test_what_came_before_it_slept_is_seen(feeder):
    view = Watched()
    feeder.add(view)
    assert view.await_tick()
    view.waits = True  # nobody wakes it: it looks for itself before it sleeps
    assert view.await_tick()


def test_the_pump_returns_when_a_view_wants_it(feeder):
    view = Watched(delay=0.01)
    feeder.add(view)
    for _ in range(4):
        assert view.await_tick()
    pauses = [later - earlier for earlier, later in zip(view.times, view.times[1:], strict=False)]
    assert min(pauses) > 0.045  # no more than twenty rounds a second


def test_a_round_that_sent_much_is_paid_for(feeder):
    view = Watched(delay=0, sent=300_000)
    feeder.add(view)
    for _ in range(2):
        assert view.await_tick()
    assert view.times[1] - view.times[0] > 0.29


def test_one_thread_feeds_all_and_ends_with_the_last(feeder):
    views = [Watched(), Watched()]
    for view in views:
        feeder.add(view)
        assert view.await_tick()
    thread = feeder.thread
    assert thread.daemon
    feeder.remove(views[0])
    assert feeder.thread is thread
    feeder.remove(views[1])
    thread.join(10)
    assert not thread.is_alive()
    feeder.add(views[0])
    assert views[0].await_tick()
    assert feeder.thread is not thread


def test_a_view_that_fails_does_not_stop_the_others(feeder, caplog):
    bad, good = Watched(error=RuntimeError("no")), Watched()
    with caplog.at_level(logging.ERROR, "berrymq"):
        feeder.add(bad)
        feeder.add(good)
        assert good.await_tick()
        feeder.wake()
        assert good.await_tick()
    assert "could not be updated" in caplog.text


def test_a_view_that_would_end_the_thread_does_not(feeder, caplog):
    bad, good = Watched(error=SystemExit(3)), Watched()
    with caplog.at_level(logging.ERROR, "berrymq"):
        feeder.add(bad)
        feeder.add(good)
        assert good.await_tick()
    assert "could not be updated" in caplog.text


def test_others_are_fed_though_one_view_is_stuck(feeder, monkeypatch):
    monkeypatch.setattr(module, "STUCK", 0.2)

    class Stuck(Watched):
        def __init__(self):
            super().__init__()
            self.guard, self.done = threading.Lock(), threading.Event()

        def tick(self, now):
            if not self.guard.acquire(blocking=False):
                return 0, 0.01
            try:
                self.ticked.release()
                self.done.wait(20)
            finally:
                self.guard.release()
            return 0, None

    stuck, other = Stuck(), Watched()
    feeder.add(stuck)
    assert stuck.await_tick()
    first = feeder.thread
    feeder.add(other)
    assert not other.await_tick(0.3)
    feeder.wake()
    assert other.await_tick()
    stuck.done.set()
    first.join(10)
    assert not first.is_alive()
    assert feeder.thread.is_alive()
    feeder.wake()
    assert other.await_tick()


def test_a_forked_child_feeds_no_page(feeder):
    view = Watched()
    feeder.add(view)
    assert view.await_tick()
    thread = feeder.thread
    child = Pump()
    child.views, child.thread, child.asleep = feeder.views, thread, True
    child.lock.acquire()  # by a thread that the child does not have
    child.after_fork()
    assert (child.views, child.thread, child.asleep) == ((), None, False)
    other = Watched()
    child.add(other)
    assert other.await_tick()
    child.remove(other)
    child.thread.join(10)
