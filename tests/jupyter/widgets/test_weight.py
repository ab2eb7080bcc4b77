"""What a payload holds."""

import pandas as pd
import polars as pl
import pytest

from berrymq import Message
from berrymq.bridge.payload.sampled import SampledTable
from berrymq_jupyter.widgets.weight import HEAVY, weight


def fake(name, module, **attributes):
    return type(name, (), {"__module__": module, **attributes})()


class Sizes:
    def sum(self):
        return 7_000_000


class Raises:
    @property
    def nbytes(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 0),
        ("short", 0),
        ("x" * 1_000_000, 1_000_000),
        (bytes(HEAVY), HEAVY),
        ([bytes(HEAVY), 1], HEAVY + 120),
        ({"frame": bytes(HEAVY)}, HEAVY + 60),
        (list(range(10_000)), 600_000),
        ([[bytes(HEAVY)]], 0),
        (fake("ndarray", "numpy", nbytes=8_000_000), 8_000_000),
        (fake("DataFrame", "pandas.core.frame", memory_usage=lambda self: Sizes()), 7_000_000),
        (fake("Odd", "numpy"), 0),
        (Raises(), 0),
    ],
)
def test_weights(value, expected):
    assert weight(Message.make("t:run", (value,))) == expected
    assert weight(Message.make("t:run", (), {"value": value})) == expected


def test_tables_of_polars():
    table = pl.DataFrame({"a": [1.0] * HEAVY})
    assert weight(Message.make("t:run", (table,))) == 8 * HEAVY
    assert weight(Message.make("t:run", (table["a"],))) == 8 * HEAVY


def test_the_first_rows_of_a_table_that_was_not_fetched():
    head = pd.DataFrame({"a": [1.0] * HEAVY})
    value = SampledTable("pandas.DataFrame", head, 10**9, 1)
    assert weight(Message.make("t:run", (value,))) >= 8 * HEAVY


def test_arguments_add_up():
    half = bytes(HEAVY // 2)
    assert weight(Message.make("t:run", (half,))) == 0
    assert weight(Message.make("t:run", (half,), {"other": half})) == HEAVY
