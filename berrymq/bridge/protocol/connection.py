"""One connection as bytes in, events and bytes out: HTTP first, then, if it is upgraded, a WebSocket.

The same class serves both sides; what moves the bytes is a page of code (``transport/``, or a test). HTTP is
h11's and WebSocket is that of `websockets`, but for the frame that nearly all are, one whole text: it is
read and written here, in a fifth of the time. All other frames are handed to `websockets`, each as a whole,
so that its parser is never in the middle of one.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal

import h11
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.frames import CloseCode as WireCloseCode
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as UpgradeRequest
from websockets.http11 import Response as UpgradeResponse
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from berrymq.bridge.errors import RpcError

from . import jsonrpc
from .limits import MAX_TEXT_BYTES

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled one for this platform
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from websockets.protocol import Protocol

__all__ = [
    "SUBPROTOCOL",
    "CloseCode",
    "Closed",
    "Connection",
    "Event",
    "Opened",
    "Refused",
    "Request",
    "Text",
    "client_connection",
    "server_connection",
]

SUBPROTOCOL: Final = Subprotocol("berrymq.v1")
MAX_HEADER_BYTES = 16 * 1024
MAX_STRANGER_BYTES = 4096
"""The largest WebSocket message of one who has not proved yet that he may come in."""

# The head of a WebSocket frame (RFC 6455, 5.2).
WHOLE_TEXT: Final = 0x81
OPCODES: Final = frozenset(Opcode)
MASKED: Final = 0x80
_short_head = Struct("!BB").pack
_medium_head = Struct("!BBH").pack
_long_head = Struct("!BBQ").pack

_quiet = logging.getLogger("berrymq.websocket")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False  # what a peer does wrong is reported by whoever owns the connection, in one line


class CloseCode(IntEnum):
    """Why a WebSocket is closed (RFC 6455, 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    """The node shuts down."""
    PROTOCOL_ERROR = 1002
    POLICY_VIOLATION = 1008
    """The peer was not let in, or did what it may not."""
    TOO_LARGE = 1009
    """A message is larger than what is taken."""
    TRY_AGAIN_LATER = 1013
    """The server is at one of its limits."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole HTTP request; at a server."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def all(self, name: str) -> list[str]:
        """The values of every header of that name, which is given in lower case."""
        return [value for key, value in self.headers if key == name]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def wants_websocket(self) -> bool:
        """Whether it asks to upgrade the connection."""
        return any("websocket" in value.lower() for value in self.all("upgrade"))


@dataclass(frozen=True, slots=True)
class Opened:
    """The WebSocket is open."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server did not upgrade the connection; at a client."""

    status: int
    reason: str
    said: str = ""
    """What a node has said of it."""


@dataclass(frozen=True, slots=True)
class Text:
    """A whole WebSocket message of text."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing more comes. A cut has no code."""

    code: int | None = None
    reason: str = ""


Event = Request | Opened | Refused | Text | Closed

Refusal = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body of the answer to a request that is not taken."""


def server_connection() -> Connection:
    """The server's side of a connection that was just accepted."""
    return Connection("server")


def client_connection(url: str, headers: Mapping[str, str] | None = None) -> Connection:
    """The client's side: its first bytes ask to upgrade to a WebSocket.

    Args:
        url: ``ws://`` or ``wss://``, of the WebSocket itself.
        headers: further headers of the request.
    """
    connection = Connection("client")
    protocol = ClientProtocol(
        parse_uri(url),
        subprotocols=[SUBPROTOCOL],
        max_size=MAX_TEXT_BYTES,
        logger=_quiet,
    )
    request = protocol.connect()
    request.headers.update(headers or {})
    protocol.send_request(request)
    connection.use(protocol)
    return connection


class Connection:
    """One side of a connection; made by `server_connection` or `client_connection`."""

    def __init__(self, side: Literal["client", "server"]) -> None:
        self.side = side
        self.closed = False
        """Nothing more comes, and nothing can be sent."""
        self.screen: Callable[[Request], Refusal | None] | None = None
        """Looks at the head of a request, at a server. What it refuses is answered with that, and closed; so
        the body of one who may not send it is never held."""
        self._http = (
            h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
            if side == "server"
            else None
        )
        self._request: h11.Request | None = None
        self._is_head = False
        self._body = bytearray()
        self._protocol: Protocol | None = None
        self.outgoing: list[bytes] = []
        """What is to be written; see `take`."""
        self._awaits_head = side == "client"
        """The head of the response to the upgrade has not come whole yet."""
        self._unread = bytearray()
        """The beginning of a WebSocket frame, or of the response to the upgrade."""
        self._missing = 0
        """At least so many bytes of that frame are still to come."""
        self._most_bytes = MAX_TEXT_BYTES if side == "client" else MAX_STRANGER_BYTES
        self._in_fragments = False
        self._fragments = bytearray()
        """What has come of a message in parts; joined at once, for each part as an object takes much more."""
        self.is_trusted = side == "client"
        """The other side has been let in."""
        self.partial_bytes = 0
        """How much is held of what has not come whole yet."""

    def use(self, protocol: Protocol) -> None:
        """Speak WebSocket from now on."""
        self._protocol = protocol
        self._http = None
        self._collect(protocol)

    @property
    def is_websocket(self) -> bool:
        """Whether it was upgraded."""
        return self._protocol is not None and self._protocol.state is State.OPEN

    # -- bytes -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take in what was read; ``b""`` says that the other side has ended the stream."""
        if self.closed:
            return []
        if self._protocol is None or self._protocol.state is not State.OPEN or not data:
            return self._receive_other(data)
        events: list[Event] = []
        if len(data) < self._missing:
            self._unread += data
            self._missing -= len(data)
            self.partial_bytes += len(data)
            return events
        if self._unread:
            data, self._unread, self._missing = bytes(self._unread + data), bytearray(), 0
        masked = MASKED if self.side == "server" else 0
        at, end = 0, len(data)
        while at < end and not self.closed:
            second = data[at + 1] if at + 1 < end else masked
            size = second & 0x7F
            start = at + 6 if masked else at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10]), start + 8
            after = start + size
            if (at + 1 < end and (data[at] & 0x0F not in OPCODES or second & MASKED != masked)) or (
                size > self._most_bytes and start <= end
            ):
                self._feed(data[at:], events)  # which refuses it by its head
                break
            if after > end:
                self._unread = bytearray(data[at:])
                self._missing = after - end if start <= end else 1
            elif data[at] == WHOLE_TEXT and not self._in_fragments:
                text = data[start:after]
                events.append(Text(apply_mask(text, data[start - 4 : start]) if masked else text))
            else:
                self._feed(data[at:after], events)
            at = after
        self.partial_bytes = len(self._unread) + len(self._fragments)
        return events

    def _receive_other(self, data: bytes) -> list[Event]:
        """Take in HTTP, the response to an upgrade, or the end."""
        protocol = self._protocol
        self.partial_bytes += len(data)
        if protocol is None:
            events = self._receive_http(data)
            if events:
                self.partial_bytes = 0
            return events
        events = []
        if not data:
            self._feed(bytes(self._unread), events)
            protocol.receive_eof()
            self._take_events(events, ended=True)
            return events
        if self._awaits_head:  # where it ends, frames may begin
            self._unread += data
            head, end, rest = bytes(self._unread).partition(b"\r\n\r\n")
            if not end and len(head) <= MAX_HEADER_BYTES:
                return events
            self._awaits_head = False
            self._unread = bytearray()
            self._feed(head + end, events)
            return events + (self.receive(rest) if rest else [])
        self._feed(data, events)  # the body of a refusal
        return events

    def take(self) -> list[bytes]:
        """Take out what is to be written."""
        out, self.outgoing = self.outgoing, []
        return out

    def _receive_http(self, data: bytes) -> list[Event]:
        assert self._http is not None
        try:
            self._http.receive_data(data)
            return self._next_request()
        except h11.RemoteProtocolError as error:
            self._fail_http(error)
            return [Closed(None, "not HTTP")]

    def _next_request(self) -> list[Event]:
        http = self._http
        assert http is not None
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    self.outgoing.append(
                        http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
                return []
            if event is h11.PAUSED:
                return []
            if isinstance(event, h11.Request):
                self._is_head = event.method == b"HEAD"
                check_head(event)
                self._request = event
                refusal = self.screen(self._whole_request()) if self.screen is not None else None
                if refusal is not None:
                    status, headers, body = refusal
                    self.respond(status, [*headers, ("Connection", "close")], body)
                    self.closed = True
                    return []
                self._request = event
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > MAX_TEXT_BYTES:
                    raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                return [self._whole_request()]
            else:  # ConnectionClosed
                self.closed = True
                return [Closed()]

    def _whole_request(self) -> Request:
        event, self._request = self._request, None
        assert event is not None
        body, self._body = bytes(self._body), bytearray()
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
        return Request(event.method.decode("ascii"), event.target.decode("ascii"), headers, body)

    def _fail_http(self, error: h11.RemoteProtocolError) -> None:
        http = self._http
        assert http is not None
        if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = b"this is not a request that can be read\n"
            response = h11.Response(
                status_code=error.error_status_hint or 400,
                headers=[("Connection", "close"), ("Content-Length", str(len(body)))],
            )
            for event in (response, h11.Data(data=b"" if self._is_head else body), h11.EndOfMessage()):
                self.outgoing.append(http.send(event) or b"")
        self.closed = True

    # -- HTTP, at a server -----------------------------------------------------------------------------------

    def respond(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> list[Event]:
        """Answer the request; return the next one, if it has come already."""
        http = self._http
        if http is None or self.closed:
            return []
        fields = [*headers, ("Content-Length", str(len(body)))]
        if status in (204, 304):
            fields = list(headers)
        data = b"" if self._is_head else body
        for event in (
            h11.Response(status_code=status, headers=fields),
            h11.Data(data=data),
            h11.EndOfMessage(),
        ):
            self.outgoing.append(http.send(event) or b"")
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            try:
                return self._next_request()
            except h11.RemoteProtocolError as error:
                self._fail_http(error)
                return [Closed(None, "not HTTP")]
        self.closed = True
        return []

    def upgrade(self, request: Request) -> list[Event]:
        """Make the connection a WebSocket, or say why not; return what has come on it already."""
        http = self._http
        assert http is not None
        protocol = ServerProtocol(
            state=State.OPEN,
            subprotocols=[SUBPROTOCOL],
            max_size=MAX_STRANGER_BYTES,
            logger=_quiet,
        )
        try:
            response = protocol.accept(UpgradeRequest(request.target, Headers(request.headers)))
            status = response.status_code
        except InvalidHandshake:  # a header that h11 lets pass and `websockets` does not
            status = 400
        if status != 101:
            return self.respond(status, [("Connection", "close")], b"a WebSocket upgrade was expected here\n")
        rest, _ = http.trailing_data
        self.use(protocol)
        self.outgoing.append(response.serialize())
        return [Opened(), *(self.receive(rest) if rest else [])]

    def trust(self) -> None:
        """Let messages of full size come."""
        self.is_trusted = True
        self._most_bytes = MAX_TEXT_BYTES
        if self._protocol is not None:
            self._protocol.max_message_size = MAX_TEXT_BYTES

    # -- WebSocket -------------------------------------------------------------------------------------------

    def _feed(self, data: bytes, events: list[Event]) -> None:
        """Have `websockets` deal with one frame, or with the response to the upgrade."""
        if data:
            assert self._protocol is not None
            with suppress(EOFError, AssertionError):  # more after its end
                self._protocol.receive_data(data)
                self._take_events(events)

    def _take_events(self, events: list[Event], *, ended: bool = False) -> None:
        protocol = self._protocol
        assert protocol is not None
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._take_frame(event, events)
            elif isinstance(event, UpgradeResponse):
                events.append(self._opened(event))
        self._collect(protocol)
        if not (ended or protocol.state in (State.CLOSING, State.CLOSED)):
            return
        if not self.closed and not any(isinstance(event, Refused) for event in events):
            received = protocol.close_rcvd
            sent = protocol.close_sent
            if received is not None:
                events.append(Closed(received.code, received.reason))
            elif protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
                events.append(Closed(WireCloseCode.PROTOCOL_ERROR, str(protocol.parser_exc)[:100]))
            else:
                events.append(Closed(None, "" if sent is None else sent.reason))
        self.closed = True

    def _opened(self, response: UpgradeResponse) -> Event:
        error = self._protocol.handshake_exc if self._protocol is not None else None
        if error is None:
            return Opened()
        reason = response.reason_phrase if isinstance(error, InvalidHandshake) else str(error)
        try:
            _, answer = jsonrpc.parse_reply(bytes(response.body or b""))
        except ValueError:
            answer = None
        return Refused(response.status_code, reason, answer.message if isinstance(answer, RpcError) else "")

    def _take_frame(self, frame: Frame, events: list[Event]) -> None:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._in_fragments = not frame.fin
            if frame.fin:
                events.append(Text(bytes(frame.data)))
            else:
                self._fragments = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT:
            self._fragments += frame.data
            if frame.fin:
                self._in_fragments = False
                whole, self._fragments = bytes(self._fragments), bytearray()
                events.append(Text(whole))

    def send_text(self, data: bytes | tuple[bytes, ...]) -> None:
        """Send one message of text, which is UTF-8.

        Args:
            data: the message, or its parts: those of a large one are not copied, as far as it can be.
        """
        protocol = self._protocol
        if protocol is None or protocol.state is not State.OPEN:
            return
        if isinstance(data, tuple):
            parts, data = data, b""
            size = sum(map(len, parts))
        else:
            parts, size = (), len(data)
        masked = MASKED if self.side == "client" else 0
        if size < 126:
            head = _short_head(WHOLE_TEXT, masked | size)
        elif size < 65_536:
            head = _medium_head(WHOLE_TEXT, masked | 126, size)
        else:
            head = _long_head(WHOLE_TEXT, masked | 127, size)
        if masked:
            mask = os.urandom(4)
            self.outgoing.append(head + mask + apply_mask(b"".join(parts) if parts else data, mask))
        elif parts:
            self.outgoing += (head, *parts)
        else:
            self.outgoing.append(head + data)

    def ping(self) -> None:
        """Ask for a sign of life; it comes as bytes, not as an event."""
        protocol = self._protocol
        if protocol is not None and protocol.state is State.OPEN:
            protocol.send_ping(b"")
            self._collect(protocol)

    def close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Say that this is the end."""
        protocol = self._protocol
        if protocol is not None and protocol.state is State.OPEN:
            with suppress(WebSocketException):
                protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
            self._collect(protocol)
        self.closed = True

    def abandon(self) -> None:
        """Take in nothing more, and hold nothing: the object may live on until the collector comes."""
        self.closed = True
        self._fragments, self._body = bytearray(), bytearray()
        self._unread = bytearray()
        self.outgoing = []
        self.partial_bytes = 0
        if self._protocol is not None:
            self._protocol.reader.discard()

    def _collect(self, protocol: Protocol) -> None:
        self.outgoing += [data for data in protocol.data_to_send() if data]


def check_head(request: h11.Request) -> None:
    """Look whether a head is small enough, and announces a body that is, in one way.

    Raises:
        h11.RemoteProtocolError: it is not, or does not.
    """
    if sum([len(name) + len(value) + 4 for name, value in request.headers]) > MAX_HEADER_BYTES:
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
    headers = dict(request.headers)
    length = headers.get(b"content-length")
    if length is not None and b"transfer-encoding" in headers:  # a proxy between may read it in the other way
        raise h11.RemoteProtocolError("two lengths of the body")
    if length is not None and int(length) > MAX_TEXT_BYTES:  # h11 has looked whether it is a number
        raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
