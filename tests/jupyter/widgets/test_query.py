"""The query line: what it means, and which messages pass."""

import json
from pathlib import Path

import pytest

from berrymq import Message
from berrymq_jupyter.widgets import search
from berrymq_jupyter.widgets.query import Query, QueryError, parse

EXAMPLES = json.loads((Path(__file__).parents[2] / "pages" / "queries.json").read_text("utf-8"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["query"])
def test_it_reads_queries_as_the_page_does(example):
    if "error" in example:
        with pytest.raises(QueryError) as caught:
            parse(example["query"])
        assert str(caught.value) == example["error"]
        assert caught.value.span == tuple(example["span"])
        return
    terms = []
    for kind, negated, alternatives, _, path, op, _ in parse(example["query"]):
        more = {"path": list(path), "op": op} if kind == "compare" else {}
        terms.append({"kind": kind, "not": negated, "any": alternatives, **more})
    assert terms == example["terms"]


class Scalar:
    """A number as arrays hold it."""

    shape = ()

    def item(self):
        return 0.25


class Hostile:
    """Raises when it is looked at."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("no")


MESSAGES = {
    "epoch": Message.make("train:epoch", (3,), {"loss": 0.25, "opts": {"lr": 0.1}, "ok": True}),
    "batch": Message.make("train:batch", (7,), {"loss": float("nan"), "name": "Grün"}),
    "note": Message.make("note:add", ("a note/path 12",), {}),
    "scalar": Message.make("daq:run", (), {"loss": Scalar()}),
    "hostile": Message.make("hostile:run", (Hostile(),), {"loss": Hostile()}),
}


@pytest.mark.parametrize(
    ("query", "passing"),
    [
        ("", "epoch batch note scalar hostile"),
        ("*", "epoch batch note scalar hostile"),
        ("train:*", "epoch batch"),
        ("train:epoch|note:*", "epoch note"),
        ("-train:* -daq:*", "note hostile"),
        ("id:note", "note"),
        ("loss<0.3", "epoch scalar"),
        ("loss>=.25 train:*", "epoch"),
        ("-loss<0.3", "batch note hostile"),
        ("0=3|7", "epoch batch"),
        ("0!=3", "batch note"),
        ("opts.lr=0.1", "epoch"),
        ("ok=true", "epoch"),
        ("loss=nan", "batch"),
        ("name=GRÜN", "batch"),
        ("missing=1", ""),
        ("/note.path/", "note"),
        (r"/^a.*\d+$/", "note"),
        ("-/0\\.2/", "batch note scalar hostile"),
        ("EPOCH", "epoch"),
        ("grün|path", "batch note"),
        ('"a note"', "note"),
        ("here", "epoch batch note scalar hostile"),
        ("from:her*", "epoch batch note scalar hostile"),
        ("from:worker|x*", ""),
        ("-from:here", ""),
    ],
)
def test_messages_pass_if_all_terms_hold(query, passing):
    found = Query(query)
    assert [name for name, message in MESSAGES.items() if found(message)] == passing.split()


def test_a_payload_that_is_too_large_to_be_searched_is_counted(monkeypatch):
    monkeypatch.setattr(search, "MOST_VALUES", 10)
    query = Query("needle")
    assert not query(Message.make("large:run", (list(range(5000)),), {}))
    assert query.partly == 1
    regex = Query("/needle/")
    assert not regex(Message.make("large:run", ("x" * 100_000,), {}))
    assert regex.partly == 1


@pytest.mark.parametrize(
    ("query", "passing"),
    [
        ("x=5", [5, "5", 5.0]),
        ('x="5"', ["5"]),
        ('x="5"|7', ["5", 7]),
        ('x!="5"', [5, 5.0, 7, True, "true", [1, 2]]),
        ("x=true", [True, "true"]),
        ('x="True"', ["true"]),
        ('x="[1, 2]"', [[1, 2]]),
    ],
)
def test_a_number_in_quotation_marks_is_text(query, passing):
    test, values = Query(query), [5, "5", 5.0, 7, True, "true", [1, 2]]
    found = [value for value in values if test(Message.make("a:b", (), {"x": value}))]
    assert list(map(repr, found)) == list(map(repr, passing))


@pytest.mark.parametrize(
    ("query", "wrong"),
    [("a:b:c", "more than one ':'"), ("x /a(/", "/a(/ is no regular expression: missing )")],
)
def test_what_is_wrong_is_said_with_its_place(query, wrong):
    with pytest.raises(QueryError) as caught:
        Query(query)
    assert wrong in str(caught.value)
    assert caught.value.span[1] == len(query)
