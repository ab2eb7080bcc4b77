"""Numbers of messages over time."""

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
