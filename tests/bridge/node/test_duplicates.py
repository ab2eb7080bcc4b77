"""Messages that arrive over several links: each is delivered once, and forged ones suppress none."""

import random

import pytest

from berrymq import Message
from berrymq.bridge.node.duplicates import Duplicates
from berrymq.bridge.protocol import batches
from tests.support.network import Member, Network


@pytest.fixture
def network():
    network = Network(ttl=0.5)
    yield network
    network.close()


@pytest.fixture
def bob(network):
    return network.node("bob")


@pytest.fixture
def came(bob):
    """The first argument of each message that came to Bob."""
    values = []
    bob.bus.follow("a:*", lambda message: values.append(message.args[0]), direct=True)
    return values


def forge(mallory, origin, first, count=50, **fields):
    """Publish unreadable messages with the origin and the next sequence numbers of another node."""
    batch = mallory.batch(
        "a:forged", *[[]] * count, origin=origin.id, source=origin.name, first=first, **fields
    )
    mallory.frame("messages", batches=[batch])


class TestForgedOrigins:
    """They suppress no message of the real origin."""

    def test_of_a_member_of_the_same_hub(self, network, bob, came):
        hub, alice = network.hub(), network.node("alice")
        for node in (alice, bob):
            network.link(node, hub)
        mallory = Member(network, bob)
        network.settle()
        alice.bus.twitter("a:b", 1)
        network.settle()
        forge(mallory, alice, 1)
        network.settle()
        for value in (2, 3):
            alice.bus.twitter("a:b", value)
        network.settle()
        assert came == [1, 2, 3]

    def test_by_one_that_claims_to_be_that_node(self, network, bob, came):
        hub, alice = network.hub(), network.node("alice")
        for node in (alice, bob):
            network.link(node, hub)
        forge(Member(network, bob, "alice", id=alice.id), alice, 1)
        network.settle()
        alice.bus.twitter("a:b", 1)
        network.settle()
        assert came == [1]

    @pytest.mark.parametrize("is_first", [False, True], ids=["before it is linked", "after that"])
    def test_of_a_node_that_is_linked_directly(self, network, bob, came, is_first):
        alice = network.node("alice")
        if is_first:
            network.link(alice, bob)
        mallory = Member(network, bob)
        network.settle()
        forge(mallory, alice, 1)
        network.settle()
        if not is_first:
            network.link(alice, bob)
            network.settle()
        for value in (1, 2):
            alice.bus.twitter("a:b", value)
        network.settle()
        assert came == [1, 2]

    def test_of_a_node_while_its_link_is_cut(self, network, bob, came):
        alice = network.node("alice")
        link, mallory = network.link(alice, bob), Member(network, bob)
        network.settle()
        network.cut(link)
        forge(mallory, alice, 1)
        alice.bus.twitter("a:b", 1)
        network.settle(0.1)
        network.resume(link, bob)
        network.settle()
        assert came == [1]

    def test_of_a_node_whose_messages_another_passes_on(self, network, bob, came):
        alice, middle = network.node("alice"), network.node("middle")
        network.link(alice, middle)
        network.link(middle, bob)
        mallory = Member(network, bob)
        network.settle()
        forge(mallory, alice, 1)
        network.settle()
        alice.bus.twitter("a:b", 1)
        network.settle()
        assert came == [1]

    def test_of_questions(self, network, bob):
        alice = network.node("alice")
        network.link(alice, bob)
        mallory = Member(network, bob)
        bob.bus.follow("q:x", lambda message: "answered")
        network.settle()
        forge(mallory, alice, 1)
        network.settle()
        asked = alice._ask(Message("q:x"), None)
        network.settle()
        assert asked.result(0) == ["answered"]

    def test_in_the_own_name_of_the_node_are_left_out(self, network, bob, came):
        mallory = Member(network, bob)
        network.settle()
        mallory.publish("a:b", 1, origin=bob.id)
        network.settle()
        assert came == []


class TestBothWays:
    def test_over_a_hub_and_over_a_direct_link(self, network, bob, came):
        hub, alice = network.hub(), network.node("alice")
        for node in (alice, bob):
            network.link(node, hub)
        network.link(alice, bob)
        network.settle()
        for value in range(10):
            alice.bus.twitter("a:b", value)
            network.settle(0.01)
        network.settle()
        assert came == list(range(10))

    def test_what_came_before_there_were_two_ways_is_not_taken_again(self, network, bob, came):
        """The message is still on its way to the node that is linked last."""
        alice, middle = network.node("alice"), network.node("middle")
        network.link(alice, bob)
        slow = network.link(alice, middle)
        middle.bus.follow("a:*", lambda message: None)
        network.settle()
        alice.bus.twitter("a:b", 1)
        arriving, slow.wire.other.arriving = slow.wire.other.arriving, type(slow.wire.other.arriving)()
        network.loop.run_due()
        arriving, slow.wire.other.arriving = slow.wire.other.arriving, arriving
        network.settle()
        assert came == [1]
        network.link(middle, bob)
        network.settle()
        slow.wire.other.arriving.extend(arriving)
        network.settle()
        assert came == [1]


class Ring:
    """Three nodes, each linked to both others; one of the links comes and goes in the middle of a flood."""

    def __init__(self, network, chance):
        self.network = network
        self.chance = chance
        self.came = []
        self.nodes = [network.node(f"n{number}") for number in range(3)]
        self.ends = {}
        for node in self.nodes:
            values = []
            self.came.append(values)
            node.bus.follow("a:*", lambda message, values=values: values.append(message.args[0]), direct=True)
        for one in range(3):
            self.make(self.nodes[one], self.nodes[(one + 1) % 3])
        self.victim = self.network.connectors[chance.randrange(3)]
        network.settle()
        self.published = 0

    def make(self, one, other):
        connector = self.network.link(one, other)
        self.ends[connector] = (one, other)
        return connector

    def flood(self, messages):
        for _ in range(messages):
            for number, node in enumerate(self.nodes):
                node.bus.twitter("a:b", (number, self.published))
            self.published += 1
            for _ in range(self.chance.randrange(6)):
                self.network.step(self.chance.randrange(10))

    def check(self):
        self.network.settle(2.0)
        expected = sorted((number, value) for number in range(3) for value in range(self.published))
        for values in self.came:
            assert sorted(map(tuple, values)) == expected


@pytest.mark.parametrize("what", ["is cut", "expires", "is closed", "is closed and made again"])
@pytest.mark.parametrize("seed", range(8))
def test_a_link_of_a_ring_that_ends_in_a_flood_leaves_no_gap_and_no_overlap(network, what, seed):
    """Whatever it had delivered, and had not, arrives over the other two links as well: all of it once.

    Neither link takes the other's place, so there is no moment of transition: the first copy is delivered,
    and one with the same bytes that arrives over another link is ignored.
    """
    ring = Ring(network, random.Random(seed))
    victim = ring.victim
    one, other = ring.ends[victim]
    for _ in range(3):
        ring.flood(10)
        if what in ("is cut", "expires"):
            network.cut(victim, there_first=bool(seed % 2))
            ring.flood(10)
            if what == "expires":
                network.settle(1.0)
                assert one.id not in other.peers
            network.resume(victim, other)
        elif victim is not None:
            victim.close(0)
            ring.flood(10)
            victim = ring.make(one, other) if what == "is closed and made again" else None
    ring.flood(10)
    ring.check()


class TestWhatIsRemembered:
    def test_is_bounded(self):
        peer = Member.__new__(Member)
        peer.id, peer.role = "middle", "direct"
        duplicates = Duplicates(batches=3)
        head = batches.batch_head("a:b", "alice", "alice")
        for number in range(10):
            data = batches.encode_batch(head, number + 1, [b"[1,[],{}]"], 1)
            batch = batches.parse_batch(data)
            numbers = duplicates.fresh(peer, batch)
            assert duplicates.not_otherwise(peer, batch, data, numbers)
        assert len(duplicates._digests) == len(duplicates._in_order) == 3
