"""What is known of other packages' objects without importing these packages."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["HOSTILE", "is_array", "is_sampled_array", "is_sampled_table"]

ARRAY_LIBRARIES: Final = frozenset(
    {"numpy", "pandas", "polars", "pyarrow", "torch", "jax", "jaxlib", "xarray"}
)

HOSTILE: Final = (Exception, SystemExit, GeneratorExit)
"""What a value may raise when it is inspected. An interrupt is its user's."""


def is_array(value: object) -> bool:
    """Return whether `value` is of a library of arrays or tables, whose attributes are safe to read."""
    return str(type(value).__module__).partition(".")[0] in ARRAY_LIBRARIES


def is_sampled_array(value: object) -> bool:
    """Return whether `value` stands for an array of which only a sample was fetched."""
    module = sys.modules.get("berrymq.bridge.payload.sampled")
    return module is not None and issubclass(type(value), module.SampledArray)


def is_sampled_table(value: object) -> bool:
    """Return whether `value` stands for a table of which only the first rows were fetched."""
    module = sys.modules.get("berrymq.bridge.payload.sampled")
    return module is not None and issubclass(type(value), module.SampledTable)
