"""History on NATS: what outlives processes and servers, servers without JetStream, and what is removed."""

import re

import numpy as np
import pytest

import berrymq
from berrymq import Bus, LinkError, Opaque
from berrymq.bridge.nats import recorder
from berrymq.bridge.nats.address import NatsAddress
from berrymq.bridge.nats.upstream import Upstream
from tests.support.nats_server import NatsServer, leave
from tests.support.nodes import Nodes, wait
from tests.support.recorder import read_past


@pytest.fixture(scope="module")
def server():
    with NatsServer("-js") as server:
        yield server


@pytest.fixture(autouse=True)
def closed():
    yield
    for link in berrymq.links():
        link.close(flush=0)


def join(server, name, **options):
    bus = Bus(name)
    return bus, berrymq.link(server.url, bus=bus, name=name, **options)


def past(bus, identifier):
    """Return the first argument of each message that is kept."""
    return [message.args[0] for message in read_past(bus, identifier)]


class Machine:
    """A hub on NATS with one node."""

    def __init__(self, server, name):
        self._nodes = Nodes(1)
        self._nodes.__enter__()
        self.hub = self._nodes.hub()
        self._upstream = Upstream(self.hub, NatsAddress.parse(server.url))
        self.hub.on_peers_changed = self._upstream.update
        self.bus = Bus(name)
        self._server = at = self._nodes.servers[self.hub]
        self.link = berrymq.link(at.url, access_token=at.access_token, bus=self.bus, name=name)

    def connect_via_queue(self, identifier, **options):
        """Open a queue at the hub."""
        at = self._server
        return berrymq.connect_via_queue(at.url, identifier, access_token=at.access_token, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.link.close()
        leave(self._nodes, self._upstream)
        self._nodes.__exit__()


class TestWhatOutlivesWhom:
    def test_a_hub_that_comes_when_all_others_have_gone_has_the_whole_curve(self, server):
        with Machine(server, "one") as one:
            berrymq.keep("curve:*", bus=one.bus)
            for number in range(500):
                one.bus.twitter("curve:a", number)
        with Machine(server, "two") as two:
            assert past(two.bus, "curve:*") == list(range(500))
            assert berrymq.keep(bus=two.bus).keeps[0].by == "one"
            two.bus.twitter("curve:a", 500)  # it goes on being kept
        bus, _ = join(server, "three")
        assert past(bus, "curve:*") == list(range(501))
        berrymq.keep("curve:*", last=0, bus=bus)

    def test_what_a_node_publishes_as_soon_as_its_hub_is_there_is_kept(self, server):
        bus, _ = join(server, "one")
        berrymq.keep("early:*", bus=bus)
        with Machine(server, "two") as two:
            two.bus.twitter("early:a", 1)
        with Machine(server, "three") as three:
            three.bus.twitter("early:a", 2)
            assert past(three.bus, "early:a") == [1, 2]

    def test_what_a_node_publishes_right_before_it_ends_is_kept(self, server):
        bus, link = join(server, "one")
        berrymq.keep("end:*", last=5000, bus=bus)
        for number in range(5000):
            bus.twitter("end:a", number)
        assert link.close() == 0
        other, _ = join(server, "two")
        assert past(other, "end:a") == list(range(5000))

    def test_all_nodes_keep_from_then_on(self, server):
        """When `keep` returns, whatever any of them publishes next is kept."""
        joined = [join(server, f"node{number}")[0] for number in range(3)]
        berrymq.keep("then:*", bus=joined[0])
        for number, bus in enumerate(joined):
            bus.twitter("then:a", number)
        assert sorted(past(joined[0], "then:a")) == [0, 1, 2]

    def test_a_queue_of_a_client_without_a_link_begins_with_it(self, server):
        with Machine(server, "one") as one:
            berrymq.keep("queue:*", bus=one.bus)
            bus, link = join(server, "two")
            for number in range(10):
                bus.twitter("queue:a", number)
            with one.connect_via_queue("queue:a", past=4) as queue:
                wait(lambda: link.is_followed("queue:a"), "it is followed")
                bus.twitter("queue:a", 10)
                assert [queue.get(timeout=10).args[0] for _ in range(5)] == [6, 7, 8, 9, 10]

    def test_rooms_are_apart(self, server):
        bus, _ = join(server, "one", room="lab")
        other, _ = join(server, "two")
        berrymq.keep("apart:*", bus=bus)
        bus.twitter("apart:a", 1)
        assert past(bus, "apart:*") == [1]
        assert past(other, "apart:*") == []
        assert berrymq.latest("apart:a", bus=other) is None


class TestTooMuch:
    def test_what_is_too_much_while_nats_is_away_is_counted_and_said(self, monkeypatch, caplog):
        monkeypatch.setattr(recorder, "MAX_HELD_BYTES", 200_000)
        with NatsServer("-js") as server:
            bus, link = join(server, "one")
            berrymq.keep("much:*", last=5000, bus=bus)
            server.kill()
            wait(lambda: link.state == "connecting", "the cut is seen")
            for number in range(1000):
                bus.twitter("much:a", number)
            wait(
                lambda: (
                    "messages were not stored on NATS: JetStream is too slow, or unavailable" in caplog.text
                ),
                "it is said",
            )
            server.start()
            assert link.flush(20)
            numbers = past(bus, "much:a")
            dropped = link.stats().dropped
            assert dropped > 500
            assert numbers == list(range(dropped, 1000))

    def test_what_a_server_takes_no_more_when_it_comes_back_is_counted_and_said(self, tmp_path, caplog):
        config = tmp_path / "server.conf"
        config.write_text("")
        with NatsServer("-js", "--config", str(config)) as server:
            bus, link = join(server, "one")
            berrymq.keep("much:*", bus=bus)
            server.kill()
            wait(lambda: link.state == "connecting", "the cut is seen")
            bus.twitter("much:a", "x" * 50_000)
            bus.twitter("much:a", "last")
            wait(lambda: not link._connector._mesh.records.recorder._arrived, "they are to be stored")
            config.write_text("max_payload: 20000")
            server.start()
            assert link.flush(20)
            assert past(bus, "much:a") == ["last"]
            assert link.stats().dropped == 1
            assert "1 messages were not stored on NATS: the server takes 20,000 bytes at most" in caplog.text

    def test_a_publisher_that_may_wait_loses_nothing(self, monkeypatch, server):
        monkeypatch.setattr(recorder, "MAX_HELD_BYTES", 200_000)
        bus, link = join(server, "one", overflow="block")
        berrymq.keep("wait:*", last=5000, bus=bus)
        for number in range(3000):
            bus.twitter("wait:a", number)
        assert link.flush(20)
        assert past(bus, "wait:a") == list(range(3000))


class TestArrays:
    def test_pieces_that_are_gone_leave_an_opaque(self, server):
        bus, link = join(server, "one")
        berrymq.keep("gone:*", bus=bus)
        bus.twitter("gone:a", np.arange(300_000.0))
        bus.twitter("gone:b", "x" * 2_000_000)
        assert link.flush(10)
        records = link._connector._mesh.records
        wait(lambda: records.recorder.is_idle, "all is stored")
        link.node.loop.call(records._client.run, records.jetstream.delete(records.pieces[0]))
        wait(lambda: isinstance(berrymq.latest("gone:a", bus=bus).args[0], Opaque), "the pieces are gone")
        (text,) = berrymq.latest("gone:b", bus=bus).args
        assert isinstance(text, Opaque)
        assert "some are gone" in text.text


class TestWithoutJetStream:
    TEXT = r"the NATS server at \S+ has no JetStream, which stores messages: start it with -js"

    @pytest.fixture
    def plain(self):
        with NatsServer() as server:
            yield server

    def test_keep_says_it_in_one_line_and_everything_else_works(self, plain, caplog):
        bus, link = join(plain, "one")
        with pytest.raises(LinkError, match=rf"\A{self.TEXT}\Z"):
            berrymq.keep("test:*", bus=bus)
        with Machine(plain, "two") as two:
            with pytest.raises(LinkError, match=rf"\A{self.TEXT}\Z"):
                berrymq.keep("test:*", bus=two.bus)
            found = []
            two.bus.follow("test:*", found.append, past=True)
            wait(lambda: link.is_followed("test:run"), "it is followed")
            bus.twitter("test:run", 1)
            wait(lambda: found, "the message")
            assert berrymq.latest("test:run", bus=two.bus) is None
            assert len(re.findall(f"past messages are not available: {self.TEXT}", caplog.text)) == 1
