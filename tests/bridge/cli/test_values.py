import argparse
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.cli import values

LITERALS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(),
        st.binary(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(st.lists(inner), st.tuples(inner), st.dictionaries(st.text(), inner)),
    max_leaves=10,
)
KEYWORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True)


class TestPayload:
    @pytest.mark.parametrize(
        ("words", "args", "kwargs"),
        [
            ([], [], {}),
            (["1", "x=2"], [1], {"x": 2}),
            (["x=2", "1"], [1], {"x": 2}),
            (["two words", "n="], ["two words"], {"n": ""}),
            (["'1'", 'b="1"'], ["1"], {"b": "1"}),
            (["a=b=c"], [], {"a": "b=c"}),
            (["'a=b'"], ["a=b"], {}),
            (["a-b=1", "1=2", "=3"], ["a-b=1", "1=2", "=3"], {}),
            (["[1, {'a': (2,)}]"], [[1, {"a": (2,)}]], {}),
            (["-1", "1e3", "None", "True"], [-1, 1000.0, None, True], {}),
            (
                ["true", "null", "f()", "1 +", "__import__('os')", "a\x00b"],
                ["true", "null", "f()", "1 +", "__import__('os')", "a\x00b"],
                {},
            ),
            (["ä=1", "x=line\nline"], [], {"ä": 1, "x": "line\nline"}),
            (["(" * 10_000], ["(" * 10_000], {}),
        ],
    )
    def test_words(self, words, args, kwargs):
        assert values.payload(words) == (args, kwargs)

    @given(st.lists(LITERALS), st.dictionaries(KEYWORDS, LITERALS))
    def test_what_is_written_in_python_comes_back(self, args, kwargs):
        words = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        assert values.payload(words) == (args, kwargs)

    def test_a_keyword_that_is_there_twice(self):
        with pytest.raises(argparse.ArgumentTypeError, match="keyword x is given twice"):
            values.payload(["x=1", "x=1"])


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (values.seconds, "0", 0),
        (values.seconds, "1.5", 1.5),
        (values.port, "0", 0),
        (values.port, "65535", 65535),
        (values.count, "1", 1),
        (values.mebibytes, "1", 1),
        (values.mebibytes, "512", 512),
        (values.text, "größer", "größer"),
        (values.text, os.fsdecode("größer".encode()), "größer"),
        (values.path, "a", Path.cwd() / "a"),
        (values.path, "/a", Path("/a")),
    ],
)
def test_values(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (values.seconds, "-1", "-1 is not a number of seconds"),
        (values.seconds, "nan", "nan is not a number of seconds"),
        (values.seconds, "inf", "inf is not a number of seconds"),
        (values.seconds, "soon", "soon is not a number of seconds"),
        (values.port, "-1", "-1 is not a port; 0 to 65535 are"),
        (values.port, "65536", "65536 is not a port"),
        (values.port, "http", "http is not a port"),
        (values.mebibytes, "0", "0 is not a number of MiB; 1 to 1048576 are"),
        (values.mebibytes, "1G", "1G is not a number of MiB"),
        (values.text, os.fsdecode(b"\xff"), "is not written in UTF-8"),
        (values.count, "0", "0 is not a number of at least 1"),
        (values.count, "many", "many is not a number of at least 1"),
    ],
)
def test_no_values(read, text, said):
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        read(text)


def test_origins():
    assert values.origin("https://lab.example.org") == "https://lab.example.org"
    with pytest.raises(argparse.ArgumentTypeError, match="is not an origin"):
        values.origin("lab.example.org")


def test_identifiers():
    assert str(values.identifier("test")) == "test:*"
    with pytest.raises(argparse.ArgumentTypeError):
        values.identifier("a:b:c")
    with pytest.raises(argparse.ArgumentTypeError, match="begins with '_' never leaves its process: _a:b"):
        values.identifier("_a:b")
