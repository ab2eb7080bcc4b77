import pytest

from berrymq import Identifier, IdentifierError, Message, Queue


@pytest.fixture
def got(bus):
    messages = []
    bus.follow("*:*", messages.append)
    return messages


def test_an_identifier_is_muted_for_everyone(bus, got):
    queue = Queue("a:b", bus=bus)
    linked = []
    bus.gateway.attach(lambda identifier: True, linked.append)
    with bus.mute("a:*"):
        bus.twitter("a:b")
        bus.gateway.receive([Message.make("a:b")])
        bus.twitter("c:d")
    bus.twitter("a:b")
    assert [message.id for message in got] == ["c:d", "a:b"]
    assert [message.id for message in linked] == ["c:d", "a:b"]
    assert queue.qsize() == 1


def test_everything_is_muted_by_default(bus, got):
    with bus.mute():
        bus.twitter("a:b")
    assert got == []


def test_one_follower_is_muted(bus, got):
    mine = []
    handle = bus.follow("a:b", mine.append)
    with bus.mute(handle) as mute:
        assert handle.muted
        bus.twitter("a:b")
        assert mute.target is handle
    bus.twitter("a:b")
    assert len(got) == 2
    assert len(mine) == 1


@pytest.mark.parametrize("kind", ["identifier", "follower"])
def test_mutes_nest(bus, got, kind):
    what = "a:b" if kind == "identifier" else bus.subscriptions()[0]
    outer = bus.mute(what)
    with bus.mute(what), bus.mute(what):
        bus.twitter("a:b")
    bus.twitter("a:b")
    assert got == []
    outer.cancel()
    outer.cancel()  # a second time is nothing
    bus.twitter("a:b")
    assert len(got) == 1


def test_different_mutes_overlap(bus, got):
    one = bus.mute("a:*")
    other = bus.mute("*:b")
    one.cancel()
    bus.twitter("a:b")
    bus.twitter("a:c")
    other.cancel()
    bus.twitter("a:b")
    assert [message.id for message in got] == ["a:c", "a:b"]


def test_how_it_shows(bus):
    mute = bus.mute(Identifier("a", "b"))
    assert repr(mute) == "<Mute of a:b>"
    mute.cancel()
    assert repr(mute) == "<Mute of a:b, ended>"


def test_what_is_no_identifier(bus):
    with pytest.raises(IdentifierError):
        bus.mute("a:b:c")
