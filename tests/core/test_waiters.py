"""The end of a subscription wakes its waiters, and no wait relies on the clock alone."""

import asyncio
import threading
import time

import pytest

from berrymq import Bus, Empty, Queue, QueueClosed, queues
from tests.support.waiting import wait_until

ENDINGS = {
    "unfollow": lambda bus, queue: bus.unfollow("a:*"),
    "cancel": lambda bus, queue: bus.subscriptions()[0].cancel(),
    "close the queue": lambda bus, queue: queue.close(),
    "close the bus": lambda bus, queue: bus.close(),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("maxsize", [0, 2])
def test_threads_in_get_are_woken(ending, shared, maxsize):
    bus = Bus()
    queue, ended = Queue("a:*", shared, maxsize=maxsize, bus=bus), []

    def wait():
        with pytest.raises(QueueClosed):
            queue.get()
        ended.append(1)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: queue.stats().waiting == 2, "both wait")
    ENDINGS[ending](bus, queue)
    for thread in threads:
        thread.join(10)
    assert len(ended) == 2
    assert queue.closed
    assert "closed" in repr(queue)
    assert list(queue) == []


@pytest.mark.parametrize("ending", ENDINGS)
async def test_tasks_in_aget_are_woken(bus, ending):
    queue = Queue("a:*", bus=bus)
    tasks = [asyncio.create_task(queue.aget()) for _ in range(2)]
    await asyncio.sleep(0)
    ENDINGS[ending](bus, queue)
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [type(result) for result in results] == [QueueClosed] * 2


@pytest.mark.parametrize("ending", ["unfollow", "close the bus"])
def test_an_expectation_is_woken(bus, ending):
    expected, ended = bus.expect("a:*"), []

    def wait():
        with pytest.raises(QueueClosed):
            expected.wait()
        ended.append(1)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: expected._queue.stats().waiting, "it waits")
    ENDINGS[ending](bus, None)
    thread.join(10)
    assert ended


@pytest.mark.parametrize("ending", ENDINGS)
def test_senders_in_a_full_queue_are_woken(ending):
    bus = Bus()
    queue = Queue("a:*", maxsize=1, overflow="block", bus=bus)
    bus.twitter("a:b", 1)
    thread = threading.Thread(target=bus.twitter, args=("a:b", 2))
    thread.start()
    wait_until(lambda: queue._store._senders, "the sender waits")
    ENDINGS[ending](bus, queue)
    thread.join(10)
    assert not thread.is_alive()


def test_what_is_in_a_queue_when_its_subscription_ends_can_be_taken(bus):
    queue = Queue("a:*", bus=bus)
    bus.twitter("a:b", 1)
    bus.unfollow("a:*")
    assert queue.get().args == (1,)
    with pytest.raises(QueueClosed):
        queue.get(timeout=1)


@pytest.mark.parametrize(
    "now", [lambda: 100.0, iter(range(10**9, 0, -1)).__next__], ids=["frozen", "backwards"]
)
def test_a_clock_that_does_not_go_on_ends_a_wait_all_the_same(bus, monkeypatch, now):
    queue = Queue("a:*", bus=bus)
    monkeypatch.setattr(queues, "monotonic", now)
    started = time.perf_counter()
    with pytest.raises(Empty, match=r"no message for a:\* within 0.05 s"):
        queue.get(timeout=0.05)
    assert time.perf_counter() - started < 5


def test_a_message_at_the_last_moment_is_taken(bus, monkeypatch):
    queue = Queue("a:*", bus=bus)
    take, calls = queue._take, []

    def take_late():
        calls.append(1)
        if len(calls) == 2:
            bus.twitter("a:b", "late")
        return take()

    monkeypatch.setattr(queue, "_take", take_late)
    assert queue.get(timeout=0.01).args == ("late",)


def test_zero_seconds_is_a_wait_too(bus):
    queue = Queue("a:*", bus=bus)
    with pytest.raises(Empty):
        queue.get(timeout=0)
