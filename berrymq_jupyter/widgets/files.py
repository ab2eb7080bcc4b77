"""Messages in files: CSV, JSON lines and Parquet.

Payloads hold any object; each format writes what it has a type for, and for the rest the text that rows show,
so that writing never fails for one odd value.
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, time
from importlib import import_module
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from .export import dataframe, record, unicode
from .libraries import HOSTILE, is_array
from .render import summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

    from berrymq import Message

__all__ = ["write", "write_csv"]

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""The first characters that make a spreadsheet take text for a formula."""
LARGEST: Final = 1_000_000
"""Elements of an array that are written one by one. Larger ones are written as rows show them."""
LONGEST: Final = 1000
"""The longest text of a value that has no form in JSON."""


def write_jsonl(messages: list[Message], file: TextIO) -> None:
    """Write a line of JSON for each message; a number that is not finite becomes null.

    The keys are ``sent_at``, ``id``, ``source``, ``args`` and ``kwargs``; the time is in UTC, in ISO format.
    """
    for message in messages:
        line = {
            "sent_at": moment(message),
            "id": message.id,
            "source": message.source,
            "args": [plain(value) for value in message.args],
            "kwargs": {key: plain(value) for key, value in message.kwargs.items()},
        }
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_csv(messages: list[Message], file: TextIO, dialect: str = "excel") -> None:
    """Write a row for each message, with a column for each argument.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        messages: oldest first.
        file: opened with ``newline=""``.
        dialect: of the module `csv`; ``"excel-tab"`` for the clipboard.
    """
    rows = [record(message) | {"sent_at": moment(message)} for message in messages]
    columns = list(dict.fromkeys(column for row in rows for column in row)) or ["sent_at", "id", "source"]
    writer = csv.writer(file, dialect)
    writer.writerow([cell(column) for column in columns])
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)


def write_parquet(messages: list[Message], path: Path) -> None:
    """Write the table of `to_dataframe`.

    A column that Arrow has no type for is written as JSON, such as one of numbers and text: messages of
    several identifiers mostly have one.

    Raises:
        RuntimeError: pandas or pyarrow is not installed.
    """
    table = dataframe(messages)
    try:
        pyarrow = import_module("pyarrow")
    except ImportError:
        raise RuntimeError("a Parquet file needs pyarrow: pip install pyarrow") from None
    for name in [name for name in table.columns if table[name].dtype.kind == "O"]:
        try:
            pyarrow.array(table[name], from_pandas=True)
        except HOSTILE:
            table[name] = [None if value is None else as_json(value) for value in table[name]]
    table.to_parquet(path)


def as_json(value: Any) -> str:
    """Return `value` as JSON."""
    return unicode(json.dumps(plain(value), ensure_ascii=False))


def text_writer(write: Callable[[list[Message], TextIO], None]) -> Callable[[list[Message], Path], None]:
    """Return a function that opens the file for `write`."""

    def write_file(messages: list[Message], path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            write(messages, file)

    return write_file


WRITERS: Final[dict[str, Callable[[list[Message], Path], None]]] = {
    ".csv": text_writer(write_csv),
    ".jsonl": text_writer(write_jsonl),
    ".parquet": write_parquet,
}
"""By the ending of the file's name."""


def write(messages: list[Message], path: Path) -> None:
    """Write messages to a file of the format that its ending names; raise `ValueError` if there is none.

    Raises:
        OSError: the file can't be written.
        RuntimeError: a package is missing.
    """
    writer = WRITERS.get(path.suffix)
    if writer is None:
        raise ValueError(f"the file's name ends with one of {', '.join(WRITERS)}, not {path.suffix!r}")
    writer(messages, path)


def moment(message: Message) -> str | None:
    """Return when a message was sent, in UTC; None if no calendar has that time."""
    try:
        return datetime.fromtimestamp(message.sent_at, UTC).isoformat(timespec="microseconds")
    except (OverflowError, ValueError, OSError):
        return None


def cell(value: Any) -> str | float | None:
    """Return the text of `value` for a spreadsheet, behind an apostrophe if it might be a formula."""
    kind = type(value)
    if value is None or issubclass(kind, (bool, int, float)):
        number: float | None = value
        return number
    made = value if issubclass(kind, str) else plain(value)
    if not isinstance(made, str):
        return json.dumps(made, ensure_ascii=False)
    return f"'{made}" if made.startswith(FORMULA) else made


def plain(value: Any, depth: int = 50) -> Any:
    """Return `value` as JSON has it; without such a form, as the text that rows show.

    Args:
        value: anything.
        depth: levels that are opened; deeper containers are written as text.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    try:
        if isinstance(value, float):
            return float(value) if isfinite(value) else None
        if depth and isinstance(value, dict):
            return {
                key if isinstance(key, str) else summary(key): plain(item, depth - 1)
                for key, item in value.items()
            }
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [plain(item, depth - 1) for item in value]
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if depth and is_array(value) and hasattr(value, "tolist") and getattr(value, "size", 0) <= LARGEST:
            return plain(value.tolist(), depth - 1)
    except HOSTILE:
        pass
    return summary(value, LONGEST)
