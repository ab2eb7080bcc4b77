"""How fast counters grow: smoothed, and nothing invented."""

import pytest

from berrymq_jupyter.server.rates import FORGET_SECONDS, Rates


def test_a_steady_counter_is_known_after_some_looks():
    rates = Rates()
    for second in range(20):
        shown = rates.update({"a": 50 * second}, float(second))
    assert shown["a"] == pytest.approx(50, rel=0.01)


def test_the_first_look_has_no_rate():
    assert Rates().update({"a": 1_000_000}, 5.0) == {"a": 0.0}


def test_a_new_counter_began_at_nothing():
    rates = Rates()
    rates.update({"a": 1}, 0.0)
    assert rates.update({"a": 1, "b": 10}, 1.0)["b"] > 1


def test_a_change_of_pace_shows_soon_but_not_at_once():
    rates = Rates()
    rates.update({"a": 0}, 0.0)
    one = rates.update({"a": 100}, 1.0)["a"]
    two = rates.update({"a": 200}, 2.0)["a"]
    assert 0 < one < two < 100


def test_one_that_stands_still_comes_to_nothing():
    rates = Rates()
    for second in range(30):
        shown = rates.update({"a": 100 if second else 0}, float(second))
    assert shown["a"] == 0.0


def test_one_that_was_set_back_is_never_negative():
    rates = Rates()
    rates.update({"a": 1000}, 0.0)
    assert rates.update({"a": 5}, 1.0)["a"] > 0


def test_one_that_has_gone_is_forgotten():
    rates = Rates()
    rates.update({"a": 1}, 0.0)
    assert rates.update({}, 1.0) == {}


def test_after_a_long_pause_it_begins_anew():
    rates = Rates()
    for second in range(10):
        rates.update({"a": 50 * second}, float(second))
    assert rates.update({"a": 10**6}, 9 + FORGET_SECONDS + 1) == {"a": 0.0}


def test_two_looks_at_the_same_time_agree():
    rates = Rates()
    rates.update({"a": 0}, 0.0)
    first = rates.update({"a": 10}, 1.0)
    assert rates.update({"a": 11}, 1.0) == first


def test_one_that_was_there_before_it_was_seen_begins_still():
    rates = Rates()
    rates.update({"a": 1}, 0.0)
    assert rates.update({"a": 1, "b": 10**6}, 1.0, old=["a", "b"])["b"] == 0.0
    assert 0 < rates.update({"a": 1, "b": 10**6 + 10}, 2.0, old=["a", "b"])["b"] < 10
