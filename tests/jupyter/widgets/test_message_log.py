"""`MessageLog`, seen from its user and from its page."""

import gc
import sys
import threading
import weakref
from datetime import UTC, datetime
from time import monotonic
from types import SimpleNamespace
from weakref import ref

import pytest

from berrymq import Bus, Identifier, IdentifierError, Message
from berrymq.scopes import Scope
from berrymq_jupyter.widgets import MessageLog
from berrymq_jupyter.widgets.pump import pump

from .conftest import FakePage


@pytest.fixture
def log(bus):
    return MessageLog("test:*", bus=bus)


@pytest.fixture
def page(log):
    return FakePage(log)


def payloads(body):
    return [row[5] for row in body["rows"]]


# -- for its user -------------------------------------------------------------------------------------------


def test_a_log_keeps_what_its_identifier_matches(log, bus):
    bus.twitter("test:run", 1, x=2)
    bus.twitter("other:run", 1)
    bus.twitter("test:stop")
    assert [message.id for message in log.messages()] == ["test:run", "test:stop"]
    assert len(log) == 2
    assert repr(log) == "<MessageLog test:*, 2 messages>"


def test_a_log_keeps_the_newest(bus):
    log = MessageLog(Identifier.parse("test"), bus=bus, maxlen=3)
    for number in range(10):
        bus.twitter("test:run", number)
    assert [message.args[0] for message in log.messages()] == [7, 8, 9]


def test_what_cannot_be_followed_is_reported():
    with pytest.raises(IdentifierError):
        MessageLog("a:b:c")
    with pytest.raises(ValueError, match="from 1 on, not 0"):
        MessageLog(maxlen=0)


def test_a_filter_chooses_by_identifier_and_text(log, bus):
    bus.twitter("test:run", "Apple")
    bus.twitter("test:run", "pear")
    bus.twitter("test:stop", "apple")
    log.filter("*:run")
    assert len(log.messages()) == 2
    log.filter("*:run apple")
    assert [message.args for message in log.messages()] == [("Apple",)]
    log.filter()
    assert len(log.messages()) == 3


def test_messages_become_a_table(log, bus):
    bus.twitter("test:run", 7, loss=0.5, source="mine")
    bus.twitter("test:run", 8, loss=0.25, source="mine", opts={"lr": [1]})
    bus.twitter("test:stop")
    table = log.to_dataframe()
    assert list(table.columns) == ["sent_at", "id", "source", "arg0", "loss", "source_", "opts"]
    assert list(table["id"]) == ["test:run", "test:run", "test:stop"]
    assert list(table["source_"][:2]) == ["mine", "mine"]
    assert table["source"].isna().all()
    assert table["loss"].sum() == 0.75
    assert table["loss"].isna().tolist() == [False, False, True]
    assert table["opts"][1] == {"lr": [1]}
    assert table["sent_at"].is_monotonic_increasing
    assert table["sent_at"][0].to_pydatetime() == datetime.fromtimestamp(log.messages()[0].sent_at, UTC)


def test_no_message_is_a_table_too(log):
    table = log.to_dataframe()
    assert len(table) == 0
    assert list(table.columns) == ["sent_at", "id", "source"]
    assert str(table["sent_at"].dtype.tz) == "UTC"


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_payload_that_raises_spoils_one_cell_of_the_table(log, bus, kind):
    class Raises:
        def __getattribute__(self, name):
            raise kind(name)

    bus.twitter("test:run", Raises(), loss=0.5)
    bus.twitter("test:run", {"lr": [1]}, loss=0.25)
    table = log.to_dataframe()
    assert table["arg0"].tolist() == ["<Raises that cannot be shown>", {"lr": [1]}]
    assert table["loss"].tolist() == [0.5, 0.25]
    assert table["id"].tolist() == ["test:run"] * 2


@pytest.mark.parametrize("moment", [-1e18, 1e300, float("inf"), float("nan")])
def test_a_moment_beyond_every_calendar_does_no_harm(log, bus, moment):
    bus.gateway.receive([Message.make("test:run", (1,), source="odd", sent_at=moment)])
    bus.twitter("test:run", 2)
    table = log.to_dataframe()
    assert table["sent_at"].isna().tolist() == [True, False]


def test_a_table_without_pandas_is_an_error(log, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RuntimeError, match="needs pandas: pip install pandas"):
        log.to_dataframe()


def test_closing_ends_everything(log, bus):
    bus.twitter("test:run", 1)
    log.messages()
    log.close()
    log.close()
    bus.twitter("test:run", 2)
    assert bus.subscriptions() == []
    assert log not in pump.views
    assert [message.args for message in log.messages()] == [(1,)]
    assert repr(log) == "<MessageLog test:*, 1 message, closed>"


def test_a_log_ends_with_the_cell_that_made_it(bus):
    scope = Scope("cell")
    with scope.collecting():
        log = MessageLog("test:*", bus=bus)
    scope.close()
    assert log.closed


def test_the_messages_of_a_log_whose_cell_runs_again_are_let_go(bus):
    """IPython keeps the log itself, in `Out`."""
    scope = Scope("cell")
    with scope.collecting():
        log = MessageLog("test:*", bus=bus)
    payload = Payload()
    bus.twitter("test:run", payload)
    kept = weakref.ref(payload)
    del payload
    assert len(log.messages()) == 1
    log.close()
    assert len(log.messages()) == 1, "who closes it himself may look into it still"
    scope.close()
    gc.collect()
    assert kept() is None
    assert log.messages() == []


class Payload:
    """Something that a reference can be held to."""


def test_a_closed_log_is_freed(bus):
    log = MessageLog("test:*", bus=bus)
    FakePage(log)
    known = ref(log)
    log.close()
    del log
    thread = pump.thread
    if thread is not None:
        thread.join(10)
    gc.collect()
    assert known() is None


# -- for its page -------------------------------------------------------------------------------------------


def test_a_page_gets_everything_and_then_what_is_new(page, log, bus):
    first = page.update()
    assert (first["full"], first["follows"], first["total"], first["rows"]) == (True, "test:*", 0, [])
    bus.twitter("test:run", 1, x="a")
    body = page.update(lambda body: body["total"] == 1)
    assert body["n"] == first["n"] + 1
    assert not body["full"]
    ((place, number, _, identifier, source, payload, *_),) = body["rows"]
    assert (place, number, identifier, source, payload) == (0, 0, "test:run", None, "1, x='a'")
    assert body["counts"][0][:2] == ["test:run", 1]
    bus.twitter("test:run", 2)
    body = page.update(lambda body: body["total"] == 2)
    assert payloads(body) == ["2"]
    page.say(t="hello")
    body = page.wait(lambda body: body["t"] == "update" and body["full"] and body["total"] == 2)
    assert payloads(body) == ["1, x='a'", "2"]


def test_a_message_from_elsewhere_has_its_source(page, bus):
    bus.gateway.receive([Message.make("test:run", (1,), source="training", sent_at=1000.0)])
    body = page.update(lambda body: body["rows"])
    assert body["rows"][0][2:5] == [1000_000.0, "test:run", "training"]


def test_updates_are_few_and_bounded(page, bus):
    for number in range(20_000):
        bus.twitter("test:run", number)
    body = page.update(lambda body: body["total"] == 20_000)
    assert body["n"] < 20
    assert len(body["rows"]) <= 60
    assert body["rows"][-1][5] == "19999"


def test_rows_come_when_they_are_asked_for(page, log, bus):
    for number in range(1000):
        bus.twitter("test:run", number)
    page.update(lambda body: body["total"] == 1000)
    body = page.ask("rows", t="rows", **{"from": 100, "to": 110})
    assert payloads(body) == [str(number) for number in range(100, 110)]
    assert len(page.ask("rows", t="rows", **{"from": 0, "to": 10**9})["rows"]) == 300
    assert page.ask("rows", t="rows", **{"from": 5000, "to": 5010})["rows"] == []


def own(wanted):
    """Whether the selection of the page "one" is so."""
    return lambda body: "one" in body["pages"] and wanted(body["pages"]["one"])


def test_a_page_filters_and_sees_new_matches(page, bus, log):
    for number in range(100):
        bus.twitter("test:run" if number % 2 else "test:stop", number)
    page.ask("filtered", t="filter", page="one", query="*:stop 9")
    body = page.update(own(lambda shown: shown["query"] == "*:stop 9" and not shown["unsearched"]))
    begin, end = body["pages"]["one"]["range"]
    assert end - begin == 5
    bus.twitter("test:stop", 992)
    body = page.update(own(lambda shown: payloads(shown) == ["992"]))
    assert body["query"] == ""  # other pages show all
    assert len(log.messages()) == 101
    rows = page.ask("rows", t="rows", page="one", **{"from": begin, "to": end + 1})
    assert (rows["page"], len(rows["rows"])) == ("one", 6)
    page.say(t="filter", page="one")
    page.update(own(lambda shown: shown["query"] == "" and shown["range"] == [0, 101]))


def test_an_update_says_which_edit_of_its_page_it_answers(page, bus, log):
    page.ask("filtered", t="filter", page="one", query="a:b", edit=7)
    page.update(own(lambda shown: (shown["query"], shown["edit"]) == ("a:b", 7)))
    page.ask("problem", t="filter", page="one", query="a:b|", edit=8)
    page.ask("filtered", t="filter", page="one", query="", edit="many")
    page.update(own(lambda shown: (shown["query"], shown["edit"]) == ("", None)))


def test_what_a_page_filtered_is_there_when_it_comes_back(page, bus, log):
    for number in range(10):
        bus.twitter("test:run", number)
    page.update(lambda body: body["total"] == 10)
    page.ask("filtered", t="filter", page="one", query="0>4")
    page.say(t="pause", page="one", on=True)
    body = page.update(own(lambda shown: shown["query"] == "0>4" and shown["pausedAt"] == 10))
    page.say(t="bye", page="one")
    page.say(t="here", page="two")
    bus.twitter("test:run", 10)
    page.update(lambda body: body["total"] == 11 and not body["pages"])
    back = {"page": "one", "query": "0>4", "pausedAt": 10, "generation": body["generation"]}
    page.say(t="hello", **back)
    page.update(own(lambda shown: shown["heldBack"] == 1 and shown["range"][1] - shown["range"][0] == 5))
    page.say(t="hello", page="one")  # as after a gap
    page.update(lambda body: body["full"] and body["pages"] and body["total"] == 11)
    log.filter("test:stop")  # a cell has the last word
    page.update(lambda body: not body["pages"] and body["query"] == "test:stop")
    page.say(t="hello", **back)
    page.update(lambda body: body["full"] and not body["pages"] and body["query"] == "test:stop")


def test_pages_with_their_own_filters_are_few(page, log):
    for number in range(20):
        page.ask("filtered", t="filter", page=f"page {number}", query="test:*")
    assert list(log.state.pages) == [f"page {number}" for number in range(12, 20)]


def test_a_pinned_message_outlives_others(page, bus, log):
    bus.twitter("test:run", 1)
    page.update(lambda body: body["total"] == 1)
    page.say(t="pin", number=0, on=True)
    assert page.update(lambda body: body["pins"])["pins"][0][1:4:2] == [0, "test:run"]
    page.say(t="clear")
    page.update(lambda body: body["full"] and body["kept"] == 0 and len(body["pins"]) == 1)
    assert page.ask("detail", t="detail", number=0)["id"] == "test:run"
    page.say(t="pin", number=0, on=False)
    page.update(lambda body: body["pins"] == [] and body["total"] == 0)
    assert "no longer kept" in page.ask("problem", t="pin", number=0, on=True)["text"]


def test_an_alert_counts_what_comes_after_it_was_set(page, bus, log):
    bus.twitter("test:run", loss=5)
    page.update(lambda body: body["total"] == 1)
    page.ask("alerted", t="alert", query="loss>1")
    body = page.update(lambda body: body["alert"])
    assert (body["alert"], body["rows"][0][7]) == (
        {"query": "loss>1", "count": 0, "number": None, "latest": ""},
        1,
    )
    bus.twitter("test:run", loss=7)
    bus.twitter("test:run", loss=0)
    body = page.update(lambda body: body["alert"] and body["alert"]["count"] == 1)
    assert (body["alert"]["latest"], body["alert"]["number"]) == ("test:run loss=7", 1)
    assert page.ask("problem", t="alert", query="loss>")["field"] == "alert"
    log.alert()
    page.update(lambda body: body["total"] == 3 and body["alert"] is None)


def test_another_page_looks_like_the_last_one(page):
    page.say(t="remember", page="one", look={"newestFirst": True})
    page.say(t="remember", page="one", look={"newestFirst": "x" * 20_000})
    page.say(t="hello", page="two")
    assert page.update(lambda body: body["look"])["look"] == {"newestFirst": True}


def test_a_bad_filter_is_reported(page):
    body = page.ask("problem", t="filter", page="one", query="a:b:c")
    assert "more than one ':'" in body["text"]
    assert (body["field"], body["page"]) == ("query", "one")
    assert page.ask("filtered", t="filter", page="one", query="a:b")


@pytest.mark.parametrize(
    ("name", "kind", "field", "problem"),
    [
        ("not a name", "list", "name", "not a name cannot be the name of a variable"),
        ("class", "list", "name", "class cannot be"),
        ("", "list", "name", "write a name"),
        ("\u202e" * 1000, "list", "name", "\\u202e"),
        ("table", "DataFrame", "as", "needs pandas"),
        ("messages", "list", "name", "no notebook here"),
    ],
)
def test_a_bad_export_is_reported(page, monkeypatch, *, name, kind, field, problem):
    monkeypatch.setitem(sys.modules, "pandas", None)
    if kind == "DataFrame":
        monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns={}))
    body = page.ask("problem", t="export", name=name, **{"as": kind})
    assert (body["field"], problem in body["text"], len(body["text"]) < 500) == (field, True, True)


def test_a_pause_holds_back_and_keeps(page, log, bus):
    bus.twitter("test:run", 1)
    page.update(lambda body: body["total"] == 1)
    page.say(t="pause", page="one", on=True)
    page.update(own(lambda shown: shown["heldBack"] == 0))
    bus.twitter("test:run", 2)
    body = page.update(own(lambda shown: shown["heldBack"] == 1))
    assert body["pages"]["one"]["range"] == [0, 1]
    assert body["range"] == [0, 2]  # other pages go on
    assert not log.paused
    page.say(t="filter", page="one", query="test:run")
    body = page.update(own(lambda shown: shown["query"] == "test:run" and not shown["unsearched"]))
    begin, end = body["pages"]["one"]["range"]
    assert end - begin == 1
    page.say(t="pause", page="one", on=False)
    body = page.update(own(lambda shown: shown["heldBack"] is None and shown["query"] == "test:run"))
    begin, end = body["pages"]["one"]["range"]
    assert end - begin == 2
    log.pause()
    assert log.paused
    assert page.update(lambda body: body["heldBack"] == 0)["pages"] == {}


def test_a_cleared_log_starts_again(page, bus):
    bus.twitter("test:run", 1)
    before = page.update(lambda body: body["total"] == 1)["epoch"]
    page.say(t="clear")
    body = page.update(lambda body: body["full"] and body["epoch"] != before)
    assert (body["total"], body["kept"], body["counts"], body["rows"]) == (0, 0, [], [])
    bus.twitter("test:run", 2)
    body = page.update(lambda body: body["total"] == 1 and body["epoch"] != before)
    assert payloads(body) == ["2"]


def test_a_message_in_full(page, bus):
    bus.twitter("test:run", 1, opts={"lr": 0.1})
    bus.twitter("test:stop")
    bus.twitter("test:run", 2, opts={"lr": 0.2})
    page.update(lambda body: body["total"] == 3)
    body = page.ask("detail", t="detail", number=2)
    assert (body["id"], body["source"], body["code"]) == (
        "test:run",
        None,
        "%twitter test:run 2, opts={'lr': 0.2}",
    )
    assert body["changes"] == [["0", "changed", "1", "2"], ["opts / lr", "changed", "0.1", "0.2"]]
    assert [label for label, _ in body["tree"]["c"]] == ["0", "opts"]
    first = page.ask("detail", t="detail", number=0)
    assert (first["before"], first["changes"]) == (None, [])
    assert page.ask("problem", t="detail", number=77)["text"] == "that message is no longer kept"


def test_large_values_unfold_step_by_step(page, bus):
    bus.twitter("test:run", {f"key {number}": "x" * 5000 for number in range(100_000)})
    page.update(lambda body: body["total"] == 1)
    body = page.ask("node", t="expand", number=0, path=[0], **{"from": 99_990})
    assert [label for label, _ in body["node"]["c"]] == [f"key {number}" for number in range(99_990, 100_000)]
    body = page.ask("text", t="text", number=0, path=[0, 5])
    assert body["text"] == "x" * 5000
    assert "changed since" in page.ask("problem", t="expand", number=0, path=[0, 10**6])["text"]


def test_a_chart_follows_a_number(page, bus):
    for number in range(3):
        bus.twitter("test:run", loss=number)
    page.update(lambda body: body["total"] == 3)
    body = page.ask("chart", t="chart", tracks=[["test:run", ["loss"]]])
    assert body["lines"][0]["values"] == [0, 1, 2]
    bus.twitter("test:run", loss=7)
    page.wait(lambda body: body["t"] == "chart" and body["lines"][0]["values"][-1] == 7)
    page.say(t="clear")
    page.wait(lambda body: body["t"] == "chart" and body["lines"] == [])
    assert page.ask("chart", t="chart")["tracks"] == []
    assert page.view.state.chart is None


def test_a_chart_is_drawn_from_a_cell(page, bus, log):
    bus.twitter("test:run", 10, loss=1, metrics={"val": {"loss": 2}})
    log.chart("test:run", "loss", "metrics.val.loss", x=0)
    body = page.wait(lambda body: body["t"] == "chart")
    assert [(line["field"], line["x"], line["values"]) for line in body["lines"]] == [
        (["loss"], [10.0], [1.0]),
        (["metrics", "val", "loss"], [10.0], [2.0]),
    ]
    bus.twitter("test:other", 3)
    start = len(page.got)
    log.chart("test:other", 0)
    body = page.wait(lambda body: body["t"] == "chart", start)
    assert body["tracks"] == [
        ["test:run", ["loss"]],
        ["test:run", ["metrics", "val", "loss"]],
        ["test:other", ["0"]],
    ]
    assert body["x"] == ["0"]  # as it was
    assert body["lines"][-1]["x"] == [3.0]
    log.chart("test:other", 0, x="loss")
    assert page.wait(lambda body: body["t"] == "chart" and body["x"] == ["loss"], start)
    log.chart("test:run")
    log.chart("test:other")
    page.wait(lambda body: body["t"] == "chart" and body["tracks"] == [], start)


def test_a_part_of_a_chart_by_a_field_is_asked_for(page, bus, log):
    for number in range(3_000):
        bus.twitter("test:run", number / 10, loss=number % 5)
    page.update(lambda body: body["total"] == 3_000)
    page.ask("chart", t="chart", tracks=[["test:run", ["loss"]]], x=["0"])
    body = page.ask("chart", t="look", byTime=False, window=[150, 151], last="")
    assert body["lines"][0]["x"] == [number / 10 for number in range(1_499, 1_512)]
    body = page.ask("chart", t="look", byTime=False, window=[float("nan"), float("inf")], last="")
    assert body["lines"][0]["x"][0] == 0
    assert len(body["lines"][0]["x"]) > 500


def test_a_page_that_opens_gets_the_chart(page, bus, log):
    log.chart("test:run", 0)
    page.wait(lambda body: body["t"] == "chart")
    start = len(page.got)
    page.say(t="hello")
    assert page.wait(lambda body: body["t"] == "chart", start)["tracks"] == [["test:run", ["0"]]]


def test_a_message_is_sent_again_with_the_very_payload(page, bus):
    thing = object()
    bus.twitter("test:run", thing, x=1)
    page.update(lambda body: body["total"] == 1)
    assert page.ask("done", t="resend", number=0)["text"] == "sent test:run again"
    page.update(lambda body: body["total"] == 2)
    assert page.view.messages()[1].args == (thing,)

    def fail(message):
        raise RuntimeError("no\u202e")

    bus.follow("test:run", fail)
    assert "a follower failed: RuntimeError: no\\u202e" in page.ask("problem", t="resend", number=0)["text"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_follower_that_would_end_the_thread_is_reported(page, bus, kind):
    def end(message):
        raise kind(3)

    bus.twitter("test:run", 1)
    page.update(lambda body: body["total"] == 1)
    bus.follow("test:run", end)
    text = page.ask("problem", t="resend", number=0)["text"]
    assert text == f"sent, but a follower failed: {kind.__name__}: 3"


def test_sending_again_delays_no_other_view(page, bus):
    bus.twitter("test:run", 1)
    page.update(lambda body: body["total"] == 1)
    other = FakePage(MessageLog("other:*", bus=bus))
    began, done = threading.Event(), threading.Event()
    bus.follow("test:run", lambda message: (began.set(), done.wait(10)))
    sender = threading.Thread(target=page.ask, args=("done",), kwargs={"t": "resend", "number": 0})
    sender.start()
    try:
        assert began.wait(10)
        bus.twitter("other:run")
        other.update(lambda body: body["total"] == 1)
        page.update(lambda body: body["total"] == 2)
        assert sender.is_alive()
    finally:
        done.set()
        sender.join(10)


def blocking():
    """Return a payload that takes as long to show as its test wants; classes once slow are named only."""

    class Blocks:
        began, done = threading.Event(), threading.Event()

        def __repr__(self):
            self.began.set()
            self.done.wait(20)
            return "Blocks"

    return Blocks()


@pytest.fixture
def stuck(page, bus):
    """A log whose update waits for a payload."""
    value = blocking()
    page.update()
    bus.twitter("test:run", value)
    assert value.began.wait(10)
    yield page
    value.done.set()


def test_a_view_that_is_stuck_can_be_closed(stuck, bus):
    started = monotonic()
    stuck.view.close()
    assert monotonic() - started < 5
    assert stuck.view.closed
    assert bus.subscriptions() == []
    other = FakePage(MessageLog("other:*", bus=bus))
    bus.twitter("other:run")
    other.update(lambda body: body["total"] == 1)


def test_a_view_that_is_stuck_does_not_take_the_thread_of_its_requests(stuck, bus):
    assert "busy" in stuck.ask("problem", t="detail", number=0)["text"]
    other = FakePage(MessageLog("other:*", bus=bus))  # with which others live again
    bus.twitter("other:run")
    other.update(lambda body: body["total"] == 1)


def test_a_page_that_opens_while_its_view_is_stuck_gets_everything_later(bus):
    value = blocking()
    page = FakePage(MessageLog("test:*", bus=bus))
    page.update()
    bus.twitter("test:run", value)
    assert value.began.wait(10)
    page.say(t="hello")
    value.done.set()
    page.wait(lambda body: body["t"] == "update" and body["full"] and body["total"] == 1)


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
def test_a_payload_that_would_end_the_thread_is_shown_as_others(page, bus, kind):
    class Ends:
        def __repr__(self):
            raise kind

    bus.twitter("test:run", Ends())
    body = page.update(lambda body: body["total"] == 1)
    assert payloads(body) == ["<Ends that cannot be shown>"]
    assert page.ask("detail", t="detail", number=0)


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_payload_without_any_attribute_is_shown(page, bus, kind):
    class Raises:
        def __getattribute__(self, name):
            raise kind(name)

    bus.twitter("test:run", Raises())
    bus.twitter("test:run", Raises())
    body = page.update(lambda body: body["total"] == 2)
    assert payloads(body)[-1] == "<Raises that cannot be shown>"
    assert page.ask("detail", t="detail", number=1)["tree"]["c"][0][1]["s"] == "<Raises that cannot be shown>"
    assert page.ask("problem", t="expand", number=1, path=[0, 0])


def test_requests_that_make_no_sense_do_no_harm(page, log, bus):
    log._handle_custom_msg("text", [])
    log._handle_custom_msg(None, [])
    for request in ({"t": "nonsense"}, {"t": "rows"}, {"t": "detail", "number": None}, {}):
        assert page.ask("problem", **request)["text"]
    bus.twitter("test:run", 1)
    page.update(lambda body: body["total"] == 1)


def test_a_page_that_closes_is_not_sent_to(page, bus):
    page.update()
    assert page.ask("anyone", t="bye") == {"t": "anyone"}
    sent = len(page.got)
    bus.twitter("test:run", 1)
    while page.view.state.rows.waiting():
        pump.wake()
    assert len(page.got) == sent
    page.say(t="here")
    page.update(lambda body: body["total"] == 1)


def test_hostile_payloads_reach_the_page_as_text(page, bus):
    class Raises:
        def __repr__(self):
            raise RuntimeError("no")

    hostile = [
        "<script>alert(1)</script>",
        "\u202etxt",
        "\ud800",
        "x" * 5_000_000,
        Raises(),
        float("nan"),
        10**5000,
    ]
    for value in hostile:
        bus.twitter("test:run", value)
    body = page.update(lambda body: body["total"] == len(hostile))
    shown = payloads(page.ask("rows", t="rows", **{"from": 0, "to": 100}))
    assert shown[0] == "'<script>alert(1)</script>'"
    assert shown[1] == "'\\u202etxt'"
    assert shown[2] == "'\\ud800'"
    assert len(shown[3]) == 240
    assert body["range"] == [0, len(hostile)]
    for number in range(len(hostile)):
        assert page.ask("detail", t="detail", number=number)


def test_many_senders_and_a_page_at_once(page, bus):
    def send(number):
        for step in range(2000):
            bus.twitter("test:run", number, step)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        page.ask("rows", t="rows", **{"from": 0, "to": 50})
    for thread in threads:
        thread.join()
    body = page.update(lambda body: body["total"] == 8000)
    assert body["missed"] == 0
    assert sum(count for _, count, *_ in body["counts"]) == 8000


def test_two_logs_do_not_know_of_each_other():
    one, two = MessageLog("test:*", bus=Bus()), MessageLog("test:*", bus=Bus())
    one.bus.twitter("test:run")
    assert (len(one.messages()), len(two.messages())) == (1, 0)


# -- its static forms ---------------------------------------------------------------------------------------


def test_the_bundle_shows_what_was_there(log, bus):
    bus.twitter("test:run", "<b>")
    data, _ = log._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert "&lt;b&gt;" in data["text/html"]
    assert data["text/plain"].splitlines()[0] == "MessageLog test:*: 1 message"
    log.close()
    assert set(log._repr_mimebundle_()[0]) == {"text/html", "text/plain"}


# -- many of them -------------------------------------------------------------------------------------------


def test_a_thousand_logs_leave_nothing(bus):
    def open_and_close(times):
        for _ in range(times):
            log = MessageLog("test:*", bus=bus)
            FakePage(log)
            bus.twitter("test:run", 1)
            log.close()
        gc.collect()
        return len(gc.get_objects())

    open_and_close(20)  # what is made once, is made now
    before = open_and_close(20)
    after = open_and_close(1000)
    assert after - before < 500
    assert bus.subscriptions() == []


def test_a_search_says_how_many_payloads_it_did_not_see_whole(page, bus):
    bus.twitter("test:run", "x" * 10_000 + "needle")
    bus.twitter("test:run", list(range(100_000)))
    page.update(lambda body: body["total"] == 2)
    page.ask("filtered", t="filter", page="one", query="needle")
    body = page.update(own(lambda shown: shown["query"] == "needle" and not shown["unsearched"]))
    assert (body["pages"]["one"]["range"], body["pages"]["one"]["partly"]) == ([-1, 0], 1)


def test_a_log_whose_subscription_ended_says_so(page, bus, log):
    assert not page.update()["ended"]
    bus.unfollow(log.subscription)
    page.update(lambda body: body["ended"])


def test_rows_show_numbers_with_four_significant_digits(page, bus):
    bus.twitter("test:run", 1 / 3, [2e-9 / 3, 0.5], loss={"a": 100000 / 3}, many=1e20)
    body = page.update(lambda body: body["total"] == 1)
    assert body["rows"][0][5] == "0.3333, [6.667e-10, 0.5], loss={'a': 33333}, many=1e+20"
    assert page.view.form().rows[0][3] == body["rows"][0][5]
    assert "0.3333333333333333" in page.ask("detail", t="detail", number=0)["code"]


def test_text_of_several_lines_is_known_as_such(page, bus):
    bus.twitter("test:run", "one line", error="Traceback\n  File")
    page.update(lambda body: body["total"] == 1)
    first, second = (child for _, child in page.ask("detail", t="detail", number=0)["tree"]["c"])
    assert ("lines" in first, second["lines"]) == (False, True)
    assert page.ask("text", t="text", number=0, path=[1])["text"] == "Traceback\n  File"


def test_an_alert_may_have_several_reasons(page, bus, log):
    page.ask("alerted", t="alert", query="loss>1 OR *:error")
    for name, loss in (("test:run", 0.5), ("test:run", 2), ("test:error", 0), ("test:run", 0)):
        bus.twitter(name, loss=loss)
    body = page.update(lambda body: body["total"] == 4)
    assert [row[7] for row in body["rows"]][-4:] == [0, 1, 1, 0]
    assert (body["alert"]["query"], body["alert"]["count"]) == ("loss>1 OR *:error", 2)
    for wrong in ("loss>1 OR", "OR a:b", "a:b OR loss>"):
        assert page.ask("problem", t="alert", query=wrong)["field"] == "alert"
    log.alert('"OR"')
    assert page.update(lambda body: body["alert"] and body["alert"]["query"] == '"OR"')["alert"]["count"] == 0


def test_the_rate_is_that_of_all_messages_those_that_came_too_fast_included(bus, monkeypatch):
    monkeypatch.setattr("berrymq_jupyter.widgets.rows.BURST", 100)
    log = MessageLog(bus=bus, maxlen=100)
    with log.guard:
        log.state.absorb(0.0)
    for number in range(1_000):
        bus.twitter("test:run", number)
    with log.guard:
        log.state.absorb(1.5)
    assert log.state.rows.missed == 900
    assert 400 < log.state.counts.rate.value < 1_000 / 1.5
    log.close()


def test_the_end_of_a_search_reaches_the_page_of_a_quiet_log(bus, monkeypatch):
    log = MessageLog(bus=bus, maxlen=60_000)
    page = FakePage(log)
    for number in range(50_000):
        bus.twitter("test:run", number)
    page.update(lambda body: body["total"] == 50_000)
    pump.remove(log)
    with log.guard:
        for second in range(60):  # the rates fall
            log.absorb(monotonic() + 10 + second)
        log.update(False)
        log.filter("/^4$/")
        told = []
        while not told or log.state.unsearched:
            log.absorb(monotonic() + 100)
            told.append(log.update(False))
    assert len(told) > 2
    assert all(told)
    assert (told[-1]["unsearched"], told[-1]["range"][1] - told[-1]["range"][0]) == (0, 1)
    log.close()


def test_an_error_survives_a_flood(bus, monkeypatch):
    log = MessageLog(bus=bus, maxlen=100)
    page = FakePage(log)
    bus.twitter("error:here", "what went wrong")
    for _ in range(30):
        for channel in range(12):
            bus.twitter(f"channel:{channel}", 1)
        with log.guard:
            log.absorb(0.0)
    body = page.update(lambda body: body["total"] == 361)
    assert body["older"][0] > 0
    first, last = body["range"]
    rows = page.ask("rows", t="rows", **{"from": first, "to": last})["rows"]
    assert rows[0][3:6] == ["error:here", None, "'what went wrong'"]
    assert [row[0] for row in rows] == list(range(first, last))
    assert page.ask("detail", t="detail", number=rows[0][1])["id"] == "error:here"
    assert log.messages()[0].id == "error:here"
    log.close()


def test_a_page_has_a_file_written_and_never_over_another(page, bus, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    bus.twitter("test:run", 1)
    page.update(lambda body: body["total"] == 1)
    told = page.ask("exported", t="export", name="messages", **{"as": ".csv"})["text"]
    assert told == f"1 messages are in {tmp_path / 'messages.csv'}"
    again = page.ask("problem", t="export", name="messages.csv", **{"as": ".csv"})
    assert (again["field"], again["text"]) == ("name", "there is a file messages.csv already")
    for name in ("", "../x", "/tmp/x", ".hidden"):
        body = page.ask("problem", t="export", name=name, **{"as": ".jsonl"})
        assert body["text"] == "write a name without a folder"


# -- undo, replay, sources ----------------------------------------------------------------------------------


def test_a_clear_is_undone(log, bus, page):
    bus.twitter("test:run", 1, loss=1.0)
    log.chart("test:run", "loss")
    page.say(t="filter", query="run", page="mine")
    log.clear()
    bus.twitter("test:run", 2, loss=2.0)
    body = page.update(lambda body: body["undo"] == [1, 1] and body["total"] == 1)
    assert body["counts"][0][:2] == ["test:run", 1]
    start = len(page.got)
    page.say(t="undo", page="mine")
    body = page.wait(lambda body: body["t"] == "update" and body["full"], start)
    assert (body["total"], body["kept"], body["undo"]) == (2, 2, None)
    assert payloads(body) == ["1, loss=1.0", "2, loss=2.0"]
    page.wait(lambda body: body["t"] == "update" and body["pages"]["mine"]["range"] == [-2, 0], start)
    assert body["counts"][0][:2] == ["test:run", 2]
    assert body["sources"][0][:2] == ["", 2]
    assert [list(line.values) for line in log.state.chart.lines.values()] == [[1.0, 2.0]]
    assert page.ask("problem", t="undo")["text"] == "what was cleared can't be brought back any more"


def test_a_clear_cannot_be_undone_for_ever(log, bus):
    bus.twitter("test:run", 1)
    log.clear()
    log.clear()  # of nothing: the one before can still be undone
    assert [removed.total for removed in log.state.removed] == [1]
    log.state.absorb(monotonic() + 121)
    assert log.state.removed == []


def test_sources_are_counted(log, bus, page):
    bus.twitter("test:run", 1)
    bus.gateway.receive([Message.make("test:run", (n,), source="far", sent_at=0.0) for n in range(3)])
    body = page.update(lambda body: body["total"] == 4)
    assert [entry[:2] for entry in body["sources"]] == [["", 1], ["far", 3]]
    delays = [row[9] for row in body["rows"]]
    assert delays[0] is None
    assert all(delay > 0 for delay in delays[1:])


def test_messages_are_sent_again_with_their_pauses(log, bus, page):
    for number in range(3):
        bus.gateway.receive([Message.make("test:run", (number,), source="far", sent_at=number * 0.05)])
    got = []
    bus.follow("test:run", lambda message: got.append((message.args[0], monotonic())))
    started = monotonic()
    page.ask("exported", t="replay", speed=10)
    page.update(lambda body: body["replay"] and not body["replay"]["running"] and body["total"] == 6)
    assert [value for value, _ in got] == [0, 1, 2]
    assert got[2][1] - started >= 0.01


def test_a_replay_is_of_the_chosen_rows_and_can_be_stopped(log, bus, page):
    for number in range(4):
        bus.gateway.receive([Message.make("test:run", (number,), source="far", sent_at=number * 1000.0)])
    epoch = page.update(lambda body: body["total"] == 4)["epoch"]
    assert page.ask("exported", t="replay", speed=1, epoch=epoch, **{"from": 1, "to": 3})
    page.update(lambda body: body["replay"] and body["replay"]["of"] == 2 and body["total"] == 5)
    page.say(t="replay", speed=0)
    body = page.update(lambda body: body["replay"] and not body["replay"]["running"])
    assert body["replay"]["sent"] == 1
    assert page.ask("problem", t="replay", speed=1, epoch=-1, **{"from": 1, "to": 3})["text"].startswith(
        "the rows have changed"
    )
    log.filter("nothing")
    assert page.ask("problem", t="replay", speed=1)["text"] == "no message passes the filter"


def test_a_replay_counts_the_failures_of_followers(log, bus, page):
    bus.gateway.receive([Message.make("test:run", (1,), source="far", sent_at=0.0)])
    log.messages()

    def fail(_):
        raise ValueError("no")

    bus.follow("test:run", fail)
    page.ask("exported", t="replay", speed=1)
    body = page.update(lambda body: body["replay"] and not body["replay"]["running"])
    assert (body["replay"]["failed"], "no" in body["replay"]["error"]) == (1, True)


def test_any_number_of_the_messages_can_be_the_axis(log, bus, page):
    bus.twitter("test:run", 1, loss=0.5, name="x", on=True, val={"acc": 0.7, "text": "t"})
    log.chart("test:run", "loss")
    body = page.wait(lambda body: body["t"] == "chart" and body["tracks"])
    assert body["fields"] == [["0"], ["loss"], ["val", "acc"]]
