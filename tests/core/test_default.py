import pytest

import berrymq
from berrymq import default


def test_the_functions_act_on_the_default_bus():
    bus = berrymq.default_bus
    names = [name for name in vars(default) if not name.startswith("_") and callable(vars(default)[name])]
    methods = {name for name in names if name not in {"Bus", "default_bus"}}
    assert methods >= {"twitter", "follow", "ask", "set_multiplicity", "show_network", "regist_method"}
    for name in methods:
        assert getattr(default, name) == getattr(bus, name)
        assert getattr(berrymq, name) == getattr(bus, name)
    assert bus.name == "default"


def test_sending_and_following():
    got = []
    with berrymq.follow("default:*", got.append):
        berrymq.twitter("default:test", 1)
    assert got[0].args == (1,)


@pytest.mark.parametrize("name", ["recent", "receive", "publish", "attach", "subscribe"])
def test_what_is_for_links_and_builders_is_not_among_them(name):
    assert not hasattr(berrymq, name)
