"""Forms of values beside the tree."""

import pytest

from berrymq_jupyter.widgets.kinds import form_of, kind_of_form


class Hostile(list):
    """Raises when it is looked at."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([{"a": 1}, {"b": 2}], "table"),
        (({"a": 1},), "table"),
        ([], ""),
        ([{}], ""),
        ([{"a": 1}, 2], ""),
        ([{1: 1}], ""),
        ("text", ""),
        (b"", ""),
        (b"x", "hex"),
        (bytearray(5), "hex"),
        (memoryview(b"xy")[::-1], "hex"),
    ],
)
def test_a_value_has_the_form_that_fits(value, kind):
    assert kind_of_form(value) == kind
    assert form_of(value)["as"] == kind


def test_a_value_that_cannot_be_looked_at_has_none():
    assert kind_of_form(Hostile()) == ""


def test_a_table_has_each_key_once_and_says_what_it_leaves_out():
    form = form_of([{"a": 1, "b": "x\u202e"}, {"c": [1, 2]}] * 400 + [7])
    assert form["columns"] == ["a", "b", "c"]
    assert form["rows"][:2] == [["1", "x\\u202e", None], [None, None, "[1, 2]"]]
    assert (len(form["rows"]), form["moreRows"], form["moreColumns"]) == (500, 301, 0)
    assert form_of([{f"key {n}": n for n in range(100)}])["moreColumns"] == 60


def test_bytes_are_digits_and_text():
    form = form_of(b"berry\x00MQ\xff-2009 and on" + bytes(5000))
    assert form["lines"][0] == "0000  62 65 72 72 79 00 4d 51 ff 2d 32 30 30 39 20 61  berry.MQ.-2009 a"
    assert (len(form["lines"]), form["more"]) == (256, 21 + 5000 - 4096)
    assert form_of(memoryview(b"ab")[::-1])["lines"] == [f"0000  62 61{' ' * 44}ba"]
