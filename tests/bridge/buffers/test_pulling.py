"""Arrays over links whose sides share no memory: they are pulled in pieces, between other messages."""

import os
import statistics
import struct
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import berrymq
from berrymq.bridge.buffers import Memory
from berrymq.bridge.errors import LinkError
from berrymq.bridge.payload import Opaque
from berrymq.bridge.protocol import frames
from berrymq.bridge.protocol.offers import pull_frame
from berrymq.identifiers import Identifier
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

LARGE = np.arange(100_000.0)
HUGE = np.arange(3_000_000.0)


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Each process is on a machine of its own, as far as it can tell."""
    monkeypatch.setattr("berrymq.bridge.node.memories.Memories.can_open", lambda self, probe: False)


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture(params=["direct", "back", "hub", "chain"])
def pair(request, nodes):
    one, two = nodes.add("one"), nodes.add("two")
    if request.param == "hub":
        hub = nodes.hub()
        nodes.link(one, hub)
        nodes.link(two, hub)
    elif request.param == "chain":
        middle = nodes.add("middle")
        nodes.link(one, middle)
        nodes.link(two, middle)
    elif request.param == "back":
        nodes.link(two, one)
    else:
        nodes.link(one, two)
    return one, two


def all_is_released(nodes):
    return all(
        peer.stream.idle and not peer.pulls and not len(peer.stream.offers)
        for router in nodes.routers
        for peer in router.peers.values()
    )


class TestArrays:
    def test_arrive_equal_and_writable(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", HUGE, LARGE[:10_000], table=pd.DataFrame({"a": LARGE}), small=1)
        there.wait_for(1)
        message = there.messages[0]
        assert np.array_equal(message.args[0], HUGE)
        assert np.array_equal(message.args[1], LARGE[:10_000])
        assert message.kwargs["table"]["a"].sum() == LARGE.sum()
        message.args[0][0] = 5
        wait(lambda: all_is_released(nodes), "all is released")

    def test_stay_in_order_with_small_messages_of_the_same_identifier(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        for number in range(60):
            one.bus.twitter("test:run", number, LARGE + number if number % 3 else number)
        assert there.wait_for(60) == list(range(60))
        for message in there.messages:
            assert np.max(message.args[1] - message.args[0]) == (LARGE[-1] if message.args[0] % 3 else 0)

    def test_of_questions_and_answers(self, nodes, pair):
        one, two = pair
        two.bus.follow("calc:double", lambda message: 2 * message.args[0])
        two.bus.follow("calc:double", lambda message: message.args[0][:50_000])
        nodes.settle()
        double, part = one.bus.ask("calc:double", HUGE)
        assert np.array_equal(double, 2 * HUGE)
        assert np.array_equal(part, HUGE[:50_000])
        wait(lambda: all_is_released(nodes), "all is released")

    def test_that_are_shared_are_taken(self, nodes, pair):
        one, two = pair
        berrymq.share("prices", pd.DataFrame({"a": HUGE}), bus=one.bus)
        nodes.settle()
        for _ in range(2):
            there = berrymq.take("prices", bus=two.bus)
            assert type(there) is pd.DataFrame, there
            assert np.array_equal(there["a"], HUGE)
        berrymq.unshare("prices", bus=one.bus)

    def test_reach_several_receivers(self, nodes):
        hub, one = nodes.hub(), nodes.add()
        nodes.link(one, hub)
        others = [nodes.add() for _ in range(3)]
        for other in others:
            nodes.link(other, hub)
        recorders = [Recorder(other.bus) for other in others]
        nodes.settle()
        for number in range(5):
            one.bus.twitter("test:run", number, HUGE)
        for recorder in recorders:
            assert recorder.wait_for(5) == list(range(5))
            assert np.array_equal(recorder.messages[-1].args[1], HUGE)

    def test_that_are_retained_come_first(self, nodes):
        hub, one, late = nodes.hub(), nodes.add(), nodes.add()
        nodes.link(one, hub)
        nodes.settle()
        kept = Identifier.parse("test:*")
        with hub.lock:
            hub.histories.keep(hub.room(None), kept, 100, "test")
            hub.announcements.schedule(hub.room(None), [kept])
        nodes.settle()
        for number in range(4):
            one.bus.twitter("test:run", number, LARGE + number)
        wait(lambda: hub.messages >= 4, "they are retained")
        nodes.link(late, hub)
        seen = []
        late.bus.follow("test:*", seen.append, past=True)
        wait(lambda: len(seen) == 4, "they are replayed")
        assert [message.args[0] for message in seen] == list(range(4))
        assert all(message.args[1][0] == message.args[0] for message in seen)

    def test_of_many_columns_cross_though_each_is_small(self, nodes, pair):
        one, two = pair
        table = pd.DataFrame(np.arange(4_000_000.0).reshape(2_000, 2_000))
        there = Recorder(two.bus)
        two.bus.follow("calc:same", lambda message: message.args[0])
        nodes.settle()
        one.bus.twitter("test:run", table)
        there.wait_for(1)
        pd.testing.assert_frame_equal(there.messages[0].args[0], table)
        (same,) = one.bus.ask("calc:same", table)
        pd.testing.assert_frame_equal(same, table)

    def test_that_are_the_latest_are_returned(self, nodes):
        bus = berrymq.Bus("late")
        hub = nodes.hub()
        server = nodes.servers[hub]
        with berrymq.link(server.url, access_token=server.access_token, bus=bus, name="late"):
            berrymq.keep("test:*", bus=bus)
            bus.twitter("test:run", HUGE)
            wait(lambda: hub.messages, "it is retained")
            message = berrymq.latest("test:run", bus=bus)
        assert message is not None
        assert np.array_equal(message.args[0], HUGE)


class TestOtherMessages:
    def test_pass_large_ones_on_a_slow_link(self, nodes):
        one, two = nodes.add("one"), nodes.add("two")
        arrived = []
        two.bus.follow("test:array", lambda message: arrived.append("array"))
        two.bus.follow("test:tick", lambda message: arrived.append(message.args[0]))
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy)
            nodes.settle()
            proxy.rate = 4_000_000
            one.bus.twitter("test:array", HUGE)
            for number in range(10):
                one.bus.twitter("test:tick", number)
                wait(lambda number=number: number in arrived, "it has passed")
            proxy.rate = 0
            wait(lambda: "array" in arrived, "the array arrives")
        assert arrived[-1] == "array"

    def test_wait_for_a_few_pieces_at_most_on_a_very_slow_link(self, nodes):
        one, two = nodes.add("one"), nodes.add("two")
        there = Recorder(two.bus, "test:tick")
        two.bus.follow("test:array", lambda message: None)
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy)
            nodes.settle()
            proxy.rate = 100_000
            puller = nodes.peer(two, one).pulls
            one.bus.twitter("test:array", HUGE)
            wait(lambda: puller.received > 10_000, "it comes")
            passed = []
            for number in range(15):
                before = puller.received
                one.bus.twitter("test:tick", number)
                there.wait_for(number + 1)
                passed.append(puller.received - before)
        assert statistics.median(passed) < 3_500  # which take 35 ms

    def test_of_the_same_identifier_stay_in_order_and_all_others_pass(self, nodes):
        one, two = nodes.add("one"), nodes.add("two")
        there, other = Recorder(two.bus), Recorder(two.bus, "other:*")
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy)
            nodes.settle()
            proxy.rate = 2_000_000
            one.bus.twitter("test:run", 0, LARGE)
            one.bus.twitter("test:run", 1)
            one.bus.twitter("test:stop", 2)
            one.bus.twitter("other:run", 3)
            other.wait_for(1)
            there.wait_for(1)
            assert there.values == [2]
            proxy.rate = 0
            assert there.wait_for(3) == [2, 0, 1]

    def test_acknowledgements_are_withheld_when_very_many_have_to_wait(self, nodes, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.pulls.MANY_HELD", 100)
        one, two = nodes.add("one"), nodes.add("two")
        there = Recorder(two.bus)
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy)
            nodes.settle()
            proxy.rate = 4_000_000
            one.bus.twitter("test:run", -1, HUGE)
            for number in range(1_000):
                one.bus.twitter("test:run", number)
            peer = nodes.peer(one, two)
            wait(lambda: peer.stream.snapshot().in_flight >= 900, "they are not acknowledged")
            proxy.rate = 0
            assert there.wait_for(1_001) == list(range(-1, 1_000))
            wait(lambda: peer.stream.idle, "they are acknowledged")


class TestCuts:
    @pytest.mark.parametrize("through_hub", [False, True])
    def test_in_the_middle_lose_nothing(self, nodes, through_hub):
        one, two = nodes.add("one"), nodes.add("two")
        there = Recorder(two.bus)
        other = nodes.hub() if through_hub else two
        if through_hub:
            nodes.link(two, other)
        with FaultProxy(nodes.listening_address(other)) as proxy:
            nodes.link(one, other, proxy)
            nodes.settle()
            proxy.rate = 20_000_000
            puller = nodes.peer(other, one).pulls
            for number in range(6):
                one.bus.twitter("test:run", number, HUGE + number)
                for _ in range(2):
                    wait(
                        lambda: any(0 < buffers.received < buffers.size for buffers in list(puller._queue)),
                        "a part has arrived",
                    )
                    proxy.cut()
                one.bus.twitter("test:run", 100 + number)
            proxy.rate = 0
            assert there.wait_for(12, timeout=60) == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 5, 105]
        for message in there.messages:
            if len(message.args) > 1:
                assert np.array_equal(message.args[1], HUGE + message.args[0])

    def test_for_good_leave_an_opaque_and_not_half_an_array(self, nodes):
        one, two = nodes.add("one"), nodes.add("two")
        there = Recorder(two.bus)
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy, ttl=0.2)
            nodes.settle()
            proxy.rate = 1_000_000
            one.bus.twitter("test:run", 0, HUGE)
            one.bus.twitter("test:run", 1)
            puller = nodes.peer(two, one).pulls
            wait(lambda: any(buffers.received > 0 for buffers in list(puller._queue)), "a part has arrived")
            proxy.refuse()
            assert there.wait_for(2) == [0, 1]
        (opaque,) = there.messages[0].args[1:]
        assert type(opaque) is Opaque
        assert "left before all of it had arrived" in opaque.text

    def test_a_question_whose_answer_is_cut_off_ends(self, nodes, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.router.GRACE_SECONDS", 0.2)
        one, two = nodes.add("one"), nodes.add("two")
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy, ttl=5)
            two.bus.follow("calc:large", lambda _: HUGE)
            nodes.settle()
            proxy.rate = 1_000_000
            puller = nodes.peer(one, two).pulls

            def cut():
                wait(lambda: any(buffers.received > 0 for buffers in list(puller._queue)), "it comes")
                proxy.refuse()

            cutting = threading.Thread(target=cut)
            cutting.start()
            with pytest.raises(LinkError, match="was cut off before it answered"):
                one.bus.ask("calc:large", timeout=20)
            cutting.join()


class TestMemory:
    def test_a_receiver_that_does_not_finish_gets_no_more_than_it_can_hold(self, nodes, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.inbox.MAX_PULLED_BYTES", 1_000_000)
        monkeypatch.setattr("berrymq.bridge.node.credit.MOST_BYTES", 100_000)
        one, two = nodes.add("one"), nodes.add("two")
        go_on, seen = threading.Event(), []

        def slow(message):
            seen.append(message.args[0])
            assert go_on.wait(20)

        two.bus.follow("test:*", slow)
        nodes.link(one, two)
        nodes.settle()
        for number in range(10):
            one.bus.twitter("test:run", number, LARGE)
        peer = nodes.peer(two, one)
        wait(lambda: seen and two.is_full(), "the first ones have arrived")
        nodes.turn()
        assert len(peer.pulls._queue) >= 5
        go_on.set()
        wait(lambda: seen == list(range(10)), "all arrive")

    def test_what_the_sender_gives_up_arrives_opaque_and_the_newest_whole(self, nodes):
        one, two = nodes.add("one"), nodes.add("two")
        one.memories.pool.max_bytes = 5_000_000
        there = Recorder(two.bus)
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy)
            nodes.settle()
            proxy.stall()
            for number in range(20):
                one.bus.twitter("test:run", number, LARGE + number)
            proxy.stall(on=False)
            assert there.wait_for(20) == list(range(20))
        kinds = [type(message.args[1]) for message in there.messages]
        assert kinds[0] is Opaque
        assert kinds[-1] is np.ndarray
        assert "was not taken in time" in there.messages[0].args[1].text

    def test_of_the_sender_is_used_again(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        for number in range(20):
            one.bus.twitter("test:run", number, LARGE)
            there.wait_for(number + 1)
            wait(lambda: all_is_released(nodes), "it is released")
        assert one.memories.pool.held_bytes <= 3_000_000

    def test_without_anonymous_files_arrays_are_pulled_through_a_hub_too(self, nodes, monkeypatch):
        hub, one, two = nodes.hub(), nodes.add(), nodes.add()
        monkeypatch.setattr("berrymq.bridge.node.memories.is_available", lambda: False)
        monkeypatch.setattr(type(one.memories), "min_apart", 65_536)
        monkeypatch.setattr(one.memories, "share", in_heap)
        nodes.link(one, hub)
        nodes.link(two, hub)
        there = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", HUGE)
        there.wait_for(1)
        assert np.array_equal(there.messages[0].args[0], HUGE)


def in_heap(binaries):
    """Buffers as they are where no memory can be shared."""
    (binary,) = binaries
    data = bytearray(binary.size)
    binary.write(memoryview(data))
    return Memory(bytes(data), [binary.size])


class TestWhatPeersDoWrong:
    """A peer with a link of its own, which sends what it likes."""

    @pytest.fixture
    def raw(self, nodes, caplog):
        one, two = nodes.add("one"), nodes.add("two")
        nodes.link(one, two)
        there = Recorder(two.bus)
        nodes.settle()
        return one, nodes.peer(one, two), there

    def send(self, node, peer, *, text=None, piece=None):
        with node.lock:
            if text is not None:
                peer.channel.send_text(text)
            else:
                peer.channel.send_piece(*piece)

    @pytest.mark.parametrize(
        "head",
        [(1, 0), (2**63, 0), (0, 2**64 - 1)],
    )
    def test_a_piece_that_was_not_asked_for_cuts_the_link(self, raw, head, caplog):
        one, peer, _ = raw
        self.send(one, peer, piece=(struct.pack("!QQ", *head), b"x" * 1000))
        wait(lambda: "not asked for" in caplog.text, "the link is cut")

    @pytest.mark.parametrize("size", [0, 2 * 1024 * 1024])
    def test_a_piece_of_a_wrong_size_ends_the_connection(self, raw, size):
        one, peer, _ = raw
        self.send(one, peer, piece=(struct.pack("!QQ", 1, 0), bytes(size)))
        wait(lambda: peer.stream.stats.cuts, "the connection ends")

    def test_a_pull_of_what_is_not_offered_is_answered(self, raw, monkeypatch):
        one, peer, _ = raw
        gone = []
        monkeypatch.setattr(peer.pulls, "gone", lambda *params: gone.append(params))
        self.send(one, peer, text=pull_frame(17, 0, 100))
        wait(lambda: gone, "it is answered")
        assert gone == [(17, "it is not offered any more")]

    @pytest.mark.parametrize(
        "params", ['"memory":1,"offset":0,"size":2000000', '"memory":1,"offset":-1,"size":1']
    )
    def test_a_malformed_pull_cuts_the_link(self, raw, params, caplog):
        one, peer, _ = raw
        self.send(one, peer, text=b'{"jsonrpc":"2.0","method":"pull","params":{%b}}' % params.encode())
        wait(lambda: "is cut" in caplog.text, "the link is cut")

    @pytest.mark.parametrize("sizes", [[2**40], [2**53], [10] * 100_001])
    def test_a_forged_size_takes_no_memory(self, raw, sizes, caplog):
        one, peer, there = raw
        before = resident()
        batch = (
            b'["test:run","%b","one",1,1,[[1.5,[0,{"$type":"bytes","value":{"$type":"buffer","value":0}}],{}]]]'
            % one.id.encode()
        )
        text = str(sizes).replace(" ", "").encode()
        with one.lock:
            peer.stream.send(frames.BUFFERS, b'"batch":%b,"memory":1,"sizes":%b,"reason":""' % (batch, text))
            one.flush(peer)
        wait(lambda: there.messages or "is cut" in caplog.text, "it is answered")
        assert resident() - before < 50_000_000
        if there.messages:
            assert type(there.messages[0].args[1]) is Opaque

    def test_a_size_that_is_only_claimed_takes_no_memory(self, raw):
        one, peer, _ = raw
        before = resident()
        batch = (
            b'["test:run","%b","one",1,1,[[1.5,[0,{"$type":"bytes","value":{"$type":"buffer","value":0}}],{}]]]'
            % one.id.encode()
        )
        with one.lock:
            body = b'"batch":%b,"memory":1,"sizes":[1000000000],"reason":""' % batch
            peer.stream.offers.find = lambda number: Memory(b"x" * 1_000_000, [1_000_000])
            peer.stream.send(frames.BUFFERS, body)
            one.flush(peer)
        wait(lambda: peer.stream.stats.cuts, "it pulls beyond the end")
        assert resident() - before < 50_000_000


def resident() -> int:
    """The memory of this process, in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")
