"""Numbers of messages over time."""

from itertools import pairwise
from math import sin

import pytest

from berrymq import Message
from berrymq_jupyter.widgets.series import BLOCK, COLUMNS, MOST_LINES, Chart, Track

LOSS = Track("t:run", ("loss",))
FIRST = Track("t:run", ("0",))


def feed(chart, *messages):
    chart.feed(enumerate(messages))
    return chart.data()["lines"]


def message(*args, source=None, sent_at=1.0, id="t:run", **kwargs):
    return Message.make(id, args, kwargs, source=source, sent_at=sent_at)


@pytest.mark.parametrize(
    ("field", "sent", "values"),
    [
        (["0"], message(3), [3.0]),
        (["loss"], message(loss=0.5), [0.5]),
        (["opts", "lr"], message(opts={"lr": 0.1}), [0.1]),
        (["opts", "1"], message(opts=[1, 2]), [2.0]),
        (["loss"], message(loss="high"), None),
        (["loss"], message(loss=True), None),
        (["loss"], message(loss=float("nan")), [None]),
        (["loss"], message(loss=float("inf")), [None]),
        (["loss"], message(loss=10**400), None),
        (["loss"], message(), None),
        (["opts", "lr"], message(opts={}), None),
    ],
)
def test_the_number_at_a_field(field, sent, values):
    lines = feed(Chart([Track("t:run", tuple(field))]), sent)
    assert [line["values"] for line in lines] == ([] if values is None else [values])


def test_scalars_of_arrays_count():
    class Scalar:
        shape = ()

        def item(self):
            return 2.5

    assert feed(Chart([FIRST]), message(Scalar()))[0]["values"] == [2.5]


def test_fields_of_several_identifiers_are_lines_of_one_chart():
    chart = Chart([LOSS, FIRST, Track("t:other", ("0",)), LOSS])
    lines = feed(chart, message(7, loss=1), message(8, id="t:other"), message(9, id="t:third"))
    assert [(line["id"], line["field"], line["values"]) for line in lines] == [
        ("t:run", ("loss",), [1.0]),
        ("t:run", ("0",), [7.0]),
        ("t:other", ("0",), [8.0]),
    ]


def test_points_can_stand_at_another_field():
    chart = Chart([LOSS], x=("0",))
    (line,) = feed(chart, message(10, loss=1), message(loss=2), message("text", loss=3), message(20, loss=4))
    assert (line["x"], line["values"]) == ([10.0, 20.0], [1.0, 4.0])


def test_each_source_has_a_line_of_its_own_and_what_is_too_much_is_counted():
    chart = Chart([FIRST])
    lines = feed(chart, *(message(number, source=f"node {number}") for number in range(MOST_LINES + 5)))
    assert len(lines) == MOST_LINES
    assert lines[0]["source"] == "node 0"
    assert chart.data()["leftOut"] == 5


@pytest.mark.parametrize("count", [2_000, 10_000, 100_000])
def test_a_long_line_is_thinned_and_keeps_its_peaks_and_gaps(count):
    values = [float(number % 10) for number in range(count)]
    values[777], values[1500] = 100.0, float("nan")
    (line,) = feed(Chart([FIRST]), *(message(value) for value in values))
    assert line["count"] == count
    assert len(line["values"]) <= 3 * COLUMNS + 1
    assert 100.0 in line["values"]
    assert None in line["values"]
    assert line["numbers"][-1] == count - 1
    assert line["numbers"] == sorted(line["numbers"])


def test_a_part_that_is_looked_at_is_sent_in_full():
    chart = Chart([FIRST])
    chart.by_time, chart.window = False, (50_000, 50_010)
    (line,) = feed(chart, *(message(number, sent_at=number / 10) for number in range(60_000)))
    assert line["numbers"] == list(range(49_999, 50_012))
    chart.by_time, chart.window = True, (100_000, 101_000)  # ms: messages 1,000 to 1,010
    assert chart.data()["lines"][0]["values"] == [float(number) for number in range(999, 1_012)]
    chart.window, chart.last = None, 5
    assert chart.data()["lines"][0]["numbers"][0] == 60_000 - 52


def test_the_oldest_points_go_in_blocks(monkeypatch):
    monkeypatch.setattr("berrymq_jupyter.widgets.series.MOST_POINTS", 10 * BLOCK)
    chart = Chart([FIRST])
    (line,) = feed(chart, *(message(number) for number in range(20 * BLOCK)))
    (kept,) = chart.lines.values()
    assert len(kept.values) == len(kept.outline) * BLOCK == 10 * BLOCK
    assert line["count"] == 20 * BLOCK
    assert line["numbers"][-1] == 20 * BLOCK - 1


def test_it_knows_when_it_has_news():
    chart = Chart([FIRST])
    chart.unsent = False
    feed(chart, message("text"))
    assert not chart.unsent
    feed(chart, message(1))
    assert chart.unsent


def spiked(count, x):
    """Return a chart by the field 0 of noise with one spike in the middle."""
    chart = Chart([LOSS], x=("0",))
    sent = (message(x(number), loss=50.0 if number == count // 2 else number % 7) for number in range(count))
    chart.feed(enumerate(sent))
    return chart


def test_a_part_of_a_chart_by_a_field_is_sent_in_full():
    chart = spiked(60_000, lambda number: number / 10)
    assert len(chart.data()["lines"][0]["x"]) < 3 * COLUMNS
    chart.window = (2999.0, 3001.0)
    (line,) = chart.data()["lines"]
    assert line["x"] == [number / 10 for number in range(29_989, 30_012)]
    assert line["values"][10:13] == [29_999 % 7, 50.0, 30_001 % 7]


def test_so_it_is_where_the_field_does_not_grow():
    chart = spiked(60_000, lambda number: number * 7919 % 60_000)  # each number once
    chart.window = (1000.0, 1010.0)
    (line,) = chart.data()["lines"]
    assert sorted(line["x"]) == list(range(999, 1012))
    assert line["numbers"] == sorted(line["numbers"])
    chart.feed([(60_000, message(1005.5, loss=9)), (60_001, message(0.5, loss=9))])
    assert sorted(chart.data()["lines"][0]["x"]) == sorted([*range(999, 1012), 1005.5])


def test_a_thinned_line_by_a_field_keeps_its_shape_along_the_field():
    chart = Chart([LOSS], x=("0",))
    sent = [number * 7919 % 50_000 / 50_000 for number in range(50_000)]
    chart.feed(enumerate(message(x, loss=sin(10 * x)) for x in sent))
    (line,) = chart.data()["lines"]
    points = sorted(zip(line["x"], line["values"], strict=True))
    assert max(after - before for (before, _), (after, _) in pairwise(points)) < 0.01
    assert all(value == pytest.approx(sin(10 * x)) for x, value in points)


def test_a_line_keeps_its_shape_where_its_points_are_few():
    chart = Chart([FIRST])
    burst = [message(number % 5, sent_at=number / 1e6) for number in range(100_000)]
    slow = [message(number, sent_at=10.0 + number) for number in range(100)]
    (line,) = feed(chart, *burst, *slow)
    assert line["values"][-100:] == list(range(100))


def test_points_that_go_are_gone_from_a_chart_by_a_field_too(monkeypatch):
    monkeypatch.setattr("berrymq_jupyter.widgets.series.MOST_POINTS", 10 * BLOCK)
    chart = Chart([LOSS], x=("0",))
    chart.window = (0, 10.0)
    for start in range(0, 20 * BLOCK, BLOCK):
        chart.feed((number, message(-number, loss=number)) for number in range(start, start + BLOCK))
        chart.data()
    chart.window = (-15.0 * BLOCK, -15.0 * BLOCK + 3)
    (line,) = chart.data()["lines"]
    assert line["values"] == [-x for x in line["x"]] == line["numbers"]
    assert line["numbers"] == list(range(15 * BLOCK - 4, 15 * BLOCK + 2))


def test_the_last_seconds_are_those_and_a_point_before():
    chart = Chart([FIRST])
    chart.last = 60
    (line,) = feed(chart, *(message(number, sent_at=15.0 * number) for number in range(10)))
    assert line["times"] == [15_000 * number for number in range(4, 10)]
    assert chart.data()["begin"] == 0


def test_lines_come_in_the_order_of_tracks_and_keep_their_marks():
    chart = Chart([LOSS, FIRST])
    lines = feed(chart, message(1), message(2, loss=3), message(3, loss=3, source="two"))
    assert [(line["field"], line["source"], line["mark"]) for line in lines] == [
        (("loss",), None, 0),
        (("loss",), "two", 1),
        (("0",), None, 2),
        (("0",), "two", 3),
    ]
    again = Chart([Track("t:other", ("0",)), FIRST, LOSS], before=chart)
    lines = feed(again, message(5, id="t:other"), message(1), message(2, loss=3))
    assert [(line["id"], line["field"], line["mark"]) for line in lines] == [
        ("t:other", ("0",), 4),
        ("t:run", ("0",), 2),
        ("t:run", ("loss",), 0),
    ]
    third = Chart([FIRST, Track("t:third", ("0",))], before=again)
    assert [line["mark"] for line in feed(third, message(1), message(1, id="t:third"))] == [2, 0]


def test_another_field_for_x_shows_all_again():
    chart = Chart([LOSS], x=("0",))
    chart.window = (1.0, 2.0)
    assert Chart([LOSS], x=("0",), before=chart).window == (1.0, 2.0)
    assert Chart([LOSS], x=("1",), before=chart).window is None


def test_the_last_seconds_are_found_by_order_too():
    chart = Chart([FIRST])
    chart.by_time, chart.last = False, 30
    (line,) = feed(chart, *(message(number, sent_at=15.0 * number) for number in range(10)))
    assert line["numbers"] == [6, 7, 8, 9]
    chart.feed([(10, message(10, sent_at=0.0)), (11, message(11, sent_at=150.0))])
    assert chart.data()["lines"][0]["numbers"] == [7, 8, 9, 10, 11]
