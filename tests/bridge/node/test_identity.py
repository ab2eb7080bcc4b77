"""Who a node is to others: what it shows to its hub and to the rest, and what those can do with it."""

import pytest

from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.node.connector import Connector
from berrymq.bridge.protocol.handshake import node_id_of
from berrymq.bridge.server.server import Server
from tests.support.network import Member, Network
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder
from tests.support.websockets import websocket


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def network():
    network = Network()
    yield network
    network.close()


class TestWhatIsShown:
    def test_the_hub_alone_is_shown_what_the_id_is_made_of(self, nodes):
        hub, alice, friend, other = nodes.hub(), nodes.add("alice"), nodes.add("friend"), nodes.add("other")
        for there in (hub, friend, other):
            nodes.link(alice, there)
        shown = [nodes.peer(there, alice).key for there in (hub, friend, other)]
        assert shown[0] == alice.key
        assert len(set(shown)) == 3
        assert [node_id_of(key) == alice.id for key in shown] == [True, False, False]

    def test_a_hub_that_is_given_by_its_address_is_shown_it_too(self, nodes):
        hub, alice = nodes.hub(), nodes.add("alice")
        server = nodes.servers[hub]
        given = Found(Endpoint.parse(server.url), server.access_token, "the given URL")
        link = Connector(alice, lambda: [given], ttl=10)
        nodes.connectors.append(link)
        link.open(10)
        assert nodes.peer(hub, alice).key == alice.key

    def test_one_that_is_a_hub_only_when_it_has_been_shown_it_is_not_linked_to(self, nodes, monkeypatch):
        alice, mallory = nodes.add("alice"), nodes.add("mallory")
        honest = Server.link

        def link(server, *args):
            peer, answer, received = honest(server, *args)
            return peer, {**answer, "hub": True}, received

        monkeypatch.setattr(Server, "link", link)
        with pytest.raises(LinkError, match="is a hub and is none"):
            nodes.link(alice, mallory)


class TestWithWhatWasShownElsewhere:
    def test_a_member_s_place_at_the_hub_is_not_to_be_had(self, network):
        hub, alice, friend = network.hub(), network.node("alice"), network.node("friend")
        network.link(alice, hub)
        network.link(alice, friend)
        network.settle()
        shown = friend.peers[alice.id].key
        for key in (shown, "a key that was guessed wrongly"):
            with pytest.raises(RpcError, match="made from the key"):
                Member(network, hub, "alice", key=key, id=alice.id)
        assert Member(network, hub, "alice", key=shown).id != alice.id
        network.settle()
        assert hub.peers[alice.id].key == alice.key
        assert hub.peers[alice.id].connected

    def test_a_direct_link_is_resumed_with_its_own_key_alone(self, network):
        node = network.node("node")
        alice = Member(network, node, "alice", key="for this link alone", id="0123456789abcdef")
        alice.frame("interest", add=["*:*"], reset=True)
        network.settle()
        received = alice.of("interest")[-1]["n"]
        alice.wire.abort()
        network.settle()
        node.bus.twitter("a:b", "secret")
        network.settle()
        claim = {"id": alice.id, "resume": {"id": node.id, "received": received}}
        other = Member(network, node, "alice", key="a key that was guessed wrongly", **claim)
        again = Member(network, node, "alice", key="for this link alone", **claim)
        network.settle()
        assert (other.answer["resumed"], other.values) == (False, [])
        assert again.answer["resumed"]
        assert again.values == ["secret"]

    def test_nobody_takes_the_place_of_one_that_was_dialled(self, network):
        hub, alice = network.hub(), network.node("alice")
        network.link(alice, hub)
        with pytest.raises(RpcError, match="has linked to the one of that id already"):
            Member(network, alice, "hub", id=hub.id)
        assert alice.peers[hub.id].role == "hub"

    @pytest.mark.parametrize("id", ["", "0" * 15, "0" * 17, "A" * 16, "0" * 15 + "\n"])
    def test_an_id_that_is_none_is_refused(self, network, id):
        with pytest.raises(RpcError) as caught:
            Member(network, network.hub(), id=id)
        assert caught.value.code == -32602


class TestWhoHasClaimedAnIdFirst:
    def test_has_to_prove_it_at_a_hub(self, network):
        hub, alice = network.hub(), network.node("alice")
        with pytest.raises(RpcError, match="made from the key"):
            Member(network, hub, "alice", id=alice.id)
        network.link(alice, hub)
        assert hub.peers[alice.id].connected

    def test_does_not_keep_the_other_out_of_a_node(self, network):
        node, alice = network.node("node"), network.node("alice")
        squatter = Member(network, node, "alice", id=alice.id)
        squatter.wire.abort()
        network.settle()
        network.link(alice, node)
        recorder = Recorder(alice.bus)
        network.settle()
        node.bus.twitter("test:run", 1)
        network.settle()
        assert recorder.values == [1]

    @pytest.mark.parametrize("turn", range(2))  # either has the greater id
    def test_is_not_taken_for_the_node_of_that_id(self, nodes, turn):
        alice, friend = sorted((nodes.add("a"), nodes.add("b")), key=lambda node: node.id, reverse=bool(turn))
        recorder = Recorder(friend.bus)
        server = nodes.servers[alice]
        with websocket(server, server.access_token) as mallory:
            claim = {"name": "friend", "key": "k" * 20, "id": friend.id}
            assert mallory.answer("interconnect", claim)["result"]["id"] == alice.id
            wait(lambda: nodes.peer(alice, friend).connected, "the claim is believed so far")
            nodes.link(alice, friend)
            nodes.settle()
            alice.bus.twitter("test:run", 1)
            assert recorder.wait_for(1) == [1]


def test_a_node_that_gives_two_ids_is_not_linked_to(nodes, monkeypatch):
    hub, alice, mallory = nodes.hub(), nodes.add("alice"), nodes.add("mallory")
    nodes.link(alice, hub)
    before = nodes.peer(alice, hub)
    honest = Server.link

    def link(server, *args):
        peer, answer, received = honest(server, *args)
        return peer, {**answer, "id": claimed[0]}, received

    monkeypatch.setattr(Server, "link", link)
    for claimed in ([hub.id], [alice.id]):  # noqa: B007 - `link` reads it
        with pytest.raises(LinkError, match="two ids"):
            nodes.link(alice, mallory)
    assert alice.peers == {hub.id: before}
