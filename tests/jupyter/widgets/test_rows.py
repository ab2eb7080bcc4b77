"""The rows of a log while senders append to them, and the windows on them."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq import Message
from berrymq_jupyter.widgets import rows as module
from berrymq_jupyter.widgets.rows import Rows, Window


def put(rows, *values):
    for value in values:
        rows.collect(Message.make("t:run", (value,)))


def values(messages):
    return [message.args[0] for message in messages]


def everything(rows):
    kept = rows.snapshot()
    return kept.first, values(kept.messages)


def test_rows_are_numbered_as_they_come():
    rows = Rows(10, 10**9)
    assert not rows.waiting()
    assert rows.absorb() == []
    put(rows, "a", "b")
    assert rows.waiting()
    assert values(rows.absorb()) == ["a", "b"]
    assert not rows.waiting()
    put(rows, "c")
    assert values(rows.absorb()) == ["c"]
    assert (rows.first, rows.end, len(rows)) == (0, 3, 3)
    assert everything(rows) == (0, ["a", "b", "c"])


def test_the_oldest_make_room():
    rows = Rows(3, 10**9)
    put(rows, *range(5))
    assert values(rows.absorb()) == [0, 1, 2, 3, 4]
    assert (rows.first, rows.end, rows.missed) == (2, 5, 0)
    assert everything(rows) == (2, [2, 3, 4])


def test_what_is_not_absorbed_has_no_number_yet():
    rows = Rows(10, 10**9)
    put(rows, "a")
    rows.absorb()
    put(rows, "b")
    assert everything(rows) == (0, ["a"])


def test_what_was_pushed_out_unseen_is_counted(monkeypatch):
    monkeypatch.setattr(module, "BURST", 5)
    rows = Rows(5, 10**9)
    put(rows, *range(3))
    rows.absorb()
    put(rows, *range(3, 23))
    assert everything(rows) == (3, [])  # what was absorbed is gone, what came has no number yet
    assert values(rows.absorb()) == [18, 19, 20, 21, 22]
    assert (rows.first, rows.end, rows.missed) == (18, 23, 15)
    assert everything(rows) == (18, [18, 19, 20, 21, 22])


def test_a_cleared_log_goes_on_counting():
    rows = Rows(10, 10**9)
    put(rows, *range(4))
    rows.absorb()
    put(rows, 4)
    rows.clear()
    assert everything(rows) == (4, [])
    assert values(rows.absorb()) == [4]
    assert everything(rows) == (4, [4])
    rows.clear()
    rows.clear()
    put(rows, 5)
    rows.absorb()
    assert everything(rows) == (5, [5])


@given(st.lists(st.integers(0, 12) | st.just("absorb") | st.just("clear"), max_size=40), st.integers(1, 8))
def test_numbers_are_right_whatever_the_order(steps, maxlen):
    rows = Rows(maxlen, 10**9)
    sent = 0
    cleared = 0
    for step in steps:
        if step == "absorb":
            rows.absorb()
        elif step == "clear":
            rows.absorb()
            rows.clear()
            cleared = sent
        else:
            put(rows, *range(sent, sent + step))
            sent += step
    rows.absorb()
    first, kept = everything(rows)
    assert rows.end == sent
    assert kept == list(range(max(cleared, sent - maxlen), sent))
    assert first == sent - len(kept)
    assert rows.missed == 0


def test_many_threads_lose_nothing():
    rows = Rows(1000, 10**9)
    threads = [threading.Thread(target=put, args=(rows, *range(5000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    absorbed = 0
    while any(thread.is_alive() for thread in threads):
        absorbed += len(rows.absorb())
    for thread in threads:
        thread.join()
    absorbed += len(rows.absorb())
    assert absorbed + rows.missed == rows.end == 20_000
    assert len(rows) == 1000


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
    window.select(even)
    assert (window.epoch, window.unsearched) == (1, 6)
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


def test_heavy_payloads_go_before_they_fill_the_memory():
    rows = Rows(100, 1_000_000)
    for number in range(30):
        put(rows, number)
        put(rows, bytes(100_000))
        rows.absorb()
    assert rows.bytes == 1_000_000
    assert len(rows) == 20
    put(rows, bytes(5_000_000))
    rows.absorb()
    assert [len(message.args[0]) for message in rows.snapshot().messages] == [5_000_000]
    put(rows, 1, 2)
    rows.absorb()
    assert values(rows.snapshot().messages)[-2:] == [1, 2]
    rows.clear()
    assert (rows.bytes, len(rows.heavy)) == (0, 0)


def test_heavy_payloads_that_went_for_their_number_are_forgotten():
    rows = Rows(5, 10**9)
    put(rows, bytes(100_000), *range(5))
    rows.absorb()
    assert (rows.bytes, len(rows.heavy)) == (0, 0)


def test_of_a_flood_a_sample_is_weighed(monkeypatch):
    monkeypatch.setattr(module, "WEIGHED", 10)
    rows = Rows(1000, 10**9)
    put(rows, *[bytes(50_000)] * 100)
    rows.absorb()
    assert len(rows.heavy) == 10
    assert rows.bytes == pytest.approx(100 * 50_000, rel=0.15)
