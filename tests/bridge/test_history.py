"""What the hub remembers, as its users see it: the seam between past and live, while messages pour in."""

import asyncio
import os
import pickle
import signal
import threading
from contextlib import ExitStack, contextmanager

import numpy as np
import pandas as pd
import pytest

import berrymq
from berrymq import Bus, LinkError, Opaque, Queue, cond
from berrymq.bridge.discovery.connection_file import read_hub
from berrymq.bridge.discovery.starting import start_hub
from berrymq.bridge.node.memories import MAX_RETAINED
from tests.support.nodes import wait
from tests.support.scripts import script

pytestmark = [pytest.mark.usefixtures("hub"), pytest.mark.timeout(120)]

LARGE = np.arange(100_000.0)

FLOOD = """
bus = berrymq.Bus()
name = sys.argv[1]
link = berrymq.link(bus=bus, name=name, overflow="block")
berrymq.keep("flood:*", last=int(sys.argv[2]), bus=bus)
threading.Thread(target=lambda: (input(), stop.set()), daemon=True).start()
stop, n = threading.Event(), 0
while not stop.is_set():
    for _ in range(500):
        bus.twitter("flood:" + name, n)
        n += 1
    if n == 5000:
        print("flooding", flush=True)
    time.sleep(0.004)
link.flush(20)
print(n, flush=True)
input()
"""


@pytest.fixture
def hub(runtime):
    found = start_hub(idle=30)
    yield found
    for link in berrymq.links():
        link.close(flush=0)
    from berrymq.bridge.runtime import runtime as here

    wait(here().end_if_idle, "end of the loop of links")


def join(name="listener", **options):
    bus = Bus(name)
    return bus, berrymq.link(bus=bus, name=name, **options)


class Flood:
    """Processes that publish numbers as fast as is taken."""

    def __init__(self, processes):
        self.processes = processes
        self.totals = {}

    def end(self):
        """Stop; return how many messages each has published, by name."""
        for process in self.processes.values():
            process.stdin.write("\n")
        self.totals = {name: int(process.stdout.readline()) for name, process in self.processes.items()}
        return self.totals


@contextmanager
def flood(*names, last=3000):
    """Have processes flood, and the hub keep so many messages of each."""
    with ExitStack() as stack:
        processes = {name: stack.enter_context(script(FLOOD, name, str(last))) for name in names}
        for process in processes.values():
            assert process.stdout.readline() == "flooding\n", process.stderr.read()
        yield Flood(processes)


def check(found, totals, *, at_least=0, past=True):
    """Check that each number came once and in order, up to the last one, and those that are past first.

    How many are past is not certain: one that arrives live while the past is on its way counts as live.
    """
    for name, total in totals.items():
        mine = [message for message in found if message.action == name]
        numbers = [message.args[0] for message in mine]
        assert numbers == list(range(numbers[0], total)), name
        flags = [message.past for message in mine]
        assert flags == sorted(flags, reverse=True)
        assert len(mine) >= at_least
        if not past:
            assert not any(flags)


def wait_for(found, totals):
    """Wait until the last message of each has come."""
    for name, total in totals.items():
        last = (name, total - 1)
        wait(lambda last=last: last in [(one.action, one.args[0]) for one in found[-5000:]], f"{last}")


def pause(seconds=0.3):
    """Let messages pour in."""
    threading.Event().wait(seconds)


class TestSeam:
    def test_a_follower_gets_the_past_and_then_what_is_live(self):
        with flood("a") as source:
            bus, _ = join()
            found = []
            bus.follow("flood:*", found.append, past=True)
            pause()
            totals = source.end()
            wait_for(found, totals)
        check(found, totals, at_least=2900)
        assert {one.source for one in found} == {"a"}

    def test_a_node_that_follows_already_gets_the_past_for_another_follower(self):
        with flood("a") as source:
            bus, _ = join()
            first = []
            bus.follow("*:a", first.append)
            wait(lambda: len(first) > 2000, "the first follower gets some")
            later = [[] for _ in range(5)]
            for one in later:
                bus.follow("flood:*", one.append, past=True)
                pause(0.1)
            totals = source.end()
            for one in (first, *later):
                wait_for(one, totals)
        check(first, totals, past=False)
        for one in later:
            check(one, totals)
            assert len(one) > 2400  # of which those are live that came after it followed

    def test_a_queue_begins_with_so_many(self):
        with flood("a") as source:
            bus, _ = join()
            queue = Queue("flood:a", past=700, bus=bus)
            pause()
            totals = source.end()
            wait(lambda: queue.qsize() and queue.waiting()[-1].args[0] == totals["a"] - 1, "the last number")
        found = queue.drain()
        check(found, totals)
        assert len(found) >= 700
        assert sum(one.past for one in found) <= 700

    def test_several_senders_and_views(self):
        with flood("a", "b") as source:
            bus, _ = join()
            found = []
            bus.follow("flood:*", found.append, past=True, direct=True)
            pause()
            totals = source.end()
            wait_for(found, totals)
        check(found, totals, at_least=2000)

    def test_an_async_follower(self):
        async def main():
            bus, _ = join()
            found = []

            async def follower(message):
                found.append(message)

            bus.follow("flood:*", follower, past=True)
            await asyncio.to_thread(pause)
            totals = await asyncio.to_thread(source.end)
            await asyncio.to_thread(wait_for, found, totals)
            check(found, totals, at_least=2900)

        with flood("a") as source:
            asyncio.run(main())

    @pytest.mark.parametrize("multiplicity", [0, 2])
    def test_slow_followers(self, multiplicity):
        with flood("a", last=500) as source:
            bus, _ = join()
            bus.set_multiplicity(multiplicity)
            found = []

            def follower(message):
                found.append(message)
                if message.past:
                    pause(0.0005)

            bus.follow("flood:*", follower, past=True)
            pause()
            totals = source.end()
            wait_for(found, totals)
        check(found, totals, at_least=450)
        bus.close()

    @pytest.mark.parametrize("direct", [True, False])
    @pytest.mark.parametrize("last", [100, 50_000])
    def test_messages_of_this_process_come_once_and_in_order(self, last, direct):
        bus, link = join("me", overflow="block")
        berrymq.keep("own:*", last=last, bus=bus)
        founds = []
        total = 40_000
        for n in range(total):
            bus.twitter("own:x", n)
            if n % 4_000 == 1_000:
                founds.append([])
                bus.follow("own:*", founds[-1].append, past=True, direct=direct)
        link.flush(20)
        for found in founds:
            wait(lambda found=found: found and found[-1].args == (total - 1,), "the last number")
            numbers = [message.args[0] for message in found]
            assert numbers == list(range(numbers[0], total))
        assert [len(found) >= min(last, 1_000) for found in founds] == [True] * len(founds)
        if last > total:
            assert [found[0].args[0] for found in founds] == [0] * len(founds)

    def test_threads_of_this_process_lose_and_double_nothing(self):
        bus, link = join("me", overflow="block")
        berrymq.keep("own:*", last=50_000, bus=bus)
        found = []

        def publish(name):
            for n in range(10_000):
                bus.twitter(f"own:{name}", n)

        threads = [threading.Thread(target=publish, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        pause(0.05)
        bus.follow("own:*", found.append, past=True)
        for thread in threads:
            thread.join()
        link.flush(20)
        assert link.stats().dropped == 0
        wait(lambda: len(found) >= 30_000, "all messages")
        bus.drain(10)
        for name in "abc":
            assert [one.args[0] for one in found if one.action == name] == list(range(10_000))

    def test_a_long_past_comes_whole(self):
        """Larger than the window of a link, and than a frame."""
        bus, link = join("me", overflow="block")
        berrymq.keep("own:*", last=100_000, bus=bus)
        for n in range(5_000):
            bus.twitter("own:x", n, "-" * 10_000)
        link.flush(20)
        other, _ = join("late")
        found = []
        other.follow("own:x", lambda message: found.append(message.args[0]), past=True)
        for n in range(5_000, 6_000):
            bus.twitter("own:x", n)
        wait(lambda: found and found[-1] == 5_999, "the last number")
        assert found == list(range(6_000))

    def test_many_followers_at_once_all_get_the_past(self, hub):
        """More than a hub answers at a time on one link, and their answers are larger than its window."""
        sender, link = join("sender")
        berrymq.keep("a:*", bus=sender)
        for number in range(12):
            sender.twitter("a:b", number, "x" * 100_000)
        assert link.flush(10)
        bus, _ = join()
        found = [[] for _ in range(100)]
        for one in found:
            bus.follow("a:*", one.append, past=True)
        wait(lambda: all(len(one) == 12 for one in found), "the past of all")
        sender.twitter("a:b", 12, "live")
        wait(lambda: all(len(one) == 13 for one in found), "what is live")
        assert all([message.args[0] for message in one] == list(range(13)) for one in found)

    def test_the_hub_is_killed_in_the_middle(self):
        with flood("a", last=50_000) as source:
            bus, _ = join()
            pause()
            found = []
            bus.follow("flood:*", found.append, past=True)
            os.kill(read_hub().pid, signal.SIGKILL)
            pause(2)
            totals = source.end()
            wait_for(found, totals)
        numbers = [one.args[0] for one in found]
        assert numbers == sorted(set(numbers))


class TestArrays:
    def test_an_array_that_was_published_before_arrives_equal(self):
        bus, link = join("me")
        other, _ = join("late")
        berrymq.keep("test:*", bus=bus)
        bus.twitter("test:run", 0, "small")
        bus.twitter("test:run", 1, LARGE, table=pd.DataFrame({"a": LARGE}))
        bus.twitter("test:run", 2, "small")
        link.flush(10)
        found = []
        other.follow("test:*", found.append, past=True)
        bus.twitter("test:run", 3, LARGE + 3)
        wait(lambda: len(found) == 4, "all messages")
        assert [one.args[0] for one in found] == [0, 1, 2, 3]
        assert [one.past for one in found] == [True, True, True, False]
        assert np.array_equal(found[1].args[1], LARGE)
        assert found[1].kwargs["table"]["a"].sum() == LARGE.sum()
        found[1].args[1][0] = 5
        assert np.array_equal(found[3].args[1], LARGE + 3)
        assert np.array_equal(berrymq.latest("test:run", bus=other).args[1], LARGE + 3)

    def test_it_outlives_its_sender(self):
        bus, link = join("me")
        berrymq.keep("test:*", bus=bus)
        bus.twitter("test:run", LARGE)
        link.flush(10)
        link.close()
        other, _ = join("late")
        assert np.array_equal(berrymq.latest("test:*", bus=other).args[0], LARGE)
        assert np.array_equal(Queue("test:*", past=1, bus=other).get(timeout=10).args[0], LARGE)

    def test_a_client_without_a_link_gets_it_as_text(self, hub):
        bus, link = join("me")
        berrymq.keep("test:*", bus=bus)
        bus.twitter("test:run", LARGE)
        link.flush(10)
        with berrymq.connect_via_queue(hub.endpoint.url, "test:*", past=1) as queue:
            assert np.array_equal(queue.get(timeout=10).args[0], LARGE)

    def test_retained_ones_leave_the_sender_memory_to_share(self, caplog):
        bus, link = join("me")
        berrymq.keep("test:*", bus=bus)
        for number in range(300):
            bus.twitter("test:run", number, LARGE[:10_000] + number)
            if number % 50 == 0:
                link.flush(10)
        link.flush(10)
        other, _ = join("late")
        found = []
        other.follow("test:*", found.append, past=True)
        wait(lambda: len(found) == 300, "all messages")
        assert [one.args[0] for one in found] == list(range(300))
        kinds = [type(one.args[1]) for one in found]
        assert kinds == [Opaque] * (300 - MAX_RETAINED) + [np.ndarray] * MAX_RETAINED
        assert all(one.args[1][0] == one.args[0] for one in found[-MAX_RETAINED:])
        assert "still hold" not in caplog.text


class TestWithoutHub:
    def test_a_bus_without_a_link_has_no_past(self):
        bus = Bus()
        found = []
        bus.follow("a:*", found.append, past=True)
        queue = Queue("a:*", past=5, bus=bus)
        bus.twitter("a:b", 1)
        assert [one.args for one in found] == [(1,)]
        assert queue.get_nowait().args == (1,)

    @pytest.mark.parametrize("call", [berrymq.keep, lambda bus: berrymq.latest("a:b", bus=bus)])
    def test_what_needs_a_hub_says_what_to_do(self, call):
        with pytest.raises(LinkError, match=r"call link\(\) first"):
            call(bus=Bus())

    def test_a_stopped_hub_holds_up_nothing_for_long(self, hub, monkeypatch, caplog):
        monkeypatch.setattr("berrymq.bridge.node.history.ANSWER_SECONDS", 0.3)
        bus, _ = join()
        os.kill(hub.info.pid, signal.SIGSTOP)
        try:
            found = []
            bus.follow("a:*", found.append, past=True)
            bus.twitter("a:b", 1)
            wait(lambda: found, "the message of this process")
        finally:
            os.kill(hub.info.pid, signal.SIGCONT)
        assert "begins without what is retained" in caplog.text
        assert not found[0].past

    def test_a_link_that_ends_lets_go_of_what_is_held(self, hub):
        bus, link = join()
        os.kill(hub.info.pid, signal.SIGSTOP)
        try:
            found = []
            bus.follow("a:*", found.append, past=True)
            bus.twitter("a:b", 1)
            assert not found
            link.close(flush=0)
            wait(lambda: found, "the message of this process")
            bus.twitter("a:b", 2)
            assert [one.args[0] for one in found] == [1, 2]
        finally:
            os.kill(hub.info.pid, signal.SIGCONT)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child_waits_for_no_past(self, hub):
        bus, _ = join()
        os.kill(hub.info.pid, signal.SIGSTOP)
        try:
            found = []
            bus.follow("a:*", found.append, past=True)
            pid = os.fork()
            if not pid:  # what goes wrong here must not go on as a test
                try:
                    bus.twitter("a:b", 1)
                    bus.drain(5)
                    os._exit(len(found))
                finally:
                    os._exit(99)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        finally:
            os.kill(hub.info.pid, signal.SIGCONT)

    def test_another_hub_is_told_what_to_keep(self, caplog):
        bus, link = join("me")
        berrymq.keep("a:*", last=7, bus=bus)
        former = read_hub()
        os.kill(former.pid, signal.SIGKILL)
        wait(lambda: link.state == "linked" and read_hub() not in (None, former), "another hub")
        wait(lambda: [one.last for one in berrymq.keep(bus=bus).keeps] == [7], "it keeps")
        assert "what was retained of a:* is lost" in caplog.text
        berrymq.keep("a:*", last=0, bus=bus)
        assert berrymq.keep(bus=bus).keeps == []


class TestKeep:
    def test_what_is_published_next_is_retained_also_beyond_the_end_of_who_said_so(self):
        bus, link = join("trainer")
        berrymq.keep("train:*", bus=bus)
        for n in range(3):
            bus.twitter("train:epoch", n, loss=0.5)
        link.close()
        other, _ = join("late")
        (one,) = berrymq.keep(bus=other).keeps
        assert (one.identifier, one.last, one.by) == ("train:*", 1000, "trainer")
        (retained,) = berrymq.keep(bus=other).identifiers
        assert (retained.id, retained.count, retained.dropped) == ("train:epoch", 3, 0)
        assert "train:*" in str(berrymq.keep(bus=other))
        message = berrymq.latest("train:*", bus=other)
        assert (message.id, message.args, message.loss, message.source) == (
            "train:epoch",
            (2,),
            0.5,
            "trainer",
        )
        assert message.past
        assert asyncio.run(berrymq.alatest("train:epoch", bus=other)).args == (2,)
        assert berrymq.latest("other:*", bus=other) is None

    def test_the_larger_number_counts_and_the_end_releases(self):
        bus, _ = join()
        berrymq.keep("a:*", last=5, bus=bus)
        berrymq.keep("a:*", last=2, bus=bus)
        assert [one.last for one in berrymq.keep(bus=bus).keeps] == [5]
        bus.twitter("a:b")
        wait(lambda: berrymq.latest("a:b", bus=bus), "it is retained")
        berrymq.keep("a:*", last=0, bus=bus)
        assert berrymq.latest("a:b", bus=bus) is None
        with pytest.raises(LinkError, match="is not kept here"):
            berrymq.keep("a:*", last=0, bus=bus)
        with pytest.raises(ValueError, match="a number of messages"):
            berrymq.keep("a:*", last=-1, bus=bus)

    def test_a_room_has_a_history_of_its_own(self):
        bus, _ = join("one", room="lab")
        other, _ = join("two")
        berrymq.keep("a:*", bus=bus)
        bus.twitter("a:b")
        wait(lambda: berrymq.latest("a:b", bus=bus), "it is retained")
        assert berrymq.latest("a:b", bus=other) is None
        assert berrymq.keep(bus=other).keeps == []

    def test_a_published_wildcard_is_found_by_what_it_matches(self):
        bus, _ = join()
        berrymq.keep("job:*", bus=bus)
        bus.twitter("*:stop", 1)
        wait(lambda: berrymq.latest("job:stop", bus=bus), "it is retained")
        assert berrymq.latest("job:start", bus=bus) is None
        found = []
        bus.follow("job:stop", found.append, past=True)
        wait(lambda: found, "the past")
        assert found[0].id == "*:stop"

    def test_what_is_past_stays_so_in_copies(self):
        bus, _ = join()
        berrymq.keep("a:*", bus=bus)
        bus.twitter("a:b", 1)
        wait(lambda: berrymq.latest("a:b", bus=bus), "it is retained")
        message = berrymq.latest("a:b", bus=bus)
        copied = pickle.loads(pickle.dumps(message))
        assert copied.past
        assert copied.args == (1,)
        assert not pickle.loads(pickle.dumps(berrymq.Message("a:b"))).past

    def test_values_of_other_types_are_themselves(self):
        bus, _ = join()
        berrymq.keep("a:*", bus=bus)
        bus.twitter("a:b", (1, {2}), when=1j)
        wait(lambda: berrymq.latest("a:b", bus=bus), "it is retained")
        found = []
        bus.follow("a:b", found.append, past=True)
        wait(lambda: found, "the past")
        for message in (found[0], berrymq.latest("a:b", bus=bus)):
            assert message.args == ((1, {2}),)
            assert message.when == 1j

    @pytest.mark.parametrize("past", [-1, -5])
    def test_a_past_is_a_number_of_messages(self, past):
        with pytest.raises(ValueError, match="past is a number"):
            Bus().follow("a:*", print, past=past)

    def test_a_joint_condition_and_a_shared_queue_have_no_past(self):
        with pytest.raises(ValueError, match="joint condition"):
            Bus().follow(cond("a:b") & cond("c:d"), print, past=True)
        with pytest.raises(ValueError, match="shared queue"):
            Queue("a:b", shared=True, past=1, bus=Bus())

    def test_a_muted_or_cancelled_follower_gets_none(self):
        bus, _ = join()
        berrymq.keep("a:*", bus=bus)
        bus.twitter("a:b", 1)
        found = []
        mutes = []
        bus.hooks.append(lambda follower: mutes.append(bus.mute(follower)))  # before the past can arrive
        follower = bus.follow("a:*", found.append, past=True)
        wait(lambda: follower._replay is None, "the end of the past")
        bus.hooks.clear()
        mutes[0].cancel()
        cancelled = bus.follow("a:*", found.append, past=True)
        cancelled.cancel()
        bus.twitter("a:b", 2)
        wait(lambda: found, "the live message")
        assert [one.args[0] for one in found] == [2]

    def test_a_queue_of_a_client_without_a_link_has_a_past(self, hub):
        bus, _ = join()
        berrymq.keep("a:*", bus=bus)
        for n in range(10):
            bus.twitter("a:b", n)
        wait(lambda: (one := berrymq.latest("a:b", bus=bus)) and one.args == (9,), "all are retained")
        queue = berrymq.connect_via_queue(hub.endpoint.url, "a:b", past=4)
        wait(lambda: bus.gateway.attachments() and berrymq.links()[0].is_followed("a:b"), "it is followed")
        bus.twitter("a:b", 10)
        assert [queue.get(timeout=10).args[0] for _ in range(5)] == [6, 7, 8, 9, 10]
        queue.close()
