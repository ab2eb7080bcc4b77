"""What a hub retains, against a model that keeps every message in a list."""

from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from berrymq.bridge.hub.history import BATCH_BYTES, SERIES_BYTES, Feed, Histories, cut
from berrymq.bridge.node.memories import Memories
from berrymq.bridge.node.room import Room
from berrymq.bridge.protocol.batches import batch_head, encode_batch, parse_batch
from berrymq.bridge.protocol.reliable_stream import Stream
from berrymq.bridge.transport.budget import Budget
from berrymq.identifiers import Identifier

TEXTS = ["a:x", "a:y", "b:x", "*:x", "a:*", "a@r:x", 'a",b:x', "é:x"]
KEEPS = ["a:*", "a:x", "*:x", "b:x", "*:*", "a@r:x", 'a",b:x', "é:x"]


def batch(text, numbers, *, pad=0, origin="0123456789abcdef"):
    messages = [b'[%d.5,[%d,"%b"],{}]' % (number, number, b"-" * pad) for number in numbers]
    return encode_batch(batch_head(text, origin, "n"), numbers[0], messages, len(numbers))


def numbers_of(retained):
    found = []
    for _, size, data in retained:
        head = parse_batch(data)
        assert head.count == size
        found += range(head.first, head.first + head.count)
    return found


class Setting:
    """A room, its histories, and a publisher."""

    def __init__(self, **bounds):
        self.budget = Budget()
        self.histories = Histories(self.budget, Memories(), **bounds)
        self.room = Room(None)
        self.next = count(1)

    def keep(self, text, last=1000):
        self.histories.keep(self.room, Identifier.parse(text), last, "me")

    def publish(self, text, size=1, pad=0):
        numbers = [next(self.next) for _ in range(size)]
        data = batch(text, numbers, pad=pad)
        for one in self.room.route(text):
            one.accept(data, size)
        return numbers

    def past(self, text="*:*", last=None, after=0):
        history = self.histories.of(self.room)
        return [] if history is None else history.past(Identifier.parse(text), last, after)


class Model(RuleBasedStateMachine):
    """Everything that was published, with what must be there of it."""

    @initialize()
    def begin(self):
        self.it = Setting(most_bytes=1 << 40)
        self.kept = {}
        self.messages = {}
        """By identifier: the numbers, in order."""

    def last_of(self, text):
        return max(
            [last for one, last in self.kept.items() if Identifier.parse(one).matches(text)], default=0
        )

    def trim(self):
        for text in list(self.messages):
            last = self.last_of(text)
            if last:
                self.messages[text] = self.messages[text][-last:]
            else:
                del self.messages[text]

    @rule(text=st.sampled_from(KEEPS), last=st.integers(1, 12))
    def keep(self, text, last):
        self.it.keep(text, last)
        self.kept[text] = max(last, self.kept.get(text, 0))

    @rule(text=st.sampled_from(KEEPS))
    def drop(self, text):
        assert self.it.histories.drop(self.it.room, Identifier.parse(text)) == (text in self.kept)
        self.kept.pop(text, None)
        self.trim()

    @rule(text=st.sampled_from(TEXTS), size=st.integers(1, 8))
    def publish(self, text, size):
        numbers = self.it.publish(text, size)
        if self.last_of(text):
            self.messages.setdefault(text, []).extend(numbers)
            self.trim()

    @rule(text=st.sampled_from(KEEPS), last=st.one_of(st.none(), st.integers(0, 20)))
    def read(self, text, last):
        wanted = sorted(
            number
            for one, numbers in self.messages.items()
            if Identifier.parse(one).matches(text)
            for number in numbers
        )
        if last is not None:
            wanted = wanted[max(0, len(wanted) - last) :]
        assert numbers_of(self.it.past(text, last)) == wanted

    @invariant()
    def it_holds_what_it_counts(self):
        if not hasattr(self, "it"):
            return
        histories = self.it.histories
        assert histories.count == sum(map(len, self.messages.values()))
        history = histories.of(self.it.room)
        assert (history is None) == (not self.kept)
        if history is None:
            assert histories.account.held == 0
            assert not self.it.room.interests.identifiers
            return
        assert {text: len(one) for text, one in history.series.items()} == {
            text: len(numbers) for text, numbers in self.messages.items()
        }
        assert histories.account.held == sum(one.bytes for one in history.series.values())
        assert self.it.budget.held == histories.account.held


TestAgainstAModel = Model.TestCase


def test_a_hub_that_keeps_nothing_follows_nothing():
    it = Setting()
    it.publish("a:x")
    assert it.past() == []
    assert it.room.route("a:x") == ()


def test_more_messages_than_may_be_cost_the_largest_identifier_its_oldest():
    it = Setting(most_messages=160)
    it.keep("*:*", 1000)
    for _ in range(20):
        it.publish("b:x")
    for _ in range(200):
        it.publish("a:x")
    history = it.histories.of(it.room)
    assert it.histories.count <= 160
    assert len(history.series["b:x"]) == 20
    assert len(history.series["a:x"]) >= 160 * 15 // 16 - 20
    assert numbers_of(it.past("a:x"))[-1] == 220
    assert history.series["a:x"].dropped == history.dropped == 200 - len(history.series["a:x"])


def test_what_is_not_among_the_last_goes_before_what_is():
    it = Setting(most_bytes=60_000)
    it.keep("*:*", 10)
    for text in ("a:x", "b:x", "c:x"):
        it.publish(text, 100, pad=300)
    history = it.histories.of(it.room)
    assert it.histories.account.held <= 60_000
    assert history.dropped == 0
    assert numbers_of(it.past("c:x")) == list(range(291, 301))


@pytest.mark.parametrize("size", [1, 7, 500])
def test_bytes_are_bounded_and_the_newest_is_always_there(size):
    it = Setting(most_bytes=200_000)
    it.keep("*:*", 100_000)
    published = 0
    for _ in range(3000 // size):
        published = it.publish("a:x", size, pad=100)[-1]
        assert it.histories.account.held <= 200_000
        assert numbers_of(it.past())[-1] == published
    numbers = numbers_of(it.past())
    assert numbers == list(range(published - len(numbers) + 1, published + 1))
    assert it.histories.of(it.room).dropped == published - len(numbers)


def test_many_identifiers_are_bounded_as_well():
    it = Setting(most_bytes=1_000_000)
    it.keep("job:*")
    for number in range(5_000):
        it.publish(f"job:{number}")
    assert it.histories.account.held <= 1_000_000
    assert numbers_of(it.past())[-1] == 5_000


def test_the_memory_of_the_hub_counts_and_cuts_it():
    it = Setting()
    it.keep("*:*", 100_000)
    for _ in range(1000):
        it.publish("a:x", 10, pad=100)
    it.budget.limit = it.budget.held // 2
    assert it.budget.relieve(0.0)
    assert it.budget.held <= it.budget.limit
    assert numbers_of(it.past())[-1] == 10_000


def test_a_page_of_objects_says_where_the_next_begins():
    it = Setting()
    it.keep("*:*", 1000)
    for text in ("a:x", "b:x"):
        it.publish(text, 100, pad=100)
    history = it.histories.of(it.room)
    found, after, more = [], 0, True
    while more:
        page, more = history.objects(Identifier.parse("*:x"), None, after, 5_000, to=None, downloads=None)
        assert page
        found += page
        after = page[-1]["n"]
    assert [bytes(one["args"])[:4].strip(b'[,"') for one in found] == [b"%d" % n for n in range(1, 201)]
    assert [one["n"] for one in found] == list(range(1, 201))


def test_a_batch_that_cant_be_read_is_left_out():
    assert cut((1, 3, b'["a:x","o","n",1,3,[[1,[],{}]]]'), 2) == []
    assert cut((1, 3, b"nonsense"), 2) == []


@pytest.mark.parametrize("take", [True, False])
def test_a_past_that_is_sent_holds_its_batches_until_they_are(take):
    it = Setting()
    it.keep("*:*", 1000)
    for _ in range(100):
        it.publish("a:x", 10, pad=1000)
    before = it.budget.held
    account = it.budget.open(lambda _: None)
    stream = Stream(account=account)
    batches = it.past()
    stream.send_later(Feed(1, batches, account, 10_000))
    stream.send_batch(batch("a:x", [1001]), 1)
    it.histories.drop(it.room, Identifier.parse("*:*"))
    assert it.budget.held >= before - 100 * BATCH_BYTES - SERIES_BYTES
    if take:
        frames = stream.frames(0.0)
        assert len(frames) == 101
        assert b'"end":true' in frames[-2]
        assert not any(b'"end":true' in frame for frame in frames[:-2])
        assert b'"messages"' in frames[-1]
        stream.acknowledged(101)
    else:
        assert stream.end() == 1
    assert it.budget.held == 0
    assert stream.idle
