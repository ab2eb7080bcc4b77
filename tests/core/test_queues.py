import asyncio
import threading
from collections import deque
from queue import Full

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import berrymq
from berrymq import Bus, Empty, IdentifierError, Message, Queue, QueueClosed, cond
from tests.support.waiting import wait_until


def numbers(messages):
    return [message.args[0] for message in messages]


def test_messages_wait_in_order(bus):
    queue = Queue("a:*", bus=bus)
    for number in range(3):
        bus.twitter("a:b", number)
    bus.twitter("c:d", 9)
    assert queue.qsize() == 3
    assert not queue.empty()
    assert not queue.full()
    assert queue.peek().args == (0,)
    assert queue.get().args == (0,)
    assert queue.get_nowait().args == (1,)
    assert queue.get(timeout=1).args == (2,)
    assert queue.empty()


def test_nothing_waits(bus):
    queue = Queue("a:*", bus=bus)
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(block=False)
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    with pytest.raises(Empty) as caught:
        queue.get(timeout=0)
    assert caught.value.__context__ is None, "an internal error"
    with pytest.raises(Empty):
        queue.peek()
    with pytest.raises(ValueError, match="timeout is a number of seconds from 0 on"):
        queue.get(timeout=-1)
    assert queue.drain() == []
    assert not queue._store.waiters


def test_get_waits_for_a_message(bus):
    queue = Queue("a:*", bus=bus)
    got = []
    thread = threading.Thread(target=lambda: got.extend([queue.get(timeout=1e9), queue.get()]))
    thread.start()
    wait_until(lambda: queue.stats().waiting, "a thread waits")
    bus.twitter("a:b", 1)
    bus.twitter("a:b", 2)
    thread.join(10)
    assert numbers(got) == [1, 2]


def test_standalone_queues_each_get_a_copy(bus):
    one, other = Queue("a:*", bus=bus), Queue("a:b", bus=bus)
    bus.twitter("a:b", 1)
    assert one.get() is other.get()


def test_on_the_default_bus():
    with Queue("queues:test") as queue:
        berrymq.twitter("queues:test", 1)
        assert queue.get().args == (1,)


def test_looking_at_what_waits(bus):
    queue = Queue("a:*", bus=bus)
    for number in range(3):
        bus.twitter("a:b", number)
    assert numbers(queue.waiting()) == [0, 1, 2]
    assert numbers(queue.waiting(2)) == [0, 1]
    assert queue.qsize() == 3


def test_looking_while_others_put_and_take(bus):
    queue = Queue("a:*", bus=bus)
    bus.twitter("a:b", 1)
    interrupted = []

    class Items(deque):
        def __iter__(self):
            if not interrupted:
                interrupted.append(1)
                raise RuntimeError("deque mutated during iteration")
            return super().__iter__()

    queue._items = queue._store.items = Items(queue._items)
    assert numbers(queue.waiting()) == [1]
    assert interrupted


def test_a_guard(bus):
    queue = Queue("a:*", guard=lambda message: message.args[0] > 1, bus=bus)
    for number in range(4):
        bus.twitter("a:b", number)
    assert numbers(queue.drain()) == [2, 3]


def test_a_queue_without_references_does_not_collect(bus, collect):
    queue = Queue("a:*", bus=bus)
    assert len(bus.subscriptions()) == 1
    del queue
    collect()
    assert bus.subscriptions() == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"overflow": "explode"},
            "overflow is one of 'drop_oldest', 'drop_newest', 'raise', 'block', not 'explode'",
        ),
        ({"maxsize": -1}, "maxsize is a number of messages, or 0 for no bound, not -1"),
        ({"shared": True, "guard": bool}, "a shared queue has a plain identifier"),
    ],
)
def test_wrong_options(bus, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Queue("a:b", bus=bus, **options)
    assert bus.subscriptions() == []


def test_wrong_identifiers(bus):
    with pytest.raises(IdentifierError):
        Queue("a:b:c", bus=bus)
    with pytest.raises(ValueError, match="a shared queue has a plain identifier"):
        Queue(cond("a:b") & "c:d", True, bus=bus)


class TestBounds:
    def test_the_oldest_is_dropped(self, bus):
        queue = Queue("a:*", maxsize=2, bus=bus)
        for number in range(5):
            bus.twitter("a:b", number)
        assert queue.full()
        assert queue.dropped == 3
        assert numbers([queue.get(), queue.get()]) == [3, 4]

    def test_the_newest_is_dropped(self, bus):
        queue = Queue("a:*", maxsize=2, overflow="drop_newest", bus=bus)
        for number in range(5):
            bus.twitter("a:b", number)
        assert queue.dropped == 3
        assert numbers(queue.drain()) == [0, 1]

    def test_overflow_is_raised_at_the_sender(self, bus):
        queue = Queue("a:*", maxsize=1, overflow="raise", bus=bus)
        got = []
        bus.follow("a:*", got.append)
        bus.twitter("a:b", 0)
        with pytest.raises(Full) as caught:
            bus.twitter("a:b", 1)
        assert "by Queue (" in caught.value.__notes__[0]
        assert len(got) == 2
        assert numbers(queue.drain()) == [0]

    def test_the_sender_waits(self, bus):
        queue = Queue("a:*", maxsize=2, overflow="block", bus=bus)
        sender = threading.Thread(target=lambda: [bus.twitter("a:b", number) for number in range(20)])
        sender.start()
        assert numbers([queue.get(timeout=10) for _ in range(10)]) == list(range(10))
        wait_until(queue.full, "the sender fills it")
        got = queue.drain()
        while len(got) < 10:
            got.append(queue.get(timeout=10))
        sender.join(10)
        assert numbers(got) == list(range(10, 20))
        assert queue.dropped == 0

    def test_a_waiting_sender_of_a_link_is_not_the_thread_of_the_link(self, bus):
        queue = Queue("a:*", maxsize=1, overflow="block", bus=bus)
        for number in range(3):
            bus.gateway.receive([Message.make("a:b", (number,))])
        assert numbers([queue.get(timeout=10) for _ in range(3)]) == [0, 1, 2]
        assert bus.drain(10)


class TestPriority:
    def test_the_most_urgent_comes_first(self, bus):
        queue = Queue("a:*", priority=lambda message: message.args[0], bus=bus)
        for number in (3, 1, 2, 1):
            bus.twitter("a:b", number, sent=queue.qsize())
        assert queue.peek().args == (1,)
        assert numbers(queue.waiting()) == [1, 1, 2, 3]
        assert [(message.args[0], message.sent) for message in queue.drain()] == [
            (1, 1),
            (1, 3),
            (2, 2),
            (3, 0),
        ]
        with pytest.raises(Empty):
            queue.get_nowait()
        with pytest.raises(Empty):
            queue.peek()

    def test_shared_and_bounded(self, bus):
        def urgency(message):
            return -message.args[0]

        one = Queue("a:*", True, maxsize=2, priority=urgency, bus=bus)
        other = Queue("a:*", True, maxsize=2, priority=urgency, bus=bus)
        for number in (5, 7, 6):
            bus.twitter("a:b", number)
        assert other.dropped == 1  # the oldest one
        assert numbers([one.get(), other.get()]) == [7, 6]

    def test_a_priority_that_raises_is_a_failing_follower(self, bus):
        queue = Queue("a:*", priority=lambda message: message.missing, bus=bus)
        with pytest.raises(AttributeError, match="missing"):
            bus.twitter("a:b")
        assert queue.empty()


class TestClosing:
    def test_a_closed_queue_collects_nothing_and_retains_its_messages(self, bus):
        queue = Queue("a:*", bus=bus)
        bus.twitter("a:b", 1)
        queue.close()
        queue.close()
        bus.twitter("a:b", 2)
        assert queue.closed
        assert bus.subscriptions() == []
        assert queue.get().args == (1,)
        for get in (queue.get, queue.get_nowait, lambda: queue.get(timeout=5)):
            with pytest.raises(QueueClosed, match=r"this queue of a:\* is closed and empty"):
                get()

    def test_closing_wakes_all_waiters(self, bus):
        queue = Queue("a:*", bus=bus)
        ended = []

        def wait():
            try:
                queue.get()
            except QueueClosed:
                ended.append(1)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: queue.stats().waiting == 3, "three wait")
        queue.close()
        for thread in threads:
            thread.join(10)
        assert len(ended) == 3

    def test_with(self, bus):
        with Queue("a:*", bus=bus) as queue:
            bus.twitter("a:b", 1)
        assert queue.closed
        assert queue.get().args == (1,)

    def test_iteration_ends_with_it(self, bus):
        queue = Queue("a:*", bus=bus)
        got = []
        thread = threading.Thread(target=lambda: got.extend(queue))
        thread.start()
        for number in range(5):
            bus.twitter("a:b", number)
        queue.close()
        thread.join(10)
        assert numbers(got) == [0, 1, 2, 3, 4]


class TestShared:
    def test_they_take_turns(self, bus):
        one, other = Queue("a:*", True, bus=bus), Queue("a:*", shared=True, bus=bus)
        alone = Queue("a:*", bus=bus)
        for number in range(3):
            bus.twitter("a:b", number)
        assert numbers([one.get(), other.get(), one.get()]) == [0, 1, 2]
        assert other.empty()
        assert alone.qsize() == 3
        assert len(bus.subscriptions()) == 2

    def test_other_identifiers_are_others(self, bus):
        one, other = Queue("a:*", True, bus=bus), Queue("a:b", True, bus=bus)
        bus.twitter("a:b", 1)
        assert one.get() is other.get()

    def test_a_shared_store_collects_until_its_last_queue_closes(self, bus, collect):
        one, other = Queue("a:*", True, bus=bus), Queue("a:*", True, bus=bus)
        one.close()
        bus.twitter("a:b", 1)
        with pytest.raises(QueueClosed, match="is closed"):
            one.get(timeout=1)
        assert other.get().args == (1,)
        del other
        collect()
        assert bus.subscriptions() == []
        assert bus._shared._known == {}
        again = Queue("a:*", True, bus=bus)
        bus.twitter("a:b", 2)
        assert again.get().args == (2,)

    def test_closing_one_wakes_its_waiters(self, bus):
        one, other = Queue("a:*", True, bus=bus), Queue("a:*", True, bus=bus)
        ended, got = [], []

        def wait():
            try:
                one.get()
            except QueueClosed:
                ended.append(1)

        threads = [threading.Thread(target=wait), threading.Thread(target=lambda: got.append(other.get()))]
        for thread in threads:
            thread.start()
        wait_until(lambda: one.stats().waiting == 2, "both wait")
        one.close()
        threads[0].join(10)
        bus.twitter("a:b", 1)
        threads[1].join(10)
        assert (ended, numbers(got)) == ([1], [1])

    def test_queues_that_share_have_the_same_bounds(self, bus):
        queue = Queue("a:*", True, maxsize=3, bus=bus)
        with pytest.raises(
            ValueError,
            match=r"the shared queue of a:\* has maxsize=3, overflow='drop_oldest' and priority=None: all",
        ):
            Queue("a:*", True, bus=bus)
        Queue("a:*", True, maxsize=3, bus=bus)
        queue.close()

    def test_one_that_closes_while_another_joins(self, bus, monkeypatch):
        one = Queue("a:*", True, bus=bus)
        attach = type(one._store).attach
        closing = [one]

        def attach_late(store, front):
            if closing:
                closing.pop().close()  # another thread was faster
            return attach(store, front)

        monkeypatch.setattr(type(one._store), "attach", attach_late)
        other = Queue("a:*", True, bus=bus)
        bus.twitter("a:b", 1)
        assert other.get().args == (1,)
        assert len(bus.subscriptions()) == 1

    def test_two_that_open_it_at_the_same_time(self, bus):
        made = []

        def hook(subscription):
            if not made:
                made.append(None)
                made.append(Queue("a:*", True, bus=bus))  # another thread, a moment earlier

        bus.hooks.append(hook)
        other = Queue("a:*", True, bus=bus)
        assert other._store is made[1]._store
        assert len(bus.subscriptions()) == 1
        bus.twitter("a:b", 1)
        assert other.get().args == (1,)
        assert made[1].empty()


def test_what_it_shows(bus):
    queue = Queue("a:*", shared=True, maxsize=1, bus=bus)
    for number in range(2):
        bus.twitter("a:b", number)
    assert repr(queue) == "<Queue a:*, shared, 1 waiting, 1 dropped>"
    assert queue.stats() == (1, 1, 2, 1, 0, False, 1)
    assert str(queue.identifier) == queue.follows == "a:*"
    (subscription,) = bus.subscriptions()
    assert subscription.is_queue
    assert subscription.name == "shared Queue"
    assert subscription.where.startswith(f"{__file__}:")
    queue.close()
    assert repr(queue) == "<Queue a:*, shared, 1 waiting, 1 dropped, closed>"


@pytest.mark.parametrize("maxsize", [0, 10])
def test_how_deep_it_has_been(bus, maxsize):
    queue = Queue("a:*", maxsize=maxsize, bus=bus)
    for number in range(5):
        bus.twitter("a:b", number)
    queue.drain()
    bus.twitter("a:b", 5)
    assert (queue.stats().size, queue.stats().deepest) == (1, 5)


def test_an_empty_queue_names_its_identifier(bus):
    queue = Queue("a:*", bus=bus)
    with pytest.raises(Empty, match=r"^no message for a:\* is waiting$"):
        queue.get_nowait()
    with pytest.raises(Empty, match=r"^no message for a:\* is waiting$"):
        queue.peek()
    with pytest.raises(Empty, match=r"^no message for a:\* within 0.01 s$"):
        queue.get(timeout=0.01)


class TestAsync:
    async def test_aget(self, bus):
        queue = Queue("a:*", maxsize=5, bus=bus)
        bus.twitter("a:b", 1)
        assert (await queue.aget()).args == (1,)
        waiting = asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        assert queue.stats().waiting == 1
        bus.twitter("a:b", 2)
        assert (await waiting).args == (2,)

    async def test_a_message_from_another_thread(self, bus):
        queue = Queue("a:*", bus=bus)
        thread = threading.Thread(target=bus.twitter, args=("a:b", 1))
        waiting = asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        thread.start()
        assert (await waiting).args == (1,)
        thread.join()

    async def test_one_that_gives_up_hands_the_message_on(self, bus):
        queue = Queue("a:*", bus=bus)
        first, second = asyncio.create_task(queue.aget()), asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        bus.twitter("a:b", 1)
        first.cancel()
        assert (await asyncio.wait_for(second, 10)).args == (1,)
        assert first.cancelled()
        assert queue.stats().waiting == 0

    async def test_closing(self, bus):
        queue = Queue("a:*", bus=bus)
        waiting = asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        queue.close()
        with pytest.raises(QueueClosed):
            await waiting

    async def test_iteration(self, bus):
        queue = Queue("a:*", bus=bus)
        got = []

        async def collect():
            got.extend([message async for message in queue])

        task = asyncio.create_task(collect())
        for number in range(3):
            await asyncio.sleep(0)
            bus.twitter("a:b", number)
        queue.close()
        await task
        assert numbers(got) == [0, 1, 2]

    def test_a_waiter_whose_loop_is_closed_does_not_lose_a_message(self, bus):
        queue = Queue("a:*", bus=bus)
        loop = asyncio.new_event_loop()
        task = loop.create_task(queue.aget())
        loop.run_until_complete(asyncio.sleep(0))
        got = []
        thread = threading.Thread(target=lambda: got.append(queue.get()))
        thread.start()
        wait_until(lambda: queue.stats().waiting == 2, "both wait")
        task._log_destroy_pending = False
        loop.close()
        bus.twitter("a:b", 1)
        thread.join(10)
        assert numbers(got) == [1]
        task.get_coro().close()


def test_every_message_is_taken_once_under_fire(bus):
    queues = [Queue("a:*", True, bus=bus) for _ in range(3)]
    got = [[] for _ in queues]
    count = 2000

    def take(queue, into):
        into.extend(queue)

    def send(base):
        for number in range(count):
            bus.twitter("a:b", base + number)

    takers = [threading.Thread(target=take, args=pair) for pair in zip(queues, got, strict=True)]
    senders = [threading.Thread(target=send, args=(base,)) for base in (0, count)]
    for thread in takers + senders:
        thread.start()
    for thread in senders:
        thread.join()
    wait_until(queues[0].empty, "everything is taken")
    for queue in queues:
        queue.close()
    for thread in takers:
        thread.join(10)
    assert sorted(number for some in got for number in numbers(some)) == list(range(2 * count))


class QueueMachine(RuleBasedStateMachine):
    """A queue against a plain deque."""

    @initialize(
        maxsize=st.integers(0, 3),
        overflow=st.sampled_from(["drop_oldest", "drop_newest", "raise"]),
        shared=st.booleans(),
    )
    def start(self, maxsize, overflow, shared):
        self.bus = Bus()
        self.queue = Queue("a:*", shared, maxsize=maxsize, overflow=overflow, bus=self.bus)
        self.model = deque()
        self.dropped = 0
        self.closed = False
        self.sent = 0

    @rule(meant=st.booleans())
    def send(self, meant):
        self.sent += 1
        queue = self.queue
        if not meant or self.closed:
            self.bus.twitter("a:b" if meant else "c:d", self.sent)
            return
        full = queue.maxsize and len(self.model) >= queue.maxsize
        if full and queue.overflow == "raise":
            with pytest.raises(Full):
                self.bus.twitter("a:b", self.sent)
        else:
            self.bus.twitter("a:b", self.sent)
        if full and queue.overflow == "drop_oldest":
            self.model.popleft()
        if not full or queue.overflow == "drop_oldest":
            self.model.append(self.sent)
        self.dropped += bool(full)

    @precondition(lambda self: self.model)
    @rule()
    def take(self):
        assert self.queue.peek().args == (self.model[0],)
        assert self.queue.get_nowait().args == (self.model.popleft(),)

    @precondition(lambda self: not self.model)
    @rule()
    def take_nothing(self):
        with pytest.raises(QueueClosed if self.closed else Empty):
            self.queue.get_nowait()

    @rule()
    def drain(self):
        assert numbers(self.queue.drain()) == list(self.model)
        self.model.clear()

    @rule()
    def close(self):
        self.queue.close()
        self.closed = True

    @invariant()
    def it_says_so(self):
        assert self.queue.qsize() == len(self.model)
        assert self.queue.empty() is (not self.model)
        assert self.queue.full() is (0 < self.queue.maxsize <= len(self.model))
        assert self.queue.dropped == self.dropped


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60)
