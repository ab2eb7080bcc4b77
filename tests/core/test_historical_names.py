"""The names of 2009, as the documentation of that time shows them."""

import inspect

import pytest

import berrymq
from berrymq import Bus, Follower, Identifier, Queue, cond, following


@pytest.fixture
def got():
    return []


def big(message):
    return message.size > 10


def test_guard_condition_of_the_decorators(bus, got):
    class Worker(metaclass=Follower, bus=bus):
        @following("data:*", guard_condition=big)
        def receive(self, message):
            got.append(("method", message.size))

        @following(cond("data:*", guard_condition=big))
        def receive_too(self, message):
            got.append(("condition", message.size))

    worker = Worker()

    @bus.following_function("data:*", guard_condition=big)
    def receive(message):
        got.append(("function", message.size))

    for size in (1, 11):
        bus.twitter("data:came", size=size)
    assert got == [("method", 11), ("condition", 11), ("function", 11)]
    del worker


def test_guard_condition_of_registering(bus, got):
    class Owner:
        def receive(self, message):
            got.append(message.size)

    owner = Owner()
    bus.regist_method("data:*", owner.receive, guard_condition=big)
    bus.regist_function("data:*", lambda message: got.append(-message.size), guard_condition=big)
    bus.register_method("data:*", owner.receive, big)
    for size in (1, 11):
        bus.twitter("data:came", size=size)
    assert got == [11, -11, 11]


@pytest.mark.parametrize(
    "register",
    [
        lambda bus, **guards: following("a:b", **guards),
        lambda bus, **guards: cond("a:b", **guards),
        lambda bus, **guards: bus.following_function("a:b", **guards),
        lambda bus, **guards: bus.regist_function("a:b", print, **guards),
    ],
)
def test_one_name_at_a_time(bus, register):
    with pytest.raises(TypeError, match="guard and guard_condition are one parameter"):
        register(bus, guard=big, guard_condition=big)


def test_identifiers():
    identifier = Identifier("test:run")
    assert identifier.id_str == "test:run"
    assert identifier.is_match("test:*")
    assert identifier.is_match(Identifier("*:run"))
    assert not identifier.is_match("other:run")


def test_queues_take_a_filter_id(bus):
    queue = Queue(filter_id="task:*", shared=True, bus=bus)
    bus.twitter("task:one", 1)
    assert queue.get_nowait().args == (1,)
    for arguments in ({}, {"identifier": "a:b", "filter_id": "a:b"}):
        with pytest.raises(TypeError, match="filter_id is another name"):
            Queue(bus=bus, **arguments)


@pytest.mark.parametrize(
    "function", [berrymq.following_function, following, Bus.twitter, Bus.follow, Queue, cond]
)
def test_help_explains_each_argument(function):
    explained = inspect.getdoc(function).partition("Args:")[2]
    for name in inspect.signature(function).parameters:
        if name != "self":
            assert f"{name}:" in explained, name
