"""Messages over any graph of links that are cut and come back: each once, in order, and then silence."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from berrymq import Identifier
from tests.support.network import Network

INDEX = st.integers(0, 7)
FOLLOWED = ["a:x", "a:*", "*:x", "*:*", "b:y"]
SPOKEN = ["a:x", "a:y", "b:x", "b:y", "c:z", "*:x", "a:*"]


class Traffic(RuleBasedStateMachine):
    """The graph and who follows what stay as they are; what is said, and the cuts, are chosen."""

    @initialize(
        size=st.integers(2, 6),
        edges=st.sets(st.tuples(INDEX, INDEX), max_size=10),
        follows=st.lists(st.tuples(INDEX, st.sampled_from(FOLLOWED)), max_size=8),
        rooms=st.lists(st.sampled_from([None, None, None, "blue"]), min_size=6, max_size=6),
    )
    def begin(self, size, edges, follows, rooms):
        self.network = network = Network()
        for index in range(size):
            network.add(room=rooms[index], hub=index == 0)
        self.got = {node: [] for node in network.nodes}
        self.said = []
        for index, identifier in follows:
            node = self.node(index)
            node.bus.follow(identifier, self.taker(node, identifier), direct=True)
        self.pairs = [(self.node(index), self.node(0)) for index in range(1, size)]
        for one, other in edges:
            pair = (self.node(one), self.node(other))
            if pair[0] is not pair[1] and pair not in self.pairs and pair[::-1] not in self.pairs:
                self.pairs.append(pair)
        for pair in self.pairs:
            network.link(*pair)
        network.settle()

    def node(self, index):
        return self.network.nodes[index % len(self.network.nodes)]

    def taker(self, node, identifier):
        follower = (len(self.got[node]), identifier)
        calls = []
        self.got[node].append((follower, calls))
        return lambda message: calls.append((message.source, message.args[0]))

    @rule(index=INDEX, identifier=st.sampled_from(SPOKEN), count=st.integers(1, 5))
    def say(self, index, identifier, count):
        node = self.node(index)
        for _ in range(count):
            self.said.append((node, identifier))
            node.bus.twitter(identifier, len(self.said))

    @rule(index=INDEX)
    def cut(self, index):
        self.network.cut(*self.pairs[index % len(self.pairs)])

    @rule(index=INDEX)
    def resume(self, index):
        self.network.resume(*self.pairs[index % len(self.pairs)])

    @rule(choices=st.lists(st.integers(0, 20), min_size=1, max_size=8))
    def arrive(self, choices):
        for choice in choices:
            self.network.step(choice)

    def teardown(self):
        if hasattr(self, "network"):
            for pair in self.pairs:
                self.network.resume(*pair)
            self.network.settle()
            for node in self.network.nodes:
                for (_, identifier), calls in self.got[node]:
                    self.has_all(node, identifier, calls)
            assert self.network.settle() == 0, "it does not fall silent"

    def has_all(self, node, identifier, calls):
        followed = Identifier.parse(identifier)
        for sender in self.network.nodes:
            source = None if sender is node else sender.name
            wanted = [
                number
                for number, (speaker, spoken) in enumerate(self.said, start=1)
                if speaker is sender
                and sender.room == node.room
                and followed.matches(Identifier.parse(spoken))
            ]
            assert [number for name, number in calls if name == source] == wanted


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
