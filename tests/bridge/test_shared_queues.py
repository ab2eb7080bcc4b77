"""Shared queues of several processes on a hub, here as nodes of one process."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from berrymq import Empty, Identifier, Queue, register_type
from berrymq.bridge.errors import RpcError
from berrymq.bridge.protocol.limits import Limits
from berrymq.bridge.remote_queue import RemoteQueue
from berrymq.errors import QueueClosed
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

parse = Identifier.parse


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
    wait(mine.empty, "none is left")
    wait(theirs.empty, "none is left")


class Unreadable:
    """What no receiver can decode."""


@pytest.mark.usefixtures("registry")
def test_only_a_job_that_cannot_be_read_is_left_out_and_it_counts_as_taken(nodes, hub, caplog):
    register_type(Unreadable, lambda _: 1, lambda _: 1 / 0)
    sender, taker = node_on(nodes, hub, "sender"), node_on(nodes, hub, "taker")
    queue = Queue("job:*", shared=True, bus=taker.bus)
    nodes.settle()
    with hub.lock:  # so that they come in one batch
        for number in range(10):
            sender.bus.twitter("job:add", Unreadable() if number in (3, 4, 7) else number)
    assert [queue.get(timeout=5).args[0] for _ in range(7)] == [0, 1, 2, 5, 6, 8, 9]
    assert "can't be read and are left out" in caplog.text
    wait(lambda: group_of(hub).depth == 0, "none is left at the hub")


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
    wait(theirs.empty, "none is left")
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
    wait(theirs.empty, "none is left")


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
    wait(busy.empty, "none is left")


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


def remote_queue(nodes, hub, identifier="job:*", **options):
    options = {"ttl": 1000.0, "name": "client", "shared": True, **options}
    return RemoteQueue(nodes.place(hub), identifier, **options)


class TestClientsWithoutALink:
    def test_they_take_turns_with_nodes(self, nodes, hub):
        one = node_on(nodes, hub, "one")
        queue = Queue("job:*", shared=True, bus=one.bus)
        with remote_queue(nodes, hub) as client, remote_queue(nodes, hub) as other:
            for number in range(30):
                client.send_message("job:add", number)
            taken = [(queue, client, other)[turn % 3].get(timeout=5).args[0] for turn in range(30)]
            assert sorted(taken) == list(range(30))
            for empty in (client, other, queue):
                with pytest.raises(Empty):
                    empty.get_nowait()

    def test_one_that_waits_gets_what_comes(self, nodes, hub):
        one = node_on(nodes, hub, "one")
        got = []
        with remote_queue(nodes, hub) as client:
            thread = threading.Thread(target=lambda: got.append(client.get(timeout=10)))
            thread.start()
            wait(lambda: group_of(hub).state().consumers == 1, "it waits")
            nodes.settle()
            one.bus.twitter("job:add", 1)
            thread.join(10)
        assert got[0].args == (1,)
        assert group_of(hub).depth == 0

    def test_what_is_not_acknowledged_goes_back(self, nodes, hub):
        one = node_on(nodes, hub, "one")
        queue = Queue("job:*", shared=True, bus=one.bus)
        token = nodes.call(
            lambda: sessions(nodes, hub).open("client", None, 1000.0, parse("job:*"), shared=True)
        )
        session = sessions(nodes, hub).find(token)
        for number in range(3):
            one.bus.twitter("job:add", number)
        one.connector.flush(None)
        wait(lambda: group_of(hub).depth == 3, "they are there")
        assert bytes(nodes.call(session.get, 0.0, None)["args"]) == b"[0]"
        assert bytes(nodes.call(session.get, 0.0, 1)["args"]) == b"[1]"
        nodes.call(sessions(nodes, hub).close, token)
        assert [queue.get(timeout=5).args[0] for _ in range(2)] == [1, 2]

    def test_what_was_received_does_not(self, nodes, hub):
        one = node_on(nodes, hub, "one")
        queue = Queue("job:*", shared=True, bus=one.bus)
        one.bus.twitter("job:add", 1)
        with remote_queue(nodes, hub) as client:
            assert client.get(timeout=5).args == (1,)
        wait(queue.empty, "none is left")

    def test_a_node_that_is_no_hub_refuses(self, nodes):
        node = nodes.add()
        with pytest.raises(RpcError, match="only a hub has shared queues"):
            remote_queue(nodes, node)


def sessions(nodes, hub):
    return nodes.servers[hub].sessions


class TestCutsAndEnds:
    def test_a_job_that_was_handed_over_waits_for_the_link(self, nodes, hub):
        """And is given to another when that does not come back in time."""
        with FaultProxy(nodes.listening_address(hub)) as proxy:
            one = nodes.add("one", listening=False)
            nodes.link(one, hub, proxy)
            other = node_on(nodes, hub, "other")
            queue = Queue("job:*", shared=True, bus=one.bus)
            theirs = Queue("job:*", shared=True, bus=other.bus)
            member = one.shared._members["job:*"]
            for number in range(5):
                other.bus.twitter("job:add", number)
            other.connector.flush(None)
            member._ask(now=3)
            wait(lambda: member._holding == 3, "it has some ahead")
            proxy.refuse()
            proxy.cut()
            wait(lambda: not nodes.peer(hub, one).connected, "the hub sees the cut")
            wait(lambda: not nodes.peer(one, hub).connected, "the node sees the cut")
            with pytest.raises(Empty):
                queue.get_nowait()
            assert theirs.get(timeout=5).args == (3,)
            nodes.call(hub.expire, nodes.peer(hub, one))
            assert [theirs.get(timeout=5).args[0] for _ in range(4)] == [0, 1, 2, 4]
            proxy.refuse(False)
            other.bus.twitter("job:add", 5)
            assert queue.get(timeout=10).args == (5,)

    def test_closing_a_queue_gives_back(self, nodes, hub):
        one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
        queue = Queue("job:*", shared=True, bus=one.bus)
        theirs = Queue("job:*", shared=True, bus=other.bus)
        for number in range(5):
            one.bus.twitter("job:add", number)
        one.connector.flush(None)
        member = one.shared._members["job:*"]
        member._ask(now=3)
        assert member._holding == 3
        queue.close()
        wait(lambda: not group_of(hub).held, "they are given back")
        assert [theirs.get(timeout=5).args[0] for _ in range(5)] == list(range(5))
        one.bus.twitter("job:add", 5)
        assert theirs.get(timeout=5).args == (5,)

    def test_a_job_on_its_way_to_a_closed_queue_is_done_once_by_the_next_one(self, nodes, hub):
        """The hub hands it over to the former queue, and takes it back when it learns of the end of that."""
        sender = node_on(nodes, hub, "sender")
        with FaultProxy(nodes.listening_address(hub)) as proxy, ThreadPoolExecutor(2) as pool:
            one = nodes.add("one", listening=False)
            nodes.link(one, hub, proxy)
            former = Queue("job:*", shared=True, bus=one.bus)
            nodes.settle()
            waiting = pool.submit(former.get)
            wait(lambda: group_of(hub).state().consumers == 1, "the hub knows of its consumer")
            recorder = Recorder(one.bus, "test:*")
            nodes.settle()
            proxy.stall()
            sender.bus.twitter("test:run", 0)  # the proxy reads on once in each direction
            assert recorder.wait_for(1) == [0]
            wait(lambda: nodes.peer(hub, one).stream.idle, "it is acknowledged")
            sender.bus.twitter("job:add", 1)
            wait(lambda: group_of(hub).state().held == 1, "the job is on its way")
            former.close()
            with pytest.raises(QueueClosed):
                waiting.result(5)
            following = pool.submit(Queue, "job:*", shared=True, bus=one.bus)
            wait(lambda: one.shared._members, "the next one joins")
            proxy.stall(False)
            assert take_all(following.result(10)) == [1]
            assert group_of(hub).state().held == 0

    def test_a_group_without_members_goes_on_collecting(self, nodes, hub):
        one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
        Queue("job:*", shared=True, bus=one.bus).close()
        nodes.settle()
        other.bus.twitter("job:add", 1)
        queue = Queue("job:*", shared=True, bus=one.bus)
        assert queue.get(timeout=5).args == (1,)

    def test_a_group_ends_when_nobody_comes(self, nodes, hub, monkeypatch, caplog):
        monkeypatch.setattr("berrymq.bridge.jobs.groups.TTL_SECONDS", 0.05)
        one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
        queue = Queue("job:*", shared=True, bus=one.bus)
        nodes.settle()
        other.bus.twitter("job:add", 1)
        one.bus.twitter("job:add", 1)
        wait(lambda: group_of(hub).depth == 2, "they wait")
        queue.close()
        wait(lambda: "has expired without members: 2 jobs in it are lost" in caplog.text, "its end")
        assert not hub.groups.status()

    def test_a_member_with_other_settings_is_refused(self, nodes, hub):
        one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
        queue = Queue("job:*", shared=True, maxsize=3, bus=one.bus)
        with pytest.raises(ValueError, match="maxsize=3 and overflow='drop_oldest' in other processes"):
            Queue("job:*", shared=True, bus=other.bus)
        for number in range(5):
            other.bus.twitter("job:add", number)
        wait(lambda: group_of(hub).received == 5, "all are there")
        assert [queue.get(timeout=5).args[0] for _ in range(3)] == [2, 3, 4]
        wait(lambda: queue.dropped == 2, "the drops are counted")

    def test_one_with_other_settings_that_was_there_before_the_link_stays_in_its_process(
        self, nodes, hub, caplog
    ):
        one = node_on(nodes, hub, "one")
        keep = Queue("job:*", shared=True, maxsize=3, bus=one.bus)
        other = nodes.add("other", listening=False)
        queue = Queue("job:*", shared=True, bus=other.bus)
        for number in range(3):
            other.bus.twitter("job:add", number)
        nodes.link(other, hub)
        wait(lambda: "stays in its process" in caplog.text, "it is refused")
        wait(lambda: queue._store.membership is None, "it is alone")
        other.bus.twitter("job:add", 3)
        assert [message.args[0] for message in queue.drain()] == [0, 1, 2, 3]
        assert [message.args[0] for message in keep.drain()] in (
            [],
            [3],
        )  # the group has got none of the former
        keep.close()

    @pytest.mark.parametrize("overflow", ["raise", "block"])
    def test_what_would_make_senders_wait_or_raise_stays_in_its_process(self, nodes, hub, overflow, caplog):
        one = nodes.add("one", listening=False)
        queue = Queue("job:*", shared=True, maxsize=5, overflow=overflow, bus=one.bus)
        nodes.link(one, hub)
        assert f"its overflow is '{overflow}'" in caplog.text
        one.bus.twitter("job:add", 1)
        assert queue.get_nowait().args == (1,)
        assert not hub.groups.status()


def test_what_cannot_cross_stays_here(nodes, hub, caplog):
    one = nodes.add("one", listening=False)
    queue = Queue("job:*", shared=True, bus=one.bus)
    one.bus.twitter("job:add", object())
    one.bus.twitter("job:add", 1)
    nodes.link(one, hub)
    assert "stays in this process" in caplog.text
    taken = [queue.get(timeout=5).args[0] for _ in range(2)]
    assert 1 in taken


def test_a_question_is_a_job_too(nodes, hub):
    one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
    queue = Queue("job:*", shared=True, bus=one.bus)
    other.bus.follow("job:add", lambda message: message.args[0] + 1)
    wait(lambda: one.is_followed(parse("job:add")), "it is followed")
    nodes.settle()
    assert one.bus.ask("job:add", 1, timeout=5) == [2]
    assert queue.get(timeout=5).args == (1,)
    wait(queue.empty, "none is left")


def test_other_followers_get_what_they_follow(nodes, hub):
    one, other = [node_on(nodes, hub, name) for name in ("one", "other")]
    queue = Queue("job:*", shared=True, bus=one.bus)
    copies = [Queue("job:*", bus=node.bus) for node in (one, other)]
    nodes.settle()
    one.bus.twitter("job:add", 1)
    other.bus.twitter("job:add", 2)
    assert sorted(queue.get(timeout=5).args[0] for _ in range(2)) == [1, 2]
    for copy in copies:
        assert sorted(copy.get(timeout=5).args[0] for _ in range(2)) == [1, 2]
    assert all(copy.empty() for copy in (*copies, queue))


def test_priority_orders_what_was_handed_over(nodes, hub):
    one = node_on(nodes, hub, "one")
    queue = Queue("job:*", shared=True, priority=lambda message: message.args[0], bus=one.bus)
    for number in (3, 1, 2):
        one.bus.twitter("job:add", number)
    one.connector.flush(None)
    assert [message.args[0] for message in queue.drain()] == [1, 2, 3]


def test_unfollow_and_close_of_the_bus_end_a_shared_queue(nodes, hub):
    one = node_on(nodes, hub, "one")
    queue = Queue("job:*", shared=True, bus=one.bus)
    assert [known.follows for known in one.bus.subscriptions()] == ["job:*"]
    assert one.bus.unfollow("job:*") == 1
    with pytest.raises(QueueClosed):
        queue.get(timeout=5)
    other = Queue("task:*", shared=True, bus=one.bus)
    one.bus.close()
    with pytest.raises(QueueClosed):
        other.get(timeout=5)


def test_a_backlog_larger_than_the_buffer_of_a_link_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    with Nodes(limits=Limits(buffer_messages=200, window_messages=100, frame_bytes=1_000)) as nodes:
        hub = nodes.hub()
        one = nodes.add("one", listening=False)
        queue = Queue("job:*", shared=True, bus=one.bus)
        for number in range(2_000):
            one.bus.twitter("job:add", number)
        connector = nodes.link(one, hub)
        wait(lambda: group_of(hub).depth >= 300, "some are there")
        connector.close(5)
        left = [message.args[0] for message in queue.drain()]
        assert len(left) + group_of(hub).depth == 2_000
        nodes.link(one, hub)
        wait(lambda: group_of(hub).depth == 2_000 - len(left), "the others wait")
        assert sorted(left + [message.args[0] for message in queue.drain()]) == list(range(2_000))


def test_the_status_of_a_hub_lists_groups(nodes, hub):
    one = node_on(nodes, hub, "one")
    queue = Queue("job:*", shared=True, bus=one.bus)
    one.bus.twitter("job:add", 1)
    assert queue.qsize() == 1
    (group,) = nodes.call(hub.status)["groups"]
    assert (group["id"], group["room"], group["depth"], group["members"][0]["name"]) == (
        "job:*",
        None,
        1,
        "one",
    )
    wait(lambda: [member.name for member in queue.members()] == ["one"], "the members are told")
