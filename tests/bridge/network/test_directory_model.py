"""What every node knows of the others, against a graph, whatever links come and go in whatever order."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.network import Network

INDEX = st.integers(0, 5)
IDENTIFIER = st.sampled_from(["a:x", "a:*", "*:x", "b:y", "a@n:x"])
SPOKEN = ["a:x", "a:y", "b:x", "b:y", "c:z", "a@n:x", "*:x"]


class Links(RuleBasedStateMachine):
    """Nodes that link, part, are cut, follow and unfollow, while what they say of that is on its way."""

    @initialize(size=st.integers(2, 6))
    def begin(self, size):
        self.network = Network(size, ttl=3600)
        self.follows = {node: {} for node in self.network.nodes}
        self.links = set()

    def node(self, index):
        return self.network.nodes[index % len(self.network.nodes)]

    @rule(one=INDEX, other=INDEX)
    def link(self, one, other):
        one, other = self.node(one), self.node(other)
        if one is not other and not self.network.linked(one, other):
            self.network.link(one, other)
            self.links.add(frozenset((one, other)))

    @rule(one=INDEX, other=INDEX)
    def unlink(self, one, other):
        one, other = self.node(one), self.node(other)
        if frozenset((one, other)) in self.links:
            self.network.unlink(one, other)
            self.links.discard(frozenset((one, other)))

    @rule(one=INDEX, other=INDEX)
    def cut(self, one, other):
        self.network.cut(self.node(one), self.node(other))

    @rule(one=INDEX, other=INDEX)
    def resume(self, one, other):
        self.network.resume(self.node(one), self.node(other))

    @rule(one=INDEX, identifier=IDENTIFIER)
    def follow(self, one, identifier):
        node = self.node(one)
        if identifier not in self.follows[node]:
            self.follows[node][identifier] = node.bus.follow(identifier, lambda message: None)

    @rule(one=INDEX, identifier=IDENTIFIER)
    def unfollow(self, one, identifier):
        subscription = self.follows[self.node(one)].pop(identifier, None)
        if subscription is not None:
            subscription.cancel()

    @rule(choices=st.lists(st.integers(0, 20), min_size=1, max_size=8))
    def arrive(self, choices):
        for choice in choices:
            self.network.step(choice)

    def teardown(self):
        if hasattr(self, "network"):
            for pair in self.links:
                self.network.resume(*pair)
            self.network.settle()
            for node in self.network.nodes:
                self.knows_the_truth(node)

    def knows_the_truth(self, node):
        reached = self.component(node, without=None)
        directory = node._directory
        known = {record.id: record for record in directory.records()}
        assert known == {other.id: other.record for other in reached}
        assert {info.id for info in node.nodes()} == known.keys()
        for identifier in SPOKEN:
            wanted = {
                other.id
                for other in self.network.nodes
                if frozenset((node, other)) in self.links
                and any(self.wants(there, identifier) for there in self.component(other, without=node))
            }
            assert set(directory.routes(identifier, None)) == wanted

    def component(self, start, without):
        """Naively, who can be reached."""
        reached = {start}
        while True:
            more = {other for pair in self.links if without not in pair and pair & reached for other in pair}
            if more <= reached:
                return reached
            reached |= more

    def wants(self, node, identifier):
        return any(followed.matches(self.parsed(identifier)) for followed in node.bus.gateway.interests())

    def parsed(self, identifier):
        from berrymq import Identifier

        return Identifier.parse(identifier)


TestLinks = Links.TestCase
TestLinks.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
