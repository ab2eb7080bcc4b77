"""The picture of a chart in the static form of a log: SVG in an image, where no text is markup.

A saved notebook is opened without this package, and front ends sanitise its HTML; an image with a ``data:``
address needs no file beside it, and no script in it would run.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Final

from .render import cut, shown
from .static import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .series import Chart, Line

__all__ = ["picture"]

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 70, 710, 12, 190
COLORS: Final = ("#1299fb", "#995600", "#5ba31d", "#ff29c0", "#1c877e", "#7f16a9", "#808080", "#bb8800")
"""The colours of lines by their marks; then they repeat."""
GREY: Final = "#808080"
"""The colour of texts and axes: legible on light and dark pages."""
LISTED: Final = 6
"""The limit of lines with a caption."""


def picture(chart: Chart) -> str:
    """Return an ``img`` element with the lines of a chart; "" if it has no points.

    Lines share both axes; each is thinned out to what its width can show.

    Args:
        chart: the lines.
    """
    lines = [line for line in chart.lines.values() if any(map(isfinite, line.values))]
    if not lines:
        return ""
    columns = [(line, places(line), in_order(line)) for line in lines]
    right = max(xs[index] for _, xs, chosen in columns for index in chosen)
    left = min(xs[index] for _, xs, chosen in columns for index in chosen)
    finite = [line.values[i] for line, _, chosen in columns for i in chosen if isfinite(line.values[i])]
    low, high = min(finite), max(finite)
    parts = [axis(low, high, left, right, by_time=chart.x is None)]
    for number, (line, xs, chosen) in enumerate(columns):
        color = COLORS[line.mark % len(COLORS)]
        points = [(scaled(xs[i], left, right, LEFT, RIGHT), line.values[i]) for i in chosen]
        course = path([(x, scaled(y, low, high, BOTTOM, TOP)) for x, y in points])
        parts.append(f'<path d="{course}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        if number < LISTED:
            x, y = LEFT + number % 3 * 215, 222 + number // 3 * 14
            parts.append(f'<text x="{x}" y="{y}" style="fill:{color}">{escape(cut(name(line), 34))}</text>')
    document = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="11" fill="{GREY}">{"".join(parts)}</svg>'
    )
    encoded = b64encode(document.encode()).decode()
    words = escape(f"Chart of {', '.join(name(line) for line in lines[:LISTED])}")
    return f'<img style="max-width:100%" alt="{words}" src="data:image/svg+xml;base64,{encoded}">'


def places(line: Line) -> Sequence[float]:
    """Return the coordinates of a line's points: values of the x field, else times in milliseconds."""
    return line.x or line.times


def in_order(line: Line) -> list[int]:
    """Return the indexes of a line's points from left to right, thinned out."""
    return sorted(line.visible(), key=places(line).__getitem__)


def name(line: Line) -> str:
    """Return the caption of a line."""
    source = f" from {line.source}" if line.source else ""
    return shown(f"{line.track.identifier} {'.'.join(line.track.field)}{source}")


def axis(low: float, high: float, left: float, right: float, *, by_time: bool) -> str:
    """Return the axes with the values at their ends, as SVG.

    Args:
        low: the least value.
        high: the greatest one.
        left: the coordinate at the left end.
        right: that at the right end.
        by_time: whether coordinates are times, in milliseconds since 1970.
    """
    texts = [
        (LEFT - 6, TOP + 4, "end", f"{high:.4g}"),
        (LEFT - 6, BOTTOM + 4, "end", f"{low:.4g}"),
        (LEFT, BOTTOM + 16, "start", clock(left / 1000) if by_time else f"{left:.4g}"),
        (RIGHT, BOTTOM + 16, "end", clock(right / 1000) if by_time else f"{right:.4g}"),
    ]
    frame = f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="{GREY}"/>'
    return frame + "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>' for x, y, anchor, text in texts
    )


def scaled(value: float, low: float, high: float, start: float, end: float) -> float:
    """Map `value` linearly from the range `low` to `high` to that from `start` to `end`.

    An empty range is mapped to the middle of the other one.
    """
    return start + (value - low) / (high - low) * (end - start) if high > low else (start + end) / 2


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return the path through points, with a gap where one has no value."""
    pen, course = "M", ""
    for x, y in points:
        if not isfinite(y):
            pen = "M"
            continue
        course += f"{pen}{x:.1f} {y:.1f}"
        pen = "L"
    return course
