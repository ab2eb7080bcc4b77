"""What a node remembers of what passed: exact for what came lately, bounded in every case."""

from msgspec import Raw

from berrymq.bridge.network.tally import Tally
from berrymq.bridge.protocol.frames import WireMessage


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


def message(identifier, room=None, source="notebook", sequence=1):
    return WireMessage(identifier, Raw(b"[[],{}]"), source, 0.0, "origin-1", sequence, room)


def counts(tally):
    return {key: passed.count for key, passed in tally.entries().items()}


def test_it_counts_by_identifier_and_room():
    tally = Tally()
    for identifier, room in [("a:x", None), ("a:x", "lab"), ("a:x", None), ("b:y", None)]:
        tally.count(message(identifier, room))
    assert counts(tally) == {("a:x", None): 2, ("a:x", "lab"): 1, ("b:y", None): 1}
    assert tally.total == 4


def test_it_knows_when_the_last_one_came_and_who_said_it():
    clock = Clock()
    tally = Tally(clock=clock)
    assert tally.since == clock.now
    tally.count(message("a:x", source="one"))
    clock.now += 5
    tally.count(message("a:x", source="other"))
    passed = tally.entries()["a:x", None]
    assert (passed.at, passed.source) == (clock.now, "other")


def test_a_flood_of_identifiers_leaves_it_bounded_and_keeps_what_still_comes():
    tally = Tally(size=100)
    for number in range(10_000):
        tally.count(message(f"job{number}:done"))
        if number % 50 == 0:
            tally.count(message("steady:beat"))
    assert len(tally.entries()) <= 200
    assert counts(tally)["steady:beat", None] == 200
    assert counts(tally)["job9999:done", None] == 1
    assert tally.total == 10_200


def test_what_comes_again_after_it_was_forgotten_starts_anew():
    tally = Tally(size=2)
    tally.count(message("a:x"))
    for number in range(4):
        tally.count(message(f"b{number}:x"))
    assert ("a:x", None) not in tally.entries()
    tally.count(message("a:x"))
    assert counts(tally)["a:x", None] == 1
