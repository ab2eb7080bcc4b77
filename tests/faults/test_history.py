"""The past of a follower over a network that fails: exact where the link resumes, and never held up."""

import random
import threading

import pytest

from berrymq.bridge.node import connector as connector_module
from berrymq.bridge.protocol.limits import Limits
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait

KEPT = 20_000


@pytest.mark.timeout(120)
def test_cuts_in_the_middle_of_a_past(monkeypatch):
    """Small windows, so that a past is on its way for long."""
    monkeypatch.setattr(connector_module, "STEADY_SECONDS", -1.0)
    limits = Limits(window_bytes=64 * 1024, frame_bytes=8 * 1024)
    with Nodes(2, limits=limits) as nodes:
        hub = nodes.hub()
        with FaultProxy(nodes.listening_address(hub)) as proxy:
            link = nodes.link(nodes[0], hub, proxy)
            sender = nodes.link(nodes[1], hub)
            sender.call("keep", {"identifier": "test:*", "last": KEPT}, 10.0)
            published, over = 0, threading.Event()

            def publish():
                nonlocal published
                while not over.wait(0.002):
                    for _ in range(20):
                        nodes[1].bus.twitter("test:run", published)
                        published += 1

            thread = threading.Thread(target=publish)
            thread.start()
            found = []
            try:
                for number in range(1, 21):
                    found.append([])
                    nodes[0].bus.follow("test:*", found[-1].append, past=True, direct=number % 2 == 0)
                    while not proxy.cut():
                        over.wait(random.uniform(0.0, 0.01))
                    wait(lambda number=number: link.stats.cuts >= number, "the cut is seen")
                    wait(lambda: link.connected, "the link is back")
            finally:
                over.set()
                thread.join()
            nodes.settle()
            for one in found:
                wait(lambda one=one: one and one[-1].args == (published - 1,), "the last message")
                numbers = [message.args[0] for message in one]
                assert numbers == list(range(numbers[0], published))
            assert found[0][0].args[0] == 0
            assert nodes[0].history._queries == {}
            assert nodes[0].bus.gateway._replays == ()
    assert hub.budget.held == hub.histories.account.held


def test_a_hub_that_forgets_the_link_holds_up_nothing():
    """It comes back as a new link: the past was not sent, and what is live comes all the same."""
    with Nodes(2) as nodes:
        hub = nodes.hub()
        with FaultProxy(nodes.listening_address(hub)) as proxy:
            link = nodes.link(nodes[0], hub, proxy)
            nodes.link(nodes[1], hub).call("keep", {"identifier": "test:*"}, 10.0)
            nodes[1].bus.twitter("test:run", 0)
            nodes.settle()
            proxy.stall()
            found = []
            nodes[0].bus.follow("test:*", found.append, past=True)
            nodes[0].bus.twitter("test:run", 1)
            peer = nodes.peer(hub, nodes[0])
            nodes.call(hub.remove_peer, peer, "the test")
            proxy.stall(False)
            wait(lambda: found, "what was held")
            # The node may not have read yet that the former link has ended.
            wait(lambda: hub.peers.get(nodes[0].id, peer) is not peer and link.connected, "the link is back")
            nodes.settle()
            nodes[1].bus.twitter("test:run", 2)
            wait(lambda: found[-1].args == (2,), "what is live")
            assert [one.args[0] for one in found] in ([1, 2], [0, 1, 2])
