"""Images: those of PIL and figures of matplotlib, as PNG."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

from berrymq.bridge.buffers import Missing

from .arrays import optional
from .binary import Binary
from .opaque import missing
from .registry import Codec

__all__ = ["Png", "codecs", "image_codec"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Of PIL, which PNG has as well; another one is converted to RGB."""


class Png(bytes):
    """An image as it arrives where PIL is not installed, or refuses so many pixels; a notebook shows it."""

    def _repr_png_(self) -> bytes:
        return bytes(self)

    def __repr__(self) -> str:
        return f"<Png {len(self):,} bytes>"


def image_codec(value: Any) -> Codec | None:
    """Return how an image crosses; None for anything else."""
    root = type(value).__module__.partition(".")[0]
    image = sys.modules.get("PIL.Image")
    if image is not None and isinstance(value, image.Image):
        return IMAGE
    figure = sys.modules.get("matplotlib.figure") if root == "matplotlib" else None
    if figure is not None and isinstance(value, figure.Figure):
        return FIGURE
    return None


def codecs() -> list[Codec]:
    """Return all of them, for decoding."""
    return [IMAGE]


def _encode_image(image: Any) -> Binary:
    file = BytesIO()
    (image if image.mode in MODES else image.convert("RGB")).save(file, "PNG", compress_level=1)
    return Binary.of(file.getbuffer())


def _encode_figure(figure: Any) -> Binary:
    file = BytesIO()
    figure.savefig(file, format="png")
    return Binary.of(file.getbuffer())


def _decode(data: Any) -> Any:
    if isinstance(data, Missing):
        return missing(data, "PIL.Image.Image", "image")
    if not isinstance(data, memoryview):
        raise TypeError("it has no buffer")
    if bytes(data[: len(SIGNATURE)]) != SIGNATURE:
        raise ValueError("it is no PNG")
    if optional("PIL") is None:
        return Png(data)
    from PIL import Image

    try:
        return Image.open(BytesIO(data), formats=["PNG"])
    except Image.DecompressionBombError:
        return Png(data)  # its pixels take a lot of memory: whoever wants them can open it


IMAGE = Codec("image", _encode_image, _decode)
FIGURE = Codec("image", _encode_figure, _decode)
