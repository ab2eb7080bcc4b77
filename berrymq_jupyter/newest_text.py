"""The newest message of an identifier as one short line, from the JSON that a hub returns.

The JSON comes from any sender, and is shown without constructing values of the types that it names: so the
cost is proportional to its size, in a Jupyter server and in a view. The line is printable text.
"""

from __future__ import annotations

from typing import Any, Final

from berrymq.printable import printable

__all__ = ["newest_text"]

LIMIT: Final = 160
"""Characters of a line."""
TYPE, VALUE = "$type", "value"
"""How a payload marks a value of a type that JSON lacks; see WIRE.md."""


def newest_text(found: dict[str, Any] | None) -> str:
    """Return an element of the answer of ``newest`` as an argument list, shortened; "…" if it is unknown."""
    if found is None:
        return "…"
    if "begins" in found:
        return _cut(printable(str(found["begins"]).lstrip().removeprefix("[")), LIMIT - 1) + "…"
    args, kwargs = found.get("args"), found.get("kwargs")
    parts = _texts(args) if isinstance(args, list) else []
    if isinstance(kwargs, dict):
        parts += [f"{key}={_text(value)}" for key, value in kwargs.items()]
    return _cut(printable(", ".join(parts)), LIMIT)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _texts(values: list[Any]) -> list[str]:
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    """Return a value of JSON in Python's notation; floats with four significant digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(_texts(value))}]"
    if not isinstance(value, dict):
        return repr(value)
    name = value.get(TYPE)
    if not isinstance(name, str):
        return f"{{{', '.join([f'{key!r}: {_text(item)}' for key, item in value.items()])}}}"
    return _marked(name, value.get(VALUE))


def _marked(name: str, content: Any) -> str:
    """Return a value of a type that JSON lacks, without its buffers."""
    match name, content:
        case "tuple" | "set" | "frozenset", list():
            opening, closing = "()" if name == "tuple" else "{}"
            return f"{opening}{', '.join(_texts(content))}{closing}"
        case "array", {"dtype": str(dtype), "shape": list(shape)}:
            return f"<array {dtype} {' x '.join(_texts(shape))}>"
        case "Opaque", [_, str(text)]:
            return text
        case "RemoteError", [str(kind), str(text), *_]:
            return f"{kind}: {text}" if text else kind
        case "float", str():
            return content
        case _, str() | int() | float() if name.startswith("numpy."):
            return _text(content)
        case _, {"$type": "buffer"} | {"data": _}:
            return f"<{name}>"
    return f"{name}({_text(content)})"
