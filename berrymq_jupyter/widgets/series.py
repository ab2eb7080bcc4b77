"""The course of one number that messages of one identifier carry, a line for each source."""

from __future__ import annotations

from collections import deque
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from .detail import payload_of
from .render import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from berrymq import Message

__all__ = ["Series"]

MOST_POINTS: Final = 20_000
"""Points kept for each source."""
MOST_SOURCES: Final = 8
COLUMNS: Final = 240
"""Columns of a page's chart; of each column it gets the lowest and the highest point."""

Point = tuple[int, float, float]


class Series:
    """Follows one field of the messages of `identifier`."""

    def __init__(self, identifier: str, field: Sequence[str]) -> None:
        self.identifier = identifier
        self.field = tuple(field)
        self.lines: dict[str | None, deque[Point]] = {}
        """Points (number of the message, time in ms, value) by source."""
        self.unsent = True

    def feed(self, numbered: Iterable[tuple[int, Message]]) -> None:
        """Look at further messages."""
        wanted = self.identifier
        for number, message in numbered:
            if message.id == wanted:
                value = number_at(message, self.field)
                if value is not None:
                    self.add(number, message, value)

    def add(self, number: int, message: Message, value: float) -> None:
        """Add a point."""
        line = self.lines.get(message.source)
        if line is None:
            if len(self.lines) >= MOST_SOURCES:
                return
            line = self.lines[message.source] = deque(maxlen=MOST_POINTS)
        line.append((number, message.sent_at * 1000, value))
        self.unsent = True

    def data(self) -> dict[str, Any]:
        """Return the lines as a page gets them."""
        return {
            "t": "chart",
            "id": self.identifier,
            "field": self.field,
            "lines": [
                {
                    "source": source,
                    "count": len(line),
                    "points": [[number, round(time, 1), value] for number, time, value in thinned(line)],
                }
                for source, line in self.lines.items()
            ],
        }


def thinned(line: deque[Point]) -> list[Point]:
    """Return as many points as can be distinguished: the lowest and highest of each column, and the last."""
    points = list(line)
    if len(points) <= 2 * COLUMNS:
        return points
    width = len(points) / COLUMNS
    chosen: list[Point] = []
    for column in range(COLUMNS):
        part = points[int(column * width) : int((column + 1) * width)]
        lowest, highest = min(part, key=value_of), max(part, key=value_of)
        chosen += sorted({lowest, highest})
    if chosen[-1] != points[-1]:
        chosen.append(points[-1])
    return chosen


def value_of(point: Point) -> float:
    """Return the value of a point."""
    return point[2]


def number_at(message: Message, field: tuple[str, ...]) -> float | None:
    """Return the number that lies at the labels `field` in the payload; None if there is none."""
    found: Any = payload_of(message)
    first, *rest = field
    found = next((value for label, value in found.items if label == first), None)
    try:
        for label in rest:
            found = step(found, label)
        if isinstance(found, bool):
            return None
        if not isinstance(found, (int, float)):
            found = found.item() if getattr(found, "shape", None) == () else None
        return float(found) if found is not None and isfinite(found) else None
    except HOSTILE:
        return None


def step(value: Mapping[Any, Any] | Sequence[Any] | Any, label: str) -> Any:
    """Return the child of `value` that a tree shows under `label`."""
    if isinstance(value, dict):
        return value[label]
    if isinstance(value, (list, tuple)) and label.isdecimal():
        return value[int(label)]
    return getattr(value, label)
