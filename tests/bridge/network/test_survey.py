"""What passes over the links of others, as they tell it."""

import pytest

from berrymq.bridge.network import survey, traffic
from tests.support.nodes import Ears, Nodes, until


@pytest.fixture(autouse=True)
def always_news(monkeypatch):
    monkeypatch.setattr(survey, "ASK_SECONDS", 0.0)


async def test_a_hub_tells_what_passes_over_its_links():
    async with Nodes() as nodes:
        hub = await nodes.add("hub", hub=True)
        one, two, looking = [await nodes.add(name) for name in ("one", "two", "looking")]
        for node in (one, two, looking):
            await nodes.link(node, hub)
        ears = Ears(two)
        await nodes.know_all()
        for number in range(10):
            one.bus.twitter("test:run", number)
        await ears.have(10)
        expected = {(one.id, hub.id): 10, (hub.id, two.id): 10, (hub.id, one.id): 0, (two.id, hub.id): 0}
        await until(lambda: expected.items() <= looking.passed_elsewhere().items(), "the hub has told")


async def test_of_a_link_without_a_hub_one_end_tells():
    async with Nodes(3) as nodes:
        await nodes.link(nodes[0], nodes[1])
        await nodes.link(nodes[1], nodes[2])
        ears = Ears(nodes[2])
        await nodes.know_all()
        nodes[1].bus.twitter("test:run", 1)
        await ears.have(1)
        way = (nodes[1].id, nodes[2].id)
        await until(lambda: nodes[0].passed_elsewhere().get(way) == 1, "they have told")


async def test_another_rooms_links_are_not_told_of():
    async with Nodes() as nodes:
        hub = await nodes.add("hub", hub=True)
        here, there = await nodes.add("here", room="a"), await nodes.add("there", room="b")
        for node in (here, there):
            await nodes.link(node, hub)
        await until(lambda: (hub.id, here.id) in here.passed_elsewhere(), "the hub has told")
        assert not any(there.id in way for way in here.passed_elsewhere())


async def test_who_has_left_is_forgotten_and_nothing_is_left_over(monkeypatch):
    monkeypatch.setattr(survey, "KEEP_SECONDS", 0.2)
    async with Nodes() as nodes:
        hub, looking = await nodes.add("hub", hub=True), await nodes.add("looking")
        await nodes.link(looking, hub)
        await until(looking.passed_elsewhere, "the hub has told")
        for connector in nodes.connectors:
            await connector.close()
        await until(lambda: not looking.passed_elsewhere(), "it is forgotten")
        await until(lambda: not looking.traffic.questions._open, "no question is left")


async def test_one_who_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(survey, "KEEP_SECONDS", 0.1)
    async with Nodes() as nodes:
        hub, looking = await nodes.add("hub", hub=True), await nodes.add("looking")
        await nodes.link(looking, hub)
        hub.traffic._take_own = lambda message: None
        assert looking.passed_elsewhere() == {}
        await until(lambda: looking.traffic.questions._open, "it is asked")
        await until(lambda: not looking.traffic.questions._open, "it is given up")


@pytest.mark.parametrize(
    "answer", [[None], ["text"], [["id", 1]], [["id", "1", 2]], [[1, 2, 3]], [["id", 1, 2, 3]], [{"a": 1}]]
)
async def test_nonsense_is_left_out(answer, monkeypatch):
    monkeypatch.setattr(traffic, "passed_here", lambda *_: [*answer, ["sound", 1, 2]])
    async with Nodes() as nodes:
        hub, looking = await nodes.add("hub", hub=True), await nodes.add("looking")
        await nodes.link(looking, hub)
        await until(lambda: (hub.id, "sound") in looking.passed_elsewhere(), "it has told")
        assert set(looking.passed_elsewhere()) == {(hub.id, "sound"), ("sound", hub.id)}


async def test_what_is_asked_does_not_count_itself():
    async with Nodes() as nodes:
        hub, looking = await nodes.add("hub", hub=True), await nodes.add("looking")
        link = await nodes.link(looking, hub)
        await until(looking.passed_elsewhere, "the hub has told")
        stats = link.peer.session.stats
        assert (stats.sent, stats.received) == (0, 0)
        assert set(looking.passed_elsewhere().values()) == {0}
