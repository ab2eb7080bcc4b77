"""The form for saved notebooks."""

import re
from html.parser import HTMLParser

from berrymq_jupyter.widgets.static import PATIENCE, QUIET, STYLE, Form, StaticOutput, clock

HOSTILE = "<script>alert(1)</script>\" onload='x' & </td>"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_every_text_is_escaped():
    html = Form(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), [(HOSTILE,)]).html(HOSTILE)
    parsed = Tags()
    parsed.feed(html.removeprefix(STYLE))
    assert {tag for tag, _ in parsed.tags} <= {
        "div",
        "strong",
        "code",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert {name for _, attributes in parsed.tags for name in attributes} <= {"class", "style", "scope"}
    assert parsed.text.count(HOSTILE) == 5


def test_nothing_hides_or_turns_other_text():
    form = Form("MessageLog", "a\u202e", "b\u202e", ("c",), [("d\u202e",)])
    for text in (form.html("name"), form.text()):
        assert "\u202e" not in text
        assert text.count("\\u202e") == 3


def test_long_texts_are_shortened():
    form = Form("MessageLog", "t:*", "", ("identifier", "payload"), [("x" * 1000, "y" * 1000)])
    for text in (form.html("name"), form.text()):
        assert "x" * 79 + "…" in text
        assert "y" * 399 + "…" in text
        assert "x" * 80 not in text


def test_the_text_form_is_a_table():
    form = Form("MessageLog", "t:*", "2 messages", ("time", "payload"), [("1", "long one"), ("22", "x")])
    assert form.text() == "MessageLog t:*: 2 messages\ntime  payload\n1     long one\n22    x"
    assert Form("MessageLog", "t:*", "0 messages", ("time",)).text() == "MessageLog t:*: 0 messages"


def test_the_static_form_is_updated_after_a_quiet_time_or_a_deadline(monkeypatch):
    published = []
    monkeypatch.setattr(
        "berrymq_jupyter.widgets.static.publish",
        lambda data, *, display_id, update: published.append((display_id, update)),
    )
    output = StaticOutput("name")
    form = Form("a", "b", "c")
    output.changed(0.0)
    assert output.due(100.0) is None  # it was never shown
    output.show(form, 100.0)
    assert output.due(100.0) is None
    output.changed(101.0)
    assert output.due(101.0) == QUIET
    output.changed(101.5)
    assert output.due(101.5) == QUIET
    assert output.due(101.5 + QUIET) == 0
    output.changed(100.0 + PATIENCE)
    assert output.due(100.0 + PATIENCE) == 0
    output.show(form, 130.0)
    output.publish(form, 131.0)
    assert published == [("name-1", False), ("name-2", False), ("name-1", True), ("name-2", True)]


def test_times_of_day_have_milliseconds():
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.123", clock(1_700_000_000.1234))
