"""What is known of other packages' objects without importing these packages."""

from __future__ import annotations

from typing import Final

__all__ = ["HOSTILE", "is_array"]

ARRAY_LIBRARIES: Final = frozenset(
    {"numpy", "pandas", "polars", "pyarrow", "torch", "jax", "jaxlib", "xarray"}
)

HOSTILE: Final = (Exception, SystemExit, GeneratorExit)
"""What a value may raise when it is inspected. An interrupt is its user's."""


def is_array(value: object) -> bool:
    """Return whether `value` is of a library of arrays or tables, whose attributes are safe to read."""
    return str(type(value).__module__).partition(".")[0] in ARRAY_LIBRARIES
