"""Numbers of messages over time."""

import pytest

from berrymq import Message
from berrymq_jupyter.widgets.series import COLUMNS, MOST_SOURCES, Series


def feed(series, *messages):
    series.feed(enumerate(messages))
    return series.data()["lines"]


def message(*args, source=None, sent_at=1.0, **kwargs):
    return Message.make("t:run", args, kwargs, source=source, sent_at=sent_at)


@pytest.mark.parametrize(
    ("field", "sent", "value"),
    [
        (["0"], message(3), 3.0),
        (["loss"], message(loss=0.5), 0.5),
        (["opts", "lr"], message(opts={"lr": 0.1}), 0.1),
        (["opts", "1"], message(opts=[1, 2]), 2.0),
        (["loss"], message(loss="high"), None),
        (["loss"], message(loss=True), None),
        (["loss"], message(loss=float("nan")), None),
        (["loss"], message(loss=10**400), None),
        (["loss"], message(), None),
        (["opts", "lr"], message(opts={}), None),
    ],
)
def test_the_number_at_a_field(field, sent, value):
    lines = feed(Series("t:run", field), sent)
    assert lines == ([] if value is None else [{"source": None, "count": 1, "points": [[0, 1000.0, value]]}])


def test_scalars_of_arrays_count():
    class Scalar:
        shape = ()

        def item(self):
            return 2.5

    assert feed(Series("t:run", ["0"]), message(Scalar()))[0]["points"][0][2] == 2.5


def test_other_identifiers_are_not_its_business():
    assert feed(Series("t:other", ["0"]), message(1)) == []


def test_each_source_has_a_line_of_its_own():
    series = Series("t:run", ["0"])
    lines = feed(series, *(message(number, source=f"node {number}") for number in range(20)), message(5))
    assert len(lines) == MOST_SOURCES
    assert lines[0]["source"] == "node 0"


def test_a_long_line_is_thinned_and_keeps_its_peaks():
    series = Series("t:run", ["0"])
    values = [100.0 if number == 7777 else float(number % 10) for number in range(10_000)]
    (line,) = feed(series, *(message(value) for value in values))
    points = line["points"]
    assert line["count"] == 10_000
    assert len(points) <= 2 * COLUMNS + 1
    assert max(point[2] for point in points) == 100.0
    assert points[-1][0] == 9999
    assert [point[0] for point in points] == sorted(point[0] for point in points)


def test_a_series_knows_when_it_has_changed():
    series = Series("t:run", ["0"])
    series.unsent = False
    feed(series, message("text"))
    assert not series.unsent
    feed(series, message(1))
    assert series.unsent
