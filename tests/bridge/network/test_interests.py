"""The index of who follows what, against asking each one."""

from hypothesis import given
from hypothesis import strategies as st

from berrymq import Identifier
from berrymq.bridge.network.interests import Interests

PARTS = st.sampled_from(["a", "b", "*"])
IDENTIFIERS = st.builds(Identifier, PARTS, PARTS, st.sampled_from([None, "n"]))
FOLLOWS = st.dictionaries(st.sampled_from("uvwx"), st.lists(IDENTIFIERS, max_size=4).map(tuple))


@given(states=st.lists(FOLLOWS, min_size=1, max_size=5), sent=st.lists(IDENTIFIERS, min_size=1))
def test_they_are_those_whose_identifiers_match(states, sent):
    interests = Interests()
    before = {}
    for state in states:
        interests.change(before.items(), state.items())
        before = state
        for identifier in sent:
            matching = {
                node_id for node_id, follows in state.items() if any(f.matches(identifier) for f in follows)
            }
            assert interests.followers(identifier) == matching
    interests.change(before.items(), [])
    assert interests._nodes == {}
