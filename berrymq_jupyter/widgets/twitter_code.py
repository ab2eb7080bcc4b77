"""A message as the line that sends it again.

Only values of built-in classes, exactly, are written as literals: the ``repr`` of any other object is foreign
code, whose text could do anything when it is pasted and run.
"""

from __future__ import annotations

from keyword import iskeyword
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berrymq import Message

__all__ = ["twitter_code"]

LONGEST: Final = 20_000
"""The most characters of the arguments, approximately."""


class TooLongError(Exception):
    """The code would be too long to paste."""


class Writer:
    """Writes values as literals; one without a literal becomes ``...`` and is counted."""

    def __init__(self) -> None:
        self.room = LONGEST
        """How many characters are left."""
        self.unwritten = 0
        """How many values have no literal."""

    def value(self, value: Any, depth: int = 20) -> str:
        """Return `value` as a literal.

        Args:
            value: anything.
            depth: how many levels of containers may follow.

        Raises:
            TooLongError: the limit is exceeded.
        """
        kind = type(value)
        if kind in (str, bytes):
            self.take(len(value))
            return repr(value)
        if value is None or kind is bool or (kind is int and value.bit_length() < 4000):
            return repr(value)
        if kind is float:
            return repr(value) if isfinite(value) else f"float({str(value)!r})"
        if depth > 0:
            if kind is list:
                return f"[{self.several(value, depth)}]"
            if kind is tuple:
                return f"({self.several(value, depth)}{',' if len(value) == 1 else ''})"
            if kind is set and value:
                return f"{{{self.several(value, depth)}}}"
            if kind is dict:
                return f"{{{self.pairs(value, depth)}}}"
        self.unwritten += 1
        return "..."

    def several(self, values: Any, depth: int) -> str:
        """Return values as literals, with commas."""
        self.take(2 * len(values))
        return ", ".join([self.value(value, depth - 1) for value in values])

    def pairs(self, items: Mapping[Any, Any], depth: int) -> str:
        """Return the pairs of a dictionary as literals, with commas."""
        self.take(4 * len(items))
        return ", ".join(
            [f"{self.value(key, depth - 1)}: {self.value(item, depth - 1)}" for key, item in items.items()]
        )

    def take(self, length: int) -> None:
        """Count characters against the limit."""
        self.room -= length
        if self.room < 0:
            raise TooLongError

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return an argument list."""
        parts = [self.value(value) for value in args]
        plain = {key: value for key, value in kwargs.items() if key.isidentifier() and not iskeyword(key)}
        parts += [f"{key}={self.value(value)}" for key, value in plain.items()]
        others = {key: value for key, value in kwargs.items() if key not in plain}
        if others:
            parts.append(f"**{{{self.pairs(others, 20)}}}")
        return ", ".join(parts)


def twitter_code(message: Message) -> tuple[str, str]:
    """Return the line that sends `message` again, and a remark on what is missing in it, or "".

    The line is a magic, or a call of ``twitter`` where the identifier would not fit into a magic's line.
    """
    writer = Writer()
    try:
        arguments = writer.arguments(message.args, message.kwargs)
        remark = (
            ""
            if not writer.unwritten
            else "one value has no literal form: '...' stands for it"
            if writer.unwritten == 1
            else f"{writer.unwritten} values have no literal form: '...' stands for them"
        )
    except TooLongError:
        arguments, remark = "...", "the payload is too large to be written as code: '...' stands for it"
    identifier = message.id
    if " " in identifier or identifier[0] in "-'\"" or not identifier.isprintable():
        return f"twitter({', '.join(filter(None, [repr(identifier), arguments]))})", remark
    return f"%twitter {identifier} {arguments}".rstrip(), remark
