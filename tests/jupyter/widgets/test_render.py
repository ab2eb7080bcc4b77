"""One line for any value."""

import datetime as dt
import enum
import sys
import types
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from decimal import Decimal
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq_jupyter.widgets import render
from berrymq_jupyter.widgets.render import arguments, shown, summary

Point = namedtuple("Point", "x y")  # noqa: PYI024 - the kind that is tested


class Colour(enum.Enum):
    RED = 1


@dataclass
class Job:
    name: str
    size: int


class Raises:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Lies:
    def __repr__(self) -> str:
        return 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "True"),
        (12, "12"),
        (0.5, "0.5"),
        (float("nan"), "nan"),
        (1j, "1j"),
        ("it's", '"it\'s"'),
        (b"ab", "b'ab'"),
        (bytearray(b"ab"), "b'ab'"),
        (memoryview(b"ab"), "b'ab'"),
        ([1, "a"], "[1, 'a']"),
        ((), "()"),
        ((1,), "(1,)"),
        (set(), "set()"),
        (frozenset({1}), "{1}"),
        ({"a": [1, {"b": None}]}, "{'a': [1, {'b': None}]}"),
        (types.MappingProxyType({1: 2}), "{1: 2}"),
        (deque([1]), "deque([1])"),
        (OrderedDict(a=1), "{'a': 1}"),
        (defaultdict(list, a=[]), "{'a': []}"),
        (Point(1, 2), "Point(x=1, y=2)"),
        (Job("a", 1), "Job(name='a', size=1)"),
        (Colour.RED, "Colour.RED"),
        (Decimal("1.50"), "Decimal('1.50')"),
        (dt.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
        (range(3), "range(0, 3)"),
    ],
)
def test_values_are_written_as_python_does(value, expected):
    assert summary(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Raises(), "<Raises that cannot be shown>"),
        (Lies(), "<Lies that cannot be shown>"),
        ([1, Raises(), 2], "[1, <Raises that cannot be shown>, 2]"),
        ({"a": Raises()}, "{'a': <Raises that cannot be shown>}"),
        pytest.param(10**5000, "<int of 16,610 bits>", id="long integer"),
        (bytes(5_000_000), "b'" + r"\x00" * 25 + "'… (5,000,000 bytes)"),
    ],
)
def test_what_cannot_be_written_is_named(value, expected):
    assert summary(value) == expected


def test_a_class_that_lies_about_itself_is_named():
    class Meta(type):
        @property
        def __name__(cls):
            raise RuntimeError("no")

    class Hidden(metaclass=Meta):
        def __repr__(self):
            raise RuntimeError("no")

    assert summary(Hidden()) == "<Hidden that cannot be shown>"


def test_large_values_cost_little_and_say_what_is_missing():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    values = {
        "text": "x" * 5_000_000,
        "keys": {number: number for number in range(100_000)},
        "items": list(range(1_000_000)),
        "nested": nested,
    }
    for value in values.values():
        started = thread_time()
        text = summary(value)
        assert thread_time() - started < 0.05
        assert len(text) <= 200
    assert summary(values["text"]).endswith("…")
    assert summary(list(range(100)), 30) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9…"
    assert summary(list(range(1000)), 400).endswith(", … 940 more]")
    assert summary(nested) == "[[[[[[[… 1]]]]]]]"
    while nested:  # a deep nest is freed deeply
        nested = nested[0]


def test_a_value_that_holds_itself_is_written_to_some_depth():
    loop: list = []
    loop.append(loop)
    assert summary(loop) == "[[[[[[[… 1]]]]]]]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31m\x00", r"\x1b[31m\x00"),
        ("abc\u202edef", r"abc\u202edef"),
        ("\ud800", r"\ud800"),
        ("\u200b\ufeff", r"\u200b\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("שלום 👩\u200d👧 ü", "שלום 👩\u200d👧 ü"),
    ],
)
def test_what_would_move_or_hide_text_is_written_out(text, expected):
    assert shown(text) == expected


@given(st.text())
def test_shown_text_has_no_trick_left_and_can_be_encoded(text):
    safe = shown(text)
    assert not render.UNSAFE.search(safe)
    safe.encode()


def test_joiners_stay_in_strings():
    text = "👩\u200d👧 نمی\u200cخواهم"
    assert summary(text) == f"'{text}'"
    assert summary([text]) == f"['{text}']"
    assert summary("\\u200d \\\u200d") == "'\\\\u200d \\\\\u200d'"
    assert summary("\u200d\u202e\u200b") == "'\u200d\\u202e\\u200b'"
    assert len(summary("\u200d" * 1000, 100)) == 100


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists))
def test_a_summary_keeps_its_limit(value):
    assert len(summary(value, 50)) <= 50


def test_arguments_read_like_a_call():
    assert arguments((1, "a"), {"x": 2.5, "name": None}) == "1, 'a', x=2.5, name=None"
    assert arguments((), {}) == ""
    assert len(arguments(tuple(range(1000)), {}, 40)) == 40


def test_a_repr_that_is_slow_again_and_again_is_not_called_any_more(monkeypatch):
    clock = 0.0
    seconds = 0.0
    calls = []

    class Slow:
        def __repr__(self):
            nonlocal clock
            calls.append(1)
            clock += seconds
            return "slow"

    monkeypatch.setattr(render, "perf_counter", lambda: clock)
    # A computer that is busy for a moment makes any call slow.
    for took in (0.1, 0.1, 0.001, 0.1, 0.1, 0.1):
        seconds = took
        assert summary(Slow()) == "slow"
    assert summary(Slow()) == "<Slow>"
    assert len(calls) == 6
    render.slow_types.pop(Slow)
    seconds = 1.0
    assert [summary(Slow()) for _ in range(2)] == ["slow", "<Slow>"]
    render.slow_types.pop(Slow)


def test_a_number_is_shown_however_busy_the_computer_is(monkeypatch):
    monkeypatch.setattr(render, "SLOW", -1)
    for _ in range(5):
        assert summary(render.Short(0.123456789)) == "0.1235"


def test_arrays_and_tables_are_described_without_their_libraries(monkeypatch):
    def fake(name, module, **attributes):
        return type(name, (), {"__module__": module, **attributes})()

    array = fake("ndarray", "numpy", shape=(1000, 3), dtype="float64")
    short = fake("ndarray", "numpy", shape=(2,), dtype="int64", tolist=lambda self: [1, 2])
    scalar = fake("float64", "numpy", shape=(), item=lambda self: 1.5)
    table = fake("DataFrame", "pandas.core.frame", shape=(10, 2), columns=["a", "b"])
    assert summary(array) == "<ndarray float64 1000 x 3>"
    assert summary(short) == "<ndarray int64 2: [1, 2]>"
    assert summary(scalar) == "1.5"
    assert summary(table) == "<DataFrame 10 x 2: a, b>"
    assert "numpy" not in vars(sys.modules["berrymq_jupyter.widgets.render"])
