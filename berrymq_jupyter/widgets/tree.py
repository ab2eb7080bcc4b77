"""A value as a tree that the page expands step by step, and the difference of two payloads.

A node is a small dictionary: ``k`` its kind (for the colour), ``s`` its one-line text, ``n`` how many
children it has, ``as`` the form that it has beside the tree if there is one (see `kinds`), ``c`` the
children sent along as ``[label, node]``. The page requests further children by path: their positions from
the root. So a dictionary of a hundred thousand keys costs no more than the part that is viewed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from .kinds import kind_of_form
from .render import HOSTILE, cut, shown, summary, type_name
from .thumbnails import is_image

__all__ = ["Payload", "difference", "kind_of", "long_text", "node", "resolve"]

PAGE: Final = 100
"""Children sent at once."""
LINE: Final = 240
"""Characters of a node's one-line text."""
TEXT: Final = 20_000
"""Characters of a long string that the page can request."""
COMPARED: Final = 1000
"""Children compared one by one; of larger values only the one-line text is compared."""
CHANGES: Final = 100
"""The limit of differences listed."""

Node = dict[str, Any]
Children = tuple[int, Iterator[tuple[str, Any]]]

KINDS: Final[list[tuple[tuple[type, ...], str]]] = [
    ((type(None), bool), "word"),
    ((int, float, complex), "number"),
    ((str,), "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((list, tuple, deque, set, frozenset), "list"),
    ((dict, MappingProxyType), "map"),
]


class Payload:
    """The payload of a message as one value: positional arguments by number, keywords by name.

    It is the root of a tree, whose path is empty.
    """

    __slots__ = ("items",)

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.items: list[tuple[str, Any]] = [(str(index), value) for index, value in enumerate(args)]
        self.items += list(kwargs.items())


def kind_of(value: object) -> str:
    """Return the kind of `value`, one of word, number, text, bytes, list, map, object."""
    try:
        return next((kind for types, kind in KINDS if isinstance(value, types)), "object")
    except HOSTILE:  # even its class may be made up
        return "object"


def node(value: Any, *, depth: int = 1, start: int = 0) -> Node:
    """Return `value` as a node with `depth` levels of children; of its own children those from `start` on.

    Args:
        value: the value, or a `Payload`.
        depth: levels of children that are sent along; further ones are requested by the page.
        start: the position of the first child that is sent.
    """
    root = type(value) is Payload
    count, children = safe_children(value, start, PAGE if depth > 0 else 0)
    made: Node = {
        "k": "map" if root else kind_of(value),
        "s": "" if root else summary(value, LINE),
        "n": count,
    }
    form = "" if root else kind_of_form(value)
    if form:
        made["as"] = form
    if made["k"] == "text":
        if len(value) > LINE - 2:
            made["long"] = len(value)
        if "\n" in str.__getitem__(value, slice(0, TEXT)):
            made["lines"] = True
    if depth > 0 and count:
        made["from"] = start
        made["c"] = [[shown(cut(label, 120)), node(child, depth=depth - 1)] for label, child in children]
    return made


def resolve(value: Any, path: Sequence[int]) -> Any:
    """Return the value at `path` below `value`; raise `LookupError` if there is none any more.

    The value may have changed since the page saw it, so a position may lead elsewhere, or nowhere.
    """
    for position in path:
        found = next(islice(children_of(value)[1], position, None), None)
        if found is None:
            raise LookupError("that part of the value is no longer there")
        value = found[1]
    return value


def long_text(value: object) -> str:
    """Return the first characters of a long string, lines kept, everything else made safe.

    At most `TEXT` characters.
    """
    if not isinstance(value, str):
        return summary(value, TEXT)
    head = str.__getitem__(value, slice(0, TEXT))
    return "\n".join(shown(line) for line in head.split("\n")) + ("…" if len(value) > TEXT else "")


def safe_children(value: Any, start: int, limit: int) -> tuple[int, list[tuple[str, Any]]]:
    """Return the count and some children of `value`; none if inspecting it raises.

    Args:
        value: anything.
        start: the position of the first.
        limit: the most children.
    """
    try:
        count, children = children_of(value)
        return count, list(islice(children, start, start + limit))
    except HOSTILE:
        return 0, []


def children_of(value: Any) -> Children:
    """Return the number of children of `value`, and an iterator over (label, child).

    May raise what the value's own code raises. The iterator makes no copy.
    """
    if isinstance(value, Payload):
        return len(value.items), iter(value.items)
    if isinstance(value, (dict, MappingProxyType)):
        return len(value), ((key_label(key), item) for key, item in value.items())
    if isinstance(value, tuple) and (names := getattr(type(value), "_fields", None)):
        return len(value), iter(zip(map(str, names), value, strict=False))
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        return len(value), ((str(index), item) for index, item in enumerate(value))
    if kind_of(value) != "object" or isinstance(value, type):
        return 0, iter(())
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        return len(names), ((name, getattr(value, name)) for name in names)
    return foreign_children(value)


def foreign_children(value: Any) -> Children:
    """Return the columns of a table, the rows of an array, or the attributes of an object but an image."""
    columns, shape = getattr(value, "columns", None), getattr(value, "shape", None)
    if isinstance(shape, tuple) and columns is not None and hasattr(value, "__getitem__"):
        return len(columns), ((str(column), value[column]) for column in columns)
    if isinstance(shape, tuple):
        if not shape:
            return 0, iter(())
        rows = getattr(value, "iloc", value)
        return int(shape[0]), ((str(index), rows[index]) for index in range(int(shape[0])))
    attributes = getattr(value, "__dict__", None)
    if type(attributes) is not dict or is_image(value):
        return 0, iter(())
    return len(attributes), iter(list(attributes.items()))


def key_label(key: object) -> str:
    """Return the label of a dictionary's key: text as it is, the rest in Python's notation."""
    return cut(key, 120) if isinstance(key, str) else summary(key, 120)


def difference(before: Payload, after: Payload) -> list[list[str]]:
    """Return up to `CHANGES` differences, as ``[path, "added" | "removed" | "changed", before, after]``.

    The same object in both is not looked into, however it has changed since.
    """
    changes: list[list[str]] = []
    compare("", before, after, changes, 5)
    return changes


def compare(path: str, before: Any, after: Any, changes: list[list[str]], depth: int) -> None:
    """Add the differences of two values to `changes`.

    Args:
        path: the labels above, as text.
        before: the former value.
        after: the present one.
        changes: is appended to.
        depth: levels that are compared child by child; deeper ones by their one-line text.
    """
    if before is after or len(changes) >= CHANGES:
        return
    if depth > 0 and type(before) is type(after):
        old, new = safe_children(before, 0, COMPARED), safe_children(after, 0, COMPARED)
        if (old[1] or new[1]) and max(old[0], new[0]) <= COMPARED:
            compare_children(path, dict(old[1]), dict(new[1]), changes, depth)
            return
    old_text, new_text = summary(before, LINE), summary(after, LINE)
    if old_text != new_text or type_name(before) != type_name(after) or differ_unseen(before, after):
        changes.append([path, "changed", old_text, new_text])


def differ_unseen(before: object, after: object) -> bool:
    """Return whether two strings that begin alike differ later on; the rest was compared as shown."""
    return type(before) is type(after) and type(before) in (str, bytes) and before != after


def compare_children(
    path: str, old: dict[str, Any], new: dict[str, Any], changes: list[list[str]], depth: int
) -> None:
    """Add the differences of two values' children to `changes`."""
    for label in [*old, *(label for label in new if label not in old)]:
        if len(changes) >= CHANGES:
            return
        below = shown(cut(label, 120)) if not path else f"{path} / {shown(cut(label, 120))}"
        if label not in new:
            changes.append([below, "removed", summary(old[label], LINE), ""])
        elif label not in old:
            changes.append([below, "added", "", summary(new[label], LINE)])
        else:
            compare(below, old[label], new[label], changes, depth - 1)
