"""What one who speaks the wire may do with shared queues, and what it may not."""

import pytest

from berrymq import Queue
from berrymq.bridge.protocol.events import CloseCode
from berrymq.bridge.transport.budget import Budget
from tests.support.network import Member, Network


@pytest.fixture
def network():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def hub(network):
    return network.hub()


def member_of(network, hub, name, group="job:*", **fields):
    member = Member(network, hub, name)
    member.frame("interest", reset=True)
    member.frame("join", group=group, **fields)
    network.settle()
    return member


def group_of(hub, group="job:*"):
    return hub.groups._known[None, group].group


def jobs_of(member):
    """The values and numbers of the jobs that came."""
    return {
        number + place: message[1][0]
        for params in member.of("jobs")
        for number, batch in params["jobs"]
        for place, message in enumerate(batch[5])
    }


@pytest.fixture
def sender(network, hub):
    sender = Member(network, hub, "sender")
    sender.frame("interest", reset=True)
    network.settle()
    return sender


def send(sender, *values):
    first = getattr(sender, "next_value", 1)
    sender.next_value = first + len(values)
    sender.publish("job:add", *values, first=first)


class TestOthersJobs:
    def test_two_members_that_claim_the_same_jobs_count_once(self, network, hub, sender):
        one, other = (member_of(network, hub, name) for name in ("one", "other"))
        send(sender, *range(10))
        for member in (one, other):
            member.frame("want", group="job:*", ahead=5)
        network.settle()
        assert sorted([*jobs_of(one).values(), *jobs_of(other).values()]) == list(range(10))
        for member in (one, other):
            member.frame("want", group="job:*", taken=[[1, 10], [1, 2**53 - 1]])
        network.settle()
        group = group_of(hub)
        assert (group.taken, group.depth) == (10, 0)
        assert [member.taken for member in group.members] == [5, 5]

    def test_jobs_that_one_does_not_have_are_not_given_back(self, network, hub, sender):
        one, mallory = (member_of(network, hub, name) for name in ("one", "mallory"))
        send(sender, *range(4))
        one.frame("want", group="job:*", ahead=2)
        network.settle()
        mallory.frame("want", group="job:*", ahead=9, returned=[[1, 2]], taken=[[1, 2]])
        network.settle()
        assert sorted(jobs_of(one)) == [1, 2]
        assert sorted(jobs_of(mallory)) == [3, 4]
        mallory.frame("leave", group="job:*", taken=[[1, 2], [3, 1]])
        one.frame("want", group="job:*", ahead=9, taken=[[1, 2]])
        network.settle()
        assert sorted(jobs_of(one)) == [1, 2, 4]

    def test_a_group_of_another_room_is_another_one(self, network, hub, sender):
        one = member_of(network, hub, "one")
        mallory = Member(network, hub, "mallory", room="elsewhere")
        mallory.frame("interest", reset=True)
        for method in ("want", "put", "leave"):
            fields = {"batch": mallory.batch("job:add", [1.0, ["x"], {}])} if method == "put" else {}
            mallory.frame(method, group="job:*", **fields)
        mallory.frame("join", group="job:*", maxsize=1)
        mallory.frame("want", group="job:*", ahead=9, taken=[[1, 9]])
        send(sender, 1, 2)
        one.frame("want", group="job:*", ahead=9)
        network.settle()
        assert mallory.closed is None
        assert jobs_of(mallory) == {}
        assert sorted(jobs_of(one).values()) == [1, 2]

    def test_one_that_is_no_member_adds_nothing(self, network, hub, sender):
        member_of(network, hub, "one", maxsize=3)
        mallory = member_of(network, hub, "mallory", maxsize=9)
        assert "all that share it have the same settings" in mallory.of("group")[-1]["refused"]
        mallory.frame("put", group="job:*", batch=mallory.batch("job:add", [1.0, ["x"], {}]))
        network.settle()
        assert group_of(hub).received == 0

    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            ("jobs", {"jobs": []}),
            ("group", {"state": [0, 0, 0, 0, 0, 0, []]}),
            ("want", {"ahead": -1}),
            ("want", {"ahead": 2**60}),
            ("want", {"taken": [[0, 1]]}),
            ("want", {"taken": [[1, 1]] * 4_097}),
            ("want", {"first": 101}),
            ("join", {"overflow": "block"}),
            ("join", {"had": [["x" * 65, 1, 1]]}),
            ("join", {"group": "_job:*"}),
            ("join", {"group": "job"}),
            ("put", {"batch": ["job:add", "someone else", "mallory", 1, 1, [[1.0, [], {}]]]}),
            ("put", {"batch": ["other:add", None, "mallory", 1, 1, [[1.0, [], {}]]]}),
            ("put", {"batch": ["job:add", None, "mallory", 1, 9, [[1.0, [], {}]]]}),
            ("put", {"sizes": [2**60], "batch": ["job:add", None, "mallory", 1, 1, [[1.0, [], {}]]]}),
        ],
    )
    def test_what_violates_the_protocol_cuts_its_sender_and_harms_no_one(
        self, network, hub, sender, method, fields
    ):
        one, mallory = (member_of(network, hub, name) for name in ("one", "mallory"))
        if "batch" in fields:
            fields = fields | {
                "batch": [fields["batch"][0], fields["batch"][1] or mallory.id, *fields["batch"][2:]]
            }
        mallory.frame(method, **{"group": "job:*", **fields})
        network.settle()
        if fields.get("group") != "job":
            assert mallory.closed is not None
            assert mallory.closed.code == CloseCode.PROTOCOL_ERROR
            assert mallory.closed.reason
        send(sender, 1)
        one.frame("want", group="job:*", waiting=1)
        network.settle()
        assert list(jobs_of(one).values()) == [1]


class TestFloods:
    def test_the_size_of_buffers_that_did_not_come_counts_for_nothing(self, network, hub, sender):
        """Else one small frame would drop what the hub holds for others."""
        mallory = member_of(network, hub, "mallory")
        for number in range(1, 11):
            batch = mallory.batch("job:add", [1.0, [{"$type": "buffer", "value": 0}], {}], first=number)
            mallory.frame("put", group="job:*", batch=batch, sizes=[2**50])
        send(sender, "small")
        mallory.frame("want", group="job:*", ahead=20)
        network.settle()
        assert hub.budget.held < 20_000
        assert "small" in jobs_of(mallory).values()

    def test_groups_without_members_give_way(self, network, hub, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.jobs.groups.MAX_GROUPS", 10)
        mallory = member_of(network, hub, "mallory", "a0:*")
        for number in range(30):
            mallory.frame("join", group=f"a{number}:*")
            mallory.frame("leave", group=f"a{number}:*")
        network.settle()
        member_of(network, hub, "honest")
        assert len(hub.groups._known) <= 10
        assert len(group_of(hub).members) == 1

    def test_one_with_jobs_does_not(self, network, hub, sender, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.jobs.groups.MAX_GROUPS", 1)
        one = member_of(network, hub, "one")
        send(sender, 1)
        one.frame("leave", group="job:*")
        network.settle()
        other = member_of(network, hub, "other", "a:*")
        assert other.of("group")[-1]["refused"] == "the hub has 1 shared queues already"
        assert group_of(hub).depth == 1

    def test_one_node_has_a_part_of_the_groups(self, network, hub, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.jobs.groups.MAX_GROUPS_OF_NODE", 5)
        mallory = member_of(network, hub, "mallory")
        for number in range(30):
            mallory.frame("join", group=f"a{number}:*")
        mallory.frame("join", group="job:*")
        network.settle()
        assert len(hub.groups._known) == 5
        refused = {frame["group"]: frame["refused"] for frame in mallory.of("group") if "refused" in frame}
        assert sorted(refused) == sorted(f"a{number}:*" for number in range(4, 30))
        assert "at most 5 shared queues" in refused["a4:*"]

    def test_joins_of_one_group_cost_one_timer(self, network, hub):
        mallory = member_of(network, hub, "mallory")
        for _ in range(100):
            mallory.frame("join", group="job:*", had=[["a" * 16, 1, 2**53]])
        network.settle()
        waiting = [timer for _, _, timer in network.loop._timers if timer.function is not None]
        assert len(waiting) < 20
        network.loop.advance(60)
        assert hub.budget.held < 5_000

    def test_a_hub_that_has_replaced_none_believes_no_former_jobs(self, network, hub, sender):
        hub.started_at -= 100
        one = member_of(network, hub, "one", had=[[sender.id, 1, 10_000]])
        send(sender, 1, 2)
        one.frame("want", group="job:*", waiting=2)
        network.settle()
        assert sorted(jobs_of(one).values()) == [1, 2]

    def test_a_member_that_hoards_and_does_not_read_costs_the_others_nothing(self, network):
        hub = network.hub(Budget(4 * 1024 * 1024))
        hoarder = member_of(network, hub, "hoarder", "big:*")
        hoarder.acknowledges = False
        hoarder.frame("want", group="big:*", ahead=2**53)
        one = member_of(network, hub, "one")
        sender = Member(network, hub, "sender")
        sender.frame("interest", reset=True)
        for number in range(200):
            sender.publish("big:job", "x" * 50_000, first=number + 1)
            network.settle(0.02)
            assert hub.budget.held <= 5 * 1024 * 1024
        sender.publish("job:add", "small", first=201)
        one.frame("want", group="job:*", waiting=1)
        network.settle()
        assert list(jobs_of(one).values()) == ["small"]


class TestCuts:
    """Two workers and a sender; each test cuts the first worker's connection."""

    @pytest.fixture(autouse=True)
    def workers(self, network, hub):
        nodes = [network.node(name) for name in ("sender", "one", "other")]
        _, self.link, _ = [network.link(node, hub) for node in nodes]
        self.queues = [Queue("job:*", shared=True, bus=node.bus) for node in nodes[1:]]
        self.taken = []
        network.settle(0.2)
        for number in range(12):
            nodes[0].bus.twitter("job:add", number)

    @staticmethod
    def fetch(queue, count):
        membership = queue._store.membership
        membership._queues.report(membership, question=1, now=count)

    def take(self, queue, most=100):
        while most and queue._store.items:
            self.taken.append(queue._store.items.popleft().args[0])
            most -= 1

    @pytest.mark.parametrize("there_first", [False, True])
    @pytest.mark.parametrize("steps", range(25))
    def test_at_every_frame_of_a_hand_over_each_job_is_taken_once(self, network, hub, steps, there_first):
        for turn in range(steps):
            self.fetch(self.queues[turn % 2], 1 + turn % 3)
            network.step(turn)
            self.take(self.queues[0], most=1)
        network.cut(self.link, there_first=there_first)
        assert not self.queues[0]._store.items, "jobs that came over a link that is cut are not taken"
        network.settle(0.01)
        network.resume(self.link, hub)
        while len(self.taken) < 12:
            before = len(self.taken)
            for queue in self.queues:
                self.fetch(queue, 100)
                while network.step():
                    pass
                self.take(queue)
            network.settle(0.1)
            assert len(self.taken) > before, hub.groups.status()
        network.settle(0.2)
        assert sorted(self.taken) == list(range(12))
        assert group_of(hub).depth == 0


def test_jobs_put_by_one_that_leaves_while_the_hub_gathers_are_not_lost(network, hub):
    former = {"id": "a hub of before", "received": 1}
    one = Member(network, hub, "one", resume=former)
    other = Member(network, hub, "other", resume=former)
    for member in (one, other):
        member.frame("join", group="job:*")
        member.frame("interest", reset=True)
    assert hub.takeover.active
    one.frame("put", group="job:*", batch=one.batch("job:add", [1.0, ["put"], {}]))
    one.publish("job:add", "published", first=2)
    one.frame("leave", group="job:*")
    network.step(), network.step(), network.step()
    one.wire.close()
    other.frame("want", group="job:*", waiting=5)
    network.settle()
    assert not hub.takeover.active
    assert sorted(jobs_of(other).values()) == ["published", "put"]
