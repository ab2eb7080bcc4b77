"""The pages' side of the views, as text.

The sources beside this file are plain ES modules that import each other by relative path, so that editors,
linters and tests take them as they are. A page gets one text without imports: the modules in order of need,
without their ``import`` lines and ``export`` words. Names at the top of a module must therefore be unique
among those joined; a test sees to it. Handing over text and not a path keeps anywidget from holding on to
every instance.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from posixpath import dirname, join, normpath
from typing import Final

__all__ = ["module", "style"]

IMPORT: Final = re.compile(r'^import [^;]*? from "(\.[^"]+)";\n', re.MULTILINE)
EXPORT: Final = re.compile(r"^export (?!default)", re.MULTILINE)


@cache
def module(entry: str) -> str:
    """Return the module `entry` and all that it imports as the text of one ES module."""
    done: dict[str, str] = {}
    gather(entry, done)
    return "\n".join(done.values())


@cache
def style(*names: str) -> str:
    """Return style sheets as one text."""
    return "\n".join(source(name) for name in names)


def gather(name: str, done: dict[str, str]) -> None:
    """Add the module `name` to `done`, after the modules that it imports."""
    if name in done:
        return
    text = source(name)
    for needed in IMPORT.findall(text):
        gather(normpath(join(dirname(name), needed)), done)
    done[name] = EXPORT.sub("", IMPORT.sub("", text))


def source(name: str) -> str:
    """Read a file that lies beside this one."""
    return files(__package__).joinpath(name).read_text("utf-8")
