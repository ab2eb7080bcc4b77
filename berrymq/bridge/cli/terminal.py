"""What the command line prints: messages and nodes, for people or as JSON, one line each.

Nothing that others have sent can move the cursor, and nothing is lost because a console has no character for
it: both are written as escapes.
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
    from berrymq.bridge.node.router import NodeInfo
    from berrymq.messages import Message

__all__ = ["OutputError", "Printer", "open_streams", "silence_output", "wants_colour"]

_COLOURS = {"identifier": "36;1", "source": "32", "faint": "2"}
_LONGEST = 2000
_NOT_ASCII = re.compile(r"[^ -~]")


class OutputError(Exception):
    """Output can't be written.

    Attributes:
        is_closed: because its reader has gone.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        # Windows says EINVAL of a pipe that nobody reads.
        self.is_closed = isinstance(error, BrokenPipeError) or (
            os.name == "nt" and error.errno == errno.EINVAL
        )


def open_streams() -> None:
    """Have output that takes everything: a stream that is closed leads nowhere, no character is refused."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def silence_output() -> None:
    """Let what was not written go, so that the interpreter's exit does not try it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour what goes there: a terminal that can, and a user who did not set ``NO_COLOR``."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Printer:
    """Prints lines to one stream.

    Args:
        stream: where to; standard output when not given.
        json: print JSON objects.
        colour: use colours; when not given, where `wants_colour` says so.
    """

    def __init__(
        self, stream: TextIO | None = None, *, json: bool = False, colour: bool | None = None
    ) -> None:
        self._stream = stream or sys.stdout
        self._json = json
        self._colour = wants_colour(self._stream) if colour is None else colour

    def message(self, message: Message) -> None:
        """Time, identifier, who sent it, and its arguments as they would be written in Python."""
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
        """A table of who is there; it names rooms where there are any."""
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
        """What the hub keeps and retains."""
        if self._json:
            self._object(kept)
            return
        for line in str(kept).splitlines():
            self._line(self._shown(line))

    def note(self, text: str) -> None:
        """A line for people; with JSON nothing."""
        if not self._json:
            self._line(self._shown(text))

    def flush(self) -> None:
        """Hand on what was printed.

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
        cut = self._shown(text[:_LONGEST])
        return cut if len(text) <= _LONGEST else f"{cut}{self._shown('…')} ({len(text)} characters)"

    def _shown(self, text: str) -> str:
        """Text as this stream can show it, in which nothing is an order to a terminal."""
        text = printable(text)
        encoding = getattr(self._stream, "encoding", None)
        if text.isascii() or not encoding:
            return text
        return text.encode(encoding, "backslashreplace").decode(encoding)


def fields_of(message: Message) -> dict[str, object]:
    """A message as one JSON object; its arguments are written as they are on the wire.

    Where one can't be written, which only happens to what is larger written than read, `error` says why.
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
    """A character in the escapes of JSON, in two halves beyond the Basic Multilingual Plane."""
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join([f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)])
