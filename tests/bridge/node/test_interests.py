from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from berrymq import Identifier
from berrymq.bridge.node.interests import Interests
from berrymq.bridge.node.room import MAX_ROUTES, Room

PARTS = st.sampled_from(["a", "b", "c", "*"])
IDENTIFIERS = st.builds(Identifier, PARTS, PARTS, st.sampled_from([None, None, "x", "y"]))
SUBSCRIBERS = st.sampled_from(["ann", "bob", "cid"])


def scan(followed, everything, identifier):
    """Those who follow something that an identifier matches, found by looking at all."""
    return everything | {who for who, what in followed if what.matches(identifier)}


@given(st.sets(st.tuples(SUBSCRIBERS, IDENTIFIERS)), st.sets(SUBSCRIBERS), IDENTIFIERS)
def test_it_finds_what_a_scan_finds_each_once(followed, everything, identifier):
    interests = Interests()
    for who, what in followed:
        interests.add(who, what)
    for who in everything:
        interests.set_everything(who, True)
    found = interests.find(identifier)
    assert set(found) == scan(followed, everything, identifier)
    assert len(found) == len(set(found))


class Following(RuleBasedStateMachine):
    """Subscribers come and go; whatever they did before, a look-up finds what a scan finds."""

    def __init__(self):
        super().__init__()
        self.room = Room(None)
        self.followed = set()
        self.everything = set()

    @rule(who=SUBSCRIBERS, what=IDENTIFIERS)
    def follow_or_unfollow(self, who, what):
        if (who, what) in self.followed:
            self.followed.remove((who, what))
            self.room.unfollow(who, [what])
        else:
            self.followed.add((who, what))
            self.room.follow(who, [what])

    @rule(who=SUBSCRIBERS, wanted=st.booleans())
    def want_everything(self, who, wanted):
        (self.everything.add if wanted else self.everything.discard)(who)
        self.room.follow_everything(who, wanted)

    @rule(identifier=IDENTIFIERS)
    def look_up(self, identifier):
        found = self.room.route(identifier.text)
        assert set(found) == scan(self.followed, self.everything, identifier)

    @invariant()
    def it_knows_who_holds_what(self):
        interests = self.room.interests
        identifiers = {what for _, what in self.followed}
        assert set(interests.identifiers) == identifiers
        assert len(interests) == len(identifiers)
        assert set(interests.follow_everything) == self.everything
        for one in identifiers:
            assert set(interests.holders(one)) == {who for who, what in self.followed if what == one}

    def teardown(self):
        for who, what in self.followed:
            self.room.unfollow(who, [what])
        tables = self.room.interests.__dict__.items()
        assert all(not table for name, table in tables if name != "_everything"), "something was left behind"


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=50, suppress_health_check=list(HealthCheck))


class Counting(dict):
    """A dictionary that counts what is looked at."""

    looked = 0

    def get(self, *args):
        Counting.looked += 1
        return super().get(*args)

    def __getitem__(self, key):
        Counting.looked += 1
        return super().__getitem__(key)

    def __iter__(self):
        for key in super().__iter__():
            Counting.looked += 1
            yield key


def looked_at(others):
    """How much is looked at to find the followers of some identifiers, with so many others."""
    interests = Interests()
    for number in range(others):
        interests.add(number % 30, Identifier(f"n{number}", "run" if number % 2 else f"a{number}"))
    interests.add("first", Identifier.parse("test:run"))
    interests.add("second", Identifier.parse("test:*"))
    for name, table in vars(interests).items():
        counting = {
            key: Counting(value) if isinstance(value, dict) else value for key, value in table.items()
        }
        setattr(interests, name, Counting(counting))
    Counting.looked = 0
    assert set(interests.find(Identifier.parse("test:run"))) == {"first", "second"}
    assert set(interests.find(Identifier.parse("test:*"))) == {"first", "second"}
    assert set(interests.find(Identifier.parse("*:run"))) == {"first", "second", *range(1, 30, 2)}
    assert len(interests.find(Identifier.parse("*:*"))) == 32
    return Counting.looked


def test_a_look_up_costs_no_more_among_300_000_others():
    assert looked_at(3_000) == looked_at(300_000) < 100


def test_routes_that_are_kept_are_bounded():
    room = Room(None)
    room.follow("ann", [Identifier.parse("a:*")])
    for number in range(MAX_ROUTES + 10):
        assert room.route(f"a:{number}") == ("ann",)
    assert len(room.routes) <= MAX_ROUTES
