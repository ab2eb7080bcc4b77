"""Messages as lines that send them again."""

import datetime as dt

import pytest

from berrymq import Message
from berrymq_jupyter.widgets.twitter_code import twitter_code


def code(identifier, *args, **kwargs):
    return twitter_code(Message.make(identifier, args, kwargs))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (code("test:run"), "%twitter test:run"),
        (code("test", 1, "a\nb", x=None), "%twitter test:* 1, 'a\\nb', x=None"),
        (code("test:run", [1, (2,), {3}, {"a": b"x"}]), "%twitter test:run [1, (2,), {3}, {'a': b'x'}]"),
        (code("test:run", float("inf")), "%twitter test:run float('inf')"),
        (code("my test:run", 1), "twitter('my test:run', 1)"),
        (code("test:r\u202eun", 1), "twitter('test:r\\u202eun', 1)"),
        (
            code("test:run", **{"a b": 1, "class": 2, "x": 3}),
            "%twitter test:run x=3, **{'a b': 1, 'class': 2}",
        ),
    ],
)
def test_literals(message, expected):
    assert message == (expected, "")


def test_the_arguments_evaluate_to_what_was_sent():
    args = (1, -0.5, "it's", b"\x00", [True, None, (), (1,)], {"k": {1, 2}, 3: set("a")})
    line, remark = code("test:run", *args)
    assert not remark
    assert eval(f"({line.removeprefix('%twitter test:run ')})") == args


def test_what_has_no_literal_is_left_open():
    line, remark = code("test:run", dt.date(2026, 1, 1), [object(), set()], 1)
    assert line == "%twitter test:run ..., [..., ...], 1"
    assert remark.startswith("3 values have no literal form")
    assert code("test:run", object())[1] == "one value has no literal form: '...' stands for it"


def test_a_large_payload_is_not_written_out():
    line, remark = code("test:run", "x" * 5_000_000)
    assert line == "%twitter test:run ..."
    assert "too large" in remark
    assert code("test:run", {number: number for number in range(100_000)})[0] == "%twitter test:run ..."


def test_a_loop_ends():
    loop: list = []
    loop.append(loop)
    assert "..." in code("test:run", loop)[0]
