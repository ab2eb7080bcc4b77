"""One follower gets its messages one at a time, whichever of `twitter`, `ask` and links they come from."""

import asyncio
import threading
import time

import pytest

from berrymq import AskTimeout, Message
from tests.support.deliveries import Busy


def test_a_question_waits_for_what_was_sent_before(bus):
    busy = Busy()
    bus.follow("a:b", busy)
    bus.set_multiplicity(1)
    bus.twitter("a:b", 1)
    assert busy.entered.wait(10)
    bus.twitter("a:b", 2)
    threading.Timer(0.05, busy.go.set).start()
    assert bus.ask("a:b", 3, timeout=10) == [3]
    assert busy.seen == [1, 2, 3]
    assert busy.overlaps == 0


def test_a_question_that_finds_it_idle_is_answered_in_this_thread(bus):
    used = []
    bus.follow("a:b", lambda message: used.append(threading.current_thread()))
    bus.set_multiplicity(1)
    bus.ask("a:b")
    assert used == [threading.current_thread()]


def test_a_concurrent_one_is_asked_at_once(bus):
    go = threading.Event()
    bus.follow("a:b", lambda message: message.args[0] or go.wait(10), concurrent=True)
    bus.set_multiplicity(1)
    bus.twitter("a:b", 0)
    assert bus.ask("a:b", 1) == [1]
    go.set()


def test_messages_of_twitter_ask_and_a_link_do_not_overlap(bus):
    running, seen, overlaps = [], [], []

    def follower(message):
        running.append(1)
        overlaps.append(len(running) > 1)
        time.sleep(0.001)
        seen.append(message.args[0])
        running.pop()
        return message.args[0]

    bus.follow("a:b", follower)
    bus.set_multiplicity(3)
    ways = [
        lambda number: bus.twitter("a:b", number),
        lambda number: bus.ask("a:b", number),
        lambda number: bus.gateway.receive([Message.make("a:b", (number,))]),
        lambda number: bus.talk("a:b", "unfollowed:here", number),
    ]
    threads = [
        threading.Thread(target=lambda way=way, start=start: [way((start, n)) for n in range(20)])
        for start, way in enumerate(ways)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert bus.drain(10)
    assert not any(overlaps)
    for start in range(len(ways)):
        assert [number for one, number in seen if one == start] == list(range(20))


def test_a_worker_that_asks_needs_no_other_worker(bus):
    answers = []
    bus.follow("a:b", lambda message: answers.append(bus.ask("c:d", timeout=10)))
    bus.follow("a:b", bus.follow("c:d", lambda message: message.id).function)
    bus.set_multiplicity(1)
    for _ in range(3):
        bus.twitter("a:b")
    assert bus.drain(10)
    assert answers == [["c:d"]] * 3


def test_what_waits_for_it_comes_before_the_question_of_a_worker(bus):
    seen = []
    bus.follow("a:b", lambda message: bus.ask("c:d", "question", timeout=10))
    bus.follow("a:b", lambda message: bus.twitter("c:d", "sent"))
    bus.set_multiplicity(1)
    go = threading.Event()
    bus.follow("first:of", lambda message: go.wait(10))
    bus.follow("c:d", lambda message: seen.append(message.args[0]))
    bus.twitter("first:of")
    bus.twitter("c:d", "before")
    bus.twitter("a:b")
    go.set()
    assert bus.drain(10)
    assert seen[0] == "before"
    assert set(seen) == {"before", "question", "sent"}


def test_followers_that_ask_each_other_go_on(bus):
    def ask_other(message):
        depth = message.args[0]
        return [depth, *(bus.ask(message.other, depth - 1, other=message.id, timeout=5) if depth else [])]

    for one in ("a:b", "c:d"):
        bus.follow(one, ask_other)
    bus.set_multiplicity(2)
    assert bus.ask("a:b", 3, other="c:d", timeout=20) == [[3, [2, [1, [0]]]]]
    bus.twitter("a:b", 3, other="c:d")
    bus.twitter("c:d", 3, other="a:b")
    assert bus.drain(20)


async def test_async_followers_too(bus):
    running, overlaps, seen = [], [], []

    @bus.follow("a:b")
    async def follower(message):
        running.append(1)
        overlaps.append(len(running) > 1)
        await asyncio.sleep(0.001)
        running.pop()
        seen.append(message.args[0])
        return message.args[0]

    bus.twitter("a:b", 1)
    assert await bus.aask("a:b", 2, timeout=5) == [2]
    bus.gateway.receive([Message.make("a:b", (3,))])
    assert await asyncio.to_thread(bus.ask, "a:b", 4, timeout=5) == [4]
    assert await asyncio.to_thread(bus.drain, 5)
    assert set(seen) == {1, 2, 3, 4}
    assert not any(overlaps)


async def test_an_async_follower_that_asks_itself_goes_on(bus):
    @bus.follow("a:b")
    async def count(message):
        number = message.args[0]
        return [number, *(await bus.aask("a:b", number - 1, timeout=5) if number else [])]

    assert await bus.aask("a:b", 2, timeout=5) == [[2, [1, [0]]]]


async def test_a_question_that_was_given_up_is_not_run(bus, caplog):
    go, seen = asyncio.Event(), []

    @bus.follow("a:b")
    async def follower(message):
        await go.wait()
        seen.append(message.args)

    bus.twitter("a:b", 1)
    with pytest.raises(AskTimeout):
        await bus.aask("a:b", 2, timeout=0.01)
    go.set()
    assert await asyncio.to_thread(bus.drain, 5)
    assert seen == [(1,)]
    assert caplog.text == ""
