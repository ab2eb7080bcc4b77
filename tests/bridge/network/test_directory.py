import itertools
import random

import pytest

from berrymq import Identifier
from berrymq.bridge.network.directory import Directory
from berrymq.bridge.protocol.frames import NodeRecord
from tests.support.network import Network


def record(name, *neighbours, follows=(), version=1, room=None, hub=False, away=()):
    return NodeRecord(name, name.upper(), version, room, hub, tuple(follows), tuple(neighbours), tuple(away))


def directory(*records, neighbours, room=None, follows=()):
    """The directory of "me"."""
    made = Directory(record("me", version=0, room=room))
    made.set_own(neighbours=neighbours, follows=follows)
    made.learn(records)
    return made


def ids(records):
    return {known.id for known in records}


class TestOwnRecord:
    def test_a_change_is_to_be_announced_with_a_higher_version(self):
        made = Directory(record("me", version=0))
        assert made.set_own(follows=["b:y", "a:x"]) == [record("me", follows=["a:x", "b:y"], version=1)]
        assert made.set_own(neighbours=["p"]) == [record("me", "p", follows=["a:x", "b:y"], version=2)]

    def test_no_change_is_not(self):
        made = Directory(record("me", version=0))
        made.set_own(follows=["a:x"], neighbours=["p"])
        assert made.set_own(follows=["a:x"], neighbours=["p"], away=[]) == []
        assert made.own.version == 1

    def test_what_others_say_of_it_does_not_count(self):
        made = directory(neighbours=["p"])
        assert made.learn([record("me", "x", version=99)]) == []
        assert made.own.version == 1


class TestLearning:
    def test_news_is_handed_on_once(self):
        made = directory(neighbours=["p"])
        news = [record("p", "me")]
        assert made.learn(news) == news
        assert made.learn(news) == []

    def test_a_higher_version_replaces_a_lower_one_and_never_the_other_way(self):
        made = directory(record("p", "me", version=5), neighbours=["p"])
        assert made.learn([record("p", "me", follows=["a:x"], version=4)]) == []
        assert made.learn([record("p", "me", follows=["a:x"], version=6)]) != []
        assert made.record("p").follows == ("a:x",)

    def test_who_can_not_be_reached_is_not_known(self):
        made = directory(record("p", "me"), record("far", "x"), neighbours=["p"])
        assert made.record("far") is None
        assert ids(made.records()) == {"me", "p"}

    def test_a_link_counts_when_both_ends_name_it(self):
        made = directory(record("p", "me", "q"), record("q"), neighbours=["p"])
        assert made.record("q") is None
        made.learn([record("q", "p", version=2)])
        assert made.record("q") is not None

    def test_records_may_come_in_any_order(self):
        records = [record("p", "me", "q"), record("q", "p", "r"), record("r", "q", follows=["a:x"])]
        for order in itertools.permutations(records):
            made = directory(neighbours=["p"])
            handed_on = [one for part in order for one in made.learn([part])]
            assert ids(made.records()) == {"me", "p", "q", "r"}
            assert ids(handed_on) == {"p", "q", "r"}
            assert made.routes("a:x", None) == ("p",)

    def test_one_who_has_left_is_out_of_sight_with_all_behind(self):
        made = directory(record("p", "me", "q"), record("q", "p", "r"), record("r", "q"), neighbours=["p"])
        made.learn([record("p", "me", version=2)])
        assert ids(made.records()) == {"me", "p"}
        assert made.record("r") is None

    def test_one_who_comes_back_into_sight_is_news(self):
        made = directory(record("p", "me", "q"), record("q", "p"), neighbours=["p"])
        made.learn([record("p", "me", version=2)])
        assert ids(made.learn([record("p", "me", "q", version=3)])) == {"p", "q"}

    def test_one_who_comes_back_with_an_own_link_is_to_be_announced(self):
        made = directory(record("p", "me", "q"), record("q", "p"), neighbours=["p"])
        assert ids(made.set_own(neighbours=[])) == {"me"}
        assert ids(made.set_own(neighbours=["p"])) == {"me", "p", "q"}

    def test_how_many_are_kept_out_of_sight_is_bounded(self):
        made = directory(neighbours=[])
        for number in range(3_000):
            made.learn([record(f"n{number}", "elsewhere")])
        assert len(made._out_of_sight) == 1000
        assert "n2999" in made._out_of_sight

    def test_a_record_with_an_identifier_that_is_none_is_left_out(self):
        made = directory(neighbours=["p"])
        assert made.learn([record("p", "me", follows=["a:b:c"])]) == []
        assert ids(made.learn([record("p", "me", follows=["a:x"])])) == {"p"}


class TestRoutes:
    def test_there_is_one_over_each_neighbour_behind_whom_somebody_follows(self):
        made = directory(
            record("p", "me", "r"),
            record("q", "me", "r"),
            record("s", "me"),
            record("r", "p", "q", follows=["a:*"]),
            neighbours=["p", "q", "s"],
        )
        assert set(made.routes("a:x", None)) == {"p", "q"}
        assert made.routes("b:x", None) == ()
        assert set(made.ways_to("r", None)) == {"p", "q"}
        assert made.ways_to("s", None) == ("s",)

    def test_a_way_that_leads_back_through_here_is_none(self):
        made = directory(
            record("p", "me"), record("q", "me", follows=["a:x"]), neighbours=["p", "q"], follows=["a:x"]
        )
        assert made.routes("a:x", None) == ("q",)

    @pytest.mark.parametrize(
        ("followed", "said", "wanted"),
        [
            ("a:x", "a:x", True),
            ("a:x", "a:y", False),
            ("a:*", "a:y", True),
            ("*:x", "a:x", True),
            ("*:*", "a:x", True),
            ("a:x", "*:x", True),
            ("a:x", "a:*", True),
            ("a:x", "*:*", True),
            ("a:x", "*:y", False),
            ("a@n:x", "a@n:x", True),
            ("a@n:*", "a@n:x", True),
            ("a:x", "a@n:x", False),
            ("a@n:x", "a:x", False),
            ("a@n:x", "a@m:x", False),
            ("*:*", "a@n:x", False),
        ],
    )
    def test_wildcards_on_either_side_and_namespaces(self, followed, said, wanted):
        made = directory(record("p", "me", follows=[followed]), neighbours=["p"])
        assert bool(made.routes(said, None)) == wanted
        assert made.is_followed(Identifier.parse(said)) == wanted
        assert made.followers(said, None) == ({"p"} if wanted else set())

    def test_rooms_do_not_hear_each_other_but_hubs_lead_on(self):
        made = directory(
            record("hub", "me", "p", "q", hub=True),
            record("p", "hub", follows=["a:x"], room="blue"),
            record("q", "hub", follows=["b:x"]),
            neighbours=["hub"],
            room="blue",
        )
        assert made.routes("a:x", "blue") == ("hub",)
        assert made.routes("a:x", None) == ()
        assert made.routes("b:x", "blue") == ()
        assert made.is_followed(Identifier.parse("a:x"))
        assert not made.is_followed(Identifier.parse("b:x"))

    def test_they_change_with_what_is_known(self):
        made = directory(record("p", "me"), neighbours=["p"])
        assert made.routes("a:x", None) == ()
        made.learn([record("p", "me", follows=["a:x"], version=2)])
        assert made.routes("a:x", None) == ("p",)
        made.set_own(neighbours=[])
        assert made.routes("a:x", None) == ()

    def test_the_table_of_routes_is_bounded(self):
        made = directory(record("p", "me", follows=["*:x"]), neighbours=["p"])
        for number in range(10_000):
            assert made.routes(f"n{number}:x", None) == ("p",)
        assert len(made._routes) <= Directory._MAX_ROUTES


class TestNodes:
    def test_this_one_comes_first_then_by_name(self):
        made = directory(record("q", "me"), record("p", "me", follows=["a:x"]), neighbours=["q", "p"])
        nodes = made.nodes()
        assert [node.name for node in nodes] == ["ME", "P", "Q"]
        assert [node.here for node in nodes] == [True, False, False]
        assert nodes[1].follows == ("a:x",)

    def test_those_whose_connection_is_cut_are_left_out(self):
        made = directory(
            record("p", "me", "q", away=["q"]), record("q", "p"), record("r", "me"), neighbours=["p", "r"]
        )
        made.set_own(away=["r"])
        assert [node.id for node in made.nodes()] == ["me", "p"]

    def test_a_room_sees_itself_and_the_hubs(self):
        made = directory(
            record("hub", "me", "p", hub=True), record("p", "hub"), neighbours=["hub"], room="blue"
        )
        assert [node.id for node in made.nodes("blue")] == ["me", "hub"]
        assert [node.id for node in made.nodes(None)] == ["hub", "p"]
        assert len(made.nodes(all_rooms=True)) == 3


def test_a_way_that_goes_before_another_is_heard_of_leaves_nobody_unknown():
    """Both what Q says and what Y2 says is slow, and X leaves Y1 without a word after it has found Y2."""
    network = Network()
    q, y1, y2, x, far = (network.add(name) for name in ("q", "y1", "y2", "x", "far"))
    for pair in ((y1, q), (y2, q), (x, y1), (far, x)):
        network.link(*pair)
    network.settle()
    network.link(x, y2)
    slow = [network.plug(q, y2), network.plug(y1, q), network.plug(y1, x)]
    network.arrive_but(slow)
    network.unlink(x, y1)
    network.arrive_but(slow)
    assert q.record_of(far.id) is None
    network.settle()
    for node in network.nodes:
        assert len(node.nodes()) == 5


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_are_known_to_all(seed):
    chance = random.Random(seed)
    network = Network(8)
    edges = [pair for pair in itertools.combinations(network.nodes, 2) if chance.random() < 0.4]
    for one, other in edges:
        network.link(*chance.sample([one, other], 2))
        for _ in range(chance.randrange(20)):
            network.step(chance.randrange(100))
    network.settle()
    groups = {node: {node} for node in network.nodes}
    for one, other in edges:
        merged = groups[one] | groups[other]
        for node in merged:
            groups[node] = merged
    for node in network.nodes:
        assert {info.id for info in node.nodes()} == {other.id for other in groups[node]}


class TestRooms:
    """Nodes of another room do not carry messages: they are not told who follows what."""

    @pytest.fixture
    def mixed(self):
        return directory(
            record("hub", "me", "blue", "far", hub=True),
            record("blue", "me", "hub", "beyond", room="blue", follows=["a:x"]),
            record("beyond", "blue", follows=["a:x"]),
            record("far", "hub", follows=["a:x"]),
            neighbours=["hub", "blue"],
        )

    def test_hubs_carry_and_others_do_not(self, mixed):
        assert mixed.routes("a:x", None) == ("hub",)
        assert mixed.ways_to("far", None) == ("hub",)
        assert mixed.ways_to("beyond", None) == ()

    def test_those_of_the_room_do(self, mixed):
        assert set(mixed.routes("a:x", "blue")) == {"hub", "blue"}
        assert set(mixed.ways_to("beyond", "blue")) == {"hub", "blue"}

    def test_all_are_known_all_the_same(self, mixed):
        assert ids(mixed.records()) == {"me", "hub", "blue", "far", "beyond"}


class TestBounds:
    def test_so_many_nodes_and_no_more(self, monkeypatch, caplog):
        monkeypatch.setattr("berrymq.bridge.network.directory.MAX_NODES", 4)
        names = [f"n{number}" for number in range(8)]
        made = directory(
            record("p", "me", *names),
            *[record(name, "p", follows=["a:x"]) for name in names],
            neighbours=["p"],
        )
        assert len(made.records()) == 4
        assert caplog.text.count("the rest gets no messages") == 1
        assert made.learn([record("p", "me", "n0", version=2)]) != []

    def test_so_many_identifiers_and_no_more(self, monkeypatch, caplog):
        monkeypatch.setattr("berrymq.bridge.network.directory.MAX_NAMED", 12)
        made = directory(record("p", "me", follows=[f"a:x{n}" for n in range(8)]), neighbours=["p"])
        assert made.learn([record("p", "me", follows=[f"a:y{n}" for n in range(11)], version=2)]) == []
        assert "the rest gets no messages" in caplog.text
        assert made.routes("a:x7", None) == ("p",)
        assert made.learn([record("p", "me", follows=[f"a:y{n}" for n in range(10)], version=3)]) != []
        assert (made.routes("a:x7", None), made.routes("a:y9", None)) == ((), ("p",))

    def test_of_ones_own_no_more_than_others_take(self, monkeypatch, caplog):
        monkeypatch.setattr("berrymq.bridge.network.directory.MAX_OWN_FOLLOWED", 4)
        monkeypatch.setattr("berrymq.bridge.network.directory.MAX_OWN_BYTES", 20)
        made = directory(neighbours=["p"])
        made.set_own(follows=[f"a:{n}" for n in range(6)])
        assert made.own.follows == ("a:0", "a:1", "a:2", "a:3")
        made.set_own(follows=["a:" + "x" * 10, "a:" + "y" * 10])
        assert made.own.follows == ("a:" + "x" * 10,)
        assert caplog.text.count("follows too much: of 6 identifiers only 4 are heard") == 1
        assert caplog.text.count("follows too much") == 1


class TestExpected:
    """Those who were behind a hub that died are routed to at its successor until they come."""

    @pytest.fixture
    def orphaned(self):
        made = directory(
            record("hub", "me", "one", "two", hub=True),
            record("one", "hub", follows=["a:x"]),
            record("two", "hub", follows=["b:*"]),
            neighbours=["hub"],
        )
        made.set_own(follows=[])
        made.expect_behind("heir", "hub")
        made.set_own(neighbours=["heir"])
        made.learn([record("heir", "me", hub=True)])
        return made

    def test_they_are_routed_to_and_not_listed(self, orphaned):
        assert orphaned.routes("a:x", None) == orphaned.routes("b:y", None) == ("heir",)
        assert orphaned.routes("c:z", None) == orphaned.routes("a:x", "room") == ()
        assert orphaned.ways_to("one", None) == ("heir",)
        assert orphaned.followers("a:x", None) == {"one"}
        assert orphaned.is_there("one")
        assert ids(orphaned.records()) == {"me", "heir"}

    def test_who_has_come_is_expected_no_longer(self, orphaned):
        orphaned.learn([record("heir", "me", "one", version=2), record("one", "heir", version=2)])
        assert orphaned.is_expecting("heir")
        assert orphaned.routes("a:x", None) == ()
        assert ids(orphaned.give_up_expected("heir")) == {"two"}
        assert not orphaned.is_expecting("heir")
        assert orphaned.routes("b:y", None) == ()
        assert not orphaned.is_there("two")

    def test_they_are_expected_at_the_successor_of_the_successor(self, orphaned):
        orphaned.expect_behind("grandheir", "heir")
        orphaned.set_own(neighbours=["grandheir"])
        assert orphaned.routes("a:x", None) == ("grandheir",)
        assert not orphaned.is_expecting("heir")

    def test_without_a_link_nobody_is(self, orphaned):
        orphaned.set_own(neighbours=[])
        assert not orphaned.is_expecting("heir")
        assert orphaned.routes("a:x", None) == ()
