"""Large values on one machine: the sender copies one once into shared memory, and each receiver maps it.

A message carries a *claim*: which process has the memory open, and how to recognise it. Whoever has opened a
claim holds it for itself and passes on its own, so the memory outlives its sender.
"""

from .claims import Claim, ClaimError, Held, few_descriptors, open_claim
from .memory import MAX_BUFFERS, Memory, Missing, copy, sample_of, share
from .own import Own
from .pool import MIN_SHARED_BYTES, Filling, Lease, Pool, PoolFullError, is_available
from .sample import MAX_SAMPLE_BYTES, Rows, Sample
from .writing import end_of, size_of

__all__ = [
    "MAX_BUFFERS",
    "MAX_SAMPLE_BYTES",
    "MIN_SHARED_BYTES",
    "Claim",
    "ClaimError",
    "Filling",
    "Held",
    "Lease",
    "Memory",
    "Missing",
    "Own",
    "Pool",
    "PoolFullError",
    "Rows",
    "Sample",
    "copy",
    "end_of",
    "few_descriptors",
    "is_available",
    "open_claim",
    "sample_of",
    "share",
    "size_of",
]
