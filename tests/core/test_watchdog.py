"""A follower that hangs blocks no other, and is named in the log."""

import threading

import pytest

from berrymq import Message, watchdog
from tests.support.deliveries import Busy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fast_watchdog")


@pytest.fixture
def fast_watchdog(monkeypatch):
    """A watchdog that looks often, so that a second of hanging is a moment."""
    monkeypatch.setattr(watchdog.watchdog, "interval", 0.01)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_others_go_on_and_it_is_named(bus, caplog, workers):
    bus.set_multiplicity(workers)
    hanging, got = Busy(), []
    bus.follow("a:b", hanging)
    bus.follow("c:d", lambda message: got.append(message.args[0]))
    for _ in range(workers or 1):
        bus.follow("a:b", hanging.__call__)
    bus.gateway.receive([Message.make("a:b", (1,))])
    bus.gateway.receive([Message.make("c:d", (number,)) for number in range(3)])
    wait_until(lambda: got == [0, 1, 2], "the others go on")
    assert "Busy" in caplog.text
    assert "has been running for 5 s on the message 'a:b'; other followers carry on" in caplog.text
    hanging.go.set()
    assert bus.drain(10)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_hung_follower_catches_up_in_order_when_it_returns(bus, caplog, workers):
    bus.set_multiplicity(workers)
    hanging = Busy()
    bus.follow("a:b", hanging)
    bus.gateway.receive([Message.make("a:b", (number,)) for number in range(3)])
    wait_until(lambda: "has been running for 5 s" in caplog.text, "it is named")
    bus.gateway.receive([Message.make("a:b", (3,))])
    wait_until(lambda: bus.gateway.backlog == 4, "all wait")
    assert not bus.drain(0.01)
    hanging.go.set()
    assert bus.drain(10)
    assert hanging.seen == [0, 1, 2, 3]
    assert hanging.overlaps == 0
    assert bus.backlog == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_cancelling_it_frees_what_waits_for_it(bus, caplog, workers):
    bus.set_multiplicity(workers)
    hanging, got = Busy(), []
    handle = bus.follow("a:b", hanging)
    bus.gateway.receive([Message.make("a:b", (number,)) for number in range(3)])
    wait_until(lambda: "has been running for 5 s" in caplog.text, "it is named")
    handle.cancel()
    assert bus.drain(10)
    assert bus.gateway.backlog == 0
    bus.follow("a:b", lambda message: got.append(message.args[0]))
    bus.gateway.receive([Message.make("a:b", (4,))])
    assert bus.drain(10)
    assert got == [4]
    bus.set_multiplicity(0)
    hanging.go.set()
    wait_until(lambda: hanging.seen == [0], "it returns at last")


def test_an_error_after_the_hanging_is_reported(bus, caplog):
    go = threading.Event()

    def hang(message):
        go.wait(10)
        raise ValueError(f"late {message.args[0]}")

    bus.follow("a:b", hang)
    bus.gateway.receive([Message.make("a:b", (number,)) for number in range(2)])
    wait_until(lambda: "has been running for 5 s" in caplog.text, "it is named")
    go.set()
    assert bus.drain(10)
    assert "late 0" in caplog.text
    assert "late 1" in caplog.text


def test_the_watchdog_ends_with_what_it_watches_and_comes_back():
    class Watched:
        looks = 0

        def look(self):
            self.looks += 1
            return self.looks % 3 != 0

    dog, watched = watchdog.Watchdog(), Watched()
    dog.interval = 0.001
    for times in (3, 6):
        dog.watch(watched)
        wait_until(lambda: dog._thread is None, "the watchdog ends")
        assert watched.looks == times
