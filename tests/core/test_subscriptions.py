from unittest.mock import Mock

import pytest

from berrymq import Identifier, Message
from berrymq.subscribers import SKIPPED, Subscriber
from berrymq.subscriptions import Once, Subscription
from berrymq.targets import make_target

MESSAGE = Message.make("a:b", (1,))


def subscription(function, **options):
    return Subscription((Identifier.parse("a:b"),), make_target(function), **options)


def started(function, **options):
    made = subscription(function, **options)
    made._start(lambda subscriber: None)
    return made


def test_a_subscription_delivers_nothing_before_its_start():
    made = subscription(lambda message: pytest.fail("too early"))
    assert not made.active
    assert made._deliver(MESSAGE) is SKIPPED


def test_a_started_subscription_calls_the_function():
    made = started(lambda message: message.args)
    assert made.active
    assert made._deliver(MESSAGE) == made._call(MESSAGE) == made._function(MESSAGE) == (1,)


def test_cancelling_clears_the_slots_and_discards_once():
    ended = []
    made = subscription(lambda message: 1)
    made._start(ended.append)
    made.cancel()
    made.cancel()
    assert ended == [made]
    assert not made.active
    assert made._deliver(MESSAGE) is made._call(MESSAGE) is made._function(MESSAGE) is SKIPPED
    assert repr(SKIPPED) == "SKIPPED"


def test_cancelling_before_the_start():
    made = subscription(lambda message: 1)
    made.cancel()
    assert not made.active


def test_a_subscription_is_a_context_manager():
    with started(lambda message: 1) as made:
        assert made.active
    assert not made.active


def test_a_subscription_ends_with_the_object_of_its_method(collect):
    class Owner:
        def follow(self, message):
            return 1

    owner = Owner()
    ended = []
    made = subscription(owner.follow)
    made._start(ended.append)
    assert made.function == owner.follow
    del owner
    collect()
    assert ended == [made]
    assert made.function is None


def test_an_object_that_is_collected_after_the_handle(collect):
    class Owner:
        def follow(self, message):
            return 1

    owner = Owner()
    made = started(owner.follow)
    target = made._target
    del made
    collect()
    del owner
    collect()
    assert target.function() is None


def test_what_it_shows():
    def handler(message):
        return message

    made = started(handler)
    line = handler.__code__.co_firstlineno
    assert made.identifier == Identifier.parse("a:b")
    assert made.follows == "a:b"
    assert made.name.endswith("handler")
    assert made.where == f"{__file__}:{line}"
    assert made.describe() == f"{made.name} ({made.where}), which follows a:b"
    assert repr(made) == f"<Subscription a:b -> {made.name} ({made.where})>"
    made.cancel()
    assert repr(made).endswith(", cancelled>")
    assert started(print).describe() == "print, which follows a:b"
    assert repr(started(print)) == "<Subscription a:b -> print>"
    assert not made.is_queue
    assert not made.is_async


def test_a_guard_decides():
    made = started(lambda message: "called", guard=lambda message: message.args[0] > 1)
    assert made.guard is not None
    assert made._deliver(MESSAGE) is SKIPPED
    assert made._deliver(Message.make("a:b", (2,))) == "called"


def test_layers_lie_under_the_guard():
    order = []

    def layer(inner):
        def call(message):
            order.append("layer")
            return inner(message)

        return call

    made = started(
        lambda message: order.append("call"), layers=[layer], guard=lambda _: order.append("guard") or 1
    )
    made._deliver(MESSAGE)
    assert order == ["guard", "layer", "call"]


@pytest.mark.parametrize("early", [True, False])
def test_wrapping_the_function(early):
    made = subscription(lambda message: 1)
    if not early:
        made._start(lambda subscriber: None)
    made.wrap(lambda function: lambda message: function(message) + 10)
    if early:
        made._start(lambda subscriber: None)
    assert made._deliver(MESSAGE) == 11


def test_messages_are_handed_to_a_pool_and_back_to_the_sender():
    handed = []
    made = started(lambda message: 1)
    made._use_pool(Mock(submit=lambda *delivery: handed.append(delivery)))
    made._deliver(MESSAGE)
    made._dispatch(MESSAGE)
    assert handed == [(made, MESSAGE)] * 2
    assert made._call(MESSAGE) == 1
    made._use_pool(None)
    assert made._deliver(MESSAGE) == 1
    assert len(handed) == 2


def test_a_direct_follower_is_never_handed_to_a_pool():
    made = started(lambda message: 1, direct=True)
    made._use_pool(Mock(submit=lambda *delivery: pytest.fail("handed over")))
    assert made._deliver(MESSAGE) == 1


def test_mutes_are_counted():
    made = started(lambda message: 1)
    made._shift_mute(+1)
    made._shift_mute(+1)
    made._shift_mute(-1)
    assert made.muted
    assert made._deliver(MESSAGE) is SKIPPED
    made._shift_mute(-1)
    assert not made.muted
    assert made._deliver(MESSAGE) == 1


def test_nothing_revives_what_was_cancelled():
    made = started(lambda message: pytest.fail("revived"))
    made.cancel()
    made._shift_mute(+1)
    made._shift_mute(-1)
    made._use_pool(Mock(submit=lambda *delivery: pytest.fail("revived")))
    assert made._deliver(MESSAGE) is SKIPPED


def test_a_cancellation_in_the_middle_of_a_change_wins():
    def layer(inner):
        made.cancel()  # as another thread would, while the slots are being filled
        return inner

    made = subscription(lambda message: pytest.fail("revived"), layers=[layer])
    made._start(lambda subscriber: None)
    assert made._deliver(MESSAGE) is made._call(MESSAGE) is SKIPPED


def test_entries_by_themselves():
    subscriber = Subscriber()
    assert subscriber._deliver(MESSAGE) is SKIPPED
    with pytest.raises(NotImplementedError):
        subscriber.describe()


def test_answers_go_where_the_message_wants_them():
    sent = []
    asking = Message.make("a:b", (), callback=Identifier("c", "d"))
    made = started(
        lambda message: 1 / message.args[0] if message.args else "answer", reply=lambda *it: sent.append(it)
    )
    made.run(asking)
    assert sent == [(asking, "answer", None)]
    made.run(MESSAGE)
    assert len(sent) == 1
    failing = Message.make("a:b", (0,), callback=Identifier("c", "d"))
    made.run(failing)
    assert sent[1][:2] == (failing, None)
    assert isinstance(sent[1][2], ZeroDivisionError)
    started(lambda message: SKIPPED, reply=lambda *it: sent.append(it)).run(asking)
    assert sent[2] == (asking, SKIPPED, None)


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_an_interrupt_is_answered_and_propagates(ending):
    def follower(message):
        raise ending

    sent = []
    asking = Message.make("a:b", (), callback=Identifier("c", "d"))
    with pytest.raises(type(ending)) as caught:
        started(follower, reply=lambda *it: sent.append(it)).run(asking)
    assert caught.value is ending
    ((message, result, error),) = sent
    assert (message, result) == (asking, None)
    assert isinstance(error, RuntimeError)
    text = "SystemExit: 3" if isinstance(ending, SystemExit) else type(ending).__name__
    assert str(error) == f"the follower ended with {text}"


def test_an_answer_that_fails_does_not_hide_what_ended_the_follower(caplog):
    def follower(message):
        raise SystemExit

    with pytest.raises(SystemExit):
        started(follower, reply=lambda *it: [].pop()).run(Message.make("a:b", callback=Identifier("c", "d")))
    assert "the answer to 'a:b' could not be sent: IndexError" in caplog.text


def test_the_asker_of_a_cancelled_follower_is_answered():
    ended = []
    made = started(lambda message: 1)
    made.cancel()
    made.run(Message.make("a:b", callback=lambda *answer: ended.append(answer)))
    assert ended == [(SKIPPED, None)]


def test_once_lets_one_message_through():
    once = Once()
    made = started(lambda message: "called", layers=[once])
    assert once.bind(made) is made
    assert made.active
    deliver = made._deliver
    assert deliver(MESSAGE) == "called"
    assert not made.active
    assert deliver(MESSAGE) is SKIPPED  # a thread that had looked it up before


def test_once_when_the_message_is_faster_than_the_registration():
    once = Once()
    made = started(lambda message: "called", layers=[once])
    assert made._deliver(MESSAGE) == "called"
    assert made.active
    once.bind(made)
    assert not made.active
