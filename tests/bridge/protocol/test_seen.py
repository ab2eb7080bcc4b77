from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.protocol.seen import Seen


def test_each_message_is_new_once():
    seen = Seen()
    assert seen.first_time("a", 1)
    assert not seen.first_time("a", 1)
    assert seen.first_time("a", 2)


def test_origins_are_told_apart():
    seen = Seen()
    assert seen.first_time("a", 1)
    assert seen.first_time("b", 1)


def test_numbers_may_be_left_out_and_come_late():
    seen = Seen()
    assert seen.first_time("a", 100)
    assert seen.first_time("a", 50)
    assert not seen.first_time("a", 50)


def test_what_is_older_than_the_window_counts_as_seen():
    seen = Seen(window=3)
    for number in (1, 2, 3, 4):
        assert seen.first_time("a", number)
    assert not seen.first_time("a", 1)
    assert seen.first_time("a", 5)
    assert not seen.first_time("a", 2)


def test_the_origin_that_was_silent_longest_is_forgotten_first():
    seen = Seen(origins=2)
    assert seen.first_time("a", 1)
    assert seen.first_time("b", 1)
    assert not seen.first_time("a", 1)
    assert seen.first_time("c", 1)
    assert not seen.first_time("a", 1)
    assert seen.first_time("b", 1)


def test_what_it_remembers_is_bounded():
    seen = Seen(window=10, origins=5)
    for origin in range(20):
        for number in range(2, 202, 2):  # with gaps, else there is nothing to remember
            assert seen.first_time(str(origin), number)
    assert len(seen._by_origin) == 5
    assert all(len(recent._above) <= 20 for recent in seen._by_origin.values())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 30)), max_size=100))
def test_within_the_window_it_is_a_set(messages):
    seen, model = Seen(window=30), set()
    for message in messages:
        assert seen.first_time(*message) == (message not in model)
        model.add(message)


@given(st.lists(st.integers(1, 40), max_size=200), st.integers(1, 10))
def test_a_message_is_never_new_twice(numbers, window):
    seen, new = Seen(window=window), set()
    for number in numbers:
        if seen.first_time("a", number):
            assert number not in new
            new.add(number)


def test_without_gaps_nothing_is_kept():
    seen = Seen(window=10)
    assert all(seen.first_time("a", number) for number in range(1, 1000))
    assert not seen._by_origin["a"]._above
    assert not any(seen.first_time("a", number) for number in range(1, 1000))


def test_one_that_runs_far_ahead_does_not_silence_the_others():
    seen = Seen(window=10)
    assert seen.first_time("a", 2**53)
    assert all(seen.first_time("a", number) for number in range(2, 400, 2))
