"""The series of a chart: numbers in messages over time, a line for each field and source.

Numbers are stored in arrays, 8 bytes each, and not as messages, so a chart may show a million points of which
the log has dropped the messages. Pages get at most three points for each of `COLUMNS` columns: the lowest,
the highest, and the first gap. So peaks are seen at any zoom, and the data stays small.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from functools import reduce
from itertools import islice
from math import isfinite, isnan, nan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from berrymq.messages import keywords

from .detail import payload_of
from .render import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from berrymq import Message

    Reader = Callable[[Message], Any]

__all__ = ["Chart", "Track", "number_fields", "value_at"]

MOST_POINTS: Final = 1_000_000
"""Points kept for each line. Beyond it the oldest block is dropped."""
MOST_LINES: Final = 40
"""A field of which every message has another source would make a line each."""
BLOCK: Final = 256
"""The size of a block, whose lowest and highest points are computed once for drawing at low resolution."""
LOOKED_AT: Final = 100
"""Items of a payload that are looked at for numbers."""
COLUMNS: Final = 500
"""The columns of a page's chart; for each, the lowest and the highest point are sent."""

Label = tuple[str, ...]

Points = tuple[list[int], list[float], list[float], list[float]]
"""Numbers, times, values and x values."""


class Track(NamedTuple):
    """A number in the payload of an identifier's messages; `field` are the labels that lead to it."""

    identifier: str
    field: Label
    """Such as ``("loss",)`` for a keyword, ``("0",)`` for the first argument, ``("metrics", "loss")`` for an
    item of a dictionary."""


class Line:
    """The points of one track from one source, in columns.

    All columns have the same length, `x` too unless it is empty.
    """

    def __init__(self, track: Track, source: str | None) -> None:
        self.track = track
        self.source = source
        self.numbers = array("q")
        """Numbers of the messages."""
        self.times = array("d")
        """In ms since 1970."""
        self.values = array("d")
        """NaN where the line has a gap."""
        self.x = array("d")
        """The x values, if they are a field too; else empty."""
        self.outline: list[list[int]] = []
        """The points of each whole block, counted from its start, that its shape needs."""
        self.count = 0
        """The number of points added, those dropped included."""

    def extend(self, numbers: list[int], times: list[float], values: list[float], x: list[float]) -> None:
        """Add points.

        Args:
            numbers: of the messages.
            times: in ms since 1970.
            values: what is not finite becomes a gap.
            x: empty where x values are no field.
        """
        if not isfinite(sum(values)):
            values = [value if isfinite(value) else nan for value in values]
        self.numbers.fromlist(numbers)
        self.times.fromlist(times)
        self.values.fromlist(values)
        self.x.fromlist(x)
        self.count += len(values)
        for start in range(len(self.outline) * BLOCK, len(self.values) - BLOCK + 1, BLOCK):
            self.outline.append(shape_of(self.values[start : start + BLOCK].tolist()))
        self.drop_blocks((len(self.values) - MOST_POINTS) // BLOCK)

    def drop_blocks(self, number: int) -> None:
        """Drop the oldest points; all at once, for what remains is moved."""
        if number > 0:
            del self.outline[:number]
            for column in (self.numbers, self.times, self.values, self.x):
                del column[: number * BLOCK]

    def visible(self, start: int, end: int) -> list[int]:
        """Return the points from `start` to before `end`, as many as can be told apart.

        Computed from the outlines of whole blocks, if there are many points: the time depends on what is
        drawn, and hardly on what is kept.
        """
        if end - start <= 2 * COLUMNS:
            return list(range(start, end))
        first, last = -(-start // BLOCK), end // BLOCK
        if last - first < COLUMNS // 4:  # few enough to check each point
            return thinned(self.values, range(start, end))
        outline = [block * BLOCK + index for block in range(first, last) for index in self.outline[block]]
        return thinned(self.values, [*range(start, first * BLOCK), *outline, *range(last * BLOCK, end)])


class Chart:
    """Follows fields of messages.

    Args:
        tracks: the fields.
        x: the labels of the field with the x values; None for time or order.
    """

    def __init__(self, tracks: Sequence[Track], x: Label | None = None) -> None:
        self.tracks = list(dict.fromkeys(tracks))
        self.x = x
        self.lines: dict[tuple[Track, str | None], Line] = {}
        self.by_identifier: dict[str, list[Track]] = {}
        for track in self.tracks:
            self.by_identifier.setdefault(track.identifier, []).append(track)
        self.unsent = True
        """Whether points were added since the data was last sent."""
        self.left_out: set[tuple[Track, str | None]] = set()
        """Lines beyond `MOST_LINES`."""
        self.by_time = True
        """Whether the axis is time; else the number of the message."""
        self.window: tuple[float, float] | None = None
        """The times in ms, or the numbers of messages, that the page shows; None for all."""
        self.last: float | None = None
        """The number of latest seconds that the page shows."""

    def feed(self, numbered: Iterable[tuple[int, Message]]) -> None:
        """Process further messages.

        Messages without the number, or without a finite x value, add nothing.
        """
        added: list[tuple[Track, str | None, Points]] = []
        wanted: dict[str, list[tuple[Track, Reader, dict[str | None, Points]]]] = {
            identifier: [(track, reader(track.field), {}) for track in tracks]
            for identifier, tracks in self.by_identifier.items()
        }
        read_x = None if self.x is None else reader(self.x)
        for number, message in numbered:
            for track, read, by_source in wanted.get(message.id, ()):
                value = number_of(read, message)
                if value is None:
                    continue
                x = None if read_x is None else number_of(read_x, message)
                if read_x is not None and (x is None or not isfinite(x)):
                    continue
                source = message.source
                points = by_source.get(source)
                if points is None:
                    points = by_source[source] = ([], [], [], [])
                    added.append((track, source, points))
                numbers, times, values, xs = points
                numbers.append(number)
                times.append(message.sent_at * 1000)
                values.append(value)
                if x is not None:
                    xs.append(x)
        for track, source, points in added:
            self.extend(track, source, points)

    def extend(self, track: Track, source: str | None, points: Points) -> None:
        """Add points to a line."""
        key = (track, source)
        line = self.lines.get(key)
        if line is None:
            if len(self.lines) >= MOST_LINES:
                self.left_out.add(key)
                return
            line = self.lines[key] = Line(track, source)
        line.extend(*points)
        self.unsent = True

    def data(self) -> dict[str, Any]:
        """Return the lines as they are sent to a page.

        Values that are not finite are sent as null, for JSON has none of them.
        """
        latest = max((line.times[-1] for line in self.lines.values()), default=0.0)
        return {
            "t": "chart",
            "tracks": [[track.identifier, track.field] for track in self.tracks],
            "x": self.x,
            "leftOut": len(self.left_out),
            "lines": [columns(line, *self.part(line, latest)) for line in self.lines.values()],
        }

    def part(self, line: Line, latest: float) -> tuple[int, int]:
        """Return the range of a line that the page shows, with a point more on either side.

        The points beside the range make the line run to the edge.
        """
        if self.x is not None:
            return 0, len(line.values)
        if self.last is not None:
            return max(0, bisect_left(line.times, latest - self.last * 1000) - 1), len(line.values)
        if self.window is None:
            return 0, len(line.values)
        where = line.times if self.by_time else line.numbers
        start, end = bisect_left(where, self.window[0]), bisect_right(where, self.window[1])
        return max(0, start - 1), min(len(where), end + 1)


def columns(line: Line, start: int, end: int) -> dict[str, Any]:
    """Return a line as it is sent to a page."""
    chosen = line.visible(start, end)
    values = [line.values[index] for index in chosen]
    return {
        "id": line.track.identifier,
        "field": line.track.field,
        "source": line.source,
        "count": line.count,
        "numbers": [line.numbers[index] for index in chosen],
        "times": [round(line.times[index], 1) for index in chosen],
        "values": [None if isnan(value) else value for value in values],
        "x": [line.x[index] for index in chosen] if line.x else None,
    }


def thinned(values: Sequence[float], candidates: Sequence[int]) -> list[int]:
    """Return, of the points at some indexes, those that `COLUMNS` columns need to keep their shape.

    The last point is always among them, so that the end of a line is exact.
    """
    if len(candidates) <= 2 * COLUMNS:
        return list(candidates)
    width = len(candidates) / COLUMNS
    chosen: list[int] = []
    for column in range(COLUMNS):
        chosen += extremes(values, candidates[int(column * width) : int((column + 1) * width)])
    if chosen[-1] != candidates[-1]:
        chosen.append(candidates[-1])
    return chosen


def extremes(values: Sequence[float], part: Sequence[int]) -> list[int]:
    """Return the indexes of the lowest and the highest value and of the first gap, in order."""
    finite = [index for index in part if values[index] == values[index]]  # not NaN
    found = set()
    if finite:
        found = {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    if len(finite) < len(part):
        found.add(next(index for index in part if values[index] != values[index]))
    return sorted(found)


def shape_of(values: list[float]) -> list[int]:
    """Return what `extremes` does for all of some values, faster where there is no gap."""
    if isnan(sum(values)):
        return extremes(values, range(len(values)))
    return sorted({values.index(min(values)), values.index(max(values))})


def number_of(read: Reader, message: Message) -> float | None:
    """Return the number that `read` finds in a payload; None if there is none.

    A bool is no number here; an array of no dimension, or a tensor of one item, is.
    """
    try:
        found = read(message)
        if type(found) is float:
            return found
        if isinstance(found, bool):
            return None
        if not isinstance(found, (int, float)):
            found = found.item() if getattr(found, "shape", None) == () else None
        return float(found) if found is not None else None
    except HOSTILE:
        return None


def number_fields(message: Message) -> list[Label]:
    """Return the labels of the numbers in a payload, at the top and one level below that."""
    found: list[Label] = []
    for label, value in payload_of(message).items[:LOOKED_AT]:
        if type(value) in (int, float):
            found.append((label,))
        elif type(value) is dict:
            inner = islice(value.items(), LOOKED_AT)
            found += [(label, key) for key, item in inner if type(key) is str and type(item) in (int, float)]
    return found


def value_at(message: Message, field: Sequence[str]) -> Any:
    """Return what lies at the labels `field` in the payload; raise `LookupError`, or what it raises.

    The payload may be of any type, so whatever its own code raises is raised too; callers catch `HOSTILE`.
    """
    return reader(field)(message)


def reader(field: Sequence[str]) -> Reader:
    """Return a function that does what `value_at` does: a chart reads a number of each message of a flood."""
    first, *rest = field
    index = int(first) if first.isdecimal() and first.isascii() and str(int(first)) == first else None

    def read(message: Message) -> Any:
        if index is not None and index < len(message.args):
            return message.args[index]
        return keywords(message)[first]

    return (lambda message: reduce(step, rest, read(message))) if rest else read


def step(value: Mapping[Any, Any] | Sequence[Any] | Any, label: str) -> Any:
    """Return the child of `value` that a tree shows under `label`.

    Raises:
        LookupError: it has no such child.
        AttributeError: the same, for an object.
    """
    if isinstance(value, dict):
        return value[label]
    if isinstance(value, (list, tuple)) and label.isdecimal():
        return value[int(label)]
    return getattr(value, label)
