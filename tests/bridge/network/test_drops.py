"""Losses are told, soon and summed up."""

from berrymq.bridge.network.drops import TELL_SECONDS, Drops
from berrymq.bridge.protocol.accounts import Limits
from tests.support.network import Network, VirtualLoop


def test_they_are_summed_up():
    loop, told = VirtualLoop(), []
    drops = Drops(loop, told.append)
    for total in (0, 0, 3, 5, 5):
        drops.note(total)
    assert told == []
    loop.advance(TELL_SECONDS)
    assert told == [5]
    loop.advance(100)
    drops.note(5)
    drops.note(6)
    loop.advance(TELL_SECONDS)
    assert told == [5, 1]


def test_who_says_too_much_is_told(caplog):
    network = Network(2, limits=Limits(window_messages=4, queue_messages=10))
    one, two = network.nodes
    two.bus.follow("test:*", lambda message: None, direct=True)
    network.link(one, two)
    network.settle()
    network.cut(one, two)
    for number in range(30):
        one.bus.twitter("test:run", number)
    network.loop.run_due()
    network.loop.advance(TELL_SECONDS)
    assert f"20 messages for {two.name} were dropped: more of them waited than may" in caplog.text
