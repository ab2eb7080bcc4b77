"""The fuzz harness without coverage guidance: its seeds, and mutations of them that are always the same.

    python -m pytest tests/fuzz

`protocol.py` is the long form.
"""

import logging
import random

import pytest

from tests.fuzz.harness import MAX_INPUT, Target, seeds, words

ROUNDS = 5_000


@pytest.fixture
def target(caplog):
    caplog.set_level(logging.CRITICAL, "berrymq")
    target = Target()
    yield target
    target.close()


def test_the_seeds_break_nothing(target):
    for seed in seeds():
        target(seed)


@pytest.mark.parametrize("seed", range(2))
def test_mutations_break_nothing(target, seed):
    chance = random.Random(seed)
    known, material = seeds(), words()
    for _ in range(ROUNDS):
        data = bytearray(chance.choice(known))
        for _ in range(chance.randint(1, 6)):
            mutate(data, chance, known, material)
        try:
            target(bytes(data[:MAX_INPUT]))
        except Exception as error:
            error.add_note(f"the input was {bytes(data[:MAX_INPUT])!r}")
            raise


def mutate(data, chance, known, material):
    """Change something, but not the way in."""
    at = chance.randint(1, len(data))
    end = min(len(data), at + chance.randint(0, 20))
    match chance.randrange(6):
        case 0:
            data[at:end] = b""
        case 1:
            data[at:at] = chance.choice(material)
        case 2:
            data[at:end] = chance.choice(material)
        case 3:
            data[at:end] = chance.randbytes(end - at)
        case 4:
            other = chance.choice(known)
            data[at:] = other[chance.randint(1, len(other)) :]
        case 5:
            data[at:at] = data[at:end] * chance.randint(1, 20)
