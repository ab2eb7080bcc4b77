import copy
import gc
import pickle
import time
import weakref

import pytest

from berrymq import Identifier, IdentifierError, JointMessage, Message


def test_what_it_carries():
    before = time.time()
    message = Message.make("test@lab:run", (1, 2), {"x": 3})
    assert message.identifier == Identifier("test", "run", "lab")
    assert (message.name, message.action, message.id) == ("test", "run", "test@lab:run")
    assert message.args == (1, 2)
    assert message.kwargs == {"x": 3}
    assert before <= message.sent_at <= time.time()
    assert message.source is None
    assert message.origin is None
    assert message.callback is None


def test_constructor_arguments_become_the_message():
    before = time.time()
    message = Message("test:run", 1, identifier="x", self=2)
    assert (message.id, message.args, dict(message.kwargs)) == (
        "test:run",
        (1,),
        {"identifier": "x", "self": 2},
    )
    assert before <= message.sent_at <= time.time()
    assert message.source is message.origin is message.callback is None
    with pytest.raises(IdentifierError, match="more than one ':'"):
        Message("a:b:c")


def test_without_payload():
    message = Message.make("test")
    assert (message.id, message.args, dict(message.kwargs)) == ("test:*", (), {})


def test_from_elsewhere():
    message = Message.make("a:b", source="nb2", sent_at=5.0, origin=(1, 2), callback=Identifier("c", "d"))
    assert (message.source, message.sent_at, message.origin) == ("nb2", 5.0, (1, 2))
    assert message.callback == Identifier("c", "d")
    assert isinstance(message, Message)


def test_keywords_are_attributes():
    message = Message.make("game:over", (), {"score": 3, "_hidden": 4, "name": "x", "index": 5, "count": 6})
    assert message.score == 3
    assert message._hidden == 4
    assert message.index == 5
    assert message.count == 6
    assert message.name == "game"  # its own attributes come first
    assert message.kwargs["name"] == "x"


def test_an_unknown_attribute_lists_the_keywords():
    with pytest.raises(AttributeError, match=r"'a:b' has no .* 'scroe'; its keywords are: score, level"):
        _ = Message.make("a:b", (), {"score": 1, "level": 2}).scroe
    with pytest.raises(AttributeError, match="its keywords are: none"):
        _ = Message.make("a:b").score
    with pytest.raises(AttributeError, match="'Message' object has no attribute '_nothing'"):
        _ = Message.make("a:b")._nothing


def test_an_unfilled_message_does_not_recurse():
    with pytest.raises(AttributeError):
        _ = Message.__new__(Message).score


@pytest.mark.parametrize(
    "key", ["args", "kwargs", "name", "action", "id", "source", "sent_at", "score", "new"]
)
def test_attributes_are_read_only(key):
    message = Message.make("a:b", (), {"score": 1})
    with pytest.raises(AttributeError):
        setattr(message, key, 1)
    with pytest.raises(TypeError):
        message.kwargs["score"] = 2


def test_keywords_are_copied_from_the_caller():
    given = {"x": 1}
    message = Message.make("a:b", (), given)
    given["x"] = 2
    assert message.x == 1


def test_apply():
    def log(username, score, bonus=0):
        return username, score, bonus

    assert Message.make("a:b", ("shibu",), {"score": 3}).apply(log) == ("shibu", 3, 0)


def test_how_it_shows():
    assert repr(Message.make("a", (1, "x"), {"y": 2})) == "<Message('a:*', 1, 'x', y=2)>"
    assert repr(Message.make("a:b", source="nb2")) == "<Message('a:b') from 'nb2'>"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies(again):
    message = Message.make("a:b", (1,), {"x": [2]}, source="nb2", sent_at=5.0)
    copied = again(message)
    assert (copied.id, copied.args, copied.kwargs, copied.source, copied.sent_at) == (
        "a:b",
        (1,),
        {"x": [2]},
        "nb2",
        5.0,
    )


def test_messages_take_weak_references():
    message = Message.make("a:b")
    reference = weakref.ref(message)
    del message
    gc.collect()
    assert reference() is None


def test_joint_messages():
    first = Message.make("a:x", (1,))
    last = Message.make("b:y", (2,), {"k": 3}, source="nb2", sent_at=5.0, origin="o")
    joint = JointMessage.join(last, (first, last))
    assert (joint.id, joint.args, joint.k, joint.source, joint.sent_at) == ("b:y", (2,), 3, "nb2", 5.0)
    assert joint.origin == "o"
    assert joint.callback is None
    assert joint.messages == (first, last)
