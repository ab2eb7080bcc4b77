import threading

import pytest

from berrymq import testing
from berrymq.adapters.timer import Timer


def test_a_timer_ticks_until_it_is_stopped(bus):
    with testing.record("timer:*", bus=bus) as sent:
        with Timer(0.005, bus=bus) as timer:
            sent.wait(3)
        count = len(sent)
        assert not timer._thread.is_alive()
        timer.stop()
    assert sent.ids == ["timer:tick"] * count
    numbers = [message.args[0] for message in sent]
    assert numbers[0] == 1
    assert numbers == sorted(set(numbers))


def test_under_another_name(bus):
    with testing.record(bus=bus) as sent, Timer(0.001, "clock", bus=bus):
        sent.wait(1)
    assert sent[0].id == "clock:tick"


def test_slow_followers_miss_ticks_and_can_tell(bus):
    gate = threading.Event()
    numbers = []

    def follow(message):
        numbers.append(message.args[0])
        gate.wait(0.05)

    bus.follow("timer:tick", follow)
    with testing.record(bus=bus) as sent, Timer(0.005, bus=bus):
        sent.wait(2)
    assert numbers[1] > 2


def test_a_follower_may_stop_it(bus):
    ticks = []

    def follow(message):
        ticks.append(message)
        timer.stop()

    bus.follow("timer:tick", follow)
    timer = Timer(0.01, bus=bus)
    timer._thread.join(10)
    assert len(ticks) == 1


@pytest.mark.parametrize("interval", [0, -1])
def test_a_wrong_interval(bus, interval):
    with pytest.raises(ValueError, match="interval is a number of seconds above 0"):
        Timer(interval, bus=bus)
