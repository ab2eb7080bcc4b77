"""`SendForm`, and what it says about who would hear."""

import threading
from types import SimpleNamespace

import pytest

from berrymq import Identifier, introspection
from berrymq_jupyter.links import open_links
from berrymq_jupyter.widgets import MessageLog, SendForm
from berrymq_jupyter.widgets.reach import Reach

from .conftest import FakePage


@pytest.fixture
def page(bus):
    return FakePage(SendForm("test:run", "1, x=2", bus=bus))


@pytest.fixture
def heard(bus):
    heard = []
    bus.follow("*:*", lambda message: heard.append((message.id, message.args, dict(message.kwargs))))
    return heard


def test_a_page_begins_with_what_the_form_was_made_with(page):
    body = page.update()
    assert (body["id"], body["payload"], body["sent"]) == ("test:run", "1, x=2", [])


def test_a_page_that_is_loaded_again_begins_where_it_was(page):
    page.update()
    page.ask("checked", t="check", id="test:stop", payload="[1", **{"as": "json"})
    page.say(t="hello")
    body = page.update(lambda body: body["n"] > 1 and body["full"])
    assert (body["id"], body["payload"], body["as"]) == ("test:stop", "[1", "json")


def test_the_saved_form_says_what_it_held(page, bus):
    text = page.view._repr_mimebundle_()[0]["text/plain"].splitlines()
    assert text[0] == "SendForm: a form to send messages with; none sent from here"
    assert text[2].split() == ["filled", "in", "test:run", "1,", "x=2"]
    page.ask("sent", t="send", id="test:stop", payload="'<b>'", **{"as": "python"})
    assert repr(page.view) == "<SendForm test:stop>"
    html = page.view._repr_mimebundle_()[0]["text/html"]
    assert "; 1 sent from here" in html
    assert "test:stop" in html
    assert "&lt;b&gt;" in html
    empty = SendForm(bus=bus)._repr_mimebundle_()[0]["text/plain"]
    assert empty == "SendForm: a form to send messages with; none sent from here"


@pytest.mark.parametrize(
    ("payload", "notation", "args", "kwargs"),
    [
        ("", "python", (), {}),
        ("1, 'a', x=[2], **{'y': 3}", "python", (1, "a"), {"x": [2], "y": 3}),
        ("", "json", (), {}),
        ('{"x": {"y": null}}', "json", (), {"x": {"y": None}}),
        ('[1, "a"]', "json", (1, "a"), {}),
        ('"text"', "json", ("text",), {}),
    ],
)
def test_a_message_is_sent(page, heard, *, payload, notation, args, kwargs):
    body = page.ask("sent", t="send", id=" test:run ", payload=payload, **{"as": notation})
    assert body["error"] == ""
    assert heard == [("test:run", args, kwargs)]
    entry = page.update(lambda body: body["sent"])["sent"][0]
    assert (entry["id"], entry["payload"], entry["as"]) == ("test:run", payload, notation)


@pytest.mark.parametrize(
    ("identifier", "payload", "notation", "field", "problem"),
    [
        ("a:b:c", "1", "python", "idProblem", "more than one ':'"),
        ("", "1", "python", "idProblem", "write one"),
        ("a:b", "1, x=", "python", "payloadProblem", "is not a list of Python arguments"),
        ("a:b", "1) + (2", "python", "payloadProblem", "a bracket closes too early"),
        ("a:b", "unknown", "python", "payloadProblem", "NameError"),
        ("a:b", "1 / 0", "python", "payloadProblem", "ZeroDivisionError"),
        ("a:b", "__import__('sys').exit(3)", "python", "payloadProblem", "SystemExit: 3"),
        ("a:b", "*map(__import__('sys').exit, '3')", "python", "payloadProblem", "SystemExit: 3"),
        ("a:b", "{x: 1}", "json", "payloadProblem", "this is not JSON: Expecting property name"),
        ("a:b", "[" * 100_000, "json", "payloadProblem", "nested too deep"),
        ("a:b", "1" * 2_000_000, "json", "payloadProblem", "too long for a form"),
    ],
)
def test_mistakes_are_shown_beside_their_field(page, heard, *, identifier, payload, notation, field, problem):
    body = page.ask("checked", t="send", id=identifier, payload=payload, **{"as": notation})
    assert problem in body[field]
    assert not body["ready"]
    assert heard == []


def test_nothing_is_evaluated_while_it_is_typed(page):
    body = page.ask("checked", t="check", id="", payload="1 / 0", **{"as": "python"})
    assert (body["idProblem"], body["payloadProblem"], body["ready"]) == ("", "", False)


def test_a_follower_that_fails_is_reported(page, bus):
    def fail(message):
        raise RuntimeError("no\u202e")

    bus.follow("test:run", fail)
    assert page.ask("sent", t="send", id="test:run", payload="")["error"] == "RuntimeError: no\\u202e"
    assert "RuntimeError" in page.view._repr_mimebundle_()[0]["text/plain"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_follower_that_would_end_the_thread_is_reported(page, bus, kind):
    def end(message):
        raise kind(3)

    bus.follow("test:run", end)
    assert page.ask("sent", t="send", id="test:run", payload="")["error"] == f"{kind.__name__}: 3"


def test_an_error_without_text_is_reported(page, bus):
    class MuteError(Exception):
        def __str__(self):
            raise SystemExit

    def fail(message):
        raise MuteError

    bus.follow("test:run", fail)
    assert page.ask("sent", t="send", id="test:run", payload="")["error"] == "MuteError"


def test_a_slow_follower_delays_no_other_view(page, bus):
    other = FakePage(MessageLog("other:*", bus=bus))
    began, done = threading.Event(), threading.Event()
    bus.follow("test:run", lambda message: (began.set(), done.wait(10)))
    sender = threading.Thread(target=page.ask, args=("sent",), kwargs={"t": "send", "id": "test:run"})
    sender.start()
    try:
        assert began.wait(10)
        bus.twitter("other:run")
        other.update(lambda body: body["total"] == 1)
        assert page.ask("checked", t="check", id="test:run")["ready"]
        assert sender.is_alive()
    finally:
        done.set()
        sender.join(10)
    page.update(lambda body: body["sent"])


def test_a_form_can_be_closed_while_it_sends(page, bus):
    bus.follow("test:run", lambda message: page.view.close())
    page.say(t="send", id="test:run")
    assert page.view.closed


def test_what_was_sent_is_bounded(page):
    for number in range(30):
        page.say(t="send", id="test:run", payload=str(number))
    body = page.update(lambda body: body["sent"] and body["sent"][-1]["payload"] == "29")
    assert len(body["sent"]) == 20


def node(name, *follows, here=False):
    return SimpleNamespace(name=name, follows=follows, here=here)


class Link:
    def __init__(self, bus, nodes):
        self.node = SimpleNamespace(bus=bus)
        self.nodes = lambda: nodes


def test_the_followers_of_an_identifier(bus, monkeypatch):
    reach = Reach(bus)
    run = Identifier.parse("test:run")
    assert open_links(bus) == []
    assert reach.describe(run) == "no followers at present"
    bus.follow("test:*", print)
    assert reach.describe(run) == "reaches 1 follower here"
    others = [
        node("me", "test:*", here=True),
        node("b", "test:*"),
        node("a", "*:run"),
        node("c", "x:y", "odd::"),
    ]
    link, foreign = Link(bus, others), Link(object(), [node("d", "test:*")])
    monkeypatch.setattr(introspection, "open_links", lambda: [link, foreign])
    assert reach.describe(run) == "reaches 1 follower here and a, b"
    assert reach.describe(Identifier.parse("_test:run")) == "no followers at present"
    assert reach.identifiers() == ["*:run", "odd::", "test:*", "x:y"]
    others.extend(node(f"n{number}", "test:*") for number in range(5))
    assert reach.describe(run) == "reaches 1 follower here and a, b, n0, n1, n2 and 2 more"
