"""Parse the options of a magic's line, and lines of nothing but options and words.

    %queue --maxsize 10 task:*
           `- option -' `word'

The options are the `argument`s of the magic, from which IPython makes its help. argparse does not parse the
line, since its errors do not fit magics: it can't show what to write instead.

``argparse`` would end the process with a usage text, split the line as a shell does, and take a negative
number for an option. So the magics declare their options with it, which gives `%magic?` its help, and the
lines are read here: in one pass from the left, with errors of one line that end in an example.
"""

from __future__ import annotations

import re
from argparse import Namespace
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError

from .arguments import HELP, shorten, split_identifier, split_word, without_comment

if TYPE_CHECKING:
    import argparse

    from berrymq import Identifier

__all__ = ["message_count", "parse", "seconds", "split_options", "whole_number"]

OPTION = re.compile(r"(-[^\s=]*)(=?)")
"""An option's name, and whether a value is joined to it by ``=``."""


def whole_number(text: str) -> int:
    """Read the value of an option that counts.

    Raises:
        ValueError: it is none; the text completes "wants --option to be".
    """
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def message_count(text: str) -> int:
    """Read the value of an option that is a number of messages.

    Raises:
        ValueError: it is none, or 0.
    """
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ValueError("a number of messages, from 1 on")
    return int(text)


def seconds(text: str) -> float:
    """Read the value of an option that is a length of time.

    Raises:
        ValueError: it is negative, not finite, or no number.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0 or not isfinite(value):
        raise ValueError("a number of seconds")
    return value


def parse(magic: Any, line: str, example: str) -> Namespace:
    """Read a line of options and words, in any order; quotes join words and are removed.

    Raises:
        UsageError: the line does not fit the `magic`; one line, with an `example`.

    Args:
        magic: the function, with the parser that its decorators have made.
        line: behind the magic's name.
        example: a line that is right.

    Returns:
        The values by name, defaults included.
    """
    reader = Reader(magic, example)
    wanted = [action for action in reader.actions if not action.option_strings]
    rest = without_comment(line)
    while rest:
        rest = without_comment(reader.take_options(rest))
        if rest:
            word, rest = split_word(rest)
            if not wanted:
                reader.refuse(f"does not take {shorten(word)}")
            setattr(reader.options, wanted.pop(0).dest, word)
    for action in wanted:
        if action.nargs is None:
            raise UsageError(f"an {action.dest} is missing, as in: {example}")
    return reader.options


def split_options(magic: Any, line: str, example: str) -> tuple[Namespace, Identifier, str]:
    """Split options and identifier off the front of `line`; return also the rest unchanged.

    Options may stand before the identifier and right behind it; anything else there begins a Python argument
    list.

    Raises:
        UsageError: an option is wrong, or the identifier is missing or invalid.
    """
    reader = Reader(magic, example)
    identifier, rest = split_identifier(reader.take_options(line.strip()), example)
    return reader.options, identifier, reader.take_options(rest, or_python=True)


class Reader:
    """Reads the options of one line.

    Args:
        magic: as for `parse`.
        example: as for `parse`.
    """

    def __init__(self, magic: Any, example: str) -> None:
        # argparse has no public list of what was added to a parser.
        self.actions: list[argparse.Action] = magic.parser._actions
        self.options = Namespace(**{action.dest: action.default for action in self.actions})
        self._name = magic.__name__
        self._example = example
        self._known = {option: action for action in self.actions for option in action.option_strings}

    def take_options(self, rest: str, *, or_python: bool = False) -> str:
        """Read the options at the start of `rest`; return the text behind, with `or_python` Python too.

        Args:
            rest: what is left of the line.
            or_python: whether Python may follow, in which a word that begins with ``-`` is no option.

        Raises:
            UsageError: an unknown option, or one whose value is missing or wrong.
        """
        while found := OPTION.match(rest):
            option, joined = found.groups()
            action = self._known.get(option)
            if action is None:
                if option in HELP:
                    raise UsageError(f"%{self._name}? shows the help")
                if or_python:
                    break
                self.refuse(f"has no option {shorten(option)}{self._there_are()}")
            behind = rest[found.end() :]
            if action.nargs == "?" and not joined:
                rest = self._take_optional(action, behind.lstrip())
                continue
            if action.nargs == 0:
                if joined:
                    self.refuse(f"takes {option} without a value")
                setattr(self.options, action.dest, action.const)
                rest = behind.lstrip()
                continue
            if not behind.strip() or (behind[0].isspace() if joined else behind.lstrip().startswith("--")):
                self.refuse(f"needs a value behind {option}")
            value, rest = split_word(behind)
            setattr(self.options, action.dest, self._read(option, action, value))
        return rest

    def _take_optional(self, action: argparse.Action, behind: str) -> str:
        """Read the value of an option that may have one, where the next word is one; return the rest."""
        word, rest = split_word(behind) if behind else ("", "")
        try:
            value = action.type(word) if callable(action.type) else word
        except ValueError:
            value, rest = action.const, behind
        setattr(self.options, action.dest, value)
        return rest

    def refuse(self, problem: str) -> NoReturn:
        """Return the error for a wrong line, with advice.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"%{self._name} {problem}; write, for example: {self._example}")

    def _read(self, option: str, action: argparse.Action, text: str) -> Any:
        """Return the value of an option."""
        if action.choices is not None and text not in action.choices:
            self.refuse(f"wants {option} to be {listed(action.choices, 'or')}, not {shorten(text)}")
        if not callable(action.type):
            return text
        try:
            return action.type(text)
        except ValueError as error:
            self.refuse(f"wants {option} to be {error}, not {shorten(text)}")

    def _there_are(self) -> str:
        """Return the names of the possible options, as a sentence."""
        return f": it has {listed(self._known, 'and')}" if self._known else ""


def listed(words: Any, last: str) -> str:
    """Join words as in a sentence."""
    *first, end = map(str, words)
    return f"{', '.join(first)} {last} {end}" if first else end
