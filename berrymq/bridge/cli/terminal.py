"""The output of the command line: messages and nodes, for people or as JSON, one line each.

Text of other nodes can't move the cursor, and characters that a console lacks are not lost: both are escaped.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from berrymq.bridge.errors import PayloadError
from berrymq.bridge.payload import encode_message
from berrymq.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from berrymq.bridge.keeping import Kept
    from berrymq.bridge.node.status import NodeInfo
    from berrymq.messages import Message

__all__ = ["OutputError", "Printer", "open_streams", "silence_output", "wants_colour"]

_COLOURS = {"identifier": "36;1", "source": "32", "faint": "2"}
_LONGEST = 2000
_NOT_ASCII = re.compile(r"[^ -~]")


class OutputError(Exception):
    """Output can't be written.

    It is no `OSError`, so that it can't be taken for an error of the network.

    Attributes:
        is_closed: its reader has closed the pipe.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        # Windows reports EINVAL for a pipe without a reader.
        self.is_closed = isinstance(error, BrokenPipeError) or (
            os.name == "nt" and error.errno == errno.EINVAL
        )


def open_streams() -> None:
    """Make standard output and error accept everything: closed streams and any character.

    A process that was started with a closed standard output has None there.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def silence_output() -> None:
    """Discard unwritten output, so that the interpreter's exit does not try it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether to colour a stream: a terminal that can, and ``NO_COLOR`` is not set."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Printer:
    """Prints lines to one stream.

    Args:
        stream: by default standard output.
        json: print JSON objects.
        colour: use colours; by default as `wants_colour` decides.
    """

    def __init__(
        self, stream: TextIO | None = None, *, json: bool = False, colour: bool | None = None
    ) -> None:
        self._stream = stream or sys.stdout
        self._json = json
        self._colour = wants_colour(self._stream) if colour is None else colour

    def message(self, message: Message) -> None:
        """Print the time, identifier and source of a message, and its arguments as Python expressions.

        With JSON, one object; see `fields_of`.
        """
        if self._json:
            self._object(fields_of(message))
            return
        arguments = [self._short(repr(value)) for value in message.args]
        arguments += [
            f"{self._shown(key)}={self._short(repr(value))}" for key, value in message.kwargs.items()
        ]
        cells = [
            self._paint("faint", _time_of(message)),
            self._paint("identifier", self._shown(message.id)),
            self._paint("source", self._shown(message.source or "?")),
            *([", ".join(arguments)] if arguments else []),
            *([self._paint("faint", "(past)")] if message.past else []),
        ]
        self._line("  ".join(cells))

    def nodes(self, nodes: list[NodeInfo]) -> None:
        """Print a table of nodes, with rooms if there are any."""
        if self._json:
            for node in nodes:
                self._object(
                    {
                        "name": node.name,
                        "id": node.id,
                        "room": node.room,
                        "hub": node.hub,
                        "follows": node.follows,
                    }
                )
            return
        rows: list[tuple[str, ...]] = [("NODE", "ROOM", "FOLLOWS")]
        for node in nodes:
            follows = "(hub)" if node.hub and not node.follows else ", ".join(node.follows)
            rows.append((self._shown(node.name), self._shown(node.room or "-"), self._shown(follows)))
        colours = ["source", None, "identifier"]
        if not any(node.room for node in nodes):
            rows = [(row[0], row[2]) for row in rows]
            del colours[1]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            painted = ["faint"] * len(row) if number == 0 else colours
            self._line("  ".join(map(self._paint, painted, cells)).rstrip())

    def kept(self, kept: Kept) -> None:
        """Print what the hub retains."""
        if self._json:
            self._object(kept)
            return
        for line in str(kept).splitlines():
            self._line(self._shown(line))

    def note(self, text: str) -> None:
        """Print a line for people; nothing with JSON."""
        if not self._json:
            self._line(self._shown(text))

    def flush(self) -> None:
        """Flush the stream.

        Raises:
            OutputError: it can't be written.
        """
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(error) from error

    def _object(self, value: object) -> None:
        self._line(_NOT_ASCII.sub(_json_escape, msgspec.json.encode(value).decode()))

    def _line(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
        except OSError as error:
            raise OutputError(error) from error

    def _paint(self, colour: str | None, text: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and self._colour else text

    def _short(self, text: str) -> str:
        """At most `_LONGEST` characters, and how many there are in all."""
        cut = self._shown(text[:_LONGEST])
        return cut if len(text) <= _LONGEST else f"{cut}{self._shown('…')} ({len(text)} characters)"

    def _shown(self, text: str) -> str:
        """Return text as this stream can show it, without control characters."""
        text = printable(text)
        encoding = getattr(self._stream, "encoding", None)
        if text.isascii() or not encoding:
            return text
        return text.encode(encoding, "backslashreplace").decode(encoding)


def fields_of(message: Message) -> dict[str, object]:
    """Return a message as one JSON object; its arguments are written as on the wire.

    If that fails, which only happens to arguments that are larger written than read, `error` says why.
    """
    fields: dict[str, object] = {"id": message.id, "args": None, "kwargs": None}
    fields |= {"source": message.source, "sent_at": message.sent_at}
    if message.past:
        fields["past"] = True
    try:
        encoded = encode_message(message.sent_at, message.args, dict(message.kwargs))
    except PayloadError as error:
        return fields | {"error": str(error)}
    _, args, kwargs = msgspec.json.decode(encoded, type=tuple[Raw, Raw, Raw])
    return fields | {"args": args, "kwargs": kwargs}


def _time_of(message: Message) -> str:
    try:
        return datetime.fromtimestamp(message.sent_at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):  # a clock that is far off
        return "--:--:--.---"


def _json_escape(match: re.Match[str]) -> str:
    """Return a character in the escapes of JSON, as a surrogate pair beyond the Basic Multilingual Plane."""
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join([f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)])
