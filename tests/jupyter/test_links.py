import inspect
from types import SimpleNamespace

from berrymq.bridge.discovery import finding, starting
from berrymq.bridge.nats import connector
from berrymq_jupyter.links import DESCRIPTIONS, how_found


def found_by(way):
    return how_found(SimpleNamespace(found_by=way))


def test_how_a_link_was_found_is_described():
    assert found_by("connection file") == "the hub of this machine, by its connection file"
    assert found_by("environment") == "a hub that BERRYMQ_HUB_URL names"
    assert found_by("the given URL") == "the given URL"


def test_each_description_is_of_an_existing_way():
    sources = [inspect.getsource(module) for module in (finding, starting, connector)]
    for way in DESCRIPTIONS:
        assert any(f'"{way}"' in source for source in sources)
