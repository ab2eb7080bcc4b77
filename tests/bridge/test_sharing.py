"""Values shared by name: taken by any linked process, from one copy."""

import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import berrymq
from berrymq import Bus, IdentifierError, NotSharedError, PayloadError, share, shares, take, unshare
from berrymq.bridge import sharing
from tests.support.nodes import Nodes, wait

TABLE = pd.DataFrame({"price": np.arange(100_000.0), "name": ["x"] * 100_000})


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def pair(nodes):
    """Two nodes of one hub."""
    hub, one, two = nodes.hub(), nodes.add(), nodes.add()
    nodes.link(one, hub)
    nodes.link(two, hub)
    nodes.settle()
    return one, two


class TestTaking:
    @pytest.mark.parametrize(
        "value", [TABLE, np.arange(5), np.arange(100_000), 7, {"a": [1]}, b"x" * 200_000]
    )
    def test_what_one_process_shares_another_takes(self, nodes, pair, value):
        one, two = pair
        info = share("prices", value, bus=one.bus)
        nodes.settle()
        there = take("prices", bus=two.bus)
        assert type(there) is type(value)
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(there, value)
        else:
            assert np.array_equal(there, value)
        assert (info.name, info.type, info.shape) == (
            "prices",
            type(value).__name__,
            np.shape(value) if hasattr(value, "shape") else (),
        )

    def test_what_is_taken_may_be_written_to_and_nobody_else_sees_it(self, nodes, pair):
        one, two = pair
        share("numbers", np.zeros(100_000), bus=one.bus)
        nodes.settle()
        mine = take("numbers", bus=two.bus)
        mine[:] = 1
        assert not take("numbers", bus=two.bus).any()
        assert not take("numbers", bus=one.bus).any()

    def test_it_is_what_it_was_when_it_was_shared(self, nodes, pair):
        one, two = pair
        numbers = np.zeros(100_000)
        share("numbers", numbers, bus=one.bus)
        numbers[:] = 1
        nodes.settle()
        assert not take("numbers", bus=two.bus).any()

    def test_all_who_take_it_map_one_copy(self, nodes, pair):
        one, two = pair
        share("numbers", np.zeros(100_000), bus=one.bus)
        nodes.settle()
        taken = [take("numbers", bus=two.bus) for _ in range(20)]
        assert sharing._shares_of(one.bus).pool.held_bytes < 1_000_000
        assert one.memories.pool.held_bytes + two.memories.pool.held_bytes < 100_000
        assert len(taken) == 20

    def test_the_newest_counts(self, nodes, pair):
        one, two = pair
        share("x", 1, bus=one.bus)
        time.sleep(0.01)  # the clock's resolution
        share("x", 2, bus=two.bus)
        nodes.settle()
        assert take("x", bus=one.bus) == take("x", bus=two.bus) == 2
        share("x", 3, bus=one.bus)
        nodes.settle()
        assert take("x", bus=two.bus) == 3

    def test_it_is_announced(self, nodes, pair):
        one, two = pair
        with berrymq.Queue("*@berrymq:shared", bus=two.bus) as queue:
            nodes.settle()
            share("numbers", np.zeros((3, 4)), bus=one.bus)
            message = queue.get(timeout=10)
        assert (message.name, message.args[0], message.args[1]) == ("numbers", "ndarray", [3, 4])

    def test_without_a_link_it_is_taken_in_the_process(self):
        bus = Bus()
        share("x", TABLE, bus=bus)
        pd.testing.assert_frame_equal(take("x", bus=bus), TABLE)


class TestEnding:
    def test_what_is_unshared_is_not_found_and_who_has_it_keeps_it(self, nodes, pair):
        one, two = pair
        share("numbers", np.ones(100_000), bus=one.bus)
        share("other", 1, bus=one.bus)
        nodes.settle()
        mine = take("numbers", bus=two.bus)
        unshare("numbers", bus=one.bus)
        nodes.settle()
        with pytest.raises(NotSharedError, match="nothing is shared as 'numbers': shared are 'other'"):
            take("numbers", bus=two.bus)
        assert mine.all()
        with pytest.raises(NotSharedError):
            unshare("numbers", bus=one.bus)

    def test_it_ends_with_its_process_and_who_has_it_keeps_it(self, nodes):
        hub, here = nodes.hub(), nodes.add()
        nodes.link(here, hub)
        server = nodes.servers[hub]
        script = """
import sys, numpy, berrymq
berrymq.link(sys.argv[1], access_token=sys.argv[2], ttl=0.2)
berrymq.share("numbers", numpy.ones(1_000_000))
print("shared", flush=True)
sys.stdin.read()
"""
        with subprocess.Popen(
            [sys.executable, "-c", script, server.url, server.access_token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout.readline() == "shared\n"
            wait(lambda: [info.name for info in shares(bus=here.bus)] == ["numbers"], "it is known here")
            mine = take("numbers", bus=here.bus)
            process.kill()
            process.wait(10)
        assert mine.sum() == 1_000_000
        wait(lambda: not shares(bus=here.bus), "it has ended")

    def test_what_others_have_taken_is_not_of_the_budget_any_more_once_it_is_unshared(
        self, nodes, pair, monkeypatch
    ):
        monkeypatch.setattr(sharing, "MAX_BYTES", 2_000_000)
        one, two = pair
        taken = []
        for number in range(5):
            share("numbers", np.full(150_000, float(number)), bus=one.bus)
            nodes.settle()
            taken.append(take("numbers", bus=two.bus))
            wait(lambda: all(peer.stream.idle for peer in one.peers.values()), "the answer has arrived")
        assert [array[-1] for array in taken] == list(range(5))

    def test_beyond_the_budget_the_oldest_is_unshared_with_a_warning(self, caplog):
        bus = Bus()
        sharing._shares_of(bus).pool.max_bytes = 3_000_000
        for name in ("first", "second", "third"):
            share(name, np.zeros(150_000), bus=bus)
        assert [info.name for info in shares(bus=bus)] == ["second", "third"]
        assert "'first' is not shared any more: 'third' needs its memory" in caplog.text
        with pytest.raises(PayloadError, match="it takes 8,000,000 bytes"):
            share("huge", np.zeros(1_000_000), bus=bus)


class TestMistakes:
    @pytest.mark.parametrize("name", ["", "a:b", "*", "_x", "a@b", "berrymq", " a"])
    def test_a_name_that_is_none(self, name):
        with pytest.raises(IdentifierError):
            share(name, 1, bus=Bus())
        with pytest.raises(IdentifierError):
            take(name, bus=Bus())

    def test_a_value_that_cannot_cross(self):
        with pytest.raises(PayloadError, match="function"):
            share("f", lambda: None, bus=Bus())

    def test_nothing_is_shared(self):
        with pytest.raises(NotSharedError, match="no linked process shares anything"):
            take("x", bus=Bus())


def test_what_is_shared_is_listed(nodes, pair):
    one, two = pair
    share("b", np.zeros((2, 3)), bus=one.bus)
    share("a", "text", bus=two.bus)
    nodes.settle()
    for bus in (one.bus, two.bus):
        assert [(info.name, info.type, info.shape) for info in shares(bus=bus)] == [
            ("a", "str", ()),
            ("b", "ndarray", (2, 3)),
        ]


def test_while_another_value_is_shared_the_former_is_taken(monkeypatch):
    bus, found, real = Bus(), [], sharing.share_memory
    share("numbers", np.zeros(100_000), bus=bus)

    def slowly(pool, binaries):
        found.append(take("numbers", bus=bus)[0])
        return real(pool, binaries)

    monkeypatch.setattr(sharing, "share_memory", slowly)
    share("numbers", np.ones(100_000), bus=bus)
    assert found == [0]
    assert take("numbers", bus=bus)[0] == 1
    assert [info.name for info in shares(bus=bus)] == ["numbers"]
