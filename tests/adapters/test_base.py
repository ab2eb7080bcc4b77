import pytest

import berrymq
from berrymq import IdentifierError, scopes, testing
from berrymq.adapters.base import Adapter


class Source(Adapter):
    stopped = 0

    def stop(self):
        self.stopped += 1


def test_an_adapter_sends_under_its_name(bus):
    with testing.record(bus=bus) as sent:
        Source("thing", bus).send("happened", 1, x=2)
    sent.assert_sent("thing:happened", 1, x=2)


def test_on_the_default_bus():
    assert Source("thing", None).bus is berrymq.default_bus


def test_failing_followers_go_to_the_log_and_the_source_goes_on(bus, caplog):
    bus.follow("thing:*", lambda message: 1 / 0)
    source = Source("thing", bus)
    source.send("happened")
    assert "followers of thing:happened failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_adapter_ends_with_its_block_or_its_scope(bus):
    with Source("thing", bus) as source:
        assert source.stopped == 0
    assert source.stopped == 1
    scope = scopes.Scope()
    with scope.collecting():
        other = Source("thing", bus)
    scope.close()
    assert other.stopped == 1


def test_a_wrong_name(bus):
    with pytest.raises(IdentifierError):
        Source("a:b", bus)
    with pytest.raises(NotImplementedError):
        Adapter("a", bus).stop()
