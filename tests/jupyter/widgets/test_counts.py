"""Counting by identifier, within bounds."""

from collections import Counter

import pytest

from berrymq_jupyter.widgets import counts as module
from berrymq_jupyter.widgets.counts import Counts, Rate


def test_a_rate_rises_to_what_happens_and_falls_to_nothing():
    rate = Rate()
    for _ in range(100):
        rate.update(5, 0.1)
    assert rate.value == pytest.approx(50, rel=0.01)
    falls = 0
    while rate.value:
        assert rate.update(0, 0.1)
        falls += 1
    assert 5 < falls < 200
    assert not rate.update(0, 0.1)


def test_only_changes_are_sent():
    counts = Counts()
    counts.update(Counter(["a:x", "a:x", "b:y"]), 3, 1.0)
    assert [line[:2] for line in counts.take(10, everything=False)] == [["a:x", 2], ["b:y", 1]]
    assert not counts.more
    counts.update(Counter([]), 0, 60.0)  # the rates fall
    counts.take(10, everything=False)
    counts.update(Counter(["b:y"]), 1, 1.0)
    assert [line[:2] for line in counts.take(10, everything=False)] == [["b:y", 2]]
    assert counts.take(10, everything=False) == []
    assert [line[:2] for line in counts.take(10, everything=True)] == [["a:x", 2], ["b:y", 2]]


def test_what_does_not_fit_is_sent_next_time():
    counts = Counts()
    counts.update(Counter([f"a:{number}" for number in range(5)]), 5, 1.0)
    assert len(counts.take(3, everything=False)) == 3
    assert counts.more
    assert len(counts.take(3, everything=False)) == 2
    assert not counts.more


def test_all_have_their_turn():
    counts = Counts()
    ids = [f"a:{number}" for number in range(10)]
    taken = set()
    for _ in range(4):
        counts.update(Counter(ids), 10, 1.0)
        taken.update(line[0] for line in counts.take(3, everything=False))
    assert taken == set(ids)


def test_counts_come_before_rates_that_only_fall():
    counts = Counts()
    falling, counted = [f"a:{number}" for number in range(5)], ["b:0", "b:1"]
    counts.update(Counter(falling + counted), 7, 1.0)
    counts.take(10, everything=True)
    seen = set()
    for number in range(40):
        counts.update(Counter(counted), 2, 0.001)
        names = {line[0] for line in counts.take(2, everything=False)}
        assert names == set(counted) or number >= 10
        seen |= names
    assert seen == {*falling, *counted}  # but they come too


def test_beyond_the_bound_identifiers_are_counted_together(monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    counts = Counts()
    counts.update(Counter(["a:1", "a:1", "a:2", "a:3"]), 4, 1.0)
    counts.update(Counter(["a:3", "a:4", "a:4", "a:5"]), 4, 1.0)
    assert len(counts.table) == 3
    assert counts.others == 3
    assert sum(line[1] for line in counts.take(10, everything=True)) + counts.others == 8
    counts.clear()
    assert (counts.table, counts.others) == ({}, 0)


def test_counts_change_while_a_rate_does():
    counts = Counts()
    counts.update(Counter([]), 0, 0.1)
    assert not counts.moving
    counts.update(Counter(["a:b"]), 1, 0.1)
    assert counts.moving
    for _ in range(200):
        counts.update(Counter([]), 0, 0.1)
    assert not counts.moving
