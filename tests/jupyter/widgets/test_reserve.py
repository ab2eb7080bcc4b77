"""Each identifier keeps its newest messages, whatever others do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq import Message
from berrymq_jupyter.widgets import reserve as module
from berrymq_jupyter.widgets.rows import Rows
from berrymq_jupyter.widgets.window import Window


def put(rows, name, *values):
    for value in values:
        rows.collect(Message.make(name, (value,)))


def shown(window):
    page = window.page(window.begin, window.end)
    places = [place for place, _, _ in page]
    assert places == list(range(window.begin, window.end))
    return [(message.id, message.args[0]) for _, _, message in page]


def test_a_flood_pushes_out_itself_only():
    rows = Rows(100, 10**9)
    window = Window(rows)
    put(rows, "error:here", "one", "two")
    rows.absorb()
    for start in range(0, 5000, 50):
        put(rows, "feed:run", *range(start, start + 50))
        rows.absorb()
    errors = [("error:here", "one"), ("error:here", "two")]
    assert shown(window) == errors + [("feed:run", number) for number in range(4900, 5000)]
    assert (len(rows), window.older, rows.first) == (102, 2, 4902)
    window.select(lambda message: message.id == "error:here")
    window.advance(10)
    assert (shown(window), window.unsearched) == (errors, 0)
    assert [message.args[0] for _, message in rows.snapshot().all()][:2] == ["one", "two"]
    rows.clear()
    assert len(rows) == 0


def test_a_pattern_can_keep_all_or_none():
    rows = Rows(10, 10**9, {"error:*": None, "noise:*": 0})
    put(rows, "error:here", *range(3000))
    put(rows, "noise:here", *range(5))
    put(rows, "feed:run", *range(10))
    rows.absorb()
    kept = [message.id for _, message in rows.snapshot().all()]
    assert [kept.count(name) for name in ("error:here", "noise:here", "feed:run")] == [3000, 0, 10]


def test_many_identifiers_share_the_room():
    rows = Rows(100, 10**9)
    for number in range(1000):
        put(rows, f"n{number % 50}:run", number)
        rows.absorb()
    assert len(rows) <= 200
    assert len({message.id for _, message in rows.snapshot().all()}) == 50


def test_of_more_identifiers_than_messages_fit_the_first_keep_theirs():
    rows = Rows(100, 10**9)
    for number in range(0, 2000, 10):
        for place in range(number, number + 10):
            put(rows, f"n{place}:run", place)
        rows.absorb()
    reserve = rows.reserve
    assert sum(map(len, reserve.newest.values())) <= 100
    assert len(rows) <= 200
    assert reserve.removed < 20  # each time all are gone through


def test_large_payloads_are_not_kept_beyond_the_limit():
    rows = Rows(100, 1_000_000)
    for _ in range(50):
        put(rows, "large:run", b"x" * 100_000)
        rows.absorb()
    assert len(rows) <= 10


def test_large_payloads_of_a_flood_do_not_push_out_those_of_others():
    rows = Rows(1000, 1_000_000)
    put(rows, "result:map", b"x" * 200_000)
    put(rows, "result:small", 1)
    rows.absorb()
    for _ in range(50):
        put(rows, "camera:frame", b"x" * 100_000)
        rows.absorb()
    kept = [message for _, message in rows.snapshot().all()]
    assert [message.id for message in kept[:2]] == ["result:map", "result:small"]
    assert sum(len(message.args[0]) for message in kept if message.id != "result:small") <= 1_000_000
    assert len(kept) > 5


def test_each_of_many_large_payloads_is_not_too_many_of_them():
    rows = Rows(1000, 1_000_000)
    for number in range(50):
        put(rows, f"n{number}:frame", b"x" * 100_000)
        put(rows, f"n{number}:frame", number)
        rows.absorb()
    kept = [message.args[0] for _, message in rows.snapshot().all()]
    assert sum(isinstance(value, bytes) for value in kept) <= 10
    assert [value for value in kept if isinstance(value, int)] == list(range(50))


def test_a_pattern_keeps_all_though_they_are_large():
    rows = Rows(10, 1_000_000, {"error:*": None})
    for _ in range(20):
        put(rows, "error:here", b"x" * 100_000)
        put(rows, "camera:frame", b"x" * 100_000)
        rows.absorb()
    kept = [message.id for _, message in rows.snapshot().all()]
    assert kept.count("error:here") == 20
    assert 0 < kept.count("camera:frame") <= 10


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=30)


@pytest.mark.parametrize("select_at", [0, 5, None])
@given(steps=STEPS)
def test_rows_and_matches_are_what_they_should_be(select_at, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FAIR", 3)
        rows = Rows(9, 10**9)
        window = Window(rows)
        sent = []
        for number, (name, count) in enumerate(steps):
            if number == select_at:
                window.select(lambda message: message.id != "b:run")
            values = range(len(sent), len(sent) + count)
            put(rows, f"{name}:run", *values)
            sent += [(f"{name}:run", value) for value in values]
            rows.absorb()
            window.advance(10)
        newest = sent[-9:]
        for name in "abc":
            newest += [one for one in sent if one[0] == f"{name}:run"][-3:]
        expected = sorted(set(newest), key=lambda one: one[1])
        if window.test is not None:
            expected = [one for one in expected if one[0] != "b:run"]
        assert shown(window) == expected
        if window.test is None:
            of_each = {name: sum(one[0] == f"{name}:run" for one in expected) for name in "abc"}
            assert {name: rows.retained(f"{name}:run") for name in "abc"} == of_each
