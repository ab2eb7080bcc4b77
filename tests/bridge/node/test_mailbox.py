import json
import logging
import tracemalloc
from base64 import b64encode

import msgspec
import pytest

from berrymq.bridge.buffers import Memory
from berrymq.bridge.node import mailbox as module
from berrymq.bridge.node.mailbox import Mailbox
from berrymq.bridge.protocol import batches
from berrymq.bridge.transport.budget import Budget


@pytest.fixture
def budget():
    return Budget(100_000)


@pytest.fixture
def mailbox(budget):
    return Mailbox("a:*", budget)


def batch(*messages):
    return batches.encode_batch(batches.batch_head("a:b", "origin", "here"), 1, messages, len(messages))


def put(mailbox, *messages):
    mailbox.accept(batch(*messages), len(messages))


def taken(mailbox):
    return json.loads(msgspec.json.encode(mailbox.take()))


def arguments(mailbox):
    found = []
    while len(mailbox):
        found.append(taken(mailbox)["args"][0])
    return found


def test_a_message_is_given_as_it_came(mailbox):
    put(mailbox, b'[12.5,[1,{"$type":"tuple","value":[]}],{"x":null}]', b'[13,[],{},"call:back"]')
    assert taken(mailbox) == {
        "id": "a:b",
        "args": [1, {"$type": "tuple", "value": []}],
        "kwargs": {"x": None},
        "source": "here",
        "sent_at": 12.5,
    }
    assert taken(mailbox)["sent_at"] == 13
    assert mailbox.take() is None


def test_messages_come_in_order(mailbox):
    put(mailbox, b"[1,[1],{}]", b"[1,[2],{}]")
    put(mailbox, b"[1,[3],{}]")
    assert len(mailbox) == 3
    assert arguments(mailbox) == [1, 2, 3]


@pytest.mark.parametrize("bound", ["MAX_MESSAGES", "MAX_BYTES"])
def test_the_oldest_make_room_and_are_counted(mailbox, monkeypatch, bound):
    size = module.BATCH_BYTES + len(batch(b"[1,[0],{}]"))
    monkeypatch.setattr(module, bound, 3 if bound == "MAX_MESSAGES" else 3 * size)
    for number in range(5):
        put(mailbox, b"[1,[%d],{}]" % number)
    assert mailbox.dropped == 2
    assert arguments(mailbox) == [2, 3, 4]


@pytest.mark.parametrize("taken_before", [0, 1, 3])
def test_the_oldest_of_a_batch_make_room_too(mailbox, monkeypatch, taken_before):
    monkeypatch.setattr(module, "MAX_MESSAGES", 5)
    put(mailbox, *[b"[1,[%d],{}]" % number for number in range(5)])
    for _ in range(taken_before):
        mailbox.take()
    put(mailbox, *[b"[1,[%d],{}]" % number for number in range(5, 9)])
    assert len(mailbox) == 5
    assert mailbox.dropped == 4 - taken_before
    assert arguments(mailbox) == [4, 5, 6, 7, 8]


def test_what_a_hundred_queues_collect_is_in_memory_once(budget):
    data = batch(b'[1,["%b"],{}]' % (b"x" * 1_000_000))
    tracemalloc.start()
    try:
        some = [Mailbox("a:*", budget) for _ in range(100)]
        for one in some:
            one.accept(data, 1)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
        assert len(data) <= budget.held < len(data) + 100 * 2_000
        budget.relieve(0.0)
    finally:
        tracemalloc.stop()
    for one in some:
        one.close()
    assert (budget.held, budget.accounts, budget._shared) == (0, {}, {})


def test_what_was_taken_last_counts_until_the_next_is_taken(mailbox, budget):
    put(mailbox, b'[1,["%b"],{}]' % (b"x" * 5_000))
    assert mailbox.take() is mailbox.last
    assert budget.held > 5_000
    assert mailbox.take() is None
    assert budget.held > 5_000
    put(mailbox, b"[1,[2],{}]")
    assert taken(mailbox)["args"] == [2]
    assert budget.held < 1_000


def test_the_budget_has_it_forget_what_was_taken_last(mailbox, budget, caplog):
    caplog.set_level(logging.CRITICAL, "berrymq")
    put(mailbox, b'[1,["%b"],{}]' % (b"x" * 200_000))
    mailbox.take()
    budget.relieve(0.0)
    assert (mailbox.last, mailbox.dropped, budget.held) == (None, 0, 0)


def test_a_single_message_over_the_bound_is_kept(mailbox, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    put(mailbox, b"[1,[7],{}]")
    assert arguments(mailbox) == [7]


def test_what_it_holds_is_in_the_budget(mailbox, budget):
    put(mailbox, b"[1,[1],{}]", b'[1,["%b"],{}]' % (b"x" * 1000))
    assert budget.held == mailbox.held_bytes > 1000
    mailbox.take()
    assert budget.held == mailbox.held_bytes > 1000
    assert mailbox.close() == 1
    assert (budget.held, budget.accounts) == (0, {})


def test_the_budget_has_it_drop_its_oldest(mailbox, budget, caplog):
    caplog.set_level(logging.CRITICAL, "berrymq")
    for number in range(300):
        put(mailbox, b"[1,[%d],{}]" % number)
    budget.relieve(0.0)
    assert budget.held == mailbox.held_bytes <= budget.limit
    assert mailbox.dropped + len(mailbox) == 300
    assert arguments(mailbox)[-1] == 299


@pytest.mark.parametrize(
    "message",
    [b"1", b"[]", b"[1]", b"[1,[]]", b"[1,5,{}]", b"[1,[],[]]", b'["now",[],{}]', b"[-1,[],{}]", b"null"],
)
def test_what_is_no_message_is_counted_and_breaks_nothing(mailbox, budget, message):
    put(mailbox, message)
    put(mailbox, b"[1,[2],{}]")
    assert arguments(mailbox) == [2]
    assert mailbox.dropped == 1
    mailbox.close()
    assert budget.held == 0


def test_one_who_waits_is_told(mailbox):
    told = []
    mailbox.on_arrival = lambda: told.append(len(mailbox))
    put(mailbox, b"[1,[1],{}]", b"[1,[2],{}]")
    assert told == [2]


def test_buffers_that_came_with_a_message_count_as_long_as_they_are_held(mailbox, budget):
    memory = Memory(b"x" * 9_000, [9_000])
    _, data = batches.large_batch(batch(b"[1,[],{}]"), memory)
    other = Mailbox("a:*", budget)
    for one in (mailbox, other):
        one.accept(data, 1)
        assert one.held_bytes > 9_000
    assert budget.held < 12_000
    assert taken(mailbox)["buffers"] == [b64encode(b"x" * 9_000).decode()]
    assert mailbox.held_bytes > 9_000 + 12_000
    assert mailbox.take() is None
    other.shed(0)
    mailbox.shed(0)
    assert budget.held == 0
