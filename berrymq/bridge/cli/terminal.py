"""What the command line prints: messages and nodes, for people or as JSON, one line each."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from berrymq.bridge.message_fields import message_fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from berrymq.bridge.network.directory import NodeInfo
    from berrymq.messages import Message

__all__ = ["Printer", "wants_colour"]

_COLOURS = {"identifier": "36;1", "source": "32", "faint": "2"}
_LONGEST = 2000


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour what goes there: a terminal that can, and a user who did not set ``NO_COLOR``."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Printer:
    """Prints lines to one stream.

    Args:
        stream: where to; standard output when not given.
        json: print JSON objects.
        colour: use colours; when not given, where :func:`wants_colour` says so.
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
            self._object(message_fields(message))
            return
        sent_at = datetime.fromtimestamp(message.sent_at).astimezone().strftime("%H:%M:%S.%f")[:-3]
        arguments = [_short(repr(value)) for value in message.args]
        arguments += [f"{key}={_short(repr(value))}" for key, value in message.kwargs.items()]
        line = [self._paint("faint", sent_at), self._paint("identifier", message.id)]
        line += [
            self._paint("source", _printable(message.source or "?")),
            *([", ".join(arguments)] if arguments else []),
        ]
        self._line("  ".join(line))

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
            rows.append((_printable(node.name), _printable(node.room or "-"), _printable(follows)))
        colours = ["source", None, "identifier"]
        if not any(node.room for node in nodes):
            rows = [(row[0], row[2]) for row in rows]
            del colours[1]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            painted = ["faint"] * len(row) if number == 0 else colours
            self._line("  ".join(map(self._paint, painted, cells)).rstrip())

    def note(self, text: str) -> None:
        """A line for people; with JSON nothing."""
        if not self._json:
            self._line(text)

    def flush(self) -> None:
        """Hand on what was printed."""
        self._stream.flush()

    def _object(self, value: object) -> None:
        self._line(msgspec.json.encode(value).decode())

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")

    def _paint(self, colour: str | None, text: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and self._colour else text


def _short(text: str) -> str:
    text = _printable(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _printable(text: str) -> str:
    """Nothing that another node said may move the cursor or ring the bell."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
