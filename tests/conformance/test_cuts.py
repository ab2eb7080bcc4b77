"""Clients whose connection is cut again and again under load: nothing is lost, doubled or out of order."""

import os
import threading
import time
from contextlib import ExitStack

import pytest

from berrymq.bridge.hub.router import Hub
from tests.conformance.driving import Driver
from tests.conformance.run import COMMANDS, LEVELS, drivers_found, private_runtime
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes
from tests.support.recorder import Recorder
from tests.support.waiting import wait_until

CUTS = int(os.environ.get("BERRYMQ_TEST_CUTS", "20"))
"""How often the connection is cut; 1,000 for a full run."""
TOKEN = "the-access-token-of-the-cuts"
EACH = 25
"""The messages that a client publishes at once."""


class Publisher(threading.Thread):
    """Publishes numbers at a node until it is stopped."""

    def __init__(self, node):
        super().__init__()
        self.published = 0
        self._node = node
        self._over = threading.Event()

    def run(self):
        while not self._over.wait(0.002):
            for _ in range(10):
                self._node.bus.twitter("down:run", self.published, "x" * (self.published % 500))
                self.published += 1

    def stop(self):
        self._over.set()
        self.join(20)
        return self.published


@pytest.fixture
def place():
    """A hub with another node, and a proxy before it, at the same port of another address of loopback.

    A client on loopback insists on the port that it has dialled.
    """
    with ExitStack() as ends:
        nodes = ends.enter_context(Nodes(0))
        proxy = ends.enter_context(FaultProxy(("127.0.0.2", 0)))
        hub = Hub(nodes.loop, name="hub")
        nodes.hubs.append(hub)
        server = nodes.listen(hub, "127.0.0.2", proxy.address[1], access_token=TOKEN)
        proxy.target = server.address
        other = nodes.add("other", listening=False)
        nodes.link(other, hub)
        yield hub, other, proxy


def connected(hub):
    return any(peer.name == "client" and peer.connected for peer in list(hub.peers.values()))


@pytest.mark.timeout(60 + CUTS)
@pytest.mark.parametrize("language", [name for name in drivers_found() if LEVELS[name] >= 2])
def test_cuts_under_load(language, place, record_property):
    hub, other, proxy = place
    recorder = Recorder(other.bus, "up:*")
    with (
        private_runtime() as runtime,
        Driver(COMMANDS[language], {"BERRYMQ_RUNTIME_DIR": str(runtime)}) as driver,
    ):
        driver.do("link", url=proxy.url, token=TOKEN, name="client")
        driver.do("follow", identifier="down:*")
        wait_until(other.bus.gateway.interests, "the interest of the other")
        client = next(peer for peer in hub.peers.values() if peer.name == "client")
        wait_until(lambda: client.follows, "the interest of the client is at the hub")
        publisher = Publisher(other)
        publisher.start()
        batch = 0
        try:
            for number in range(CUTS):
                wait_until(lambda: connected(hub), "the client is back", interval=0.002)
                for _ in range(2):
                    driver.do("twitter", identifier="up:run", args=[batch], count=EACH)
                    batch += 1
                time.sleep((0, 0.001, 0.01, 0.03)[number % 4])
                before = proxy.connections
                wait_until(proxy.cut, "a connection to cut", interval=0.002)
                wait_until(  # a fast client may be back before the hub is looked at
                    lambda before=before: not connected(hub) or proxy.connections > before,
                    "the hub has seen the cut",
                    interval=0.002,
                )
        finally:
            published = publisher.stop()
        received = [driver.message()["args"][0] for _ in range(published)]
        assert received == list(range(published))
        recorder.wait_for(batch * EACH)
        assert [message.args[1] * EACH + message.args[0] for message in recorder.messages] == list(
            range(batch * EACH)
        )
        driver.do("close")
        assert not driver.messages
        assert driver.end() == 0
    record_property("messages", published + batch * EACH)
