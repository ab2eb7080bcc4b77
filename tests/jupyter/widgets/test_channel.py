"""Numbers, snapshots and paces."""

import json

import pytest

from berrymq_jupyter.widgets.channel import PERIOD, SILENCE, SLOW_PERIOD, Channel


def test_updates_are_numbered_and_answers_are_not():
    sent = []
    channel = Channel(sent.append)
    channel.update("update", {"a": 1}, 1.0)
    assert channel.post({"t": "rows"}) == len(sent[1])
    channel.update("update", {"b": "ü"}, 2.0)
    assert [json.loads(text) for text in sent] == [
        {"t": "update", "n": 1, "heard": 0, "a": 1},
        {"t": "rows"},
        {"t": "update", "n": 2, "heard": 0, "b": "ü"},
    ]


def test_until_a_page_says_hello_snapshots_are_sent_at_a_lower_pace():
    channel = Channel(lambda text: None)
    assert channel.wait(100.0) == 0
    channel.update("update", {}, 100.0)
    assert channel.snapshot_due
    assert channel.wait(100.0) == SLOW_PERIOD
    channel.hello(100.1)
    assert channel.wait(100.1) == 0
    channel.update("update", {}, 100.1)
    assert not channel.snapshot_due
    assert 0 < channel.wait(100.1) <= PERIOD
    assert channel.wait(100.1 + PERIOD) == 0


def test_a_silent_page_gets_less():
    channel = Channel(lambda text: None)
    channel.hello(0.0)
    channel.update("update", {}, SILENCE + 1)
    assert channel.wait(SILENCE + 1) == SLOW_PERIOD
    channel.heard(SILENCE + 1)
    assert channel.wait(SILENCE + 1) == pytest.approx(PERIOD)


def test_a_page_that_missed_something_gets_everything_at_once():
    channel = Channel(lambda text: None)
    channel.hello(0.0)
    channel.update("update", {}, 0.0)
    channel.hello(0.0)
    assert channel.snapshot_due
    assert channel.wait(0.0) == 0
