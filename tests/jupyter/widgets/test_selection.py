"""What a page gets of a log's rows."""

from types import SimpleNamespace

import pytest

from berrymq import Identifier, Message
from berrymq.messages import PastMessage
from berrymq_jupyter.widgets.query import Query
from berrymq_jupyter.widgets.rows import Rows
from berrymq_jupyter.widgets.selection import Selection


def put(rows, *messages):
    for name, args, kwargs in messages:
        rows.collect(Message.make(name, args, kwargs))
    rows.absorb()


def steps(selection):
    return [row[6] for row in selection.page(selection.window.begin, selection.end)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (((0,), {"loss": 0.383}), ((1,), {"loss": 0.358}), [[13, "▼0.025"]]),
        (((), {"n": 0}), ((), {"n": 5}), [[3, "▲5"]]),
        (((5.0,), {}), ((4.0,), {}), [[3, "▼1"]]),
        (((0.5,), {}), ((0.5,), {}), []),
        (((0.5,), {}), ((float("nan"),), {}), []),
        (((True,), {}), ((7,), {}), []),
        ((("a", 1), {}), ((1,), {}), []),
        (((1,), {}), ((9,), {}), []),
        ((("\U0001f347", 1.0), {}), (("\U0001f347", 3.0), {}), [[9, "▲2"]]),
        (((10**400,), {}), ((1.5,), {}), []),
        (((10**400,), {}), ((10**401,), {}), []),
        (((), {"n": 1}), ((), {"n": 5_000_000}), [[9, "▲5e+06"]]),
    ],
)
def test_a_row_says_by_what_its_numbers_have_changed(before, after, expected):
    rows = Rows(100, 10**9)
    selection = Selection(rows)
    put(rows, ("a:run", *before), ("b:run", (99,), {}), ("a:run", *after))
    assert steps(selection) == [[], [], expected]


def test_the_message_before_may_be_one_that_is_not_shown():
    rows = Rows(100, 10**9)
    selection = Selection(rows, "0>5")
    put(rows, *(("a:run", (number * 3.0,), {}) for number in range(4)))  # 0 3 6 9
    selection.window.advance(10)
    assert steps(selection) == [[[3, "▲3"]], [[3, "▲3"]]]


def test_much_may_lie_between_a_row_and_the_message_before():
    rows = Rows(100_000, 10**9)
    selection = Selection(rows, "a:run")
    for number in range(20):
        put(rows, ("a:run", (number * 2.0,), {}), *[("noise:run", (1,), {})] * 1_500)
    selection.window.advance(10)
    assert [bool(step) for step in steps(selection)] == [False] + [True] * 19


def test_an_older_row_than_the_newest_of_its_identifier_has_its_change_too():
    rows = Rows(10_000, 10**9)
    selection = Selection(rows)
    put(rows, *(("a:run", (number * 2.0,), {}) for number in range(5_000)))
    assert len(rows.reserve.newest["a:run"]) == 1_000
    assert [row[6] != [] for row in selection.page(0, 100)] == [False] + [True] * 99


def test_a_row_shows_whether_it_is_an_alert_and_whether_the_hub_had_retained_it():
    rows = Rows(100, 10**9)
    selection = Selection(rows)
    content = SimpleNamespace(args=(1,), kwargs={}, sent_at=7.0, callback=None)
    rows.collect(PastMessage.of(Identifier("a:run"), content, "trainer", None))
    put(rows, ("a:run", (2,), {}))
    page = selection.page(selection.window.begin, selection.end, Query("0>1"))
    assert [row[7:9] for row in page] == [[0, 1], [1, 0]]
