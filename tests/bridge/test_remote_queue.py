"""Queues at other nodes: style 03, over networks that fail."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from berrymq import Empty, QueueClosed
from berrymq.bridge import remote_queue as remote_queue_module
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.errors import LinkError, PayloadError
from berrymq.bridge.remote_queue import RemoteQueue
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes
from tests.support.recorder import Recorder
from tests.support.scripts import run_script
from tests.support.waiting import wait_until


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def node(nodes):
    """A node that listens."""
    return nodes.add("there")


@pytest.fixture
def bus(node):
    return node.bus


@pytest.fixture
def proxy(nodes, node):
    """A bad network before it."""
    with FaultProxy(nodes.listening_address(node)) as proxy:
        yield proxy


def queue_at(nodes, node, proxy=None, identifier="task:*", **options):
    return RemoteQueue(nodes.place(node, proxy), identifier, **{"ttl": 100, "name": "here", **options})


@pytest.fixture
def queue(nodes, node):
    with queue_at(nodes, node) as queue:
        nodes.settle()
        yield queue


@pytest.fixture
def sessions(nodes, node):
    """What the node keeps for its clients."""
    return nodes.servers[node].sessions


class TestTaking:
    def test_messages_come_in_order_as_they_were_said(self, bus, queue):
        for number in range(20):
            bus.twitter("task:run", number, (number,), x={1: 2})
        got = [queue.get(timeout=10) for _ in range(20)]
        assert [message.args for message in got] == [(number, (number,)) for number in range(20)]
        assert got[0].x == {1: 2}
        assert got[0].id == "task:run"

    def test_only_what_it_follows_comes(self, bus, queue):
        bus.twitter("other:run", 1)
        bus.twitter("task:run", 2)
        assert queue.get(timeout=10).args == (2,)

    def test_nothing_is_empty(self, queue):
        with pytest.raises(Empty):
            queue.get_nowait()
        with pytest.raises(Empty):
            queue.get(timeout=0)
        begin = time.monotonic()
        with pytest.raises(Empty):
            queue.get(timeout=0.2)
        assert 0.2 <= time.monotonic() - begin < 5

    def test_it_waits_for_what_comes(self, bus, queue):
        threading.Timer(0.1, bus.twitter, ("task:run", 1)).start()
        assert queue.get(timeout=10).args == (1,)

    def test_the_limit_of_time_holds_behind_another_thread_that_waits(self, bus, queue):
        got = []
        other = threading.Thread(target=lambda: got.append(queue.get(timeout=30)))
        other.start()
        wait_until(lambda: queue._is_waiting, "the other one waits", interval=0.005)
        begin = time.monotonic()
        with pytest.raises(Empty):
            queue.get(timeout=0.1)
        with pytest.raises(Empty):
            queue.get_nowait()
        assert time.monotonic() - begin < 5
        bus.twitter("task:run", 1)
        other.join(10)
        assert got[0].args == (1,)
        bus.twitter("task:run", 2)
        assert queue.get(timeout=10).args == (2,)

    def test_threads_that_do_not_wait_leave_nothing(self, bus, queue):
        for number in range(40):
            bus.twitter("task:run", number)
        with ThreadPoolExecutor(4) as threads:
            taken = [threads.submit(queue.get_nowait) for _ in range(40)]
        assert sorted(future.result().args[0] for future in taken) == list(range(40))

    @pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no such signals")
    def test_an_interrupted_wait_takes_nothing(self, nodes, bus, queue, sessions):
        main = threading.main_thread().ident

        def interrupt():
            wait_until(lambda: sessions.all()[0].is_waiting, "the call waits", interval=0.005)
            signal.pthread_kill(main, signal.SIGINT)

        for _ in range(3):
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                queue.get()
            thread.join(10)
            wait_until(lambda: not sessions.all()[0].is_waiting, "it is given up", interval=0.005)
        bus.twitter("task:run", 1)
        assert queue.get(timeout=10).args == (1,)

    def test_a_limit_of_days_is_asked_for_in_parts(self, bus, queue):
        threading.Timer(0.1, bus.twitter, ("task:run", 1)).start()
        assert queue.get(timeout=10_000_000).args == (1,)

    def test_a_long_wait_is_several_short_ones(self, bus, queue, monkeypatch):
        monkeypatch.setattr(remote_queue_module, "WAIT_SECONDS", 0.05)
        threading.Timer(0.3, bus.twitter, ("task:run", 1)).start()
        assert queue.get(timeout=10).args == (1,)

    def test_iteration_ends_when_it_is_closed(self, bus, queue):
        bus.twitter("task:run", 1)
        got = []
        for message in queue:
            got.append(message.args[0])
            queue.close()
        assert got == [1]
        with pytest.raises(QueueClosed):
            queue.get()

    def test_two_queues_each_get_all(self, nodes, bus, node, queue):
        with queue_at(nodes, node) as other:
            bus.twitter("task:run", 1)
            assert (queue.get(timeout=10).args, other.get(timeout=10).args) == ((1,), (1,))

    def test_what_the_node_drops_is_counted(self, nodes, bus, node, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.mailbox.MAX_MESSAGES", 5)
        with queue_at(nodes, node) as queue:
            for number in range(8):
                bus.twitter("task:run", number)
            nodes.settle()
            assert [queue.get(timeout=10).args[0] for _ in range(5)] == [3, 4, 5, 6, 7]
            assert queue.dropped == 3

    def test_large_ones_make_room_too(self, nodes, bus, node, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.mailbox.MAX_BYTES", 6000)
        with queue_at(nodes, node) as queue:
            for number in range(8):
                bus.twitter("task:run", number, "x" * 1000)
                nodes.settle()
            assert [queue.get(timeout=10).args[0] for _ in range(4)] == [4, 5, 6, 7]
            assert queue.dropped == 4
            bus.twitter("task:run", "x" * 7000)  # one always may wait
            assert len(queue.get(timeout=10).args[0]) == 7000

    def test_a_value_that_cannot_cross_arrives_opaque(self, bus, queue):
        bus.twitter("task:run", object(), 3)
        opaque, three = queue.get(timeout=10).args
        assert (opaque.type, three) == ("object", 3)

    def test_an_array_arrives_from_the_memory_that_it_was_shared_in(self, bus, queue):
        bus.twitter("task:run", np.arange(50_000), b"abc")
        numbers, text = queue.get(timeout=10).args
        assert np.array_equal(numbers, np.arange(50_000))
        assert text == b"abc"

    def test_it_gets_what_an_argument_was_when_it_was_said(self, bus, queue):
        growing = [1]
        bus.twitter("task:run", growing)
        growing.append(2)
        assert queue.get(timeout=10).args == ([1],)


class TestSending:
    def test_it_arrives_there_and_tells_from_whom(self, bus, queue):
        recorder = Recorder(bus)
        queue.send_message("test:run", 1, {"a"}, x=2)
        recorder.wait_for(1)
        message = recorder.messages[0]
        assert (message.args, message.x, message.source) == ((1, {"a"}), 2, "here")

    def test_what_cannot_cross_is_not_sent(self, queue):
        with pytest.raises(PayloadError):
            queue.send_message("test:run", object())

    def test_one_who_waits_does_not_keep_others_from_sending(self, bus, queue):
        received = []
        thread = threading.Thread(target=lambda: received.append(queue.get(timeout=20)))
        thread.start()
        wait_until(lambda: queue._is_waiting, "the other one waits", interval=0.005)
        queue.send_message("task:run", 1)
        thread.join(10)
        assert received[0].args == (1,)


class TestFaults:
    def test_cuts_lose_and_double_nothing(self, nodes, bus, node, proxy, monkeypatch):
        monkeypatch.setattr(remote_queue_module, "RETRY_SECONDS", 0.01)
        with queue_at(nodes, node, proxy) as queue:
            for number in range(300):
                bus.twitter("task:run", number)
            got = []
            while len(got) < 300:
                if len(got) % 7 == 0:
                    proxy.cut()
                got.append(queue.get(timeout=20).args[0])
            assert got == list(range(300))
            assert proxy.connections > 5

    def test_a_network_that_swallows_is_noticed(self, nodes, bus, node, proxy, monkeypatch):
        monkeypatch.setattr(remote_queue_module, "CALL_SECONDS", 0.3)
        with queue_at(nodes, node, proxy) as queue:
            proxy.swallow()
            begin = time.monotonic()
            with pytest.raises((Empty, LinkError)):
                queue.get(timeout=0.5)
            assert time.monotonic() - begin < 5
            bus.twitter("task:run", 1)
            proxy.swallow(False)
            assert queue.get(timeout=20).args == (1,)

    def test_a_wait_without_end_outlasts_a_network_that_swallows(self, nodes, bus, node, proxy, monkeypatch):
        monkeypatch.setattr(remote_queue_module, "CALL_SECONDS", 0.3)
        monkeypatch.setattr(remote_queue_module, "WAIT_SECONDS", 0.2)
        with queue_at(nodes, node, proxy) as queue:
            proxy.swallow()
            threading.Timer(0.3, bus.twitter, ("task:run", 1)).start()
            threading.Timer(1.0, proxy.swallow, (False,)).start()
            assert queue.get(timeout=None).args == (1,)

    def test_a_node_that_is_gone_is_an_error_in_time(self, nodes, node, proxy):
        with queue_at(nodes, node, proxy) as queue:
            proxy.refuse()
            with pytest.raises(LinkError, match=r"closed the connection|reset by peer"):
                queue.get(timeout=0.3)
            with pytest.raises(LinkError, match="may not have arrived"):
                queue.send_message("test:run", 1)

    def test_a_queue_that_has_expired_is_made_anew_and_that_is_said(self, nodes, bus, node, sessions, caplog):
        with queue_at(nodes, node, ttl=0.1) as queue:
            bus.twitter("task:run", "gone")
            wait_until(lambda: len(sessions) == 0, "its end", interval=0.01)
            with pytest.raises(Empty):
                queue.get(timeout=0.05)
            assert "is gone, with what waited in it" in caplog.text
            bus.twitter("task:run", "new")
            assert queue.get(timeout=10).args == ("new",)

    def test_a_node_that_does_not_answer_is_an_error(self, unused_tcp_port):
        place = Found(Endpoint.parse(f"http://127.0.0.1:{unused_tcp_port}/"), "x" * 20, "the test")
        with pytest.raises(OSError, match=r"."):
            RemoteQueue(place, "task:*", ttl=100, name="here")

    def test_closing_lets_one_go_who_waits(self, queue):
        ended = []

        def take():
            try:
                queue.get()
            except QueueClosed as error:
                ended.append(error)

        thread = threading.Thread(target=take)
        thread.start()
        wait_until(lambda: queue._is_waiting, "it waits", interval=0.005)
        queue.close()
        thread.join(5)
        assert ended

    def test_closing_does_not_wait_for_a_node_that_hangs(self, nodes, node, proxy, monkeypatch):
        monkeypatch.setattr(remote_queue_module, "CALL_SECONDS", 0.3)
        queue = queue_at(nodes, node, proxy)
        proxy.swallow()
        began = time.monotonic()
        queue.close()
        assert time.monotonic() - began < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_leaves_its_parents_queue_alone(nodes, node):
    done = run_script(
        """
        import warnings
        from berrymq.bridge.discovery.endpoint import Endpoint
        from berrymq.bridge.discovery.finding import Found
        from berrymq.bridge.remote_queue import RemoteQueue

        warnings.simplefilter("ignore")
        place = Found(Endpoint.parse(os.environ["URL"]), os.environ["TOKEN"], "the test")
        queue = RemoteQueue(place, "task:*", ttl=100, name="script")
        pid = os.fork()
        if not pid:
            assert queue.closed
            for attempt in (queue.get_nowait, lambda: queue.send_message("task:run", "from the child")):
                try:
                    attempt()
                except berrymq.QueueClosed:
                    pass
                else:
                    os._exit(1)
            queue.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        queue.send_message("task:run", "still there")
        print(*queue.get(timeout=10).args)
        queue.close()
        """,
        URL=nodes.servers[node].url,
        TOKEN=nodes.servers[node].access_token,
    )
    assert (done.stdout, done.stderr) == ("still there\n", "")
