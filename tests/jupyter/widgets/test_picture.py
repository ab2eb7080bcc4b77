"""The picture of a chart in a saved notebook."""

import re
from base64 import b64decode
from xml.etree import ElementTree as ET

from berrymq import Bus, Message
from berrymq_jupyter.widgets import MessageLog
from berrymq_jupyter.widgets.picture import picture
from berrymq_jupyter.widgets.series import Chart, Track

PATH = "{http://www.w3.org/2000/svg}path"


def drawn(html):
    return ET.fromstring(b64decode(re.search(r'base64,([^"]+)"', html)[1]))


def test_it_has_a_course_for_each_line_open_at_gaps():
    chart = Chart([Track("t:run", ("0",)), Track("t:run", ("<b>",))])
    nan = float("nan")
    for number, value in enumerate([1, 2, nan, 4, 3]):
        sent = Message.make("t:run", (value,), {"<b>": number}, source="two", sent_at=float(number))
        chart.feed([(number, sent)])
    html = picture(chart)
    assert html.startswith("<img ")
    assert "<b>" not in html
    _, first, second = drawn(html).iter(PATH)
    assert (first.get("d").count("M"), second.get("d").count("M")) == (2, 1)
    assert "t:run <b> from two" in "".join(drawn(html).itertext())


def test_a_course_runs_from_left_to_right():
    chart = Chart([Track("t:run", ("loss",))], x=("0",))
    chart.feed((at, Message.make("t:run", (x,), {"loss": x})) for at, x in enumerate([3, 1, 2]))
    course = list(drawn(picture(chart)).iter(PATH))[1].get("d")
    xs = [float(x) for x in re.findall(r"[ML]([\d.]+)", course)]
    assert xs == sorted(xs)


def test_nothing_and_one_point_are_no_trouble():
    chart = Chart([Track("t:run", ("0",))], x=("0",))
    assert picture(chart) == ""
    chart.feed([(0, Message.make("t:run", (1,)))])
    assert drawn(picture(chart)) is not None


def test_a_saved_log_shows_its_chart():
    bus = Bus()
    log = MessageLog("t:*", bus=bus)
    bus.twitter("t:run", loss=1)
    assert "<img" not in log.form().html("x")
    log.chart("t:run", "loss")
    bus.twitter("t:run", loss=2)
    assert "<img" in log.form().html("x")
    log.close()
