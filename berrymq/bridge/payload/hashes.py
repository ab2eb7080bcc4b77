"""Hashes of values that came over the network: a sender can choose many numbers that have the same one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["COLLIDE", "check_labels", "count_hashes"]

MAX_SAME_HASH = 32
"""Members of one set, keys of one dictionary or different labels of one index that may have the same hash."""

COLLIDE = "its members collide, and it would take too long to build"


def count_hashes(members: Iterable[Hashable]) -> Counter[int]:
    """Return how often each hash occurs.

    Raises:
        ValueError: one occurs so often that a hash table of these members takes quadratic time.
        TypeError: a member has no hash.
    """
    same = Counter(map(hash, members))
    if max(same.values(), default=0) > MAX_SAME_HASH:
        raise ValueError(COLLIDE)
    return same


def check_labels(labels: Iterable[Hashable]) -> None:
    """Check labels, of which some may be the same.

    Raises:
        ValueError: too many different ones have the same hash.
        TypeError: a label has no hash.
    """
    different: dict[int, list[Hashable]] = {}
    for label in labels:
        if type(label) is str:  # its hash can't be foreseen
            continue
        same = different.setdefault(hash(label), [])
        if not any(one is label or one == label for one in same):
            same.append(label)
            if len(same) > MAX_SAME_HASH:
                raise ValueError(COLLIDE)
