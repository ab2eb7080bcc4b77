"""Foreign objects: wrappers, proxies, odd comparisons, exceptions that refuse what others take."""

import logging
from dataclasses import dataclass
from types import MethodType
from unittest.mock import ANY, MagicMock, Mock

import pytest

from berrymq import Bus, Queue


class Proxy:
    """Claims to be a method, as the bound wrappers of `wrapt` do, and does more than that."""

    def __init__(self, method, calls):
        self._method = method
        self._calls = calls

    @property
    def __class__(self):
        return MethodType

    def __getattr__(self, key):
        return getattr(self._method, key)

    def __call__(self, message):
        self._calls.append("wrapper")
        return self._method(message)


class Owner:
    def __init__(self, calls):
        self.calls = calls

    def receive(self, message):
        self.calls.append("method")


class Greedy:
    """Is equal to everything, and has every attribute."""

    def __eq__(self, other):
        return True

    __hash__ = None

    def __getattr__(self, key):
        return Greedy()

    def __call__(self, message=None):
        return None


class Hostile:
    """Fails at whatever it is asked."""

    def __eq__(self, other):
        raise ZeroDivisionError

    __hash__ = None

    def __getattr__(self, key):
        raise ZeroDivisionError

    def __str__(self):
        raise ZeroDivisionError

    __repr__ = __str__

    def __bool__(self):
        raise ZeroDivisionError

    def __call__(self, message):
        return self


def test_what_looks_like_a_method_is_called_as_given(bus):
    calls = []
    owner = Owner(calls)
    bus.follow("a:b", Proxy(owner.receive, calls))
    bus.twitter("a:b")
    assert calls == ["wrapper", "method"]


@pytest.mark.parametrize("make", [Greedy, Hostile, Mock, MagicMock])
def test_odd_followers_follow(bus, make):
    got = []
    bus.follow("a:b", make())
    bus.follow("a:b", got.append)
    bus.twitter("a:b")
    assert bus.ask("a:b", timeout=1)
    assert len(got) == 2
    assert "follows a:b" in bus.subscriptions()[0].describe()


@pytest.mark.parametrize("make", [lambda: ANY, Greedy, Hostile])
def test_an_odd_equality_ends_no_other_follower(bus, make):
    got, what = [], make()
    bus.follow("a:b", got.append)
    own = bus.follow("a:b", what) if what is not ANY else None
    assert bus.unfollow(what) == (own is not None)
    bus.twitter("a:b")
    assert len(got) == 1


def test_the_same_function_is_found_however_it_is_looked_up(bus):
    got, owner = [], Owner([])
    bus.follow("a:b", got.append)
    bus.follow("a:b", owner.receive)
    assert bus.unfollow(Owner([]).receive) == 0
    assert bus.unfollow([].append) == 0
    assert bus.unfollow(got.append) == 1
    assert bus.unfollow(owner.receive) == 1


def test_objects_with_odd_hashes_and_equality_as_owners(bus):
    class Equal(Owner):
        def __eq__(self, other):
            return True

        __hash__ = None

    one, other = Equal([]), Equal([])
    bus.follow("a:b", one.receive)
    bus.follow("a:b", other.receive)
    assert bus.unfollow(one.receive) == 1
    bus.twitter("a:b")
    assert (one.calls, other.calls) == ([], ["method"])


@dataclass(frozen=True)
class FrozenError(Exception):
    """Takes no attribute, and so no note and no traceback of its own."""

    text: str = "frozen"


class UnprintableError(Exception):
    def __str__(self):
        raise ZeroDivisionError

    __repr__ = __str__


class WithOwnNotesError(Exception):
    __notes__ = "no list"


@pytest.mark.parametrize("kind", [UnprintableError, WithOwnNotesError])
def test_exceptions_that_take_no_notes_are_raised_as_themselves(bus, kind):
    error, got = kind(), []

    def fail(message):
        raise error

    bus.follow("a:b", fail)
    bus.follow("a:b", got.append)
    with pytest.raises(kind) as caught:
        bus.twitter("a:b")
    assert caught.value is error
    assert len(got) == 1


@pytest.mark.parametrize("kind", [FrozenError, UnprintableError, WithOwnNotesError])
def test_and_are_logged(kind, caplog, capsys):
    bus = Bus(on_error="log")

    def fail(message):
        raise kind

    bus.follow("a:b", fail)
    bus.twitter("a:b")
    assert kind.__name__ in caplog.records[0].getMessage()
    assert "Logging error" not in capsys.readouterr().err


@pytest.mark.parametrize("on_error", ["raise", "log"])
def test_one_error_that_is_raised_a_thousand_times_does_not_grow(on_error):
    bus, error = Bus(on_error=on_error), ValueError("one for all")
    logging.getLogger("berrymq").propagate = False
    try:

        def fail(message):
            raise error

        bus.follow("a:*", fail)
        for number in range(1000):
            try:
                bus.twitter(f"a:{number}")
            except ValueError:
                error.__traceback__ = None  # as the caller's
    finally:
        logging.getLogger("berrymq").propagate = True
    assert len(error.__notes__) <= 16
    depth, trace = 0, error.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 10


def test_a_verdict_without_a_truth_is_an_error_of_the_follower(bus):
    bus.follow("a:b", print, guard=lambda message: Hostile())
    with pytest.raises(ZeroDivisionError):
        bus.twitter("a:b")


def test_odd_values_in_messages_and_queues(bus):
    queue, odd = Queue("a:b", bus=bus), Hostile()
    bus.twitter("a:b", odd, key=odd)
    message = queue.get()
    assert message.args[0] is odd
    assert message.key is odd
