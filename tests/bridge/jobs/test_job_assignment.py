"""A group against a model: each job waits, is with a member, was taken or was dropped; the order holds."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from berrymq.bridge.jobs.job_assignment import MAX_HELD, Group, Member
from berrymq.bridge.protocol.batches import batch_head, encode_batch, parse_batch, parse_messages
from berrymq.bridge.protocol.group_frames import as_ranges
from berrymq.bridge.transport.budget import Budget


def batch_of(first, count, size=0):
    head = batch_head("job:add", "origin", "sender")
    messages = [b'[1.0,[%d,"%s"],{}]' % (first + place, b"x" * size) for place in range(count)]
    return encode_batch(head, first, messages, count)


def values_of(data):
    batch = parse_batch(data)
    values = [message.args[0] for message in parse_messages(batch)]
    assert values == list(range(batch.first, batch.first + batch.count))
    return values


class GroupModel(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.budget = Budget()
        self.group = Group("job:*", self.budget)
        self.members = {}
        self.joined = 0
        self.sent = 0
        self.number_of = {}
        self.waiting = []
        self.taken = set()
        self.handed = []
        self.dropped = 0

    # The order in which jobs go out is looked at after each step: what was handed came before what waits.

    def _send_to(self, name):
        def send(jobs):
            for number, data in jobs:
                for place, value in enumerate(values_of(data)):
                    assert self.number_of.setdefault(value, number + place) == number + place
                    self.waiting.remove(value)
                    self.members[name][1].add(value)
                    self.handed.append(value)

        return send

    @rule(count=st.integers(1, 20))
    def jobs_come(self, count):
        values = list(range(self.sent + 1, self.sent + 1 + count))
        self.sent += count
        self.waiting += values
        self._step(lambda: self.group.accept(batch_of(values[0], count), count))

    @rule()
    def join(self):
        self.joined += 1
        name = f"m{self.joined}"
        member = Member(name, self._send_to(name))
        self.members[name] = member, set()
        self._step(lambda: self.group.join(member))

    def _pick(self, data):
        name = data.draw(st.sampled_from(sorted(self.members)))
        return self.members[name]

    def _some(self, data, held):
        chosen = [value for value in sorted(held) if data.draw(st.booleans())]
        return chosen, as_ranges([self.number_of[value] for value in chosen])

    @precondition(lambda self: self.members)
    @rule(data=st.data(), waiting=st.integers(0, 3), ahead=st.integers(0, 12))
    def want(self, data, waiting, ahead):
        member, _ = self._pick(data)

        def step():
            member.waiting, member.ahead = waiting, ahead
            self.group.hand_over()

        self._step(step)

    @precondition(lambda self: any(held for _, held in self.members.values()))
    @rule(data=st.data())
    def take(self, data):
        member, held = self._pick(data)
        chosen, ranges = self._some(data, held)
        held.difference_update(chosen)
        self.taken.update(chosen)

        def step():
            self.group.mark_taken(member, ranges)
            self.group.hand_over()

        self._step(step)

    @precondition(lambda self: any(held for _, held in self.members.values()))
    @rule(data=st.data())
    def return_some(self, data):
        member, held = self._pick(data)
        chosen, ranges = self._some(data, held)
        held.difference_update(chosen)
        self.waiting = sorted([*self.waiting, *chosen])

        def step():
            member.waiting = member.ahead = 0
            assert self.group.give_back(member, ranges) == len(chosen)
            self.group.hand_over()

        self._step(step)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data):
        member, held = self._pick(data)
        del self.members[member.name]
        self.waiting = sorted([*self.waiting, *held])
        self._step(lambda: self.group.leave(member))

    @precondition(lambda self: self.members)
    @rule(data=st.data(), connected=st.booleans())
    def cut(self, data, connected):
        member, _ = self._pick(data)
        member.connected = connected
        self._step(self.group.hand_over)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), count=st.integers(1, 30))
    def pull(self, data, count):
        member, _ = self._pick(data)
        expected = min(count, len(self.waiting))

        def step():
            assert self.group.pull(member, count) == expected

        self._step(step)

    @rule(size=st.integers(0, 3_000))
    def shed(self, size):
        self.group.shed(size)
        lost = len(self.waiting) - self.group.waiting
        del self.waiting[:lost]
        self.dropped += lost
        for member, held in self.members.values():
            left = {value for value in held if self.number_of[value] in member.held}
            assert left in (set(), held)
            assert left == held or not self.waiting
            self.dropped += len(held) - len(left)
            held.intersection_update(left)

    def _step(self, step):
        self.handed = []
        step()
        if self.handed and self.waiting:
            assert max(self.handed) < min(self.waiting)

    @invariant()
    def every_job_is_somewhere(self):
        held = [value for _, values in self.members.values() for value in values]
        assert len(self.waiting) == self.group.waiting
        assert len(held) == self.group.held
        assert len(held) == len(set(held))
        assert len(self.waiting) + len(held) + len(self.taken) + self.dropped == self.sent
        assert self.group.dropped == self.dropped
        assert self.group.taken == len(self.taken)
        for member, values in self.members.values():
            assert sorted(self.number_of[value] for value in values) == sorted(member.held)

    @invariant()
    def nothing_waits_that_somebody_wants(self):
        assert not self.waiting or not any(member.free for member, _ in self.members.values())

    @invariant()
    def the_first_are_shown(self):
        shown = [value for data in self.group.first(5) for value in values_of(data)]
        assert shown == self.waiting[:5]

    def teardown(self):
        self.group.close()
        assert self.budget.held == 0
        assert not self.budget._shared


TestGroupModel = GroupModel.TestCase
TestGroupModel.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@pytest.fixture
def group():
    return Group("job:*", Budget())


class Taker(Member):
    def __init__(self, group, name="taker", waiting=0, ahead=0):
        self.got = []
        super().__init__(name, self.got.extend)
        group.join(self)
        self.waiting, self.ahead = waiting, ahead
        group.hand_over()

    @property
    def values(self):
        return [value for _, data in self.got for value in values_of(data)]


class TestBounds:
    def test_the_oldest_is_dropped(self):
        group = Group("job:*", Budget(), 3)
        group.accept(batch_of(1, 5), 5)
        assert (group.depth, group.dropped) == (3, 2)
        assert Taker(group, waiting=9).values == [3, 4, 5]

    def test_the_newest_is_dropped(self):
        group = Group("job:*", Budget(), 3, "drop_newest")
        group.accept(batch_of(1, 5), 5)
        group.accept(batch_of(6, 1), 1)
        assert (group.depth, group.dropped) == (3, 3)
        assert Taker(group, waiting=9).values == [1, 2, 3]

    def test_what_a_member_has_counts(self):
        group = Group("job:*", Budget(), 3)
        taker = Taker(group, waiting=3)
        group.accept(batch_of(1, 3), 3)
        group.accept(batch_of(4, 1), 1)
        group.accept(batch_of(5, 1), 1)
        assert taker.values == [1, 2, 3]
        assert (group.waiting, group.dropped) == (1, 1)

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
    def test_a_consumer_that_waits_gets_one_even_if_all_is_held(self, overflow):
        group = Group("job:*", Budget(), 1, overflow)
        Taker(group, "busy", waiting=1)
        group.accept(batch_of(1, 1), 1)
        other = Taker(group, "other", waiting=1)
        group.accept(batch_of(2, 1), 1)
        assert other.values == [2]


class TestFairness:
    def test_those_that_wait_come_before_those_that_prefetch(self, group):
        busy = Taker(group, "busy", ahead=10)
        idle = Taker(group, "idle", waiting=1)
        group.accept(batch_of(1, 1), 1)
        assert (busy.values, idle.values) == ([], [1])

    def test_each_in_its_turn(self, group):
        takers = [Taker(group, f"m{number}", waiting=1) for number in range(3)]
        for number in range(1, 31):
            group.accept(batch_of(number, 1), 1)
            for taker in takers:
                group.mark_taken(taker, as_ranges(sorted(taker.held)))
        assert [len(taker.values) for taker in takers] == [10, 10, 10]

    def test_a_batch_is_shared(self, group):
        takers = [Taker(group, f"m{number}", ahead=100) for number in range(3)]
        group.accept(batch_of(1, 90), 90)
        assert [len(taker.values) for taker in takers] == [30, 30, 30]

    def test_a_member_has_so_many_bytes_at_most(self, group):
        taker = Taker(group, ahead=1_000)
        for number in range(1, 21):
            group.accept(batch_of(number, 1, 1024 * 1024), 1)
        assert 4 <= len(taker.held) <= 5
        group.mark_taken(taker, [(1, 4)])
        group.hand_over()
        assert len(taker.values) >= 8


class TestHostileMembers:
    def test_a_credit_without_end_gets_a_bounded_number_of_jobs(self, group):
        taker = Taker(group, waiting=2**53, ahead=2**53)
        for first in range(1, 3 * MAX_HELD, 1_000):
            group.accept(batch_of(first, 1_000), 1_000)
        assert len(taker.held) == MAX_HELD
        assert group.pull(taker, 2**53) == 0
        group.mark_taken(taker, [(1, 2**53)])
        assert group.pull(taker, 2**53) == MAX_HELD

    def test_jobs_that_a_member_never_takes_do_not_use_up_the_memory_of_others(self):
        budget = Budget(1024 * 1024)
        groups = [Group(f"job:{number}", budget) for number in range(8)]
        hoarders = [Taker(group, waiting=9) for group in groups]
        for group in groups:
            group.accept(batch_of(1, 9, 50_000), 9)
        assert budget.relieve(0.0)
        assert budget.held <= budget.limit
        assert sum(group.dropped for group in groups) + sum(len(one.held) for one in hoarders) == 72
        group, hoarder = groups[0], hoarders[0]
        group.leave(hoarder)
        assert group.depth == 9 - group.dropped

    def test_what_was_read_of_a_batch_counts(self):
        budget = Budget()
        group = Group("job:*", budget)
        group.accept(batch_of(1, 10_000), 10_000)
        before = budget.held
        taker = Taker(group, waiting=1)
        assert budget.held - before > 10_000 * 50
        group.mark_taken(taker, [(1, 1)])
        group.close()
        assert budget.held == 0

    def test_jobs_of_others_are_neither_taken_nor_given_back(self, group):
        one, other = (Taker(group, name, waiting=2) for name in ("one", "other"))
        group.accept(batch_of(1, 4), 4)
        group.mark_taken(one, [(1, 2**53)] * 4_096)
        assert (group.taken, group.held, len(other.held)) == (2, 2, 2)
        assert group.give_back(one, [(1, 2**53), (3, 1)]) == 0
        group.mark_taken(one, [(1, 2), (1, 2)])
        assert (group.taken, one.taken, group.depth) == (2, 2, 2)

    def test_a_member_names_a_bounded_number_of_jobs_as_its_own(self, group):
        """However often it names the same ones: this would take the hub minutes."""
        for _ in range(10):
            group.deduplicate([("a" * 16, 1, 2**53)] * 4_096)
        group.accept(batch_of(1, 5), 5)
        assert group.depth == 5


def test_jobs_that_members_of_a_former_hub_have_are_left_out(group):
    group.deduplicate([("origin", 2, 2), ("other", 1, 9)])
    group.accept(batch_of(1, 5), 5)
    assert Taker(group, waiting=9).values == [1, 4, 5]
    group.stop_deduplicating()
    group.accept(batch_of(2, 1), 1)
    assert group.depth == 4


def test_the_state_names_members(group):
    taker = Taker(group, "one", waiting=1)
    Taker(group, "two")
    group.accept(batch_of(1, 3), 3)
    group.mark_taken(taker, [(1, 1)])
    group.hand_over()
    state = msgspec.json.decode(msgspec.json.encode(group.state()), type=type(group.state()))
    assert state.members == [("one", 1, 1, 1), ("two", 0, 0, 0)]
    assert (state.depth, state.waiting, state.held, state.received, state.consumers) == (2, 1, 1, 3, 1)
    assert group.status(group.state())["members"][0] == {"name": "one", "taken": 1, "held": 1, "consumers": 1}
