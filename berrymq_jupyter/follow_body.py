"""Compile the body of a `%%follow` cell to a function of `message`.

In the notebook the body reads like any other cell: its names are the notebook's, magics work, the value of
the last line is shown. Yet it may run on another thread, beside a cell that uses a `message` of its own. So
it becomes a real function: `message` is its parameter, and each other name it assigns is declared global.

    count += 1                          def on_message(message):
    message.score            becomes        global count
                                            count += 1
                                            return message.score

`return` leaves early, and `await` makes the function a coroutine function.
"""

from __future__ import annotations

import ast
import inspect
import re
import symtable
import threading
import types
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError

from .arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

FUNCTION = "on_message"
PARAMETER = "message"
MENTIONED = re.compile(rf"\b{PARAMETER}\b")

MISSING: Final = object()
NOTEBOOK_LOCK: Final = threading.RLock()
"""Held while `message` is a variable of the notebook: several followers may run at once."""


def compile_body(shell: InteractiveShell, body: str, cell: str) -> Callable[[Any], Any]:
    """Compile `body`, which ends the text `cell`, to a function of `message` in the user's namespace.

    Line numbers and file name are those of the cell: tracebacks show its lines, breakpoints set in it hold.

    Args:
        shell: transforms magics, and has the namespace.
        body: the cell without its first line.
        cell: all of it.

    Returns:
        A function, or a coroutine function if the body awaits.

    Raises:
        UsageError: a syntax error, or a ``yield``.
    """
    before = lines_before(body, cell)
    transformed: str = shell.transform_cell(body)  # type: ignore[no-untyped-call]
    blank = len(body.splitlines()) - len(body.lstrip().splitlines())  # IPython has dropped them
    source = "\n" * (len(before) + blank) + transformed
    filename = remember_source(shell, source, before, cell)
    try:
        statements = shell.compile.ast_parse(source, filename)
        assert isinstance(statements, ast.Module)
        names = assigned_names(statements, source, filename)
        tree = as_function(statements, names, quiet=is_quiet(source))
        code = compile(tree, filename, "exec", dont_inherit=True, flags=shell.compile.flags)
    except SyntaxError as error:
        line = source.splitlines()[error.lineno - 1] if error.lineno else ""
        raise UsageError(f"line {error.lineno} of the cell: {error.msg}: {shorten(line)}") from None
    (function,) = (part for part in code.co_consts if inspect.iscode(part) and part.co_name == FUNCTION)
    if function.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        raise UsageError("the body of %%follow runs once for each message, it cannot yield")
    # Under this name IPython and `inspect` take its lines for those of a cell, and show them.
    function = function.replace(co_name="<module>", co_qualname="<module>")
    body_function = types.FunctionType(function, shell.user_ns, FUNCTION)
    body_function.__qualname__ = FUNCTION
    return (
        with_message_in_notebook(shell, body_function)
        if is_cell_magic(body) and MENTIONED.search(body)
        else body_function
    )


def lines_before(body: str, cell: str) -> list[str]:
    """Return the lines of `cell` before `body`; as many have to be there for the line numbers to be right."""
    start = cell.find(body.rstrip("\n"), cell.find("\n") + 1)
    return cell[:start].splitlines() if start > 0 else ["%%follow"]


def remember_source(shell: InteractiveShell, source: str, before: list[str], cell: str) -> str:
    """Give tracebacks and debugger the lines of the cell; return the file name under which they know it.

    Args:
        shell: caches the source.
        source: transformed by IPython, and preceded by empty lines.
        before: the lines in place of the empty ones; they are shown as comments.
        cell: the text as it was typed.
    """
    shown = source.splitlines()
    shown[: len(before)] = [f"# {line}" for line in before]
    return shell.compile.cache("\n".join(shown), shell.displayhook.prompt_count, raw_code=cell)


def is_cell_magic(body: str) -> bool:
    """Return whether a body is the text of a cell magic, such as `%%time`."""
    return body.lstrip().startswith("%%")


def with_message_in_notebook(shell: InteractiveShell, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `function` so that `message` is among the notebook's names while it runs, one run at a time.

    A cell magic sees no other names. The notebook's own `message` is restored afterwards.

    Args:
        shell: has the names.
        function: the compiled body.
    """

    @wraps(function)
    def body(message: Any) -> Any:
        names = shell.user_ns
        with NOTEBOOK_LOCK:
            before = names.get(PARAMETER, MISSING)
            names[PARAMETER] = message
            try:
                return function(message)
            finally:
                if before is MISSING:
                    names.pop(PARAMETER, None)
                else:
                    names[PARAMETER] = before

    return body


def is_quiet(source: str) -> bool:
    """Return whether the last line ends with a semicolon, so that its value is not shown."""
    return bool(DisplayHook.semicolon_at_end_of_expression(source))  # type: ignore[no-untyped-call]


def assigned_names(tree: ast.Module, source: str, filename: str) -> list[str]:
    """Return the names that `source` binds at its top level, all but the parameter.

    Args:
        tree: the parsed source.
        source: the text, for `symtable`.
        filename: for its errors.
    """
    table = symtable.symtable(source, filename, "exec")
    names = {
        symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()
    }
    # The table keeps what `:=` binds in a comprehension with the comprehension.
    names.update(node.target.id for node in walk_here(tree) if isinstance(node, ast.NamedExpr))
    return sorted(names - {PARAMETER})


def as_function(tree: ast.Module, names: list[str], *, quiet: bool) -> ast.Module:
    """Turn a module into a function; unless `quiet`, it returns the value of the last statement.

    Args:
        tree: the statements of the body.
        names: are declared global.
        quiet: whether the last value is not shown.

    Returns:
        A module that defines the function, ``async`` if a statement awaits.
    """
    statements = [plain_assignment(statement) for statement in tree.body]
    match statements[-1:]:
        case [ast.Expr(value=value) as last] if not quiet:
            statements[-1] = ast.copy_location(ast.Return(value), last)
    if names:
        statements.insert(0, ast.Global(names))
    awaits = any(map(is_top_level_await, walk_here(tree)))
    template = f"async def {FUNCTION}({PARAMETER}): pass" if awaits else f"def {FUNCTION}({PARAMETER}): pass"
    module = ast.parse(template)
    function = module.body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    function.body = statements or function.body
    return ast.fix_missing_locations(module)


def plain_assignment(statement: ast.stmt) -> ast.stmt:
    """Remove the annotation of an assignment to a name, which as a global can't have one."""
    match statement:
        case ast.AnnAssign(target=ast.Name() as target, value=None):
            return ast.copy_location(ast.Expr(ast.Constant(None)), target)
        case ast.AnnAssign(target=ast.Name() as target, value=value) if value is not None:
            return ast.copy_location(ast.Assign([target], value), statement)
    return statement


def is_top_level_await(node: ast.AST) -> bool:
    """Return whether a node outside any function needs a coroutine around it."""
    asynchronous = isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
    return asynchronous or (isinstance(node, ast.comprehension) and bool(node.is_async))


def walk_here(node: ast.AST) -> list[ast.AST]:
    """Yield `node` and its descendants, without the insides of functions and classes."""
    found = [node]
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            found += walk_here(child)
    return found
