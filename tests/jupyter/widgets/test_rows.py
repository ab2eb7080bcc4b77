"""The rows of a log while senders append to them, and the windows on them."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq import Message
from berrymq_jupyter.widgets import rows as module
from berrymq_jupyter.widgets.rows import Rows


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


@pytest.mark.parametrize("maxlen", [20, 12, 3])
def test_what_comes_while_others_are_absorbed_costs_no_row(monkeypatch, maxlen):
    rows = Rows(maxlen, 10**9)
    put(rows, *range(10))
    weigh = rows.weigh

    def weigh_while_more_come(start, batch):
        put(rows, *range(rows.end, rows.end + 5))
        return weigh(start, batch)

    with monkeypatch.context() as patch:
        patch.setattr(rows, "weigh", weigh_while_more_come)
        assert values(rows.absorb()) == list(range(10))
        assert everything(rows) == (max(0, 10 - maxlen), list(range(10))[-maxlen:])
    assert values(rows.absorb()) == list(range(10, 15))
    assert everything(rows) == (max(0, 15 - maxlen), list(range(15))[-maxlen:])
    assert len(rows.kept) == min(15, maxlen)
    assert rows.missed == 0


@pytest.mark.parametrize("calls", [(1,), (2,), (1, 2)])
def test_a_burst_between_counting_and_copying_costs_no_row(monkeypatch, calls):
    """On a loaded machine a thousand messages may come between two lines of the drawing thread."""
    rows = Rows(50_000, 10**9)
    put(rows, *range(1000))
    rows.absorb()
    put(rows, *range(1000, 1100))
    copy, number = rows.copy, 0

    def copy_after_a_burst(most):
        nonlocal number
        number += 1
        if number in calls:
            put(rows, *range(rows.collected(), rows.collected() + 1000))
        return copy(most)

    monkeypatch.setattr(rows, "copy", copy_after_a_burst)
    rows.absorb()
    monkeypatch.undo()
    rows.absorb()
    total = 1100 + 1000 * len(calls)
    assert (rows.first, rows.end, rows.missed) == (0, total, 0)
    assert everything(rows) == (0, list(range(total)))


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


def test_one_that_is_just_being_counted_when_many_are_pushed_out_is_counted_later(monkeypatch):
    monkeypatch.setattr(module, "BURST", 10)
    rows = Rows(10, 1 << 30)
    put(rows, *range(5))
    rows.absorb()
    put(rows, *range(5, 40))
    collected = rows.collected
    monkeypatch.setattr(rows, "collected", lambda: collected() - 1)  # as while it is put down
    assert values(rows.absorb()) == list(range(30, 40))
    assert rows.total == 39
    assert rows.absorb() == []
    monkeypatch.setattr(rows, "collected", collected)
    for _ in range(2):
        assert rows.absorb() == []
        assert (rows.total, rows.missed) == (40, 25)
    put(rows, *range(40, 80))
    rows.absorb()
    assert (rows.total, rows.missed) == (80, 55)


@given(
    before=st.integers(0, 12),
    unseen=st.integers(0, 3),
    after=st.integers(0, 12),
    maxlen=st.integers(1, 10),
)
def test_what_was_cleared_is_put_back_before_what_came_since(before, unseen, after, maxlen):
    rows = Rows(maxlen, 10**9)
    put(rows, *range(before))
    rows.absorb()
    cleared = rows.clear()
    assert len(rows) == 0
    put(rows, *range(before, before + after))
    rows.absorb()
    put(rows, *["unseen"] * unseen)
    rows.restore(cleared)
    total = before + after
    assert [number for number, _ in rows.snapshot().all()] == list(range(max(0, total - maxlen), total))
    assert [message.args[0] for _, message in rows.snapshot().all()] == list(
        range(max(0, total - maxlen), total)
    )
    assert rows.retained("t:run") == len(rows) == min(total, maxlen)
    assert values(rows.absorb()) == ["unseen"] * unseen
    put(rows, "x")
    assert values(rows.absorb()) == ["x"]


def test_a_restored_row_of_another_identifier_is_kept_beside_a_flood():
    rows = Rows(10, 10**9)
    rows.collect(Message.make("error:here", ("wrong",)))
    put(rows, *range(30))
    rows.absorb()
    cleared = rows.clear()
    put(rows, *range(30))
    rows.absorb()
    rows.restore(cleared)
    assert [message.id for _, message in rows.snapshot().all()][:2] == ["error:here", "t:run"]
    assert rows.retained("error:here") == 1


def test_large_payloads_that_are_put_back_count_again():
    rows = Rows(10, 3_000_000)
    put(rows, b"a" * 1_000_000, b"b" * 1_000_000)
    rows.absorb()
    cleared = rows.clear()
    assert rows.bytes == 0
    put(rows, b"c" * 1_000_000, b"d" * 1_000_000)
    rows.absorb()
    rows.restore(cleared)
    assert rows.bytes <= 3_000_000
    assert [message.args[0][:1] for _, message in rows.snapshot().all()][-2:] == [b"c", b"d"]


def test_the_delay_of_what_came_over_a_link_is_known(monkeypatch):
    from berrymq_jupyter.widgets import collector

    moment = 100.0
    monkeypatch.setattr(collector, "time", lambda: moment)
    rows = Rows(10, 10**9)
    early = Message.make("t:run", (0,), source="far", sent_at=99.5)
    rows.latencies.stamped.append((early, 100.0))  # its sender is between the two steps
    put(rows, "here")
    rows.collect(Message.make("t:run", (1,), source="far", sent_at=99.75))
    rows.absorb()
    assert rows.latencies.delays == {1: 0.25}
    rows.kept.append(early)
    put(rows, "more")
    rows.absorb()
    assert rows.latencies.delays == {1: 0.25, 2: 0.5}
    for number in range(1100):
        rows.collect(Message.make("t:run", (number,), source="far", sent_at=99.0))
    rows.absorb()
    assert len(rows.latencies.delays) <= 10
