"""Links that are kept up: over cuts, to another node in the place of the former one, and to their end."""

import json
import re
import threading
import time
from dataclasses import replace

import pytest

from berrymq import Bus
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.errors import LinkError
from berrymq.bridge.node.connector import Connector
from berrymq.bridge.protocol import frames
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import Limits
from berrymq.bridge.protocol.reliable_stream import Stream
from berrymq.bridge.server import server as server_module
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def pair(nodes):
    """Two nodes that listen."""
    return nodes.add("a"), nodes.add("b")


def test_a_second_link_to_the_same_node_uses_the_one_that_is_there(nodes, pair):
    a, b = pair
    recorder = Recorder(b.bus)
    first, second = nodes.connector(a, b), nodes.connector(a, b)
    first.open(10)
    second.open(10)
    assert second.peer is first.peer
    nodes.settle()
    a.bus.twitter("test:run", 1)
    assert recorder.wait_for(1) == [1]
    nodes.settle()
    assert recorder.values == [1]


@pytest.mark.parametrize("turn", range(5))
def test_two_nodes_that_dial_each_other_deliver_once(nodes, pair, turn):
    a, b = pair
    recorders = Recorder(a.bus), Recorder(b.bus)
    links = nodes.connector(a, b), nodes.connector(b, a)
    threads = [threading.Thread(target=link.open, args=(10,)) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    nodes.settle()
    for number in range(20):
        a.bus.twitter("test:a", number)
        b.bus.twitter("test:b", number)
    for recorder in recorders:
        recorder.wait_for(40)
    nodes.settle()
    assert recorders[0].of("b") == recorders[0].of(None) == list(range(20))
    assert recorders[1].of("a") == recorders[1].of(None) == list(range(20))


@pytest.mark.parametrize("cuts", [1, 5])
@pytest.mark.parametrize("side", ["a", "b"])
def test_a_link_comes_back_after_a_cut_and_nothing_is_lost(nodes, pair, cuts, side):
    a, b = pair
    recorder = Recorder(b.bus)
    link = nodes.link(a, b)
    nodes.settle()
    for number in range(cuts):
        a.bus.twitter("test:run", 2 * number)
        cut = (nodes.peer(a, b) if side == "a" else nodes.peer(b, a)).channel
        cut.abort()
        a.bus.twitter("test:run", 2 * number + 1)
        wait(lambda number=number: link.stats.cuts == number + 1 and link.connected, "the link is back")
        wait(lambda cut=cut: nodes.peer(b, a).channel not in (None, cut), "it is there as well")
    assert recorder.wait_for(2 * cuts) == list(range(2 * cuts))
    assert link.stats.dropped == link.stats.lost == 0


def test_what_was_not_acknowledged_goes_to_the_node_that_takes_the_place(nodes, pair):
    a, b = pair
    places = [nodes.place(b)]
    link = Connector(a, lambda: list(places), ttl=10)
    nodes.connectors.append(link)
    follower = b.bus.follow("test:*", lambda message: None)
    link.open(10)
    nodes.settle()
    place = places.pop()
    nodes.call(nodes.servers[b].stop)
    nodes.call(b.close)
    follower.cancel()
    assert place is not None
    wait(lambda: not link.connected, "the cut is seen")
    a.bus.twitter("test:run", 1)  # it is kept, since the former one may come back
    successor = nodes.add("b")
    recorder = Recorder(successor.bus)
    places.append(nodes.place(successor))
    assert recorder.wait_for(1) == [1]
    assert link.peer.id == successor.id
    assert link.stats.dropped == link.stats.lost == 0


def test_what_a_node_has_received_before_it_leaves_is_not_counted_as_dropped(nodes, pair):
    a, b = pair
    recorder = Recorder(b.bus)
    nodes.link(a, b)
    nodes.settle()
    peer = nodes.peer(b, a)
    peer.stream.limits = replace(peer.stream.limits, ack_delay=60)
    a.bus.twitter("test:run", 1)
    assert recorder.wait_for(1) == [1]
    assert nodes.peer(a, b).stream.snapshot().in_flight == 1
    left, cut = [], a.link_is_cut
    a.link_is_cut = lambda peer: (left.append(peer.stream.snapshot().in_flight), cut(peer))
    nodes.call(b.close)
    wait(lambda: left, "the end is seen")
    assert left[0] == 0


class WatchedLock:
    """A lock that notes when another thread is about to take it."""

    def __init__(self, lock):
        self.lock = lock
        self.owner = threading.current_thread()
        self.reached = threading.Event()

    def __enter__(self):
        if threading.current_thread() is not self.owner:
            self.reached.set()
        return self.lock.__enter__()

    def __exit__(self, *error):
        return self.lock.__exit__(*error)

    def __getattr__(self, name):
        return getattr(self.lock, name)


def test_what_is_followed_is_announced_before_a_message_that_overtakes_the_loop(nodes, pair, monkeypatch):
    a, b = pair
    recorder = Recorder(b.bus)
    link = nodes.link(a, b)
    nodes.settle()
    monkeypatch.setattr(a, "lock", WatchedLock(a.lock))
    with a.lock:
        a.bus.follow("late:ask", lambda message: None)
        assert a.lock.reached.wait(10), "the loop is about to announce it"
        a.bus.twitter("test:run", 1)
        assert [sent.method for sent in link.peer.stream._in_flight] == [frames.INTEREST, frames.MESSAGES]
    assert recorder.wait_for(1) == [1]


def test_what_is_followed_is_announced_before_a_message_that_another_thread_sends(nodes, pair, monkeypatch):
    """That thread has looked what is followed before the message was published."""
    a, b = pair
    recorder = Recorder(b.bus)
    link = nodes.link(a, b)
    nodes.settle()
    take = a.outbox.take

    def take_late(most_bytes):
        monkeypatch.undo()
        a.bus.follow("late:ask", lambda message: None)
        a.bus.twitter("test:run", 1)
        return take(most_bytes)

    with a.lock:
        monkeypatch.setattr(a.outbox, "take", take_late)
        a.outbox._is_scheduled = True  # as if another thread had been asked to send
        a.empty_outbox()
        assert [sent.method for sent in link.peer.stream._in_flight] == [frames.INTEREST, frames.MESSAGES]
    assert recorder.wait_for(1) == [1]


def test_why_messages_were_dropped(nodes, pair, caplog):
    a, b = pair
    link = nodes.link(a, b)
    nodes.settle()
    peer = link.peer
    reasons = ["they are published faster than it takes them", "it does not answer", "the link was cut"]
    for number, reason in enumerate(reasons, 1):
        if number == 2:
            peer.channel.received_at = float("-inf")
        elif number == 3:
            peer.stream.stats.cuts += 1
        with a.lock:
            peer.stream.count_drops(number)
        a.timers.log_drops(peer)
        assert f"{number} messages for 'b' were dropped: {reason}" in caplog.text


def test_a_node_is_not_linked_to_itself(nodes, pair):
    a, _ = pair
    with pytest.raises(LinkError, match="itself"):
        nodes.connector(a, a).open(10)
    assert not a.peers


def test_what_answers_second_is_linked_to_when_the_first_does_not(nodes, pair, unused_tcp_port):
    a, b = pair
    nobody = Found(Endpoint.parse(f"http://127.0.0.1:{unused_tcp_port}/"), "x" * 20, "test")
    link = Connector(a, lambda: [nobody, nodes.place(b)], ttl=10)
    nodes.connectors.append(link)
    link.open(10)
    assert link.found == nodes.place(b)


def test_where_nothing_answers_the_error_is_about_the_first(nodes, pair, unused_tcp_port):
    a, b = pair
    wrong = Found(Endpoint.parse(nodes.servers[b].url), "x" * 20, "test")
    nobody = Found(Endpoint.parse(f"http://127.0.0.1:{unused_tcp_port}/"), "x" * 20, "test")
    with pytest.raises(LinkError) as caught:
        Connector(a, lambda: [nobody, wrong], ttl=10).open(10)
    assert f"nothing is listening at {nobody.endpoint.url}" in str(caught.value)
    assert "xxxx" not in str(caught.value)


def test_what_a_full_hub_says_is_told_and_not_that_no_other_can_be_started(nodes, monkeypatch):
    hub, a = nodes.hub(), nodes.add("a")

    def find():
        yield nodes.place(hub)
        raise LinkError("a hub of yours runs, but it does not answer")

    monkeypatch.setattr(server_module, "MAX_PEERS", 0)
    with pytest.raises(LinkError, match="refused: this node has 0 links already"):
        Connector(a, find, ttl=10).open(10)
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 0)
    with pytest.raises(LinkError, match="refused: 0 connections are open"):
        Connector(a, find, ttl=10).open(10)


def test_a_server_that_does_not_see_the_end_is_not_waited_for(nodes, pair):
    a, b = pair
    with FaultProxy(nodes.listening_address(b)) as proxy:
        link = nodes.link(a, b, proxy)
        nodes.settle()
        proxy.swallow()
        began = time.monotonic()
        link.close(flush=0)
        assert time.monotonic() - began < 1
        channel = link.peer.channel
        assert channel is None
        assert not a.peers


def test_a_link_outlives_a_lack_of_files(nodes, pair, caplog):
    a, b = pair
    troubles = []

    def find():
        if troubles:
            raise troubles.pop()
        return [nodes.place(b)]

    link = Connector(a, find, ttl=10)
    nodes.connectors.append(link)
    link.open(10)
    troubles += [OSError(24, "Too many open files"), RuntimeError("can't start new thread")]
    link.peer.channel.abort()
    wait(lambda: not troubles and link.connected, "the link is back")


def test_a_refused_resumption_leaves_the_link_of_another_connection_as_it_is(nodes, pair):
    a, b = pair
    nodes.link(a, b)
    nodes.settle()
    with pytest.raises(ValueError, match=r"9\d* is acknowledged|acknowledged"):
        nodes.peer(b, a).stream.resume(10**9)
    assert nodes.peer(b, a).connected


def test_a_link_whose_resumption_does_not_fit_begins_anew(nodes, pair, monkeypatch):
    """What is not known to have arrived goes again, and is left out where it had."""
    a, b = pair
    recorder = Recorder(b.bus)
    link = nodes.link(a, b)
    nodes.settle()
    a.bus.twitter("test:run", 1)
    recorder.wait_for(1)
    refused = []

    def can_resume(stream, received):
        refused.append(received)
        return False

    monkeypatch.setattr(Stream, "can_resume", can_resume)
    link.peer.channel.abort()
    a.bus.twitter("test:run", 2)
    assert recorder.wait_for(2) == [1, 2]
    assert refused
    nodes.settle()
    assert recorder.values == [1, 2]


def test_nobody_is_dialled_without_pause_while_nothing_answers(nodes, pair):
    a, b = pair
    with FaultProxy(nodes.listening_address(b)) as proxy:
        link = nodes.link(a, b, proxy)
        proxy.refuse()
        before = proxy.connections
        wait(lambda: not link.connected, "the cut is seen")
        threading.Event().wait(1.5)
        assert 3 <= proxy.connections - before <= 20
        proxy.refuse(False)
        wait(lambda: link.connected, "the link is back")


def test_one_that_closes_every_new_link_at_once_is_not_dialled_without_pause(nodes, pair, monkeypatch):
    a, b = pair
    link = nodes.link(a, b)
    attached = []
    attach = b.attach

    def cut_it(peer, channel, received):
        attached.append(time.monotonic())
        attach(peer, channel, received)
        channel.abort()

    monkeypatch.setattr(b, "attach", cut_it)
    link.peer.channel.abort()
    threading.Event().wait(1.5)
    assert len(attached) < 30
    monkeypatch.undo()
    wait(lambda: link.connected, "the link is back")


class TestRefusedFrames:
    """One frame that the other side refuses must not cut the link for ever."""

    @pytest.mark.parametrize("by_hub", [False, True])
    def test_one_that_is_refused_twice_is_dropped_counted_and_said(self, nodes, caplog, monkeypatch, by_hub):
        a, b = nodes.add("a"), nodes.add("b")
        router = nodes.hub() if by_hub else b
        recorder = Recorder(b.bus)
        if by_hub:
            nodes.link(b, router)
        link = nodes.link(a, router)
        nodes.settle()
        a.bus.twitter("test:run", 1)
        recorder.wait_for(1)
        nodes.settle()
        with a.lock:  # what no node of ours sends, such as what nests too deep
            deep = b"[0,[" + b"[" * 500 + b"]" * 500 + b"],{}]"
            a.publish(a.home, "test:run", "a", [deep])
            a.flush_all()
        a.bus.twitter("test:run", 2)
        assert recorder.wait_for(2) == [1, 2]
        nodes.settle()
        assert link.stats.dropped == 1
        assert 2 <= link.stats.cuts <= 3
        assert caplog.text.count("1 messages were dropped") == 1
        assert "refuses" in caplog.text

    def test_those_before_and_after_it_arrive_in_order(self, nodes, pair, caplog):
        a, b = pair
        recorder = Recorder(b.bus)
        link = nodes.link(a, b)
        nodes.settle()
        for number in range(300):
            if number % 100 == 50:
                with a.lock:
                    a._empty_outbox()
                    a.publish(a.home, "test:run", "a", [b"[0,[" + b"[" * 500 + b"]" * 500 + b"],{}]"])
            a.bus.twitter("test:run", number)
        wait(lambda: len(recorder.messages) + link.stats.dropped >= 303, "all is accounted for")
        nodes.settle()
        assert recorder.values == sorted(set(recorder.values))
        assert len(recorder.messages) + link.stats.dropped == 303
        wait(lambda: nodes.peer(b, a).stream.stats.lost == link.stats.dropped, "the other side is told")
        assert not re.search(r"\b0 messages were dropped", caplog.text)

    def test_a_hub_gives_up_what_a_member_refuses(self, nodes, caplog, monkeypatch):
        a, b, hub = nodes.add("a"), nodes.add("b"), nodes.hub()
        recorder = Recorder(b.bus)
        nodes.link(a, hub)
        link = nodes.link(b, hub)
        nodes.settle()
        take_messages = type(b)._handle_messages

        def refuse(node, peer, channel, frame, size):
            if node is b and frame.batches[0].messages[0].args == ("refused",):
                raise FrameError("it is not wanted")
            return take_messages(node, peer, channel, frame, size)

        monkeypatch.setattr(type(b), "_handle_messages", refuse)
        a.bus.twitter("test:run", "refused")
        a.bus.twitter("other:run", 1)
        a.bus.twitter("test:run", 2)
        assert recorder.wait_for(1) == [2]
        nodes.settle()
        assert nodes.peer(hub, b).stream.stats.dropped == link.stats.lost == 1
        assert "1 messages were dropped: 'b' refuses them: 'it is not wanted'" in caplog.text


class TestEnd:
    def test_what_did_not_get_through_is_returned(self, nodes, pair):
        a, b = pair
        b.bus.follow("test:*", lambda message: None)
        with FaultProxy(nodes.listening_address(b)) as proxy:
            link = nodes.link(a, b, proxy)
            nodes.settle()
            proxy.swallow()
            for number in range(10):
                a.bus.twitter("test:run", number)
            assert link.close(flush=0.1) == 10

    def test_both_sides_know_it_at_once(self, nodes, pair):
        a, b = pair
        link = nodes.link(a, b)
        link.close(2.0)
        wait(lambda: not b.peers, "the other side knows")
        assert not a.peers
        assert not link.connected

    def test_while_it_is_cut_nothing_dials_after_it(self, nodes, pair):
        a, b = pair
        with FaultProxy(nodes.listening_address(b)) as proxy:
            link = nodes.link(a, b, proxy)
            proxy.refuse()
            wait(lambda: not link.connected, "the cut is seen")
            link.close(0)
            wait(lambda: not link._dialling.is_alive(), "it gives up")

    def test_messages_that_are_published_meanwhile_stall_nobody(self):
        limits = Limits(window_messages=10, buffer_messages=10)
        with Nodes(2, limits=limits) as nodes:
            a, b = nodes.all
            b.bus.follow("test:*", lambda message: None)
            with FaultProxy(nodes.listening_address(b)) as proxy:
                link = nodes.link(a, b, proxy)
                nodes.settle()
                a.outbox.overflow = "block"
                proxy.swallow()
                published = []

                def publish():
                    for number in range(100):
                        a.bus.twitter("test:run", number)
                        published.append(number)

                thread = threading.Thread(target=publish)
                thread.start()
                wait(lambda: len(published) >= 10, "some are on their way")
                link.close(flush=0.2)
                nodes.call(a.close)
                thread.join(10)
                assert len(published) == 100


def test_the_calls_of_a_link_that_is_cut_fail_at_once(nodes, pair):
    a, b = pair
    with FaultProxy(nodes.listening_address(b)) as proxy:
        link = nodes.link(a, b, proxy)
        proxy.swallow()
        failed = []

        def call():
            try:
                link.call("nodes", {}, 20.0)
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        wait(lambda: link._calls, "the call is on its way")
        proxy.cut()
        thread.join(5)
        assert failed


def test_a_bus_of_its_own_is_linked_on_its_own(nodes):
    """What one bus publishes is not another's, in one process."""
    hub = nodes.hub()
    first, second = nodes.add("one"), nodes.add("two")
    other = Recorder(second.bus)
    unlinked = Recorder(Bus("apart"))
    for node in (first, second):
        link = nodes.link(node, hub)
    nodes.settle()
    first.bus.twitter("test:run", 1)
    assert other.wait_for(1) == [1]
    assert unlinked.values == []
    seen = json.loads(bytes(link.call("nodes", {}, 10.0)))
    assert [node["name"] for node in seen] == ["hub", "one", "two"]
