"""A peer that does not keep up: nobody else notices, memory stays bounded, and what is dropped is told."""

import threading
import tracemalloc

import pytest

from berrymq.bridge.network import arrivals
from berrymq.bridge.protocol.accounts import Limits
from tests.support.faults import FaultProxy
from tests.support.nodes import Ears, Nodes, until

LIMITS = Limits(window_messages=100, queue_messages=200, frame_messages=50, heartbeat=60)
MESSAGES = 3_000


async def say(node, count, text=""):
    """Say numbers, letting the loop turn now and then as a program with other things to do would."""
    for number in range(count):
        node.bus.twitter("test:run", number, text)
        if number % 50 == 49:
            await node.traffic.flush_outbox()


async def test_one_that_stops_reading_stalls_neither_the_sender_nor_the_hub_nor_the_others():
    async with Nodes(3, limits=LIMITS) as nodes, FaultProxy(nodes[0].address) as proxy:
        hub, sender, good = nodes.all
        slow = await nodes.add("slow", listening=False)
        good_ears, slow_ears = Ears(good), Ears(slow)
        await nodes.link(sender, hub)
        await nodes.link(good, hub)
        await nodes.link(slow, hub, proxy.url)
        await nodes.know_all()
        proxy.stall()
        for begin in range(0, MESSAGES, 100):
            await say(sender, 100, "x" * 1000)
            await good_ears.have(begin + 100)
        assert sender.peer(hub.id).session.stats.dropped == 0
        assert good_ears.values == list(range(100)) * (MESSAGES // 100)
        stats = hub.peer(slow.id).session.stats
        assert stats.in_flight <= LIMITS.window_messages
        assert stats.queued <= LIMITS.queue_messages
        assert stats.dropped + stats.sent + stats.queued == MESSAGES
        assert stats.dropped >= MESSAGES - 300 - 50
        proxy.stall(False)
        await slow_ears.have(MESSAGES - stats.dropped)
        await until(lambda: slow.peer(hub.id).session.stats.lost == stats.dropped, "the loss is told")


async def test_the_memory_for_one_that_stops_reading_is_bounded():
    async with Nodes(1, limits=Limits(heartbeat=60, queue_bytes=1_000_000, window_bytes=200_000)) as nodes:
        hub = nodes[0]
        async with FaultProxy(hub.address) as proxy:
            slow = await nodes.add("slow", listening=False)
            ears = Ears(slow)
            await nodes.link(slow, hub, proxy.url)
            await nodes.know_all()
            proxy.stall()
            tracemalloc.start()
            await say(hub, 5_000, "x" * 10_000)  # fifty times the bound
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            stats = hub.peer(slow.id).session.stats
            assert stats.queued_bytes <= 1_000_000
            assert stats.dropped > 4_500
            assert peak < 10_000_000
            assert ears.values == []


@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
async def test_one_whose_followers_lag_holds_the_sender_back_or_misses_something(monkeypatch, overflow):
    monkeypatch.setattr(arrivals, "MAX_BACKLOG", 20)
    released, heard = threading.Event(), []

    def lag(message):
        released.wait(30)
        heard.append(message.args[0])

    async with Nodes(2, limits=LIMITS) as nodes:
        sender, receiver = nodes.all
        receiver.bus.follow("test:*", lag)
        await nodes.link(sender, receiver)
        await nodes.know_all()
        sender.traffic.outbox.overflow = overflow
        sender.traffic.outbox._max_messages = 100_000
        for number in range(1_000):
            sender.bus.twitter("test:run", number)
        stats = sender.peer(receiver.id).session
        await until(lambda: stats.stats.in_flight == LIMITS.window_messages, "the window is full")
        await until(lambda: stats.stats.queued >= LIMITS.window_messages, "the rest waits")
        await until(lambda: receiver.peer(sender.id).session.behind, "the receiver is behind")
        assert receiver.bus.gateway.deliverer.backlog <= LIMITS.window_messages + 100
        released.set()
        if overflow == "block":
            await until(lambda: len(heard) == 1_000, "all is heard")
            assert heard == list(range(1_000))
            assert stats.stats.dropped == 0
        else:
            await until(lambda: len(heard) + stats.stats.dropped == 1_000, "all that was kept is heard")
            assert heard == sorted(heard)
            assert stats.stats.dropped > 0
            lost = receiver.peer(sender.id).session
            await until(lambda: lost.stats.lost == stats.stats.dropped, "the loss is told")


async def test_a_dead_peer_does_not_hold_up_leaving():
    async with Nodes(2) as nodes, FaultProxy(nodes[1].address) as proxy:
        ears = Ears(nodes[1])
        link = await nodes.link(nodes[0], nodes[1], proxy.url)
        await nodes.know_all()
        proxy.swallow()
        nodes[0].bus.twitter("test:run", 1)
        assert await link.close(flush=0.1) == 1
        assert ears.values == []
