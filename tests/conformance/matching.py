"""Patterns: what an answer, a frame or an event has to be like. `README.md` describes them."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ANYTHING = "${*}"
VARIABLE = re.compile(r"\$\{([a-z_A-Z0-9]+)\}")


class MismatchError(AssertionError):
    """A value is not like its pattern; the text says where, in one line."""


def fill(value: Any, known: dict[str, Any]) -> Any:
    """Put in what is known: ``${name}`` alone becomes the value, within a text its text."""
    if isinstance(value, str):
        if "${i}" in value and value != "${i}":  # it may be part of a name
            value = value.replace("${i}", str(known.get("i", "${i}")))
        whole = VARIABLE.fullmatch(value)
        if whole and whole[1] in known:
            return known[whole[1]]
        return VARIABLE.sub(lambda match: str(known.get(match[1], match[0])), value)
    if isinstance(value, list):
        return [fill(item, known) for item in value]
    if isinstance(value, dict):
        return {fill(key, known): fill(item, known) for key, item in value.items()}
    return value


def match(pattern: Any, value: Any, known: dict[str, Any] | None = None, *, exact: bool = False) -> None:
    """Compare a value with its pattern, and remember what the pattern names.

    Args:
        pattern: see `README.md`.
        value: as it came, decoded from JSON.
        known: what was named before; is added to when all fits.
        exact: objects have no further members, and numbers are of one kind.

    Raises:
        MismatchError: it does not fit.
    """
    known = {} if known is None else known
    found = dict(known)
    _match(pattern, value, found, "", exact)
    known.update(found)


def fits(pattern: Any, value: Any, known: dict[str, Any] | None = None, *, exact: bool = False) -> bool:
    """Return whether a value is like its pattern."""
    try:
        match(pattern, value, known, exact=exact)
    except MismatchError:
        return False
    return True


def _match(pattern: Any, value: Any, known: dict[str, Any], where: str, exact: bool) -> None:
    if pattern == ANYTHING:
        return
    if isinstance(pattern, str) and (named := VARIABLE.fullmatch(pattern)):
        if named[1] not in known:
            known[named[1]] = value
            return
        pattern = known[named[1]]
    if isinstance(pattern, dict):
        special = next((key for key in pattern if key.startswith("$") and key != "$type"), None)
        if special is not None:
            _match_special(special, pattern[special], value, known, where, exact)
            return
        _require(isinstance(value, dict), pattern, value, where)
        for key, item in pattern.items():
            if item == {"$absent": True}:
                _require(key not in value, f"no member {key!r}", value.get(key), f"{where}.{key}")
            else:
                _require(key in value, item, "no such member", f"{where}.{key}")
                _match(item, value[key], known, f"{where}.{key}", exact)
        if exact:
            further = value.keys() - pattern.keys()
            _require(not further, pattern, f"also the members {sorted(further)}", where)
        return
    if isinstance(pattern, list):
        _require(isinstance(value, list), pattern, value, where)
        _require(len(pattern) == len(value), f"{len(pattern)} elements {_shown(pattern)}", value, where)
        for index, (item, one) in enumerate(zip(pattern, value, strict=True)):
            _match(item, one, known, f"{where}[{index}]", exact)
        return
    same_kind = isinstance(pattern, bool) == isinstance(value, bool) and (
        not exact or type(pattern) is type(value)
    )
    _require(same_kind and pattern == value, pattern, value, where)


def _match_special(  # noqa: PLR0917 - as for `_match`
    special: str, operand: Any, value: Any, known: dict[str, Any], where: str, exact: bool
) -> None:
    if special == "$any_order":
        _match_any_order(operand, value, known, where, exact)
    elif special == "$has":
        _require(isinstance(value, list), operand, value, where)
        for item in operand:
            _require(any(fits(item, one, known) for one in value), f"one like {_shown(item)}", value, where)
    elif special == "$one_of":
        _require(any(fits(item, value, known, exact=exact) for item in operand), operand, value, where)
    elif special == "$not":
        _require(not fits(operand, value, known, exact=exact), f"not {_shown(operand)}", value, where)
    elif special in SCALARS:
        _require(SCALARS[special](operand, value), f"a value like {_shown({special: operand})}", value, where)
    else:
        raise MismatchError(f"the pattern {special!r} is unknown")


def _match_any_order(operand: Any, value: Any, known: dict[str, Any], where: str, exact: bool) -> None:
    _require(isinstance(value, list) and len(value) == len(operand), operand, value, where)
    left = list(value)
    for item in operand:
        for one in left:
            trial = dict(known)
            if fits(item, one, trial, exact=exact):
                known.update(trial)
                left.remove(one)
                break
        else:
            raise MismatchError(f"at {where or 'the top'}: {_shown(item)} is not among {_shown(value)}")


def _is_text_like(expression: str, value: Any) -> bool:
    return isinstance(value, str) and re.search(expression, value) is not None


def _is_number_between(bounds: list[float | None], value: Any) -> bool:
    low, high = bounds
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (low is None or value >= low) and (high is None or value <= high)


def _is_same_time(text: str, value: Any) -> bool:
    try:
        return datetime.fromisoformat(value) == datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False


SCALARS: dict[str, Callable[[Any, Any], bool]] = {
    "$text": _is_text_like,
    "$number": _is_number_between,
    "$time": _is_same_time,
}


def _require(condition: object, pattern: Any, value: Any, where: str) -> None:
    if not condition:
        raise MismatchError(f"at {where or 'the top'}: expected {_shown(pattern)}, not {_shown(value)}")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and " " in value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}..."
