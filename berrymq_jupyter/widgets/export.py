"""Messages as a table, and into a variable or a file of the notebook.

What is exported is what the page filters: the messages that the log still keeps and that pass its query.
Variables and files are named on a page, so the names are checked: a variable of the notebook, or a new file
in its working directory, and nothing elsewhere.
"""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from .base import RequestError
from .render import HOSTILE, cut, error_text, shown, summary

if TYPE_CHECKING:
    from berrymq import Message

__all__ = ["dataframe", "export"]

FIXED = ("sent_at", "id", "source")
"""Columns that every table has."""


def dataframe(messages: list[Message]) -> Any:
    """Return a DataFrame with a row for each message: its time, identifier and source, then its arguments.

    The time is in UTC. Positional arguments are in columns ``arg0``, ``arg1`` and so on, keywords in columns
    of their names; one that has the name of another column gets an underscore behind it.

    Raises:
        RuntimeError: pandas is not installed.
    """
    try:
        pandas: Any = import_module("pandas")
    except ImportError:
        raise RuntimeError(
            "a DataFrame needs pandas: pip install pandas (messages() gives a list without it)"
        ) from None
    records = [record(message) for message in messages]
    columns = None if messages else list(FIXED)
    try:
        table = pandas.DataFrame(records, columns=columns)
    except HOSTILE:  # pandas looks at the values to find types
        table = pandas.DataFrame([tabular(pandas, made) for made in records])
    # Another implementation may have a clock that no calendar reaches.
    moments = pandas.to_datetime(table["sent_at"], unit="s", utc=True, errors="coerce")
    table["sent_at"] = moments.dt.round("us")
    return table


def record(message: Message) -> dict[str, Any]:
    """Return one row of the table.

    Positional arguments first, then keywords, in their order.
    """
    made: dict[str, Any] = {"sent_at": message.sent_at, "id": message.id, "source": message.source}
    made |= {f"arg{index}": value for index, value in enumerate(message.args)}
    for key, value in message.kwargs.items():
        column = key
        while column in made:
            column += "_"
        made[column] = value
    return made


def tabular(pandas: Any, made: dict[str, Any]) -> dict[str, Any]:
    """Return the row with texts for those values that raise when pandas reads them."""
    found = {}
    for name, value in made.items():
        column = unicode(name)
        found[column] = unicode(value) if type(value) is str else value
        if type(value) not in (str, int, float, bool, NoneType):
            try:
                pandas.DataFrame([{column: value}])
            except HOSTILE:
                found[column] = summary(value)
    return found


def unicode(text: str) -> str:
    """Return a text with escapes for lone surrogates, which no UTF-8 can carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def export(messages: list[Message], name: str, kind: str) -> str:
    """Store messages in the variable or the file `name`; return the text to show.

    Args:
        messages: oldest first.
        name: of the variable or the file.
        kind: ``"list"`` or ``"DataFrame"`` for a variable; an ending such as ``".csv"`` for a file.

    Raises:
        RequestError: the name can't be used, or the kind needs a package that is missing.
    """
    if kind.startswith("."):
        return export_file(messages, name, kind)
    if not name.isidentifier() or iskeyword(name):
        raise RequestError(
            f"{shown(cut(name, 60))} cannot be the name of a variable" if name else "write a name",
            field="name",
        )
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise RequestError(
            "there is no notebook here whose variables could be set; use log.messages()", field="name"
        )
    value: Any = messages
    if kind == "DataFrame":
        try:
            value = dataframe(messages)
        except RuntimeError as problem:
            raise RequestError(str(problem), field="as") from None
    replaced = name in shell.user_ns
    shell.user_ns[name] = value
    return f"{len(messages):,} messages are in {name}{', whose old value is replaced' if replaced else ''}"


def export_file(messages: list[Message], name: str, ending: str) -> str:
    """Write messages to a new file in the working directory; return the text to show.

    A file that exists is not overwritten.

    Raises:
        RequestError: the name has a folder, there is such a file already, or it can't be written.
    """
    from .files import write

    if not name or Path(name).name != name or name.startswith("."):
        raise RequestError("write a name without a folder", field="name")
    path = Path(name if name.endswith(ending) else name + ending)
    if path.exists():
        raise RequestError(f"there is a file {shown(cut(path.name, 60))} already", field="name")
    try:
        write(messages, path)
    except (OSError, RuntimeError, ValueError) as problem:
        raise RequestError(error_text(problem), field="as") from None
    return f"{len(messages):,} messages are in {shown(str(path.absolute()))}"
