"""A peer that does not keep up: nobody else notices, memory stays bounded, and what is dropped is told."""

import threading
import time
import tracemalloc

import pytest

from berrymq.bridge.node import inbox as inbox_module
from berrymq.bridge.protocol.limits import Limits
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

LIMITS = Limits(window_messages=100, buffer_messages=200, frame_messages=50, keepalive=60)
MESSAGES = 3_000


def publish(node, count, text=""):
    """Publish numbers; not faster than links take them."""
    for number in range(count):
        node.bus.twitter("test:run", number, text)
        if number % 50 == 49:
            wait(lambda: not node.outbox, "the outbox is empty")


def test_one_that_stops_reading_stalls_neither_the_sender_nor_the_hub_nor_the_others():
    with Nodes(limits=LIMITS) as nodes:
        hub, sender, good, slow = nodes.hub(), nodes.add(), nodes.add(), nodes.add("slow")
        with FaultProxy(nodes.listening_address(hub)) as proxy:
            good_recorder, slow_recorder = Recorder(good.bus), Recorder(slow.bus)
            sending = nodes.link(sender, hub)
            nodes.link(good, hub)
            slow_link = nodes.link(slow, hub, proxy)
            nodes.settle()
            proxy.stall()
            for begin in range(0, MESSAGES, 100):
                publish(sender, 100, "x" * 5_000)
                good_recorder.wait_for(begin + 100)
            assert sending.stats.dropped == 0
            assert good_recorder.values == list(range(100)) * (MESSAGES // 100)
            stream = nodes.peer(hub, slow).stream
            stats = stream.snapshot()
            assert stats.in_flight <= LIMITS.window_messages + 50
            assert stats.buffered <= LIMITS.buffer_messages + 50
            assert stats.dropped + stats.sent + stats.buffered == MESSAGES
            assert stats.dropped >= MESSAGES - 500
            proxy.stall(False)
            slow_recorder.wait_for(MESSAGES - stats.dropped)
            wait(lambda: slow_link.stats.lost == stats.dropped, "the loss is told")


def test_the_memory_for_one_that_stops_reading_is_bounded():
    limits = Limits(keepalive=60, buffer_bytes=1_000_000, window_bytes=200_000)
    with Nodes(2, limits=limits) as nodes:
        here, slow = nodes.all
        with FaultProxy(nodes.listening_address(here)) as proxy:
            recorder = Recorder(slow.bus)
            nodes.link(slow, here, proxy)
            nodes.settle()
            proxy.stall()
            tracemalloc.start()
            publish(here, 5_000, "x" * 10_000)  # fifty times the bound
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            stats = nodes.peer(here, slow).stream.snapshot()
            assert stats.buffered_bytes <= 1_000_000 + limits.frame_bytes
            assert stats.dropped > 4_000
            assert peak < 10_000_000
            assert len(recorder.values) < 10, "what was on its way already"


@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
def test_one_whose_followers_lag_holds_the_sender_back_or_misses_something(monkeypatch, overflow):
    monkeypatch.setattr(inbox_module, "MAX_BACKLOG", 20)
    released, delivered = threading.Event(), []

    def lag(message):
        released.wait(30)
        delivered.append(message.args[0])

    with Nodes(2, limits=LIMITS) as nodes:
        sender, receiver = nodes.all
        receiver.bus.follow("test:*", lag)
        link = nodes.link(sender, receiver)
        nodes.settle()
        sender.outbox.overflow = overflow

        def run():
            for number in range(1_000):
                sender.bus.twitter("test:run", number, "x" * 5_000)
                if overflow == "drop_oldest" and number % 50 == 49:
                    wait(lambda: not sender.outbox, "the outbox is empty")

        thread = threading.Thread(target=run)
        thread.start()
        try:
            wait(
                lambda: link.peer.stream.snapshot().buffered >= LIMITS.buffer_messages - 60, "the rest waits"
            )
            wait(lambda: nodes.peer(receiver, sender).stream.behind, "the receiver is behind")
            backlog = receiver.bus.gateway.backlog
            assert backlog <= 3 * LIMITS.window_messages + 100
            if overflow == "drop_oldest":
                thread.join(20)
                assert not thread.is_alive(), "it waits for nobody"
        finally:
            released.set()
            thread.join(30)
        stats = link.stats
        if overflow == "block":
            wait(lambda: len(delivered) == 1_000, "all is delivered")
            assert delivered == list(range(1_000))
            assert stats.dropped == 0
        else:
            wait(lambda: len(delivered) + stats.dropped == 1_000, "each is delivered or counted")
            assert delivered == sorted(delivered)
            assert stats.dropped > 0
            there = nodes.peer(receiver, sender).stream
            wait(lambda: there.stats.lost == stats.dropped, "the loss is told")


def test_a_dead_peer_does_not_hold_up_leaving():
    with Nodes(2) as nodes, FaultProxy(nodes.listening_address(nodes[1])) as proxy:
        recorder = Recorder(nodes[1].bus)
        link = nodes.link(nodes[0], nodes[1], proxy)
        nodes.settle()
        proxy.swallow()
        nodes[0].bus.twitter("test:run", 1)
        began = time.monotonic()
        assert link.close(flush=0.1) == 1
        assert time.monotonic() - began < 2
        assert recorder.values == []
