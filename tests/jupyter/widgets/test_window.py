"""What pages see of the rows: filtered, with places that stay."""

import pytest

from berrymq import Message
from berrymq_jupyter.widgets import window as module
from berrymq_jupyter.widgets.rows import Rows
from berrymq_jupyter.widgets.window import Window


def put(rows, *values):
    for value in values:
        rows.collect(Message.make("t:run", (value,)))


def shown(window):
    return [(place, message.args[0]) for place, _, message in window.page(window.begin, window.end)]


def test_without_a_test_places_are_numbers():
    rows = Rows(3, 10**9)
    window = Window(rows)
    put(rows, *range(5))
    rows.absorb()
    assert (window.begin, window.end, window.unsearched) == (2, 5, 0)
    assert shown(window) == [(2, 2), (3, 3), (4, 4)]
    assert window.page(0, 3) == window.page(2, 3)
    assert window.page(9, 12) == []


def even(message):
    return message.args[0] % 2 == 0


def test_a_test_finds_old_and_new_rows():
    rows = Rows(100, 10**9)
    window = Window(rows)
    put(rows, *range(6))
    rows.absorb()
    before = window.epoch
    window.select(even)
    assert window.epoch != before
    assert window.unsearched == 6
    window.advance(10)
    assert shown(window) == [(-3, 0), (-2, 2), (-1, 4)]
    put(rows, *range(6, 10))
    rows.absorb()
    window.advance(10)
    assert shown(window) == [(-3, 0), (-2, 2), (-1, 4), (0, 6), (1, 8)]
    assert window.unsearched == 0
    assert window.place_of(7) == 1
    window.select(None)
    assert window.end - window.begin == 10


def test_matches_go_with_their_rows():
    rows = Rows(4, 10**9)
    window = Window(rows)
    window.select(even)
    put(rows, *range(4))
    rows.absorb()
    window.advance(10)
    put(rows, *range(4, 7))
    rows.absorb()
    window.advance(10)
    assert shown(window) == [(2, 4), (3, 6)]


def test_a_search_takes_its_time_and_the_newest_come_first(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 10)
    rows = Rows(1000, 10**9)
    window = Window(rows)
    put(rows, *range(1000))
    rows.absorb()
    window.select(even)
    clock = iter(range(10_000))
    monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
    window.advance(5)
    found = [value for _, value in shown(window)]
    assert 0 < window.unsearched < 1000
    assert found[-1] == 998
    assert found[0] == 1000 - len(found) * 2
    while window.unsearched:
        window.advance(5)
    assert len(shown(window)) == 500


def test_rows_that_vanish_unsearched_are_skipped():
    rows = Rows(5, 10**9)
    window = Window(rows)
    window.select(even)
    put(rows, *range(100))
    rows.absorb()
    window.advance(10)
    assert shown(window) == [(0, 96), (1, 98)]
    assert window.unsearched == 0


@pytest.mark.parametrize("paused", range(8))
def test_the_place_of_a_number_parts_older_from_newer(paused):
    rows = Rows(10, 10**9)
    window = Window(rows)
    put(rows, *range(8))
    rows.absorb()
    window.select(even)
    window.advance(10)
    before = window.page(window.begin, window.place_of(paused))
    assert [number for _, number, _ in before] == [number for number in range(paused) if number % 2 == 0]
