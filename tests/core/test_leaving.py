import pytest

from berrymq import leaving
from berrymq.leaving import Step, at_exit, leave


@pytest.fixture(autouse=True)
def _no_steps(monkeypatch):
    monkeypatch.setattr(leaving, "_steps", {})


def test_steps_are_done_in_their_order():
    done = []
    at_exit(Step.LINKS, lambda: done.append("links"))
    leave()
    at_exit(Step.DELIVERIES, lambda: done.append("deliveries"))
    leave()
    assert done == ["links", "deliveries", "links"]


def test_the_last_of_a_step_counts():
    done = []
    for number in range(2):
        at_exit(Step.LINKS, lambda number=number: done.append(number))
    leave()
    assert done == [1]
