import contextvars
import threading

import pytest

from berrymq import Queue, scopes
from berrymq.scopes import Scope


class Member:
    def __init__(self, log, name):
        self.log, self.name = log, name

    def cancel(self):
        self.log.append(self.name)


class Closable:
    def __init__(self, log):
        self.log = log

    def close(self):
        self.log.append("closed")


def test_closing_a_scope_ends_its_members_latest_first():
    log = []
    one, other, third = Member(log, 1), Member(log, 2), Closable(log)
    scope = Scope("cell 3")
    for member in (one, other, third):
        scope.add(member)
    assert scope.members() == [one, other, third]
    assert repr(scope) == "<Scope 'cell 3', 3 members>"
    scope.close()
    scope.close()
    assert log == ["closed", 2, 1]
    assert len(scope) == 0
    assert repr(scope) == "<Scope 'cell 3', 0 members, closed>"


def test_a_closed_one_ends_newcomers_at_once():
    log = []
    scope = Scope()
    scope.close()
    scope.add(Member(log, 1))
    assert log == [1]


def test_a_scope_holds_its_members_weakly(collect):
    log = []
    scope = Scope()
    for number in range(1000):
        scope.add(Member(log, number))
    collect()
    assert scope.members() == []
    assert len(scope._members) < 300
    scope.close()
    assert log == []


def test_the_current_one():
    assert scopes.current() is None
    outer, inner = Scope("outer"), Scope("inner")
    with outer.collecting() as entered:
        assert entered is scopes.current() is outer
        with inner.collecting():
            assert scopes.current() is inner
        assert scopes.current() is outer
    assert scopes.current() is None


def test_each_thread_and_context_has_its_own():
    seen = []
    with Scope().collecting():
        thread = threading.Thread(target=lambda: seen.append(scopes.current()), daemon=True)
        thread.start()
        thread.join()
    contextvars.copy_context().run(scopes.make_current, Scope())
    assert seen == [None]
    assert scopes.current() is None


def test_made_current_for_what_begins_and_ends_apart():
    scope = Scope()
    scopes.make_current(scope)
    assert scopes.current() is scope
    scopes.make_current(None)
    assert scopes.current() is None


def test_followers_and_queues(bus):
    scope = Scope()
    with scope.collecting():
        bus.follow("a:b", lambda message: pytest.fail("ended"))
        bus.once("a:b", lambda message: pytest.fail("ended"))
        queue = Queue("a:b", bus=bus)
    scope.close()
    bus.twitter("a:b")
    assert queue.closed
    assert bus.subscriptions() == []
