import pytest

from berrymq import Message, Queue


@pytest.fixture
def reports(bus):
    return Queue("berrymq:*", bus=bus)


def contents(reports):
    return [(message.action, message.args[0].id, dict(message.kwargs)) for message in reports.drain()]


def test_nothing_is_reported_unless_asked_for(bus, reports):
    bus.gateway.attach(lambda identifier: True, lambda message: None)
    bus.twitter("a:b")
    bus.gateway.receive([Message.make("a:b")])
    assert reports.empty()


def test_what_moves_is_reported(bus, reports):
    order = []
    bus.follow("a:b", lambda message: order.append(reports.qsize()))
    bus.gateway.attach(lambda identifier: True, lambda message: None, name="link to nb2")
    with bus.observe():
        bus.gateway.attach(lambda identifier: True, lambda message: None, name="link to nb3")
        bus.twitter("a:b")
        bus.twitter("_local:x")
        bus.gateway.receive([Message.make("a:b")])
    assert order[0] == 1  # the report comes first
    assert contents(reports) == [
        ("send_message", "a:b", {}),
        ("forward_message", "a:b", {"link": "link to nb2"}),
        ("forward_message", "a:b", {"link": "link to nb3"}),
        ("send_message", "_local:x", {}),
        ("receive_message", "a:b", {}),
    ]
    bus.twitter("a:b")
    bus.gateway.receive([Message.make("a:b")])
    assert reports.empty()
    assert bus.drain(10)


def test_observers_nest(bus, reports):
    outer = bus.observe()
    with bus.observe():
        bus.twitter("a:b")
    bus.twitter("a:b")
    assert reports.qsize() == 2
    outer.cancel()
    outer.cancel()
    bus.twitter("a:b")
    assert reports.qsize() == 2


def test_reports_stay_here_and_are_not_reported(bus, reports):
    linked = []
    bus.gateway.attach(lambda identifier: True, linked.append)
    with bus.observe():
        bus.twitter("berrymq:something")
        bus.gateway.receive([Message.make("berrymq:something")])
    assert linked == []
    assert [message.action for message in reports.drain()] == ["something", "something"]


def test_muted_messages_are_seen_being_sent(bus, reports):
    with bus.observe(), bus.mute("a:b"):
        bus.twitter("a:b")
    assert contents(reports) == [("send_message", "a:b", {})]


def test_one_that_is_ended_while_another_begins(bus, reports, monkeypatch):
    first = bus.observe()
    attachments, again = bus._registry.attachments, []

    def attachments_late():
        if not again:
            again.append(1)
            again.append(bus.observe())  # another thread, in the middle of the ending
        return attachments()

    monkeypatch.setattr(bus._registry, "attachments", attachments_late)
    first.cancel()
    bus.twitter("a:b")
    assert contents(reports) == [("send_message", "a:b", {})]
