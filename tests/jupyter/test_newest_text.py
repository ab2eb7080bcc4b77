"""The newest message of an identifier as a line of text, whatever the JSON holds."""

import json

import pytest

from berrymq.bridge.payload.encoding import encode_values
from berrymq_jupyter.newest_text import newest_text


def line(*args, **kwargs):
    values = json.loads(encode_values([list(args), kwargs]))
    return newest_text({"args": values[0], "kwargs": values[1]})


def test_a_payload_is_shown_as_an_argument_list():
    assert line(3, "a", loss=0.123456789, ok=True) == "3, 'a', loss=0.1235, ok=True"
    assert line((1, 2), {3}, {"x": [None]}, float("nan")) == "(1, 2), {3}, {'x': [None]}, nan"
    assert line(b"bytes") == "<bytes>"
    numpy = pytest.importorskip("numpy")
    assert line(numpy.zeros((3, 4)), numpy.float64(0.5)) == "<array <f8 3 x 4>, 0.5"
    assert line(ValueError("no")) == "ValueError: no"
    assert line() == ""


def test_hostile_text_is_printable_and_bounded():
    assert line("\u202e\x1b<b>") == "'\\u202e\\x1b<b>'"
    assert newest_text({"begins": '["\u202ex'}) == '"\\u202ex…'
    assert len(line("x" * 5000)) == len(newest_text({"begins": "[" + "y" * 5000})) == 160
    assert newest_text(None) == "…"
    for odd in (
        {"$type": 3},
        {"$type": "array", "value": 1},
        {"$type": "tuple"},
        {"$type": "x", "value": {"data": 1}},
    ):
        assert newest_text({"args": [odd], "kwargs": {"\n": odd}}).isprintable()
    deep = []
    for _ in range(125):
        deep = [deep]
    assert newest_text({"args": deep, "kwargs": "none"}).startswith("[[[")
