"""The sessions of `clients/`, with the driver of each language."""

import os

import pytest

from tests.conformance.run import COMMANDS, LEVELS, Stage, drivers_found, private_runtime
from tests.conformance.sessions import client_vectors

ALSO: dict[str, tuple[str, ...]] = {"r": ("verbs: take",)}
"""What a client passes beyond its level."""
CUTS = int(os.environ.get("BERRYMQ_TEST_CUTS", "20"))
VECTORS = {vector.name: vector for vector in client_vectors()}


@pytest.fixture(scope="module")
def stages():
    """The stage of each language, made when it is first needed."""
    made = {}
    with private_runtime() as runtime:

        def stage_of(language):
            if language not in made:
                for name in list(made):  # one driver at a time
                    made.pop(name).__exit__()
                made[language] = Stage(COMMANDS[language], runtime).__enter__()
            return made[language]

        yield stage_of
        for stage in made.values():
            stage.__exit__()


@pytest.mark.parametrize(
    ("language", "name"),
    [
        (language, name)
        for language in drivers_found()
        for name, vector in VECTORS.items()
        if (vector.level <= LEVELS[language] and (not vector.slow or CUTS >= 1000))
        or name.startswith(ALSO.get(language, ()))
    ],
)
def test_session(language, name, stages):
    stages(language).play(VECTORS[name])
