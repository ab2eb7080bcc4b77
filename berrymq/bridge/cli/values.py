"""Parsing of the command line's arguments, as types of `argparse`.

Each function takes the text of one argument. Invalid ones raise `argparse.ArgumentTypeError`, whose text
argparse shows behind the name of the argument.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berrymq.identifiers import Identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["count", "identifier", "mebibytes", "origin", "path", "payload", "port", "seconds", "text"]

_KEYWORD = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)

MAX_MEBIBYTES = 1 << 20
"""The most memory that can be given: 1 TiB."""


def text(word: str) -> str:
    """Return an argument as it was typed: in UTF-8, even if Python's locale is C.

    In that locale Python decodes other bytes to surrogates (PEP 383), which are decoded again here.

    Raises:
        ArgumentTypeError: it is not UTF-8.
    """
    if word.isascii():
        return word
    try:
        word.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(word).decode()
        except UnicodeDecodeError:
            raise argparse.ArgumentTypeError(f"{word} is not written in UTF-8") from None
    return word


def payload(words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments: Python literals where they are such, else text.

    ::

        >>> payload(["1", "x=[2, 3]", "name=abc"])
        ([1], {'x': [2, 3], 'name': 'abc'})

    Args:
        words: each a value, or ``key=value``.

    Raises:
        ArgumentTypeError: a keyword is repeated.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        match = _KEYWORD.fullmatch(word)
        if match is None:
            args.append(_value(word))
        elif match[1] in kwargs:
            raise argparse.ArgumentTypeError(f"the keyword {match[1]} is given twice")
        else:
            kwargs[match[1]] = _value(match[2])
    return args, kwargs


def _value(text: str) -> Any:
    """Return the value of a Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def identifier(text: str) -> Identifier:
    """Parse the identifier of a message, or a pattern; one that may leave the process.

    Raises:
        ArgumentTypeError: it is none, or its name begins with ``_``.
    """
    try:
        found = Identifier.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found.is_local:
        raise argparse.ArgumentTypeError(f"a name that begins with '_' never leaves its process: {text}")
    return found


def seconds(text: str) -> float:
    """Parse a duration in seconds: a number from 0 to below 1e9, which also excludes NaN and infinity."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def port(text: str) -> int:
    """Parse a port number; 0 stands for any."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; 0 to 65535 are")
    return int(text)


def count(text: str) -> int:
    """Parse a number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return int(text)


def mebibytes(text: str) -> int:
    """Parse an amount of memory in MiB."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_MEBIBYTES:
        raise argparse.ArgumentTypeError(f"{text} is not a number of MiB; 1 to {MAX_MEBIBYTES} are")
    return int(text)


def origin(text: str) -> str:
    """Parse the origin of web pages, as browsers write it: ``https://host[:port]``."""
    from berrymq.bridge.server.host_and_origin import HostPolicy

    try:
        HostPolicy.of(origins=[text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def path(text: str) -> Path:
    """Return the absolute path of a file; the process that reads it may run in another directory."""
    return Path(text).absolute()
