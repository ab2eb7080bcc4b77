"""A bus of its own for each test."""

import gc

import pytest

from berrymq import Bus


@pytest.fixture
def bus():
    """A bus of its own; its worker threads end with the test."""
    made = Bus("test")
    yield made
    made.close()


@pytest.fixture
def collect():
    """Collect garbage now, cycles included."""
    return gc.collect
