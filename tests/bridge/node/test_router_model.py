"""Messages over hubs and over graphs of direct links that are cut and come back: each once and in order."""

import re

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from berrymq import Identifier, Message
from berrymq.bridge.hub.takeover import QUIET_SECONDS
from berrymq.bridge.node.peer import follow_bytes
from tests.support.network import Network

INDEX = st.integers(0, 7)
FOLLOWED = ["a:x", "a:*", "*:x", "*:*", "b:y"]
PUBLISHED = ["a:x", "a:y", "b:x", "b:y", "c:z", "*:x", "a:*"]


class Traffic(RuleBasedStateMachine):
    """Who there is and who follows what stays as it is; what is published, and the cuts, are chosen."""

    def begin(self, rooms, follows):
        self.network = network = Network()
        for room in rooms:
            network.node(room=room)
        self.came = []
        """The node, the identifier that it follows, and the (source, number) of each message that came."""
        self.published = []
        """The node and the identifier of each message; its number is its place here."""
        self.questions = []
        """The node, the identifier and the future of each question."""
        self.lost = set()
        """The numbers of those that a hub which was killed had acknowledged."""
        for index, identifier in follows:
            self.follow(self.node(index), identifier)
        for index, node in enumerate(network.nodes):
            node.bus.follow("ask:*", lambda message, index=index: [index, message.args[0]])

    def follow(self, node, identifier):
        calls = []
        self.came.append((node, identifier, calls))

        def take(message):
            if message.name != "ask":
                calls.append((message.source, message.args[0]))

        node.bus.follow(identifier, take, direct=True)

    def node(self, index):
        return self.network.nodes[index % len(self.network.nodes)]

    def connector(self, index):
        return self.network.connectors[index % len(self.network.connectors)]

    def leads_to(self, connector):
        """Where a link is made to."""
        raise NotImplementedError

    def reaches(self, one, other):
        """Whether what one node publishes is for the other."""
        raise NotImplementedError

    @rule(index=INDEX, identifier=st.sampled_from(PUBLISHED), count=st.integers(1, 5))
    def publish(self, index, identifier, count):
        node = self.node(index)
        for _ in range(count):
            node.bus.twitter(identifier, len(self.published))
            self.published.append((node, identifier))

    @rule(index=INDEX)
    def ask(self, index):
        node = self.node(index)
        message = Message("ask:it", len(self.questions))
        self.questions.append((node, node._ask(message, None)))

    @rule(index=INDEX, there_first=st.booleans())
    def cut(self, index, there_first):
        self.network.cut(self.connector(index), there_first=there_first)

    @rule(index=INDEX)
    def resume(self, index):
        connector = self.connector(index)
        self.network.resume(connector, self.leads_to(connector))

    @rule(choices=st.lists(st.integers(0, 20), min_size=1, max_size=8))
    def arrive(self, choices):
        for choice in choices:
            self.network.step(choice)

    @rule(seconds=st.sampled_from([0.005, 0.02, 0.3]))
    def wait(self, seconds):
        self.network.loop.advance(seconds)

    @invariant()
    def once_and_in_order(self):
        for _, _, calls in getattr(self, "came", []):
            for name in {source for source, _ in calls}:
                numbers = [number for source, number in calls if source == name]
                assert numbers == sorted(set(numbers))

    def teardown(self):
        if not hasattr(self, "network"):
            return
        try:
            for connector in self.network.connectors:
                self.network.resume(connector, self.leads_to(connector))
            self.network.settle(8.0)
            for node, identifier, calls in self.came:
                self.has_all(node, identifier, calls)
            for number, (node, future) in enumerate(self.questions):
                self.is_answered(node, future, number)
            for router in [*self.network.nodes, *self.network.servers]:
                self.holds_nothing(router)
        finally:
            self.network.close()

    def has_all(self, node, identifier, calls):
        followed = Identifier.parse(identifier)
        for sender in self.network.nodes:
            source = None if sender is node else sender.name
            wanted = {
                number
                for number, (publisher, published) in enumerate(self.published)
                if publisher is sender
                and (sender is node or self.reaches(sender, node))
                and followed.matches(Identifier.parse(published))
            }
            got = {number for name, number in calls if name == source}
            assert got <= wanted
            assert wanted - got <= self.lost

    def is_answered(self, node, future, number):
        assert future.done(), "nobody may wait for ever"
        if future.exception() is None:
            others = [
                i
                for i, other in enumerate(self.network.nodes)
                if other is not node and self.reaches(node, other)
            ]
            assert sorted(future.result()) == [[index, number] for index in others]

    def holds_nothing(self, router):
        """Nothing waits, and what is counted as held is what peers follow."""
        assert all(peer.stream.idle for peer in router.peers.values())
        followed = [one for peer in router.peers.values() for one in peer.follows]
        assert router.budget.held == sum(map(follow_bytes, followed))
        assert len(router.questions.pending._open) == len(router.questions.pending._of) == 0


class HubTraffic(Traffic):
    """Members of a hub, in rooms; the hub may be killed, and another takes its place."""

    @initialize(
        rooms=st.lists(st.sampled_from([None, None, "blue"]), min_size=2, max_size=5),
        follows=st.lists(st.tuples(INDEX, st.sampled_from(FOLLOWED)), max_size=6),
    )
    def begin_with_a_hub(self, rooms, follows):
        self.begin(rooms, follows)
        self.hub = self.network.hub()
        self.killed_for = float("-inf")
        """The seconds since a hub was killed, until all nodes have reconnected."""
        for node in self.network.nodes:
            self.network.link(node, self.hub)
        self.network.settle()

    def leads_to(self, connector):
        return self.hub

    def reaches(self, one, other):
        return one.home.name == other.home.name

    @rule(seconds=st.sampled_from([0.005, 0.02, 0.3]))
    def wait(self, seconds):
        self.killed_for += seconds
        if self.killed_for > QUIET_SECONDS - 0.1:  # what is for a node that is missing after it is lost
            for connector in self.network.connectors:
                self.network.resume(connector, self.hub)
            self.network.settle(0.005)
            self.killed_for = float("-inf")
        super().wait(seconds)

    @rule()
    def kill_the_hub(self):
        kept = set()
        for node in self.network.nodes:
            self.network.loop.run_due()
            for peer in node.peers.values():
                for item in [*peer.stream._in_flight, *peer.stream._buffer]:
                    if item.method == b"messages":
                        kept |= {int(number) for number in re.findall(rb",\[(\d+)\],\{\}", item.body)}
        self.lost |= set(range(len(self.published))) - kept
        self.network.kill(self.hub)
        self.hub = self.network.hub()
        self.killed_for = 0.0


class DirectTraffic(Traffic):
    """Any graph of direct links: chains reach, and rings deliver once."""

    @initialize(
        size=st.integers(2, 6),
        edges=st.sets(st.tuples(INDEX, INDEX), min_size=1, max_size=9),
        follows=st.lists(st.tuples(INDEX, st.sampled_from(FOLLOWED)), max_size=8),
    )
    def begin_with_direct_links(self, size, edges, follows):
        self.begin([None] * size, follows)
        nodes = self.network.nodes
        linked = {(one % size, other % size) for one, other in edges if one % size != other % size}
        linked = {pair for pair in linked if pair[::-1] not in linked or pair[0] < pair[1]}
        self.ends = {}
        for one, other in sorted(linked):
            self.ends[self.network.link(nodes[one], nodes[other])] = nodes[other]
        self.parts = [{node} for node in nodes]
        for one, other in linked:
            joined = self.part_of(nodes[one]) | self.part_of(nodes[other])
            self.parts = [part for part in self.parts if not part & joined] + [joined]
        self.network.settle()

    def part_of(self, node):
        return next(part for part in self.parts if node in part)

    @precondition(lambda self: self.network.connectors)
    @rule(index=INDEX, there_first=st.booleans())
    def cut(self, index, there_first):
        self.network.cut(self.connector(index), there_first=there_first)

    @precondition(lambda self: self.network.connectors)
    @rule(index=INDEX)
    def resume(self, index):
        connector = self.connector(index)
        self.network.resume(connector, self.leads_to(connector))

    def leads_to(self, connector):
        return self.ends[connector]

    def reaches(self, one, other):
        return other in self.part_of(one)


SETTINGS = settings(
    max_examples=50,
    stateful_step_count=30,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestHubTraffic = HubTraffic.TestCase
TestHubTraffic.settings = SETTINGS
TestDirectTraffic = DirectTraffic.TestCase
TestDirectTraffic.settings = SETTINGS
