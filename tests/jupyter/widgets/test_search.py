"""Whether a payload contains a text: all of it, or it is said that it was not all."""

from dataclasses import dataclass

import pytest

from berrymq import Message
from berrymq_jupyter.widgets.search import MOST_VALUES, contains


@dataclass
class Point:
    name: str


class Hostile:
    def __len__(self):
        raise RuntimeError("no")

    __iter__ = __repr__ = __len__


def message(*args, **kwargs):
    return Message.make("t:run", args, kwargs, source=None, sent_at=1.0)


@pytest.mark.parametrize(
    "payload",
    [
        "x" * 5_000_000 + "Needle",
        {"text": ["y" * 3000, "a needle"]},
        {f"key {number}": number for number in range(5000)} | {"needle": 1},
        [*range(5000), "NEEDLE"],
        b"\0" * 5000 + b"needle",
        [[[[[[[[["needle"]]]]]]]]],
        [list(range(100)), Point("needle")],
    ],
)
def test_it_is_found_however_late_or_deep(payload):
    assert contains(message(payload), "needle") is True
    assert contains(message(x=payload), "needle") is True
    assert contains(message(payload), "haystack") is False


def test_keywords_are_searched_as_they_are_shown():
    assert contains(message(1, loss=0.25), "loss=0.25") is True


def test_what_is_too_large_is_not_said_to_have_none():
    assert contains(message(list(range(10 * MOST_VALUES))), "needle") is None
    assert contains(message("x" * 3000, Hostile()), "needle") is not True


def test_a_payload_that_holds_itself_ends():
    loop = ["x" * 3000]
    loop.append(loop)
    assert contains(message(loop), "needle") is False
