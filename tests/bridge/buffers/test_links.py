"""Arrays over links: each arrives, from one copy in shared memory where that can be."""

import gc

import numpy as np
import pandas as pd
import pytest

from berrymq.bridge.buffers import memory as memory_module
from berrymq.bridge.payload import Opaque
from berrymq.bridge.protocol import frames
from berrymq.bridge.protocol.offers import Offers
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

LARGE = np.arange(100_000.0)


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture(params=["direct", "hub"])
def pair(request, nodes):
    one, two = nodes.add(), nodes.add()
    if request.param == "hub":
        hub = nodes.hub()
        nodes.link(one, hub)
        nodes.link(two, hub)
    else:
        nodes.link(one, two)
    return one, two


class TestOneMachine:
    def test_arrays_arrive_equal_and_writable(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", LARGE, table=pd.DataFrame({"a": LARGE}), small=1)
        there.wait_for(1)
        message = there.messages[0]
        assert np.array_equal(message.args[0], LARGE)
        assert message.kwargs["table"]["a"].sum() == LARGE.sum()
        message.args[0][0] = 5

    def test_small_and_large_messages_keep_their_order(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        for number in range(60):
            one.bus.twitter("test:run", number, LARGE + number if number % 3 else number)
        assert there.wait_for(60) == list(range(60))
        for message in there.messages:
            assert np.max(message.args[1] - message.args[0]) == (LARGE[-1] if message.args[0] % 3 else 0)

    def test_the_hub_passes_a_claim_alone(self, nodes):
        hub, one, two = nodes.hub(), nodes.add(), nodes.add()
        nodes.link(one, hub)
        nodes.link(two, hub)
        there = Recorder(two.bus)
        nodes.settle()
        sizes = []
        peer = nodes.peer(hub, two)
        put = peer.stream.send_batch

        def accept(batch, count):
            sizes.append(len(batch) + len(batch.memory.parameter(to=peer.stream.offers, beside=0)))
            put(batch, count)

        peer.accept = accept
        one.bus.twitter("test:run", LARGE)
        there.wait_for(1)
        assert len(sizes) == 1
        assert sizes[0] < 1000

    def test_memory_is_used_again_when_all_have_let_go(self, nodes, pair):
        one, two = pair
        nodes.settle()
        seen = []
        two.bus.follow("test:*", lambda message: seen.append(message.args[0].sum()))
        nodes.settle()
        for number in range(30):
            one.bus.twitter("test:run", LARGE)
            wait(lambda number=number: len(seen) > number, "it arrived")
            wait(
                lambda: gc.collect() is not None and all(node_idle(node) for node in nodes.all),
                "all is acknowledged",
            )
        assert one.memories.pool.held_bytes <= 3 * 1024 * 1024

    def test_what_a_receiver_keeps_stays_as_it_was(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        for number in range(20):
            one.bus.twitter("test:run", number, LARGE + number)
        there.wait_for(20)
        for message in there.messages:
            assert message.args[1][0] == message.args[0]

    def test_large_bytes(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", b"x" * 20_000_000)
        there.wait_for(1)
        assert there.messages[0].args[0] == b"x" * 20_000_000

    def test_questions_and_answers_carry_arrays(self, nodes, pair):
        one, two = pair
        two.bus.follow("calc:double", lambda message: 2 * message.args[0])
        nodes.settle()
        (answer,) = one.bus.ask("calc:double", LARGE)
        assert np.array_equal(answer, 2 * LARGE)


def node_idle(node):
    return all(peer.stream.idle for peer in node.peers.values())


class TestWithoutSharedMemoryAndPulling:
    @pytest.fixture(autouse=True)
    def apart(self, monkeypatch):
        """Each process is on a machine of its own, as far as it can tell, and does not pull."""
        monkeypatch.setattr("berrymq.bridge.node.memories.Memories.can_open", lambda self, probe: False)
        monkeypatch.setattr(
            Offers, "pulls", property(lambda self: False, lambda self, value: None), raising=False
        )

    def test_arrays_arrive_in_the_frames(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", LARGE, LARGE[:10_000], b"x" * 100_000)
        there.wait_for(1)
        first, second, data = there.messages[0].args
        assert np.array_equal(first, LARGE)
        assert np.array_equal(second, LARGE[:10_000])
        assert data == b"x" * 100_000
        first[0] = 5

    def test_what_is_too_large_for_a_frame_arrives_opaque_and_says_why(self, nodes, pair, monkeypatch):
        monkeypatch.setattr(memory_module, "MAX_TRAVELLING_BYTES", 500_000)
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        there.wait_for(1)
        (opaque,) = there.messages[0].args
        assert type(opaque) is Opaque
        assert "too much to go to another machine" in opaque.text

    def test_what_leaves_no_room_for_buffers_in_a_frame_does_not_cut_the_link(self, nodes, pair):
        one, two = pair
        there = Recorder(two.bus)
        two.bus.follow("calc:large", lambda _: np.zeros(1_400_000))
        two.bus.follow("calc:large", lambda _: np.zeros(1_400_000))
        nodes.settle()
        one.bus.twitter("test:run", "x" * 15_000_000, np.zeros(1_400_000))
        one.bus.twitter("test:run", 2)
        there.wait_for(2)
        assert type(there.messages[0].args[1]) is Opaque
        answers = one.bus.ask("calc:large")
        assert [type(answer) for answer in answers] == [Opaque, Opaque]
        assert all(peer.stream.stats.cuts == 0 for node in (one, two) for peer in node.peers.values())


class TestWhatGoesWrong:
    def test_a_claim_that_can_not_be_opened_arrives_opaque(self, nodes, pair, monkeypatch):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        real = one.memories.share

        def share(binaries):
            memory = real(binaries)
            lease = memory._source
            lease.claim = lease.claim._replace(secret="0" * 32)
            return memory

        monkeypatch.setattr(one.memories, "share", share)
        one.bus.twitter("test:run", LARGE)
        there.wait_for(1)
        assert "its memory can't be read here: it holds other data by now" in there.messages[0].args[0].text

    def test_too_much_in_receivers_hands_is_sent_opaque_with_a_warning(self, nodes, pair, caplog):
        one, two = pair
        there = Recorder(two.bus)
        nodes.settle()
        one.memories.pool.max_bytes = 3_000_000
        huge = np.zeros(2_500_000)  # too large for a frame as well
        for _ in range(3):
            one.bus.twitter("test:run", huge)
        there.wait_for(3)
        assert [type(message.args[0]) for message in there.messages] == [Opaque] * 3
        assert caplog.text.count("limit is 3,000,000") == 1

    def test_a_receiver_that_is_late_gets_all_that_fit_into_memory(self, nodes, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.buffers.pool.MAX_SEGMENTS", 5)
        one, two = nodes.add("one"), nodes.add("two")
        there = Recorder(two.bus)
        with FaultProxy(nodes.listening_address(two)) as proxy:
            nodes.link(one, two, proxy)
            nodes.settle()
            proxy.stall()
            for number in range(20):
                one.bus.twitter("test:run", number, LARGE + number)
            proxy.stall(on=False)
            assert there.wait_for(20) == list(range(20))
        assert all(np.array_equal(message.args[1], LARGE + message.args[0]) for message in there.messages)

    def test_a_receiver_that_is_gone_keeps_no_others_from_getting_arrays(self, nodes, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.memories.MAX_OPEN", 5)
        hub, one, two, gone = nodes.hub(), nodes.add(), nodes.add(), nodes.add()
        for node in (one, two):
            nodes.link(node, hub)
        with FaultProxy(nodes.listening_address(hub)) as proxy:
            nodes.link(gone, hub, proxy)
            there, late = Recorder(two.bus), Recorder(gone.bus)
            nodes.settle()
            proxy.refuse()
            proxy.cut()
            for number in range(20):
                one.bus.twitter("test:run", number, LARGE + number)
                there.wait_for(number + 1)
            proxy.refuse(on=False)
            late.wait_for(20)
        assert all(message.args[1][0] == message.args[0] for message in there.messages)
        assert late.values == list(range(20))
        kinds = [type(message.args[1]) for message in late.messages]
        assert kinds[0] is Opaque
        assert kinds[-1] is np.ndarray

    @pytest.mark.parametrize(
        "params",
        [
            b'"memory":"AAAA","sizes":[10]',
            b'"memory":"AAA","sizes":[1]',
            b'"memory":[1,2,3,"x"],"sizes":[1]',
            b'"memory":[1,2,3,"x",5],"sizes":[6]',
            b'"memory":null,"sizes":[-1]',
            b'"memory":5.5,"sizes":[]',
            b'"memory":true,"sizes":[]',
            b'"sizes":[]',
        ],
    )
    def test_a_malformed_frame_cuts_the_link(self, nodes, params, caplog):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        nodes.settle()
        (peer,) = one.peers.values()
        with one.lock:
            one._sequence += 1
            batch = b'["a:b","%b","%b",%d,1,[[1.5,[],{}]]]' % (
                one.id.encode(),
                one.name.encode(),
                one._sequence,
            )
            peer.stream.send(frames.BUFFERS, b'"batch":%b,%b' % (batch, params))
            one.flush(peer)
        wait(lambda: "is cut" in caplog.text, "the link is cut")
