import threading

import pytest

from berrymq import Follower, IdentifierError, JointMessage, Queue, RegistrationError, cond, following
from berrymq.conditions import conditions_of
from berrymq.identifiers import Identifier


def test_a_joint_condition_fires_once_both_were_seen_then_starts_again(bus):
    got = []
    handle = bus.follow(cond("a:x") & cond("b:y"), got.append)
    bus.twitter("a:x", 1)
    assert got == []
    bus.twitter("b:y", 2)
    (joint,) = got
    assert isinstance(joint, JointMessage)
    assert (joint.id, joint.args) == ("b:y", (2,))
    assert [message.args for message in joint.messages] == [(1,), (2,)]
    bus.twitter("b:y", 3)
    assert len(got) == 1
    bus.twitter("b:y", 4)
    bus.twitter("a:x", 5)
    assert [message.args for message in got[1].messages] == [(5,), (4,)]
    assert handle.follows == "a:x & b:y"
    handle.cancel()
    bus.twitter("a:x")
    bus.twitter("b:y")
    assert len(got) == 2
    assert bus.gateway.interests() == set()


def test_guards_of_the_conditions(bus):
    got = []
    bus.follow(cond("a:x", lambda message: message.args[0] > 1) & "b:y", got.append)
    bus.twitter("a:x", 1)
    bus.twitter("b:y")
    assert got == []
    bus.twitter("a:x", 2)
    assert len(got) == 1


def test_a_guard_of_the_follower(bus):
    got = []
    bus.follow(cond("a:x") & "b:y", got.append, guard=lambda message: message.args)
    bus.twitter("a:x")
    bus.twitter("b:y", 1)
    assert got == []
    bus.twitter("a:x", 1)
    assert len(got) == 1


def test_one_condition_is_like_an_identifier(bus):
    got = []
    bus.follow(cond("a:x", lambda message: message.args), got.append)
    bus.twitter("a:x")
    bus.twitter("a:x", 1)
    assert [message.args for message in got] == [(1,)]
    assert not isinstance(got[0], JointMessage)


def test_one_message_may_meet_both(bus):
    got = []
    bus.follow(cond("a:*") & cond("*:x"), got.append)
    bus.twitter("a:x")
    assert len(got) == 1


def test_three_and_text_on_either_side(bus):
    got = []
    joined = "a:x" & cond("b:y") & "c:z"
    bus.follow(joined, got.append)
    for text in ("c:z", "a:x", "b:y"):
        bus.twitter(text)
    assert [message.id for message in got[0].messages] == ["a:x", "b:y", "c:z"]
    assert repr(cond("a:x", bool) & joined) == "cond('a:x', ...) & cond('a:x') & cond('b:y') & cond('c:z')"


def test_a_condition_may_be_used_again(bus):
    got = []
    joined = cond("a:x") & cond("b:y")
    bus.follow(joined, lambda message: got.append("one"))
    bus.twitter("a:x")
    bus.follow(joined, lambda message: got.append("other"))
    bus.twitter("b:y")
    assert got == ["one"]
    bus.twitter("a:x")
    assert got == ["one", "other"]


def test_in_the_decorators(bus):
    got = []

    class Waiter(metaclass=Follower, bus=bus):
        @following(cond("a:x") & "b:y")
        def both(self, message):
            got.append(message)

    waiter = Waiter()
    bus.following_function(cond("a:x") & "b:y")(got.append)
    bus.twitter("a:x")
    bus.twitter("b:y")
    assert len(got) == 2
    del waiter


def test_queues_collect_joint_messages(bus):
    queue = Queue(cond("a:x") & "b:y", bus=bus)
    bus.twitter("a:x")
    bus.twitter("b:y")
    assert [message.id for message in queue.get().messages] == ["a:x", "b:y"]
    assert queue.identifier == Identifier("a", "x")
    assert "a:x & b:y" in repr(queue)


def test_once_both_have_been_seen_once(bus):
    got = []
    bus.once(cond("a:x") & "b:y", got.append)
    for _ in range(2):
        bus.twitter("a:x")
        bus.twitter("b:y")
    assert len(got) == 1


def test_what_is_no_condition():
    with pytest.raises(IdentifierError):
        cond("a:b:c")
    with pytest.raises(IdentifierError):
        _ = cond("a:b") & 3
    with pytest.raises(RegistrationError, match="a guard is called with the message and decides, and an int"):
        cond("a:b", 3)


def test_what_is_followed():
    assert conditions_of("a:b") == ((Identifier("a", "b"),), ())
    identifiers, layers = conditions_of(cond("a:b") & "c:d")
    assert identifiers == (Identifier("a", "b"), Identifier("c", "d"))
    assert len(layers) == 1


def test_each_pair_is_delivered_once_under_fire(bus):
    got = []
    bus.follow(cond("a:x") & cond("b:y"), got.append)
    count = 500

    def send(text):
        for number in range(count):
            bus.twitter(text, number)

    threads = [threading.Thread(target=send, args=(text,)) for text in ("a:x", "b:y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(got) <= count
    taken = [message for joint in got for message in joint.messages]
    assert len({id(message) for message in taken}) == len(taken)


def test_a_destructor_that_sends_while_a_message_is_noted(bus):
    class Payload:
        def __del__(self):
            bus.twitter("a:x", "from the destructor")

    got = []
    bus.follow(cond("a:x") & "b:y", got.append)
    bus.twitter("a:x", Payload())
    bus.twitter("a:x", "another")  # the first is let go of, with the lock held
    bus.twitter("b:y")
    assert len(got) == 1
