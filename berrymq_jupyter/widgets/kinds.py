"""Renderings of a value: tables as their first rows, arrays and images as small pictures, bytes as digits.

A new kind needs a test and a writer in `KINDS`, and a function of the same name in ``kinds.ts``. The test
runs for each value that is sent to a page, so it must be cheap. The writer returns the argument of the page's
function, as JSON.
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from .arrays import (
    array_facts,
    array_picture,
    array_pictures,
    is_numeric_array,
    range_text,
)
from .frames import frame, is_frame
from .render import HOSTILE, cell, cut, shown
from .thumbnails import LARGE_SIDE, Picture, is_image, thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["form_of", "kind_of_form", "picture_of"]

Form = dict[str, Any]

TESTED: Final = 20
"""Items of a list that must be dictionaries."""
ROWS: Final = 500
"""The limit of rows of a table that are sent to the page."""
COLUMNS: Final = 40
"""The limit of its columns."""
CELL: Final = 100
"""Characters of a table's cell."""
BYTES: Final = 4096
"""The limit of bytes shown as digits."""
WIDTH: Final = 16
"""Bytes in a line."""
TEXT: Final = 2000
"""Characters of what an `Opaque` says."""


def kind_of_form(value: object) -> str:
    """Return the kind of form that `value` has beside the tree, "" for none."""
    try:
        return next((kind for kind, (test, _) in KINDS.items() if test(value)), "")
    except HOSTILE:
        return ""


def form_of(value: Any) -> Form:
    """Return the form of `value`; raises what looking at it raises."""
    kind = kind_of_form(value)
    return {"as": kind, **KINDS[kind][1](value)} if kind else {"as": ""}


def is_table(value: Any) -> bool:
    """Return whether `value` is a list of dictionaries with texts for keys."""
    if type(value) not in (list, tuple) or not value:
        return False
    return all(
        type(item) is dict and item and all(type(key) is str for key in item) for item in value[:TESTED]
    )


def table(value: list[Any]) -> Form:
    """Return the columns and rows of a table; what a row lacks is None.

    Columns stand in the order of their first appearance in any row.
    """
    items = [item for item in islice(value, ROWS) if isinstance(item, dict)]
    names = list(dict.fromkeys(key for item in items for key in item if isinstance(key, str)))
    columns = names[:COLUMNS]
    return {
        "columns": [shown(cut(name, CELL)) for name in columns],
        "rows": [[cell(item[name], CELL) if name in item else None for name in columns] for item in items],
        "moreRows": len(value) - len(items),
        "moreColumns": len(names) - len(columns),
    }


def is_bytes(value: object) -> bool:
    """Return whether `value` holds bytes."""
    return isinstance(value, (bytes, bytearray, memoryview)) and memoryview(value).nbytes > 0


def hexadecimal(value: bytes | bytearray | memoryview) -> Form:
    """Return bytes as lines: the position, the digits, and those that are ASCII as text."""
    view = memoryview(value)
    data = bytes(view.cast("B")[:BYTES]) if view.contiguous else view.tobytes()[:BYTES]
    lines = []
    for at in range(0, len(data), WIDTH):
        part = data[at : at + WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:04x}  {part.hex(' '):<{3 * WIDTH - 1}}  {text}")
    return {"lines": lines, "more": view.nbytes - len(data)}


def array(value: Any) -> Form:
    """Return facts, range and pictures of an array."""
    words = range_text(value)
    facts = [shown(cut(array_facts(value), CELL)), *([words] if words else [])]
    return {"facts": facts, "pictures": [list(picture) for picture in array_pictures(value)]}


def image(value: Any) -> Form:
    """Return the size of an image, and the image made small."""
    facts = image_facts(value)
    small = thumbnail(value, "image" if max(value.size) <= LARGE_SIDE else "thumbnail", LARGE_SIDE)
    return {"facts": [facts], "pictures": [] if small is None else [list(small)]}


def image_facts(value: Any) -> str:
    """Return size and mode of an image in words."""
    width, height = value.size
    return shown(cut(f"{value.mode} · {width:,} x {height:,} pixels", CELL))


def is_opaque(value: Any) -> bool:
    """Return whether `value` stands for one that could not cross a link."""
    bridge = sys.modules.get("berrymq.bridge")
    if bridge is None or not isinstance(value, bridge.Opaque):
        return False
    return not (is_frame(value) or is_numeric_array(value))  # of these a sample was fetched


def opaque(value: Any) -> Form:
    """Return the class of the value that could not cross, and what its node saw of it."""
    return {"type": shown(cut(value.type, CELL)), "text": shown(cut(value.text, TEXT))}


def picture_of(value: Any) -> Picture | None:
    """Return the picture of a value, for a saved notebook; None if it has none."""
    try:
        if is_image(value):
            return thumbnail(value, image_facts(value))
        if is_numeric_array(value):
            return array_picture(value)
    except HOSTILE:
        return None
    return None


KINDS: Final[dict[str, tuple[Callable[[Any], bool], Callable[[Any], Form]]]] = {
    "table": (is_table, table),
    "hex": (is_bytes, hexadecimal),
    "opaque": (is_opaque, opaque),
    "frame": (is_frame, frame),
    "image": (is_image, image),
    "array": (is_numeric_array, array),
}
