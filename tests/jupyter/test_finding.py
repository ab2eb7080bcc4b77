import inspect
from types import SimpleNamespace

from berrymq.bridge.discovery import candidates
from berrymq.bridge.hub import starting
from berrymq_jupyter.finding import WAYS, how_found


def found_by(way):
    return how_found(SimpleNamespace(found_by=way))


def test_it_is_told_in_words(monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert found_by("connection file") == "a hub on this machine, by its connection file"
    assert found_by("environment") == "a hub that BERRYMQ_HUB_URL names"
    assert found_by("the given URL") == "the given URL"


def test_what_a_kernel_s_environment_names_is_the_hub_of_its_server(monkeypatch):
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert found_by("environment") == "the hub of this notebook's Jupyter server"


def test_each_way_that_is_told_is_one():
    sources = [inspect.getsource(candidates), inspect.getsource(starting)]
    for way in WAYS:
        assert any(f'"{way}"' in source for source in sources)
