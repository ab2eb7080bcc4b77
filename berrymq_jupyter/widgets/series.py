"""The series of a chart: numbers in messages over time, a line for each field and source.

Numbers are stored in arrays, 8 bytes each, and not as messages, so a chart may show a million points of which
the log has dropped the messages. Pages get at most three points for each of `COLUMNS` columns of what they
show: the lowest, the highest, and the first gap. So peaks are seen at any zoom, and the data stays small.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from functools import reduce
from itertools import compress, count, islice, pairwise
from math import inf, isfinite, isnan, nan
from operator import le
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

    Args:
        track: what it shows.
        source: of the messages.
        mark: the number of its colour.
    """

    def __init__(self, track: Track, source: str | None, mark: int = 0) -> None:
        self.track = track
        self.source = source
        self.mark = mark
        self.numbers = array("q")
        """Numbers of the messages."""
        self.times = array("d")
        """In ms since 1970."""
        self.values = array("d")
        """NaN where the line has a gap."""
        self.x = array("d")
        """The x values, if they are a field too; else empty."""
        self.in_order = True
        """Whether each point stands at or after the one before: by x, or by time where there is no x."""
        self.order = array("q")
        """Where they don't: the indexes of the points in the order in which they stand, as of `ordered`."""
        self.stands = array("d")
        """Where the points of `order` stand."""
        self.heights = array("d")
        """The values of the points of `order`."""
        self.ordered = 0
        """The `count` for which these were made."""
        self.outline: list[list[int]] = []
        """The points of each whole block, counted from its start, that its shape needs."""
        self.count = 0
        """The number of points added, those dropped included."""
        self.begin = inf
        """The earliest time of all of these."""

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
        if self.in_order:
            places, new = (self.x, x) if x else (self.times, times)
            self.in_order = all(map(le, [*places[-1:], *new], new[0 if places else 1 :]))
        self.begin = min(self.begin, *times)
        self.numbers.fromlist(numbers)
        self.times.fromlist(times)
        self.values.fromlist(values)
        self.x.fromlist(x)
        self.count += len(values)
        for start in range(len(self.outline) * BLOCK, len(self.values) - BLOCK + 1, BLOCK):
            shape = shape_of(self.values, start, start + BLOCK)
            self.outline.append([index - start for index in shape])
        self.drop_blocks((len(self.values) - MOST_POINTS) // BLOCK)

    def drop_blocks(self, number: int) -> None:
        """Drop the oldest points; all at once, for what remains is moved."""
        if number > 0:
            del self.outline[:number]
            for column in (self.numbers, self.times, self.values, self.x):
                del column[: number * BLOCK]

    def visible(self, low: float = -inf, high: float = inf, *, by_number: bool = False) -> list[int]:
        """Return the points that stand from `low` to `high`, as many as can be told apart.

        The width is parted into `COLUMNS` columns; of each the points stay that keep its shape. So a line is
        as exact where its points are few as where they are many. One point more on either side makes the line
        run to the edge.

        Args:
            low: the limit to the left.
            high: the limit to the right.
            by_number: whether points stand by the number of the message, not by x or time.

        Returns:
            Indexes, in ascending order.
        """
        stands: array[float] | array[int]
        order: array[int] | None = None
        if by_number:
            stands = self.numbers
        elif self.in_order:
            stands = self.x or self.times
        else:
            self.arrange()
            order, stands = self.order, self.stands
        start, end = max(0, bisect_left(stands, low) - 1), min(len(stands), bisect_right(stands, high) + 1)
        if end - start <= 2 * COLUMNS:
            return list(range(start, end)) if order is None else sorted(order[start:end])
        left, right = max(low, stands[start]), min(high, stands[end - 1])
        step = (right - left) / COLUMNS
        edges = [bisect_left(stands, left + column * step, start, end) for column in range(1, COLUMNS)]
        parts = [(first, last) for first, last in pairwise([start, *edges, end]) if first < last]
        chosen = {start, end - 1}
        if order is None:
            chosen.update(*(self.shape(first, last) for first, last in parts))
            return sorted(chosen)
        chosen.update(*(shape_of(self.heights, first, last) for first, last in parts))
        return sorted(order[place] for place in chosen)

    def first_after(self, time: float) -> float:
        """Return the number of the first message of `time` or later, for a chart without x values."""
        if self.in_order:
            start = bisect_left(self.times, time)
            return self.numbers[start] if start < len(self.numbers) else inf
        later = (number for number, other in zip(self.numbers, self.times, strict=True) if other >= time)
        return next(later, inf)

    def shape(self, start: int, end: int) -> list[int]:
        """Return what `extremes` does for the points from `start` to before `end`.

        Computed from the outlines of whole blocks, if there are any: the time depends on what is drawn, and
        hardly on what is kept.
        """
        first, last = -(-start // BLOCK), end // BLOCK
        if last <= first:
            return shape_of(self.values, start, end)
        outline = [block * BLOCK + index for block in range(first, last) for index in self.outline[block]]
        before = shape_of(self.values, start, first * BLOCK)
        return extremes(self.values, [*before, *outline, *shape_of(self.values, last * BLOCK, end)])

    def arrange(self) -> None:
        """Bring `order` up to date. A few new points are put between the others, which is much faster."""
        if self.ordered == self.count:
            return
        places = self.x or self.times
        size = len(places)
        dropped = (self.count - size) - (self.ordered - len(self.order))
        if dropped:
            kept = [index >= dropped for index in self.order]
            self.order = array("q", [index - dropped for index in self.order if index >= dropped])
            self.stands = array("d", compress(self.stands, kept))
            self.heights = array("d", compress(self.heights, kept))
        new = sorted(range(len(self.order), size), key=places.__getitem__)
        if len(new) > size // 8:
            order = array("q", sorted(range(size), key=places.__getitem__))
            stands = array("d", map(places.__getitem__, order))
            heights = array("d", map(self.values.__getitem__, order))
        else:
            order, stands, heights = array("q"), array("d"), array("d")
            done = 0
            for index in new:
                place = bisect_right(self.stands, places[index], done)
                order += self.order[done:place]
                stands += self.stands[done:place]
                heights += self.heights[done:place]
                order.append(index)
                stands.append(places[index])
                heights.append(self.values[index])
                done = place
            order += self.order[done:]
            stands += self.stands[done:]
            heights += self.heights[done:]
        self.order, self.stands, self.heights, self.ordered = order, stands, heights, self.count


class Chart:
    """Follows fields of messages.

    Args:
        tracks: the fields.
        x: the labels of the field with the x values; None for time or order.
        before: the chart in whose place this one comes: lines keep their marks, and pages what they look at.
    """

    def __init__(self, tracks: Sequence[Track], x: Label | None = None, before: Chart | None = None) -> None:
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
        self.marks: dict[tuple[Track, str | None], int] = {}
        """The numbers of the colours of lines, also of those that have no points at the moment."""
        self.by_time = True
        """Whether the axis is time; else the number of the message. Without meaning where `x` is a field."""
        self.window: tuple[float, float] | None = None
        """What the page shows: values of x, times in ms, or numbers of messages; None for all."""
        self.last: float | None = None
        """The number of latest seconds that the page shows."""
        if before is not None:
            self.marks = {key: mark for key, mark in before.marks.items() if key[0] in self.tracks}
            self.by_time, self.last = before.by_time, before.last
            self.window = before.window if before.x == x else None

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
        for track, source, points in sorted(added, key=lambda entry: self.tracks.index(entry[0])):
            self.extend(track, source, points)

    def extend(self, track: Track, source: str | None, points: Points) -> None:
        """Add points to a line."""
        key = (track, source)
        line = self.lines.get(key)
        if line is None:
            if len(self.lines) >= MOST_LINES:
                self.left_out.add(key)
                return
            line = self.lines[key] = Line(track, source, self.mark(key))
        line.extend(*points)
        self.unsent = True

    def mark(self, key: tuple[Track, str | None]) -> int:
        """Return the number of the colour of a line: the one it had, or the first that none has."""
        if key not in self.marks:
            taken = set(self.marks.values())
            self.marks[key] = next(mark for mark in count() if mark not in taken)
        return self.marks[key]

    def data(self) -> dict[str, Any]:
        """Return the lines as they are sent to a page, in the order of tracks.

        Values that are not finite are sent as null, for JSON has none of them.
        """
        lines = sorted(self.lines.values(), key=lambda line: self.tracks.index(line.track))
        latest = max((line.times[-1] for line in lines), default=0.0)
        return {
            "t": "chart",
            "tracks": [[track.identifier, track.field] for track in self.tracks],
            "x": self.x,
            "begin": round(min((line.begin for line in lines), default=0.0), 1),
            "leftOut": len(self.left_out),
            "lines": [columns(line, self.part(line, latest)) for line in lines],
        }

    def part(self, line: Line, latest: float) -> list[int]:
        """Return the points of a line that the page shows, with a point more on either side."""
        by_number = self.x is None and not self.by_time
        low, high = self.window or (-inf, inf)
        if self.x is None and self.last is not None:
            low, high = latest - self.last * 1000, inf
            if by_number:
                low = line.first_after(low)
        return line.visible(low, high, by_number=by_number)


def columns(line: Line, chosen: list[int]) -> dict[str, Any]:
    """Return the points of a line at some indexes as they are sent to a page."""
    values = [line.values[index] for index in chosen]
    return {
        "id": line.track.identifier,
        "field": line.track.field,
        "source": line.source,
        "mark": line.mark,
        "count": line.count,
        "numbers": [line.numbers[index] for index in chosen],
        "times": [round(line.times[index], 1) for index in chosen],
        "values": [None if isnan(value) else value for value in values],
        "x": [line.x[index] for index in chosen] if line.x else None,
    }


def extremes(values: Sequence[float], part: Sequence[int]) -> list[int]:
    """Return the indexes of the lowest and the highest value and of the first gap, in order."""
    finite = [index for index in part if values[index] == values[index]]  # not NaN
    found = set()
    if finite:
        found = {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    if len(finite) < len(part):
        found.add(next(index for index in part if values[index] != values[index]))
    return sorted(found)


def shape_of(values: array[float], start: int, end: int) -> list[int]:
    """Return what `extremes` does for values one after the other, faster where there is no gap."""
    if end - start <= 2:
        return list(range(start, end))
    part = values[start:end].tolist()
    if isnan(sum(part)):
        return extremes(values, range(start, end))
    return sorted({start + part.index(min(part)), start + part.index(max(part))})


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
