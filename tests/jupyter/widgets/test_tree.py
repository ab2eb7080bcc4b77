"""Values as trees, and what differs between two payloads."""

from dataclasses import dataclass

import pytest
from PIL import Image

from berrymq_jupyter.widgets import tree
from berrymq_jupyter.widgets.tree import Payload, difference, long_text, node, resolve


def payload(*args, **kwargs):
    return Payload(args, kwargs)


@dataclass
class Job:
    name: str
    parts: list


class Thing:
    def __init__(self):
        self.a = 1


def test_a_payload_is_a_tree_of_its_arguments():
    made = node(payload(1, x={"a": [True, None]}), depth=2)
    assert made["n"] == 2
    first, second = made["c"]
    assert first == ["0", {"k": "number", "s": "1", "n": 0}]
    label, below = second
    assert (label, below["k"], below["n"]) == ("x", "map", 1)
    assert below["c"] == [["a", {"k": "list", "s": "[True, None]", "n": 2}]]


@pytest.mark.parametrize(
    ("value", "kind", "labels"),
    [
        (None, "word", []),
        (True, "word", []),
        (1.5, "number", []),
        ("text", "text", []),
        (b"bytes", "bytes", []),
        ([1, 2], "list", ["0", "1"]),
        ({"a": 1, 2: 3}, "map", ["a", "2"]),
        (Job("n", []), "object", ["name", "parts"]),
        (Thing(), "object", ["a"]),
        (Image.new("RGB", (2, 2)), "object", []),
        (Thing, "object", []),
    ],
)
def test_kinds_and_children(value, kind, labels):
    made = node(value)
    assert made["k"] == kind
    assert [label for label, _ in made.get("c", [])] == labels


def test_many_children_come_in_pages():
    value = {f"key {number}": number for number in range(100_000)}
    made = node(value)
    assert made["n"] == 100_000
    assert len(made["c"]) == 100
    further = node(value, start=99_950)
    assert further["from"] == 99_950
    assert next(label for label, _ in further["c"]) == "key 99950"
    assert len(further["c"]) == 50


def test_a_path_leads_to_a_value():
    value = payload("a", x={"k": [10, 20]})
    assert resolve(value, []) is value
    assert resolve(value, [1, 0, 1]) == 20
    with pytest.raises(LookupError):
        resolve(value, [5])


def test_a_long_text_says_how_long_and_comes_when_asked_for():
    text = "line\n" * 100_000
    assert node(text)["long"] == 500_000
    more = long_text(text)
    assert more.startswith("line\nline\n")
    assert more.endswith("…")
    assert len(more) == tree.TEXT + 1
    assert long_text("a\u202eb") == r"a\u202eb"


def test_what_cannot_be_looked_at_has_no_children():
    class Hostile:
        @property
        def columns(self):
            raise RuntimeError("no")

    assert node(Hostile())["n"] == 0


def test_arrays_have_their_rows_and_tables_their_columns():
    class Array:
        shape = (3,)

        def __getitem__(self, index):
            return index * 10

    class Table:
        shape = (2, 2)
        columns = ("a", "b")

        def __getitem__(self, column):
            return column * 2

    assert [child["s"] for _, child in node(Array())["c"]] == ["0", "10", "20"]
    assert [(label, child["s"]) for label, child in node(Table())["c"]] == [("a", "'aa'"), ("b", "'bb'")]


def test_a_difference_names_what_changed_where():
    before = payload(1, loss=0.5, opts={"lr": 0.1, "old": 1}, same=[1, 2])
    after = payload(2, loss=0.5, opts={"lr": 0.2, "new": "x"}, same=[1, 2])
    assert difference(before, after) == [
        ["0", "changed", "1", "2"],
        ["opts / lr", "changed", "0.1", "0.2"],
        ["opts / old", "removed", "1", ""],
        ["opts / new", "added", "", "'x'"],
    ]
    assert difference(before, before) == []


def test_a_difference_sees_types_and_the_far_end_of_texts():
    assert difference(payload(1), payload(True)) == [["0", "changed", "1", "True"]]
    assert len(difference(payload("x" * 1000 + "a"), payload("x" * 1000 + "b"))) == 1
    assert difference(payload("x" * 1000), payload("x" * 1000)) == []
    assert difference(payload([]), payload([1])) == [["0 / 0", "added", "", "1"]]


def test_a_difference_is_bounded():
    before = payload(**{f"k{number}": 0 for number in range(500)})
    after = payload(**{f"k{number}": 1 for number in range(500)})
    assert len(difference(before, after)) == tree.CHANGES
    large = payload({number: number for number in range(100_000)})
    assert difference(large, payload({number: -number for number in range(100_000)}))[0][1] == "changed"
