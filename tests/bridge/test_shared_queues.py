"""Shared queues of several processes on a hub, here as nodes of one process."""

import threading
import time

import pytest

from berrymq import Empty, Queue
from tests.support.nodes import Nodes, wait


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def hub(nodes):
    return nodes.hub()


def node_on(nodes, hub, name):
    node = nodes.add(name, listening=False)
    node.connector = nodes.link(node, hub)
    return node


def group_of(hub, identifier="job:*"):
    return hub.groups._known[None, identifier].group


def take_all(queue, pause=0.3):
    taken = []
    while True:
        try:
            taken.append(queue.get(timeout=pause).args[0])
        except Empty:
            return taken


def test_each_job_goes_to_one_of_the_processes(nodes, hub):
    sender, one, other = [node_on(nodes, hub, name) for name in ("sender", "one", "other")]
    queues = [Queue("job:*", shared=True, bus=node.bus) for node in (one, other)]
    nodes.settle()
    for number in range(100):
        sender.bus.twitter("job:add", number)
    messages = [queues[turn % 2].get(timeout=5) for turn in range(100)]
    assert {message.source for message in messages} == {"sender"}
    taken = [message.args[0] for message in messages]
    assert taken[:20] == list(range(20))  # so long nothing is prefetched
    assert sorted(taken) == list(range(100))
    for queue in queues:
        with pytest.raises(Empty):
            queue.get_nowait()


def test_the_queues_own_process_sends_and_takes_too(nodes, hub):
    one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
    mine, theirs = [Queue("job:*", shared=True, bus=node.bus) for node in (one, other)]
    one.bus.twitter("job:add", 1)
    other.bus.twitter("job:add", 2)
    message = theirs.get(timeout=5)
    assert message.source == ("one" if message.args[0] == 1 else None)
    assert mine.get(timeout=5).args[0] == 3 - message.args[0]
    assert mine.empty()
    assert theirs.empty()


def test_a_queue_collects_from_its_construction_on(nodes, hub):
    one = node_on(nodes, hub, "one")
    for number in range(20):
        queue = Queue(f"job{number}:*", shared=True, bus=one.bus)
        one.bus.twitter(f"job{number}:add", number)
        assert queue.qsize() == 1
        assert queue.get_nowait().args == (number,)


def test_the_size_is_the_groups(nodes, hub):
    one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
    mine, theirs = [Queue("job:*", shared=True, bus=node.bus) for node in (one, other)]
    for number in range(10):
        one.bus.twitter("job:add", number)
    one.connector.flush(None)
    assert mine.qsize() == theirs.qsize() == 10
    assert not theirs.empty()
    assert theirs.peek().args == (0,)
    assert [message.args[0] for message in theirs.waiting(3)] == [0, 1, 2]
    assert theirs.get_nowait().args == (0,)
    assert mine.qsize() == 9
    assert [message.args[0] for message in mine.drain()] == list(range(1, 10))
    assert theirs.empty()
    wait(lambda: theirs.stats().size == 0 and theirs.stats().received == 10, "the counters are told")


def test_what_waits_here_goes_to_the_hub_with_the_link(nodes, hub):
    one = nodes.add("one", listening=False)
    queue = Queue("job:*", shared=True, bus=one.bus)
    for number in range(10):
        one.bus.twitter("job:add", number)
    connector = nodes.link(one, hub)
    other = node_on(nodes, hub, "other")
    theirs = Queue("job:*", shared=True, bus=other.bus)
    assert [theirs.get(timeout=5).args[0] for _ in range(5)] == list(range(5))
    assert [queue.get(timeout=5).args[0] for _ in range(2)] == [5, 6]
    connector.close(1)
    assert [theirs.get(timeout=5).args[0] for _ in range(3)] == [7, 8, 9]
    one.bus.twitter("job:add", 10)
    assert queue.get_nowait().args == (10,)
    assert theirs.empty()


def test_a_waiting_consumer_gets_what_comes(nodes, hub):
    sender, one, other = [node_on(nodes, hub, name) for name in ("sender", "one", "other")]
    busy = Queue("job:*", shared=True, bus=one.bus)
    queue = Queue("job:*", shared=True, bus=other.bus)
    got = []
    thread = threading.Thread(target=lambda: got.append(queue.get(timeout=10)))
    thread.start()
    wait(lambda: group_of(hub).state().consumers == 1, "the hub knows that it waits")
    sender.bus.twitter("job:add", 1)
    thread.join(10)
    assert got[0].args == (1,)
    assert busy.empty()


@pytest.mark.parametrize("turns", [4])
def test_linking_and_unlinking_in_the_middle_loses_and_doubles_nothing(nodes, hub, turns):
    one, other = nodes.add("one", listening=False), node_on(nodes, hub, "other")
    mine = Queue("job:*", shared=True, bus=one.bus)
    theirs = Queue("job:*", shared=True, bus=other.bus)
    over, sent, taken = threading.Event(), [[], [], []], []

    def send(thread):
        number = 0
        while not over.is_set():
            value = thread * 1_000_000 + number
            one.bus.twitter("job:add", value)
            sent[thread].append(value)
            number += 1
            if number % 50 == 0:
                time.sleep(0.002)

    def take(queue):
        while True:
            try:
                taken.append(queue.get(timeout=0.05).args[0])
            except Empty:
                if over.is_set() and not senders_live():
                    return

    senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]

    def senders_live():
        return any(thread.is_alive() for thread in senders)

    takers = [threading.Thread(target=take, args=(queue,)) for queue in (mine, theirs)]
    for thread in (*senders, *takers):
        thread.start()
    for _ in range(turns):
        connector = nodes.link(one, hub)
        time.sleep(0.2)
        connector.close(5)
        time.sleep(0.1)
    over.set()
    for thread in (*senders, *takers):
        thread.join(30)
    taken += take_all(mine) + take_all(theirs)
    everything = [value for values in sent for value in values]
    assert len(taken) == len(set(taken)), "doubled"
    assert set(taken) == set(everything), "lost"
