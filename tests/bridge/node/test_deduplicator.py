import itertools

from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.node.duplicates import Ascending
from berrymq.bridge.node.inbox import Deduplicator

BATCHES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 60), st.integers(1, 8)), max_size=80)


def remembered(seen, origin):
    """How many ranges are kept for an origin."""
    known = seen._by_origin[origin]
    assert len(known._firsts) == len(known.lasts)
    return len(known.lasts)


def test_what_comes_first_is_fresh_and_what_comes_again_is_not():
    seen = Deduplicator()
    assert list(seen.fresh("a", 1, 3)) == [1, 2, 3]
    assert list(seen.fresh("a", 1, 3)) == []
    assert list(seen.fresh("a", 3, 2)) == [4]


def test_origins_are_told_apart():
    seen = Deduplicator()
    assert list(seen.fresh("a", 1, 2)) == [1, 2]
    assert list(seen.fresh("b", 1, 2)) == [1, 2]


def test_numbers_may_be_left_out_and_come_late():
    seen = Deduplicator()
    assert list(seen.fresh("a", 100, 1)) == [100]
    assert list(seen.fresh("a", 50, 2)) == [50, 51]
    assert list(seen.fresh("a", 49, 4)) == [49, 52]
    assert list(seen.fresh("a", 48, 54)) == [48, *range(53, 100), 101]


@given(BATCHES)
def test_while_nothing_is_forgotten_it_is_a_set(batches):
    seen, model = Deduplicator(), set()
    for origin, first, count in batches:
        expected = [n for n in range(first, first + count) if (origin, n) not in model]
        assert list(seen.fresh(origin, first, count)) == expected
        model.update((origin, n) for n in range(first, first + count))


@given(BATCHES, st.integers(1, 4))
def test_nothing_is_ever_fresh_twice_while_its_origin_is_remembered(batches, ranges):
    seen, model = Deduplicator(ranges=ranges), set()
    for origin, first, count in batches:
        for number in seen.fresh(origin, first, count):
            assert first <= number < first + count
            assert (origin, number) not in model
            model.add((origin, number))


@given(BATCHES, st.integers(1, 4))
def test_what_is_newer_than_all_before_is_fresh(batches, ranges):
    seen, highest = Deduplicator(ranges=ranges), {"a": 0, "b": 0}
    for origin, first, count in batches:
        fresh = set(seen.fresh(origin, first, count))
        newer = {n for n in range(first, first + count) if n > highest[origin]}
        assert newer <= fresh
        highest[origin] = max(highest[origin], first + count - 1)


@given(BATCHES)
def test_the_ranges_are_disjoint_in_order_and_as_few_as_can_be(batches):
    seen = Deduplicator()
    for origin, first, count in batches:
        seen.fresh(origin, first, count)
    for known in seen._by_origin.values():
        bounds = list(zip(known._firsts, known.lasts, strict=True))
        assert all(first <= last for first, last in bounds)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(bounds))


def test_what_is_older_than_all_that_is_remembered_counts_as_a_duplicate():
    seen = Deduplicator(ranges=2)
    for number in (10, 20, 30, 40, 50):
        assert list(seen.fresh("a", number, 1)) == [number]
    assert list(seen.fresh("a", 15, 1)) == []
    assert list(seen.fresh("a", 35, 1)) == [35]


def test_what_is_remembered_is_bounded():
    seen = Deduplicator(ranges=10, origins=5)
    for origin in range(20):
        for number in range(2, 202, 2):  # with gaps, else there is nothing to remember
            seen.fresh(str(origin), number, 1)
    assert list(seen._by_origin) == ["15", "16", "17", "18", "19"]
    assert all(remembered(seen, origin) <= 20 for origin in seen._by_origin)


def test_late_numbers_with_gaps_are_bounded_as_well():
    seen = Deduplicator(ranges=10)
    seen.fresh("a", 10_000, 1)
    for number in range(2, 9_000, 2):
        seen.fresh("a", number, 1)
    assert remembered(seen, "a") <= 20


def test_the_origin_that_was_silent_longest_is_forgotten_first():
    seen = Deduplicator(origins=2)
    seen.fresh("a", 1, 1)
    seen.fresh("b", 1, 1)
    seen.fresh("a", 2, 1)
    seen.fresh("c", 1, 1)
    assert list(seen.fresh("a", 1, 1)) == []
    assert list(seen.fresh("b", 1, 1)) == [1]


def test_without_gaps_one_range_is_kept():
    seen = Deduplicator(ranges=10)
    for number in range(1, 1000, 7):
        assert len(seen.fresh("a", number, 7)) == 7
    assert remembered(seen, "a") == 1


def test_one_that_runs_far_ahead_does_not_silence_what_comes_after_it():
    seen = Deduplicator(ranges=10)
    assert list(seen.fresh("a", 2**53, 1)) == [2**53]
    assert [n for n in range(1, 400) if list(seen.fresh("a", n, 1))] == list(range(1, 400))


def test_over_a_hub_numbers_below_the_last_of_an_identifier_count_as_received():
    """What an origin sends again to the successor of a hub, and was published before it was followed here."""
    seen = Ascending()
    assert list(seen.fresh(("a", "x:y"), 100, 3)) == [100, 101, 102]
    assert list(seen.fresh(("a", "x:y"), 50, 10)) == []
    assert list(seen.fresh(("a", "x:y"), 101, 4)) == [103, 104]
    assert list(seen.fresh(("a", "x:z"), 102, 1)) == [102], "another identifier is passed by it"
    assert list(seen.fresh(("b", "x:y"), 1, 1)) == [1], "another origin"


def test_of_so_many_identifiers_the_last_number_is_remembered():
    seen = Ascending(most=2)
    for identifier in "xyz":
        seen.fresh(("a", identifier), 5, 1)
    assert [list(seen.fresh(("a", identifier), 5, 1)) for identifier in "yz"] == [[], []]
    assert list(seen.fresh(("a", "x"), 5, 1)) == [5]
