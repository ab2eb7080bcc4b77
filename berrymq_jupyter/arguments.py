"""Parse a magic's line: an identifier, then a Python argument list. For options see `options`.

    %ask price:get "ACME", currency="EUR"
         `identifier' `- arguments -----'

The line is read from left to right and never by the rules of a shell: after the identifier it is Python, and
quotes, braces and dashes mean what they mean in a call. Every mistake becomes a `UsageError` of one line.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import UsageError

from berrymq import Identifier
from berrymq.printable import printable

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# The arguments are compiled as those of a call to this name, which is never shown.
CALLEE = "f"
LONGEST_QUOTE = 60
"""The most characters of a line that an error repeats."""


class Arguments(NamedTuple):
    """An evaluated argument list, ready for `function(*args, **kwargs)`.

    Attributes:
        args: the positional arguments.
        kwargs: the keywords.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def split_word(text: str) -> tuple[str, str]:
    """Return the first word, without quotes, and the rest; it ends at a space unless it is quoted.

    ::

        >>> split_word("'long name:run' 1, 2")
        ('long name:run', '1, 2')

    Raises:
        UsageError: a quote is not closed, or not followed by a space.
    """
    text = text.strip()
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        if end < 0:
            raise UsageError(f"the quote before {shorten(text[1:])} is not closed")
        word, rest = text[1:end], text[end + 1 :]
        if rest and not rest[0].isspace():
            raise UsageError(f"put a space between {text[: end + 1]} and {shorten(rest)}")
        return word, rest.strip()
    words = [*text.split(maxsplit=1), "", ""]
    return words[0], words[1].strip()


HELP = ("--help", "-h")
"""Options that ask for help."""


def without_comment(rest: str) -> str:
    """Return the rest of a line without a comment."""
    rest = rest.strip()
    return "" if rest.startswith("#") else rest


def split_identifier(line: str, example: str) -> tuple[Identifier, str]:
    """Split the identifier off the front of `line`.

    Args:
        line: the line of a magic, without the magic's name.
        example: the beginning of a right line, shown by errors.

    Returns:
        The identifier, and the rest without a comment.

    Raises:
        UsageError: there is none, or it is invalid; the text says what to write.
    """
    if not without_comment(line):
        raise UsageError(f"an identifier is missing, as in: {example}")
    if line.lstrip().startswith("-"):
        option, _ = split_word(line)
        if option in HELP:
            raise UsageError(f"{example.split(maxsplit=1)[0]}? shows the help")
        raise UsageError(f"there is no option {shorten(option)} here; it begins as in: {example}")
    quoted = line.lstrip()[0] in "'\""
    word, rest = split_word(line)
    if not quoted and ("{" in word or "(" in word):
        raise UsageError(describe_computed(word, example))
    if word.endswith(",") and not quoted:
        raise UsageError(
            f"{word} ends with a comma: put a space instead, or quotes around it if the comma belongs to it"
        )
    return parse_identifier(word), without_comment(rest)


def describe_computed(word: str, example: str) -> str:
    """Return what to write instead of an identifier that looks like Python.

    Args:
        word: the identifier as it was typed, with ``{`` or ``(`` in it.
        example: a right line, whose first word is the magic.
    """
    name, bracket, arguments = word.partition("(")
    if bracket and "{" not in name:
        closed = arguments.rstrip("),")
        return (
            f"{shorten(word)} would be one identifier: put a space before its arguments, as in: "
            f"{example.split(maxsplit=1)[0]} {shorten(name)} {shorten(closed)}; or quotes around it"
        )
    return (
        f"{shorten(word)} would be sent as it stands; the function takes what is computed, as in: "
        f'{example.split(maxsplit=1)[0].lstrip("%")}(f"{shorten(word)}"); or put quotes around it'
    )


def parse_identifier(text: str) -> Identifier:
    """Parse an identifier.

    Raises:
        UsageError: it is invalid.
    """
    try:
        return Identifier.parse(text)
    except ValueError as error:
        raise UsageError(one_line(error)) from None


def namespace_of(shell: InteractiveShell, local: dict[str, Any] | None) -> dict[str, Any]:
    """Return the names that a line may use: the user's, and those of the function that calls the magic.

    Args:
        shell: the shell.
        local: the names where the magic is used; None where it does not ask for them.
    """
    names: dict[str, Any] = shell.user_ns
    if not local or local is names:
        return names
    return {**shell.user_global_ns, **shell.user_ns, **local}


def evaluate_arguments(text: str, namespace: dict[str, Any], *, hint: str = "text needs quotes") -> Arguments:
    """Evaluate a Python argument list (`1, x=2`, `*xs, **options`) in `namespace`.

    Arguments are evaluated one by one, in the order of a call, so that an error names the one at fault.

    Args:
        text: the list.
        namespace: the names that it may use.
        hint: advice for a name that is not defined.

    Raises:
        UsageError: it is no argument list, or an argument raises.
    """
    if not text.strip():
        return Arguments((), {})
    source = f"{CALLEE}({text}\n)"  # the newline ends a trailing comment
    call = parse_call(source, text)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for node in call.args:
        if isinstance(node, ast.Starred):
            value = evaluate(node.value, source, namespace)
            args.extend(unpack(value, ast.get_source_segment(source, node)))
        else:
            args.append(evaluate(node, source, namespace, hint))
    for keyword in call.keywords:
        value = evaluate(keyword.value, source, namespace, hint)
        named = {keyword.arg: value} if keyword.arg is not None else unpack_keywords(value)
        for name in named:
            if name in kwargs:
                raise UsageError(f"the keyword {name} is given twice")
        kwargs.update(named)
    return Arguments(tuple(args), kwargs)


def evaluate_expression(text: str, namespace: dict[str, Any]) -> Any:
    """Evaluate one Python expression, as the handler of `%follow`.

    Args:
        text: the expression.
        namespace: the names that it may use.

    Raises:
        UsageError: it is not exactly one expression, or it raises.
    """
    args, kwargs = evaluate_arguments(text, namespace, hint="")
    if len(args) != 1 or kwargs:
        raise UsageError(f"one expression is expected, not {shorten(text)}")
    return args[0]


def parse_call(source: str, text: str) -> ast.Call:
    """Parse `source`, a call around `text`; refuse text that closes the call before its end.

    Args:
        source: the call.
        text: its arguments, shown by errors.

    Raises:
        UsageError: it is not Python, or not one call.
    """
    try:
        node = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise UsageError(describe_syntax_error(error, text)) from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"{shorten(text)} cannot be read: {one_line(error)}") from None
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == CALLEE):
        raise UsageError(f"{shorten(text)} is not a list of arguments: a bracket closes too early")
    return node


def describe_syntax_error(error: SyntaxError, text: str) -> str:
    """Return in one line where `text` stops being an argument list.

    Args:
        error: of the call around `text`; its column counts from there.
        text: the arguments.
    """
    reason = error.msg.replace(
        "invalid syntax. Perhaps you forgot a comma?", "invalid syntax, perhaps a comma is missing"
    )
    if text.startswith("--"):
        return f"there is no option {shorten(text.split(maxsplit=1)[0])} here"
    column = (error.offset or 0) - len(CALLEE) - 2
    if error.lineno == 1 and 0 < column < len(text.rstrip()):
        reason += f" at {shorten(text[column:])}"
    hint = "options stand before the arguments" if " --" in text else "text needs quotes"
    return f"{shorten(text)} is not a list of Python arguments: {reason} ({hint})"


def evaluate(node: ast.expr, source: str, namespace: dict[str, Any], name_hint: str = "") -> Any:
    """Evaluate one argument; an error is reported together with its text.

    Args:
        node: the argument.
        source: the text that it was parsed from.
        namespace: the names that it may use.
        name_hint: advice for an argument that is just a name which is not defined.

    Raises:
        UsageError: it raises.
    """
    code = compile(ast.Expression(node), "<argument>", "eval")
    try:
        return eval(code, namespace)  # noqa: S307 - running what the user typed is what a magic is for
    except Exception as error:  # noqa: BLE001 - it is the user's code
        segment = ast.get_source_segment(source, node) or ""
        hint = ""
        if name_hint and isinstance(error, NameError) and isinstance(node, ast.Name):
            hint = f" ({name_hint})"
        elif segment.startswith("--"):
            hint = f" (and there is no option {shorten(segment)} here)"
        raise UsageError(f"{shorten(segment)} does not evaluate: {describe(error)}{hint}") from None


def unpack(value: Any, segment: str | None) -> tuple[Any, ...]:
    """Return the items of a starred argument.

    Raises:
        UsageError: it can't be iterated over.
    """
    try:
        return tuple(value)
    except TypeError as error:
        raise UsageError(f"{shorten(segment or '')} does not evaluate: {describe(error)}") from None


def unpack_keywords(value: Any) -> Mapping[str, Any]:
    """Return the mapping of a double-starred argument, whose keys must be names.

    Raises:
        UsageError: it is no mapping, or a key is not a string.
    """
    if not isinstance(value, Mapping):
        raise UsageError(f"after ** a mapping is expected, not {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise UsageError(f"after ** each key must be a string, not {shorten(repr(key))}")
    return value


def describe(error: BaseException) -> str:
    """Return the class of an exception and its text in one line."""
    text = shorten(str(error), 2 * LONGEST_QUOTE)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an exception's text as one line without control characters."""
    return printable(" ".join(str(error).split()))


def shorten(text: str, longest: int = LONGEST_QUOTE) -> str:
    """Quote a text in one line of a readable length."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
