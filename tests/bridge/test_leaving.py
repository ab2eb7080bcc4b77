"""Who ends a link is gone from the other side at once, and nothing is kept there for it."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import berrymq
from berrymq import Identifier
from berrymq.bridge.api import node_of
from berrymq.bridge.client.connector import Connector
from berrymq.bridge.loop import end_if_idle, run
from berrymq.bridge.node import Node
from berrymq.bridge.protocol.accounts import Limits
from berrymq.bridge.server.listener import listen
from tests.support.faults import FaultProxy
from tests.support.scripts import Listening, run_script
from tests.support.waiting import wait_until


async def listening_hub():
    hub = Node(name="hub", hub=True)
    await listen(hub)
    return hub


@pytest.fixture
def hub():
    hub = run(listening_hub())
    yield hub
    run(hub.close())
    end_if_idle()


@pytest.mark.parametrize("flush", [0.0, 2.0])
def test_a_closed_link_is_over_on_both_sides(hub, flush):
    bus = berrymq.Bus()
    bus.follow("test:*", lambda message: None)
    link = berrymq.link(hub.url, access_token=hub.access_token, name="one", bus=bus)
    assert [node.name for node in run(nodes_of(hub))] == ["hub", "one"]
    link.close(flush)
    wait_until(lambda: hub.peers == 0, "end of the link on the other side")
    assert [node.name for node in run(nodes_of(hub))] == ["hub"]
    bus.close()


async def nodes_of(hub):
    return hub.nodes()


def test_a_link_that_is_just_being_made_outlives_the_end_of_the_last_one(hub, monkeypatch):
    other = run(listening_hub())
    heard = Listening(other.bus)
    bus = berrymq.Bus()
    last = berrymq.link(hub.url, access_token=hub.access_token, name="one", bus=bus)
    begun, may_go_on = threading.Event(), threading.Event()
    open_it = Connector.open

    async def open_slowly(connector):
        begun.set()
        await asyncio.to_thread(may_go_on.wait, 10)
        await open_it(connector)

    monkeypatch.setattr(Connector, "open", open_slowly)
    with ThreadPoolExecutor() as threads:
        making = threads.submit(berrymq.link, other.url, access_token=other.access_token, bus=bus)
        assert begun.wait(10)
        last.close()
        may_go_on.set()
        link = making.result(20)
    wait_until(lambda: link.nodes()[-1].name == "hub", "the two know each other")
    wait_until(lambda: link.node._directory.is_followed(Identifier.parse("test:run")), "test:run is followed")
    bus.twitter("test:run", 1)
    assert heard.have(1) == [("one", 1)]
    link.close()
    bus.close()
    run(other.close())


def test_the_end_of_a_link_that_blocks_its_senders_does_not_wait_for_a_hub_that_hangs(hub):
    async def start():
        return await FaultProxy(hub.address).__aenter__()

    proxy = run(start())
    hub.bus.follow("test:*", lambda message: None)
    bus = berrymq.Bus()
    node_of(bus, "one", None).limits = Limits(window_messages=1, queue_messages=1)
    place = {"access_token": hub.access_token, "name": "one", "bus": bus}
    link = berrymq.link(proxy.url, overflow="block", **place)
    link.node.traffic.outbox._max_messages = 1_000_000
    wait_until(lambda: link.node._directory.is_followed(Identifier.parse("test:run")), "test:run is followed")
    hub.loop.call_soon_threadsafe(proxy.swallow)
    for number in range(100):
        bus.twitter("test:run", number)
    wait_until(lambda: link.node.traffic._stalled, "nothing goes any more")
    began = time.monotonic()
    link.close(flush=0.2)
    assert time.monotonic() - began < 5
    bus.close()
    run(proxy.__aexit__())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_leaves_its_parents_link_alone(hub):
    done = run_script(
        """
        import warnings

        warnings.simplefilter("ignore")
        link = berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="script")
        pid = os.fork()
        if not pid:
            print(link.state, link.flush(5), link.close(), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(link.state, link.flush(10), len(link.nodes()))
        """,
        URL=hub.url,
        TOKEN=hub.access_token,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["closed True 0", "linked True 2"]
