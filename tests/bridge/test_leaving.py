"""Who ends a link is gone from the other side at once, and nothing is kept there for it."""

import pytest

import berrymq
from berrymq.bridge.loop import end_if_idle, run
from berrymq.bridge.node import Node
from tests.support.waiting import wait_until


async def listening_hub():
    hub = Node(name="hub", hub=True)
    await hub.listen()
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
