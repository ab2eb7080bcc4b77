import logging

from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.transport.budget import Budget, fair_share


class Holder:
    """Holds some bytes, and no fewer than it must."""

    def __init__(self, budget, size, least=0):
        self.shed_to = None
        self.account = budget.open(self.shed)
        self.account.grow(size)
        self._least = least

    @property
    def held_bytes(self):
        return self.account.held

    def shed(self, target):
        self.shed_to = target
        self.account.grow(min(self.held_bytes, max(target, self._least)) - self.held_bytes)


def holders(budget, sizes):
    return [Holder(budget, size) for size in sizes]


def test_nothing_is_shed_while_there_is_room():
    budget = Budget(100)
    some = holders(budget, [50, 50])
    budget.relieve(0.0)
    assert [holder.shed_to for holder in some] == [None, None]


def test_the_largest_backlogs_are_shed_and_the_small_ones_left_alone():
    budget = Budget(100)
    some = holders(budget, [10, 90, 5, 20])
    budget.relieve(0.0)
    assert [holder.held_bytes for holder in some] == [10, 55, 5, 20]
    assert budget.held == 90


def test_many_of_the_same_size_give_up_about_the_same():
    budget = Budget(1000)
    some = holders(budget, [8] * 1000)
    budget.relieve(0.0)
    assert {holder.held_bytes for holder in some} == {0, 1}
    assert budget.held == 900


@given(st.lists(st.integers(0, 1000), max_size=20), st.integers(0, 3000))
def test_afterwards_no_more_is_held_than_the_budget(sizes, limit):
    budget = Budget(limit)
    some = holders(budget, sizes)
    budget.relieve(0.0)
    assert budget.held == sum(holder.held_bytes for holder in some) <= limit
    smallest_shed = min(
        (size for size, one in zip(sizes, some, strict=True) if one.shed_to is not None), default=0
    )
    kept = [size for size, one in zip(sizes, some, strict=True) if one.shed_to is None]
    assert sum(sizes) <= limit or all(size <= smallest_shed for size in kept)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 3000))
def test_a_fair_share_uses_up_the_limit_and_no_more(sizes, limit):
    share = fair_share(sizes, limit)
    total = sum(min(size, share) for size in sizes)
    assert total <= limit or sum(sizes) <= limit
    assert sum(sizes) <= limit or sum(min(size, share + 1) for size in sizes) > limit


def test_one_who_can_not_give_up_enough_does_not_hold_up_the_others():
    budget = Budget(100)
    stubborn, other = Holder(budget, 90, least=90), Holder(budget, 60)
    budget.relieve(0.0)
    assert (stubborn.held_bytes, other.held_bytes) == (90, 45)


def test_shedding_may_end_a_holder_which_relieves_again():
    budget = Budget(10)

    class Ends(Holder):
        def shed(self, target):
            super().shed(0)
            self.account.close()
            budget.relieve(0.0)

    Ends(budget, 20)
    budget.relieve(0.0)
    assert (budget.held, budget.accounts) == (0, {})


def test_it_is_told_once_in_a_while(caplog):
    caplog.set_level(logging.WARNING, "berrymq")
    budget = Budget(10)
    for now in (0.0, 1.0, 11.0):
        holders(budget, [20])
        budget.relieve(now)
    assert len(caplog.records) == 2
    assert "the largest backlogs are dropped" in caplog.text


class Backlog:
    """Holds bytes objects, the newest as long as it can."""

    def __init__(self, budget):
        self.account = budget.open(self.shed)
        self.all = []

    def add(self, data):
        self.all.append(data)
        self.account.hold(data)

    def shed(self, target):
        while self.all and self.account.held > target:
            self.account.release(self.all.pop(0))


def test_what_many_hold_is_counted_once_and_shed_by_nobody():
    budget = Budget(1_000_000)
    data = bytes(600_000)
    some = [Backlog(budget) for _ in range(60)]
    for one in some:
        one.add(data)
    assert budget.held == 600_000
    budget.relieve(0.0)
    assert all(one.all for one in some)
    for one in some:
        one.shed(0)
    assert (budget.held, budget._shared) == (0, {})


def test_of_what_many_hold_no_more_is_shed_than_has_to_be():
    budget = Budget(10_000_000)
    some = [Backlog(budget) for _ in range(20)]
    for _ in range(12):
        data = bytes(1_000_000)
        for one in some:
            one.add(data)
    budget.relieve(0.0)
    assert 6_000_000 <= budget.held <= 9_000_000
    most = budget.held // 1_000_000
    assert all(most // 2 <= len(one.all) <= most for one in some)
