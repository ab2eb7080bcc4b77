"""IPython's decorators for magics, with types, and in the one combination that ours use.

    @magic("line", argument("url", nargs="?", help="where the hub is"))
    def link(self, line: str) -> Link: ...

Every magic has help (`%link?`) made of its docstring and its arguments, and none has IPython expand `{}` and
`$` in its line.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from textwrap import indent
from typing import Any, Literal, TypeVar, cast

from IPython.core import magic as ipython_magic
from IPython.core import magic_arguments

__all__ = ["argument", "magic"]

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


def argument(*names: str, **options: Any) -> Decorator:
    """Describe one option or word of a magic's line, as `ArgumentParser.add_argument` does.

    Args:
        names: the name of a word, or of an option with its dashes.
        options: ``help``, ``metavar`` and so on.
    """
    return magic_arguments.argument(*names, **options)  # type: ignore[no-untyped-call]


def magic(
    kind: Literal["line", "line_cell"], *arguments: Decorator, local_names: bool = False
) -> Callable[[Function], Function]:
    """Make a method a magic, whose help is made of its docstring and arguments.

    Args:
        kind: ``"line"``, or ``"line_cell"`` for ``%name`` and ``%%name``.
        arguments: made by `argument`, in the order in which the help lists them.
        local_names: pass ``local_ns``, the names where the magic is used.
    """
    marker = {"line": ipython_magic.line_magic, "line_cell": ipython_magic.line_cell_magic}[kind]
    decorators = [marker, ipython_magic.no_var_expand]
    if local_names:
        decorators.append(ipython_magic.needs_local_scope)
    decorators += reversed(arguments)
    decorators.append(magic_arguments.magic_arguments())  # type: ignore[no-untyped-call]

    def decorate(function: Function) -> Function:
        text = inspect.cleandoc(function.__doc__ or "")
        decorated: Any = function
        for decorator in decorators:
            decorated = decorator(decorated)
        decorated.__doc__ = help_text(text, decorated.parser)
        return cast("Function", decorated)

    return decorate


def help_text(docstring: str, parser: argparse.ArgumentParser) -> str:
    """Return the help of a magic: summary, usage, details, arguments and options, examples.

    IPython's own begins with the usage, in reStructuredText, which no pager renders.

    Args:
        docstring: a summary, details, and a last section "Examples:".
        parser: of the magic's line; its description and usage are removed.
    """
    description, _, examples = docstring.partition("\n\nExamples:\n")
    summary, _, details = description.partition("\n\n")
    usage = "%" + parser.format_usage().partition("%")[2].strip()
    parser.description, parser.usage = None, argparse.SUPPRESS  # what is left are the lists
    lists = parser.format_help().strip().replace("positional arguments:", "Arguments:")
    lists = lists.replace("options:", "Options:")
    parts = [
        summary,
        "Usage:\n" + indent(usage, "    "),
        details,
        lists,
        f"Examples:\n{examples}" if examples else "",
    ]
    return "\n\n".join(filter(None, parts))
