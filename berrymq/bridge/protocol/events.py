"""The events of a connection, and the codes with which it is closed.

`Connection.receive` returns them in the order of the bytes. A connection reports at most one `Opened`, and
its end by one `Closed` or, at a client whose upgrade failed, `Refused`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

__all__ = [
    "CloseCode",
    "Closed",
    "Event",
    "Opened",
    "Piece",
    "Refusal",
    "Refused",
    "Request",
    "Text",
]


class CloseCode(IntEnum):
    """Why a WebSocket is closed (RFC 6455, 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    """The node shuts down."""
    PROTOCOL_ERROR = 1002
    POLICY_VIOLATION = 1008
    """The peer is not authenticated, or violated the rules."""
    TOO_LARGE = 1009
    """A message exceeds the size limit."""
    TRY_AGAIN_LATER = 1013
    """The server is at one of its limits."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole HTTP request; at a server.

    Attributes:
        method: such as ``POST``.
        target: path and query, as they came.
        headers: names in lower case, and values.
        body: all of it, at most `MAX_TEXT_BYTES`.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def all(self, name: str) -> list[str]:
        """Return the values of all headers of that name, which is in lower case."""
        return [value for key, value in self.headers if key == name]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Opened:
    """The WebSocket is open."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused to upgrade the connection; at a client.

    Attributes:
        status: of the HTTP response.
        reason: the phrase beside the status.
    """

    status: int
    reason: str
    error_text: str = ""
    """The node's error message, if it sent one."""


@dataclass(frozen=True, slots=True)
class Text:
    """A whole WebSocket message of text.

    Attributes:
        data: as UTF-8, not checked. A binary message is reported like one of text, unless
            `Connection.takes_pieces` is set.
    """

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a binary WebSocket message, which is reported as it arrives.

    Attributes:
        number: the number of the buffers.
        offset: of the whole message's data in the buffers.
        size: the size of the whole message's data.
        start: the place of this part in the message's data.
        data: this part; it lies in memory that is used again after the event.
    """

    number: int
    offset: int
    size: int
    start: int
    data: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of the connection. A cut has no code.

    Attributes:
        code: that of the close frame (RFC 6455, 7.4); None without one.
        reason: its text, or ours.
    """

    code: int | None = None
    reason: str = ""


Event = Request | Opened | Refused | Text | Piece | Closed

Refusal = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body of the response to a refused request."""
