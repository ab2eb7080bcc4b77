import threading

import pytest

import berrymq
from berrymq import testing


def test_a_message_to_call_a_follower_with():
    message = testing.message("train:done", 1, loss=0.1, source="nb2", sent_at=5.0)
    assert (message.id, message.args, message.loss, message.source, message.sent_at) == (
        "train:done",
        (1,),
        0.1,
        "nb2",
        5.0,
    )


def test_recording(bus):
    with testing.record("a:*", bus=bus) as sent:
        bus.twitter("a:b", 1, x=2)
        bus.twitter("c:d")
        bus.twitter("a:c")
    bus.twitter("a:b")
    assert sent.ids == ["a:b", "a:c"]
    assert len(sent) == 2
    assert [message.id for message in sent] == sent.ids
    assert sent[0] is sent.messages[0]
    assert [message.id for message in sent.of("*:c")] == ["a:c"]
    assert repr(sent).startswith("recorded:\n  <Message('a:b', 1, x=2)>\n  <Message('a:c')>")
    sent.clear()
    assert len(sent) == 0
    assert repr(sent) == "recorded: nothing"


def test_on_the_default_bus():
    with testing.record("testing:*") as sent:
        berrymq.twitter("testing:x")
    assert sent.ids == ["testing:x"]


def test_what_was_sent(bus):
    with testing.record(bus=bus) as sent:
        bus.twitter("a:b", 1, 2, x=3, y=None)
        bus.twitter("a:b", 4)
    assert sent.assert_sent("a:b") is sent[0]
    assert sent.assert_sent("a:*", 4) is sent[1]
    assert sent.assert_sent("a:b", 1, x=3).args == (1, 2)
    assert sent.assert_sent("a:b", y=None) is sent[0]
    for args, kwargs in [((9,), {}), ((), {"x": 9}), ((), {"z": None})]:
        with pytest.raises(AssertionError, match=r"no message 'a:b' with \(.*\); recorded:\n  <Message"):
            sent.assert_sent("a:b", *args, **kwargs)
    sent.assert_silent("c:d")
    with pytest.raises(AssertionError, match=r"^no message 'c:d'; recorded:\n"):
        sent.assert_sent("c:d")
    with pytest.raises(AssertionError, match="no message 'a:b' was expected; recorded"):
        sent.assert_silent("a:b")


def test_waiting_for_what_other_threads_send(bus):
    with testing.record("a:*", bus=bus) as sent:
        thread = threading.Thread(target=lambda: [bus.twitter("a:b", number) for number in range(3)])
        thread.start()
        assert len(sent.wait(3)) == 3
        thread.join()
        with pytest.raises(AssertionError, match=r"5 messages were expected within 0.01 s; recorded"):
            sent.wait(5, timeout=0.01)


def test_messages_from_elsewhere(bus):
    got = []
    bus.follow("a:b", got.append)
    with testing.record("a:*", bus=bus) as sent:
        testing.arrive("a:b", 1, x=2, bus=bus)
    (message,) = got
    assert (message.args, message.x, message.source) == ((1,), 2, "elsewhere")
    assert sent.ids == ["a:b"]


def test_a_scope_for_a_test(bus):
    with testing.scoped() as scope:
        bus.follow("a:b", print)
        queue = berrymq.Queue("a:b", bus=bus)
        assert len(scope) == 2
    assert queue.closed
    assert bus.subscriptions() == []
