import functools
import inspect
import os
import sys
import types
from unittest.mock import AsyncMock, Mock

import pytest

from berrymq import Message, RegistrationError
from berrymq.targets import FunctionTarget, MethodTarget, QueueTarget, make_target, name_of, where_of

MESSAGE = Message.make("a:b")


class Owner:
    def follow(self, message):
        return self, message

    async def follow_async(self, message):
        return self, message

    @classmethod
    def of_class(cls, message):
        return cls, message

    def __call__(self, message):
        return "called", message


class AsyncCallable:
    async def __call__(self, message):
        return message


def plain(message):
    return message


async def coroutine(message):
    return message


def test_a_function_is_held_and_called():
    target = make_target(plain)
    assert isinstance(target, FunctionTarget)
    assert target.call(MESSAGE) is MESSAGE
    assert target.function() is plain
    assert target.name == "plain"
    assert target.where == f"{__file__}:{plain.__code__.co_firstlineno}"


def test_a_function_without_other_references_stays(collect):
    gone, target = [], make_target(eval("lambda message: message"))
    target.on_death(lambda: gone.append(1))
    collect()
    assert gone == []
    assert target.call(MESSAGE) is MESSAGE


def test_a_method_is_held_weakly(collect):
    owner = Owner()
    target = make_target(owner.follow)
    gone = []
    target.on_death(lambda: gone.append(1))
    assert isinstance(target, MethodTarget)
    assert target.call(MESSAGE) == (owner, MESSAGE)
    assert target.function() == owner.follow
    assert target.name == "Owner.follow"
    assert target.where.startswith(f"{__file__}:")
    del owner
    collect()
    assert gone == [1]
    assert target.call(MESSAGE) is None
    assert target.function() is None
    target.on_death(lambda: gone.append("again"))  # it was collected before
    collect()
    assert gone == [1]


def test_a_class_method_is_held_by_its_class():
    target = make_target(Owner.of_class)
    assert isinstance(target, MethodTarget)
    assert target.call(MESSAGE) == (Owner, MESSAGE)


def test_the_intake_of_a_queue():
    target = QueueTarget(plain, "Queue", "x.py:1")
    assert (target.name, target.where, target.function(), target.is_async) == ("Queue", "x.py:1", None, False)
    assert target.call(MESSAGE) is MESSAGE


def test_the_end_of_a_subscription_closes_its_queue(bus):
    ended = []
    target = QueueTarget(plain, "Queue", None, lambda: ended.append(1))
    handle = bus._subscribe("a:b", target)
    assert ended == []
    handle.cancel()
    assert ended == [1]


@pytest.mark.parametrize(
    "function",
    [
        coroutine,
        functools.partial(coroutine),
        Owner().follow_async,
        functools.partial(Owner.follow_async, Owner()),
        AsyncCallable(),
        AsyncMock(),
    ],
)
def test_what_gives_coroutines(function):
    if isinstance(function, type(Owner().follow)):
        owner = function.__self__
        assert make_target(owner.follow_async).is_async
    else:
        assert make_target(function).is_async


def test_what_is_marked_as_giving_coroutines():
    mark = object()

    def marked(message):
        return coroutine(message)

    marked._is_coroutine_marker = mark  # as inspect.markcoroutinefunction of Python 3.12 leaves it
    assert make_target(marked).is_async
    if sys.version_info >= (3, 12):

        def other(message):
            return coroutine(message)

        assert make_target(inspect.markcoroutinefunction(other)).is_async


@pytest.mark.parametrize(
    "function", [plain, print, Owner(), Mock(), functools.partial(plain), [].append, Owner]
)
def test_what_does_not(function):
    if function is Owner:
        function = lambda message: Owner()
    assert not make_target(function).is_async


@pytest.mark.parametrize(
    "function",
    [
        lambda message: 1,
        lambda message, more=1: 1,
        lambda *args: 1,
        lambda message, *args, key=1, **kwargs: 1,
        lambda message, /: 1,
        functools.partial(lambda prefix, message: 1, "x"),
        functools.partial(lambda message, *, key: 1, key=2),
        print,
        [].append,
        dict,
        Mock(),
        str,
    ],
)
def test_what_can_be_called_with_a_message(function):
    assert make_target(function).function() is function


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (lambda: 1, "lambda message: ..."),
        (lambda a, b: 1, "lambda message: ..."),
        (lambda a, *, key: 1, "lambda message: ..."),
        (lambda *, key=1: 1, "lambda message: ..."),
        (functools.partial(lambda a, b: 1, 1, 2), "lambda message: ..."),
        (Owner.follow, r"def follow\(message\)"),
        (os.getpid, "not written in Python"),
    ],
)
def test_what_cannot(function, advice):
    with pytest.raises(RegistrationError, match=r"it is called with one argument, the message") as caught:
        make_target(function)
    assert isinstance(caught.value, TypeError)
    caught.match(advice)


def test_a_method_that_cannot():
    class Wrong:
        def follow(self):
            pass

        def follow_any(*args):
            pass

    with pytest.raises(RegistrationError, match=r"Wrong.follow .* write it as  def follow\(self, message\)"):
        make_target(Wrong().follow)
    make_target(Wrong().follow_any)


@pytest.mark.parametrize("value", [3, "test", Message.make("a:b")])
def test_what_cannot_be_called_at_all(value):
    with pytest.raises(
        RegistrationError, match=r"must be callable with one message; an? .* is not callable$"
    ):
        make_target(value)


def test_the_result_of_a_call_instead_of_a_function():
    with pytest.raises(RegistrationError, match=r"a NoneType is not callable; did you call the function"):
        make_target(None)


def test_what_cannot_be_held_weakly():
    class Slotted:
        __slots__ = ()

        def follow(self, message):
            pass

    slotted = Slotted()
    with pytest.raises(RegistrationError, match=r"Slotted.follow .* add '__weakref__' to its __slots__"):
        make_target(slotted.follow)


def test_names_and_locations_look_through_wrappers():
    @functools.wraps(plain)
    def wrapper(message):
        return plain(message)

    assert name_of(wrapper) == "plain"
    assert where_of(wrapper) == where_of(plain)
    assert name_of(functools.partial(plain)) == "plain"
    assert where_of(functools.partial(Owner().follow)) == where_of(Owner.follow)
    assert name_of(Owner()) == "Owner"
    assert where_of(Owner()) == where_of(Owner.__call__)
    assert where_of(print) is None

    def nested(message):
        return message

    assert name_of(nested) == "test_names_and_locations_look_through_wrappers.nested"


def test_a_wrapper_that_wraps_itself_ends():
    def endless(message):
        return message

    endless.__wrapped__ = endless
    assert name_of(endless).endswith("endless")


def test_unknown_signatures_pass():
    class Odd:
        __signature__ = "nonsense"

        def __call__(self, message):
            return message

    assert make_target(Odd()).call(MESSAGE) is MESSAGE


def test_generators_run_nothing_when_called():
    def generator(message):
        yield message

    async def async_generator(message):
        yield message

    for function in (generator, async_generator):
        with pytest.raises(RegistrationError, match="cannot follow: it has a 'yield' in it"):
            make_target(function)


def test_old_coroutines_are_no_generators():
    @types.coroutine
    def coroutine_of_old(message):
        yield message

    assert make_target(coroutine_of_old).is_async
