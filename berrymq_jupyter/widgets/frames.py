"""Tables of pandas, polars and Arrow as views show them: their first rows."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from .libraries import is_array, is_sampled_table
from .render import cell, cut, shown

__all__ = ["frame", "is_frame"]

ROWS: Final = 10
COLUMNS: Final = 12
CELL: Final = 32
"""Characters of a cell."""


def is_frame(value: Any) -> bool:
    """Return whether `value` is a table or a column of one, or the first rows of one stand for it."""
    if is_sampled_table(value):
        return is_frame(value.head)
    if not is_array(value):
        return False
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple):
        return False
    return hasattr(value, "columns") or hasattr(value, "iloc") or library(value) == "polars"


def library(value: Any) -> str:
    """Return the package that the class of `value` is of."""
    return str(type(value).__module__).partition(".")[0]


def frame(value: Any) -> dict[str, Any]:
    """Return names, dtypes and first rows of a table."""
    if is_sampled_table(value):
        rows, count, note, value = value.rows, value.columns, " · not fetched", value.head
    else:
        rows, note = int(value.shape[0]), ""
        count = int(value.shape[1]) if len(value.shape) > 1 else 1
    columns = list(islice(columns_of(value), COLUMNS))
    cells = [[cell(item, CELL) for item in items] for _, _, items in columns]
    return {
        "facts": f"{type(value).__name__} · {rows:,} x {count:,}{note}",
        "columns": [shown(cut(name, CELL)) for name, _, _ in columns],
        "types": [shown(cut(kind, CELL)) for _, kind, _ in columns],
        "rows": [list(row) for row in zip(*cells, strict=True)],
        "moreRows": max(0, rows - ROWS),
        "moreColumns": max(0, count - len(columns)),
    }


def name(label: object) -> str:
    """Return the name of a column, which has a part for each level."""
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)


def columns_of(value: Any) -> Any:
    """Yield name, dtype and first items of each column."""
    kind = library(value)
    if kind == "pandas":
        if len(value.shape) == 1:
            yield str(value.name), str(value.dtype), value.iloc[:ROWS].tolist()
            return
        for at in range(value.shape[1]):
            column = value.iloc[:ROWS, at]
            yield name(value.columns[at]), str(column.dtype), column.tolist()
    elif kind == "polars":
        head = value.head(ROWS)
        for at in range(value.shape[1] if len(value.shape) > 1 else 1):
            column = head if len(value.shape) == 1 else head.to_series(at)
            yield column.name, str(column.dtype), column.to_list()
    elif kind == "pyarrow":
        head = value.slice(0, ROWS)
        for at, field in enumerate(value.schema):
            yield field.name, str(field.type), head.column(at).to_pylist()
