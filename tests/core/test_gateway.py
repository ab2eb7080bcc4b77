"""The side of a bus that links use."""

import asyncio
import threading

import pytest

from berrymq import Identifier, Message, Queue


def batch(count, identifier="a:b"):
    parsed = Identifier.parse(identifier)
    return [Message.received(parsed, (number,), {}, "other", 1.0) for number in range(count)]


def test_a_received_message_is_like_any_other():
    message = Message.received(Identifier.parse("a:b"), (1,), {"x": 2}, "other", 5.0, "origin", print)
    assert (message.id, message.args, message.kwargs, message.source) == ("a:b", (1,), {"x": 2}, "other")
    assert (message.sent_at, message.origin, message.callback) == (5.0, "origin", print)


class Counting:
    """A deliverer that counts what it is given, and delivers on request."""

    def __init__(self):
        self.hand_overs = []

    @property
    def backlog(self):
        return sum(map(len, self.hand_overs))

    def submit_many(self, deliveries):
        self.hand_overs.append(list(deliveries))

    def drain(self, timeout=None):
        for subscription, message in [one for many in self.hand_overs for one in many]:
            subscription.run(message)
        self.hand_overs.clear()
        return True


def test_a_batch_is_handed_over_as_one(bus):
    deliverer = bus.gateway.deliverer = Counting()
    for _ in range(2):
        bus.follow("a:b", lambda message: None)
    queue = Queue("a:*", bus=bus)
    assert bus.gateway.receive(batch(10)) == 20
    assert [len(many) for many in deliverer.hand_overs] == [20]
    assert queue.qsize() == 10
    assert bus.gateway.receive(batch(3, "c:d")) == 0
    assert bus.gateway.receive([]) == 0
    assert len(deliverer.hand_overs) == 1
    assert bus.gateway.backlog == 20


def test_draining_covers_a_chosen_deliverer(bus):
    got = []
    bus.gateway.deliverer = Counting()
    bus.follow("a:b", got.append)
    bus.gateway.receive(batch(3))
    assert bus.backlog == 3
    assert bus.drain(1)
    assert len(got) == 3
    assert bus.backlog == 0


def test_a_chosen_deliverer_that_is_late_is_not_drained(bus):
    deliverer = bus.gateway.deliverer = Counting()
    bus.follow("a:b", print)
    bus.gateway.receive(batch(1))
    deliverer.drain = lambda timeout: False
    assert not bus.drain(0.01)
    del deliverer.drain


def test_messages_of_one_batch_come_in_order_to_all(bus):
    got = []
    bus.follow("a:*", lambda message: got.append((1, message.args[0])))
    bus.follow("a:*", lambda message: got.append((2, message.args[0])))
    bus.gateway.receive(batch(50))
    assert bus.drain(10)
    assert got == [(name, number) for number in range(50) for name in (1, 2)]


def test_a_route_changes_with_the_followers(bus):
    got = []
    handle = bus.follow("a:b", got.append)
    assert bus.gateway.receive(batch(1)) == 1
    bus.follow("a:*", got.append)
    assert bus.gateway.receive(batch(1)) == 2
    handle.cancel()
    assert bus.gateway.receive(batch(1)) == 1
    with bus.mute("a:*"):
        assert bus.gateway.receive(batch(1)) == 0
    assert bus.drain(10)
    assert 2 <= len(got) <= 4  # some may run before their follower is cancelled


def test_received_routes_are_bounded(bus, monkeypatch):
    monkeypatch.setattr("berrymq.routes.TABLE_SIZE", 8)
    for number in range(20):
        bus.gateway.receive(batch(1, f"a:{number}"))
    assert len(bus._registry.received) <= 8


def test_a_wildcard_of_a_link_reaches_no_local_names(bus):
    got = []
    bus.follow("_local:stop", got.append)
    bus.follow("a:stop", got.append)
    assert bus.gateway.receive(batch(1, "*:stop")) == 1
    assert bus.drain(10)
    assert len(got) == 1


def test_links_do_not_get_what_links_brought(bus):
    sent = []
    bus.gateway.attach(lambda identifier: True, sent.append)
    bus.gateway.receive(batch(1))
    bus.twitter("a:b")
    assert len(sent) == 1


async def test_async_followers_count_in_the_backlog(bus):
    go, got = asyncio.Event(), []

    @bus.follow("a:b")
    async def follow(message):
        await go.wait()
        got.append(message.args[0])

    assert bus.gateway.receive(batch(5)) == 5
    await asyncio.sleep(0.05)
    assert bus.gateway.backlog == 5
    go.set()
    assert await asyncio.to_thread(bus.drain, 5)
    assert got == [0, 1, 2, 3, 4]
    assert bus.gateway.backlog == 0


def test_a_deliverer_of_one_s_own_reports_errors(bus, caplog):
    handle = bus.follow("a:b", print)
    bus.gateway.failed(handle, Message.make("a:b"), ValueError("no"))
    assert "ValueError: no" in caplog.text


def test_statistics(bus):
    link = bus.gateway.attach(lambda identifier: False, print, name="nb2")
    bus.twitter("a:b")
    assert bus.gateway.attachments() == [link]
    assert bus.gateway.routes == 1
    assert list(bus.gateway.recent()) == [Identifier.parse("a:b")]


def test_interests_are_watched(bus):
    called = threading.Event()
    cancel = bus.gateway.watch(called.set)
    bus.follow("a:b", print)
    bus.follow("_local:b", print)
    assert called.is_set()
    assert bus.gateway.interests() == {Identifier.parse("a:b")}
    cancel()


@pytest.mark.parametrize("count", [1, 2])
def test_polls_are_observed(bus, count):
    reports = Queue("berrymq:receive_message", bus=bus)
    with bus.observe():
        bus.gateway.poll(batch(1)[0], lambda *outcome: None)
        bus.gateway.receive(iter(batch(count)))
    assert reports.qsize() == 1 + count
