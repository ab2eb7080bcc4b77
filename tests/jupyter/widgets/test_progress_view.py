"""`ProgressView`, and the bars behind it."""

import io

import pytest

from berrymq import Message
from berrymq.adapters.progress import Progress
from berrymq_jupyter.widgets import ProgressView
from berrymq_jupyter.widgets import progress_state as module
from berrymq_jupyter.widgets.progress_state import Bars

from .conftest import FakePage


def message(n=1, source="node", name="train", **kwargs):
    return Message.make(f"{name}:progress", (n,), kwargs, source=source)


def test_a_bar_is_followed_from_message_to_message():
    bars = Bars()
    bars.take(message(1, total=4, elapsed=1.0, rate=2.0, description="epochs"))
    bars.take(message(3, total=4, elapsed=2.0, rate=2.0, description="epochs"))
    (bar,) = bars.table.values()
    assert (bar.n, bar.total, bar.elapsed, bar.rate, bar.description) == (3, 4, 2.0, 2.0, "epochs")
    assert (bar.share, bar.remaining, bar.end) == (0.75, 0.5, "")
    bars.take(message(4, total=4, description="epochs", done=True))
    assert (bar.end, bar.remaining) == ("done", None)


def test_bars_differ_by_source_name_and_description():
    bars = Bars()
    for number in range(2):
        bars.take(message(number, source="a"))
        bars.take(message(number, source="b"))
        bars.take(message(number, name="eval"))
        bars.take(message(number, description="inner"))
    assert len(bars) == 4


def test_what_is_said_to_everybody_is_no_bar():
    bars = Bars()
    bars.take(Message.make("bad:*", (1,), {}, source="node"))
    assert len(bars) == 0


def test_the_bars_of_a_node_that_is_gone_have_stopped():
    bars = Bars()
    assert not bars.look({"a", "b"})
    bars.take(message(1, source="a"))
    bars.take(message(1, source="b"))
    bars.take(message(1, source="curl"))  # a client that is no node
    assert bars.look({"b"})
    assert not bars.look({"b"})
    assert {bar.source: bar.end for bar in bars.table.values()} == {"a": "stopped", "b": "", "curl": ""}
    bars.take(message(2, source="a"))  # it was cut off for a while
    assert bars.summary() == "3 running"


def test_a_bar_that_starts_again_is_a_new_one():
    bars = Bars()
    bars.take(message(9, total=9, done=True))
    bars.take(message(9, total=9, done=True))
    bars.take(message(1, total=9))
    ((_, bar),) = bars.table.items()
    assert (bar.number, bar.n, bar.end) == (2, 1, "")
    bars.clear_ended()
    assert len(bars) == 1


@pytest.mark.parametrize("odd", [None, "text", True, float("nan"), float("inf"), 10**400, [1]])
def test_what_is_no_number_is_left_out(odd):
    bars = Bars()
    bars.take(message(odd, total=odd, rate=odd, elapsed=odd, description=odd))
    (bar,) = bars.table.values()
    assert (bar.n, bar.total, bar.share, bar.remaining) == (0, None, None, None)


@pytest.mark.parametrize(
    ("last", "end", "reason"),
    [
        ({"done": True}, "done", ""),
        ({"stopped": True}, "stopped", ""),
        ({"failed": True}, "failed", ""),
        ({"failed": "ValueError"}, "failed", "ValueError"),
        ({"done": True, "failed": "ValueError"}, "failed", "ValueError"),
        ({"done": "no", "stopped": 0, "failed": ""}, "", ""),
    ],
)
def test_how_a_bar_ended_is_kept(last, end, reason):
    bars = Bars()
    bars.take(message(1, total=4))
    bars.take(message(2, total=4, **last))
    (bar,) = bars.table.values()
    assert (bar.number, bar.n, bar.end, bar.reason) == (1, 2, end, reason)


def test_one_that_failed_after_it_stopped_is_the_same_bar():
    bars = Bars()
    bars.take(message(1, total=4, stopped=True))
    bars.take(message(1, total=4, failed="ValueError"))
    assert [bar.end for bar in bars.table.values()] == ["failed"]


def test_progress_is_summed_up_in_words():
    bars = Bars()
    assert bars.summary() == "no progress yet"
    for name, last in (("a", {}), ("b", {"done": True}), ("c", {"done": True}), ("d", {"stopped": True})):
        bars.take(message(1, name=name, **last))
    assert bars.summary() == "1 running, 2 done, 1 stopped"


def test_the_saved_form_says_how_bars_ended(bus):
    view = ProgressView(bus=bus)
    bus.gateway.receive([message(37, total=100, name="fit", stopped=True)])
    bus.gateway.receive([message(3, total=4, name="eval", failed="<b>Error")])
    bus.gateway.receive([message(3, total=4, name="runs")])
    data, _ = view._repr_mimebundle_()
    assert "1 running, 1 stopped, 1 failed" in data["text/plain"]
    rows = [line.split("  ")[-1].strip() for line in data["text/plain"].splitlines()[2:]]
    assert rows == ["stopped", "failed (<b>Error)", "running"]
    assert "37% (37 of 100)" in data["text/plain"]
    assert "failed (&lt;b&gt;Error)" in data["text/html"]


def test_finished_bars_make_room_first(monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    bars = Bars()
    bars.take(message(name="first"))
    bars.take(message(name="done", done=True))
    for name in ("third", "fourth", "fifth"):
        bars.take(message(name=name))
    assert sorted(bar.id for bar in bars.table.values()) == [
        "fifth:progress",
        "fourth:progress",
        "third:progress",
    ]


def test_a_page_sees_the_bars_of_tqdm(bus):
    page = FakePage(ProgressView(bus=bus))
    with Progress(range(3), name="train", bus=bus, desc="epochs", mininterval=0, file=io.StringIO()) as bar:
        for _ in bar:
            pass
    body = page.update(lambda body: body["bars"] and body["bars"][0]["end"])
    (line,) = body["bars"]
    assert (line["id"], line["source"], line["n"], line["total"], line["share"]) == (
        "train:progress",
        None,
        3,
        3,
        1,
    )
    assert (line["description"], line["end"]) == ("epochs", "done")
    page.say(t="clear")
    page.update(lambda body: body["n"] > 1 and not body["bars"])
    assert page.ask("problem", t="nonsense")["text"]


def test_hostile_descriptions_are_text(bus):
    view = ProgressView(bus=bus)
    page = FakePage(view)
    bus.gateway.receive([message(1, total=2, description="<b>\u202ex" + "y" * 10**6)])
    (line,) = page.update(lambda body: body["bars"])["bars"]
    assert line["description"].startswith("<b>\\u202exyy")
    assert len(line["description"]) < 300
    data, _ = view._repr_mimebundle_()
    assert "&lt;b&gt;" in data["text/html"]
    assert "50% (1 of 2)" in data["text/plain"]


def test_closing_ends_everything(bus):
    view = ProgressView(bus=bus)
    view.close()
    assert bus.subscriptions() == []
    assert repr(view) == "<ProgressView *:progress, 0 bars, closed>"
