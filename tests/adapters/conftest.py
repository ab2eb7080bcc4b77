"""A bus of its own for each test."""

import pytest

from berrymq import Bus


@pytest.fixture
def bus():
    made = Bus("test")
    yield made
    made.close()
