"""IPython's decorators for magics, with types, and in the one combination that ours use.

    @magic("line", argument("url", nargs="?", help="where the hub is"))
    def link(self, line: str) -> Link: ...

Every magic has generated help (`%link?`), and none has IPython expand `{}` and `$` in its line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from IPython.core import magic as ipython_magic
from IPython.core import magic_arguments

if TYPE_CHECKING:
    import argparse

__all__ = ["argument", "magic", "parse"]

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


def argument(*names: str, **options: Any) -> Decorator:
    """Describe one option or word of a magic's line, as `ArgumentParser.add_argument` does."""
    return magic_arguments.argument(*names, **options)  # type: ignore[no-untyped-call]


def magic(
    kind: Literal["line", "line_cell"], *arguments: Decorator, local_names: bool = False
) -> Callable[[Function], Function]:
    """Make a method a magic; with `local_names` it gets `local_ns`, the names where it is used."""
    marker = {"line": ipython_magic.line_magic, "line_cell": ipython_magic.line_cell_magic}[kind]
    decorators = [marker, ipython_magic.no_var_expand]
    if local_names:
        decorators.append(ipython_magic.needs_local_scope)
    decorators += reversed(arguments)
    decorators.append(magic_arguments.magic_arguments())  # type: ignore[no-untyped-call]

    def decorate(function: Function) -> Function:
        decorated: Any = function
        for decorator in decorators:
            decorated = decorator(decorated)
        return cast("Function", decorated)

    return decorate


def parse(function: Any, line: str) -> argparse.Namespace:
    """Parse a line that holds options and words only; quotes keep words together and are taken off."""
    options: argparse.Namespace = magic_arguments.parse_argstring(  # type: ignore[no-untyped-call]
        function, line
    )
    for name, value in vars(options).items():
        if isinstance(value, str):
            setattr(options, name, unquote(value))
    return options


def unquote(word: str) -> str:
    """Take off the quotes that IPython's splitting leaves around a word."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word
