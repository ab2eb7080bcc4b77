"""Small pictures of values, for pages and saved notebooks: PNG and SVG written here, from numbers alone.

A picture is a ``data:`` address for an ``img`` element. It holds nothing that a message brought: pixels are
written as a PNG of their own, and lines as SVG from numbers, so that neither size nor content can do harm.
"""

from __future__ import annotations

import struct
import sys
import zlib
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LARGE_SIDE", "SIDE", "Picture", "bars", "curve", "heat_map", "is_image", "pixels", "thumbnail"]

SIDE: Final = 48
"""The greatest width or height of a picture in pixels of its own."""
LARGE_SIDE: Final = 192
"""The same of an image that its user looks at."""
MOST_DECODED: Final = 8_000_000
"""The limit of pixels of an image that has not been decoded yet, such as one that came over a link."""
LEVELS: Final = 255
"""Colours of a heat map; the next one is transparent, for what is no number."""
SCALE: Final = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""From low to high: even in lightness, and told apart by the colour-blind."""
WIDTH, HEIGHT = 192, 48
"""Of a line or a histogram."""
COLOR: Final = "#1290f0"
"""Visible on light and on dark pages."""


class Picture(NamedTuple):
    """A small picture."""

    source: str
    """A ``data:`` address."""
    width: int
    """In pixels of the page."""
    height: int
    words: str
    """What it shows."""

    def html(self, height: int) -> str:
        """Return an ``img`` element of at most that height, in pixels."""
        scale = min(1.0, height / self.height)
        size = f"width:{round(self.width * scale)}px;height:{round(self.height * scale)}px"
        words = escape(self.words)
        return (
            f'<img style="{size};image-rendering:pixelated;vertical-align:middle" '
            f'alt="{words}" title="{words}" src="{self.source}">'
        )


def heat_map(rows: Sequence[bytes], words: str) -> Picture:
    """Return rows of levels, 0 to 254 or 255 for no number, as a picture."""
    steps = len(SCALE) - 1
    palette = bytearray()
    for level in range(LEVELS):
        at, part = divmod(level * steps / (LEVELS - 1), 1)
        low, high = SCALE[int(at)], SCALE[min(int(at) + 1, steps)]
        palette += bytes(round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    palette += b"\0\0\0"
    chunks = [(b"PLTE", bytes(palette)), (b"tRNS", b"\xff" * LEVELS + b"\0")]
    return png(len(rows[0]), rows, 3, chunks, words)


def pixels(width: int, data: bytes, channels: int, words: str) -> Picture:
    """Return pixels as a picture: 1 (grey), 3 (RGB) or 4 (RGBA) bytes each, row by row."""
    stride = width * channels
    rows = [data[at : at + stride] for at in range(0, len(data), stride)]
    return png(width, rows, {1: 0, 3: 2, 4: 6}[channels], [], words)


def png(
    width: int, rows: Sequence[bytes], color: int, chunks: Sequence[tuple[bytes, bytes]], words: str
) -> Picture:
    """Return rows of bytes as a PNG, enlarged by the page to what can be seen well."""
    header = struct.pack(">IIBBBBB", width, len(rows), 8, color, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
    factor = max(1, 144 // max(width, len(rows)))
    return Picture(address("png", data), width * factor, max(len(rows) * factor, 8), words)


def curve(values: Sequence[float | None], words: str) -> Picture:
    """Return values, None for gaps, as a line."""
    present = [value for value in values if value is not None]
    low, high = min(present, default=0.0), max(present, default=0.0)
    step = (WIDTH - 4) / max(len(values) - 1, 1)
    course, pen = "", "M"
    for index, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        # Halved, for the difference of two finite numbers may be infinite.
        part = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        course += f"{pen}{2 + index * step:.1f} {HEIGHT - 2 - part * (HEIGHT - 4):.1f}"
        pen = "L"
    line = f'<path d="{course}" fill="none" stroke="{COLOR}" stroke-width="1.5" stroke-linecap="round"/>'
    return drawing(line, words)


def bars(counts: Sequence[int], words: str) -> Picture:
    """Return counts as bars beside each other."""
    step, top = WIDTH / max(len(counts), 1), max(counts, default=0) or 1
    course = "".join(
        f"M{index * step:.1f} {HEIGHT}v{-count / top * (HEIGHT - 2):.1f}h{step - 1:.1f}V{HEIGHT}z"
        for index, count in enumerate(counts)
        if count
    )
    return drawing(f'<path d="{course}" fill="{COLOR}"/>', words)


def drawing(inside: str, words: str) -> Picture:
    """Return SVG as a picture."""
    document = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}">{inside}</svg>'
    )
    return Picture(address("svg+xml", document.encode()), WIDTH, HEIGHT, words)


def address(kind: str, data: bytes) -> str:
    """Return a ``data:`` address."""
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def is_image(value: Any) -> bool:
    """Return whether `value` is an image of PIL."""
    library = sys.modules.get("PIL.Image")
    return library is not None and isinstance(value, library.Image)


def thumbnail(image: Any, words: str, side: int = SIDE) -> Picture | None:
    """Return an image of PIL made small; None if it is too large for that.

    Args:
        image: of any mode.
        words: say what it shows.
        side: the greatest width or height, in its own pixels.
    """
    width, height = image.size
    waiting = bool(getattr(image, "tile", None))
    if not width * height or (waiting and width * height > MOST_DECODED):
        return None
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = image.resize(size, 0)  # 0: the nearest pixel, which looks at no others
    return pixels(size[0], small.convert("RGBA").tobytes(), 4, words)
