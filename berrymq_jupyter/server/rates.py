"""Rates of counters, computed from values at different times.

Smoothing is exponential with the time constant `SMOOTHING_SECONDS`, weighted by the time between two updates,
so it does not depend on how often pages ask.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["Rates"]

SMOOTHING_SECONDS = 2.0
"""The time after which two thirds of a change of rate show."""

FORGET_SECONDS = 10.0
"""The time without an update after which the former rate is discarded."""

LEAST = 0.01
"""Rates below this, per second, count as 0."""

K = TypeVar("K")


class Rates(Generic[K]):
    """The smoothed rate of each of many counters.

    Keys are any hashable values; a counter that is missing in an update is forgotten.
    """

    def __init__(self) -> None:
        self._at: float | None = None
        """The time of the last update; None before the first."""
        self._counts: dict[K, int] = {}
        self._rates: dict[K, float] = {}

    def update(self, counts: Mapping[K, int], now: float, *, old: Collection[K] = ()) -> dict[K, float]:
        """Update the counters; return the growth of each per second.

        A new counter is taken to have started at 0 after the last update. The first update returns no rates.

        Args:
            counts: all present counters.
            now: seconds of any monotonic clock.
            old: counters that may have existed at the last update although they were not listed then.
        """
        passed = math.inf if self._at is None else now - self._at
        if passed <= 0:
            return self._rates
        if passed > FORGET_SECONDS:
            rates = dict.fromkeys(counts, 0.0)
        else:
            self._counts.update({key: counts[key] for key in old if key not in self._counts})
            weight = 1 - math.exp(-passed / SMOOTHING_SECONDS)
            rates = {key: self._rate(key, count, passed, weight) for key, count in counts.items()}
        self._at, self._counts, self._rates = now, dict(counts), rates
        return rates

    def _rate(self, key: K, count: int, passed: float, weight: float) -> float:
        """Return the new rate of one counter.

        Args:
            key: that of the counter.
            count: its present value.
            passed: seconds since the last update.
            weight: of the latest growth, from 0 to 1.
        """
        former = self._counts.get(key, 0)
        growth = count - former if count >= former else count  # a smaller one was reset
        former_rate = self._rates.get(key, 0.0)
        rate = former_rate + weight * (growth / passed - former_rate)
        return rate if rate >= LEAST else 0.0
