"""The log of what peers cause."""

import pytest

from berrymq.bridge import peers_log as module
from berrymq.bridge.peers_log import MOST_LINES, peers_log


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_of_each_kind_there_are_a_few_lines(caplog, clock):
    for number in range(100):
        peers_log.warning("%d came", number)
        peers_log.warning("%d went", number)
    assert [record.getMessage() for record in caplog.records] == [
        f"{number} {what}" for number in range(MOST_LINES) for what in ("came", "went")
    ]


def test_it_is_said_how_many_were_left_out(caplog, clock):
    for _ in range(MOST_LINES + 7):
        peers_log.warning("%s came", "one")
    caplog.clear()
    clock[0] += module.SECONDS + 1
    peers_log.warning("%s came", "one")
    peers_log.warning("%s came", "one")
    assert [record.getMessage() for record in caplog.records] == [
        "one came (7 more lines like this one were left out)",
        "one came",
    ]
