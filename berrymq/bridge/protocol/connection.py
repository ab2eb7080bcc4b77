"""One connection, without I/O: bytes in, events and bytes out; HTTP first and, after an upgrade, a WebSocket.

The same class serves both sides; ``transport/`` or a test moves the bytes. HTTP is parsed by h11 and
WebSocket (RFC 6455) by `websockets`, with one exception: a frame that is one whole text, as nearly all are,
is read and written here, in a fifth of the time. All other frames are passed to `websockets` one by one and
whole, so its parser never holds part of one.

A server's connection goes through: HTTP requests (`Connection.respond`), the upgrade (`Connection.upgrade`),
small messages until the peer is authenticated (`Connection.trust`), messages of full size. A client's begins
with the upgrade. What the peer does wrong is an event `Closed` or `Refused`, not an exception.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal

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
from .events import CloseCode, Closed, Opened, Piece, Refused, Text
from .http_server import MAX_HEADER_BYTES, HttpServer
from .limits import MAX_TEXT_BYTES
from .offers import MAX_PIECE_BYTES, PIECE_HEAD

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled one for this platform
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from websockets.protocol import Protocol

    from .events import Event, Refusal, Request

__all__ = ["SUBPROTOCOL", "Connection", "client_connection", "server_connection"]

SUBPROTOCOL: Final = Subprotocol("berrymq.v1")
"""The WebSocket subprotocol that both sides name."""
MAX_UNAUTHENTICATED_BYTES = 4096
"""The largest WebSocket message of an unauthenticated peer. Enough for ``hello`` and ``authenticate``;
the server holds no more than that for each unauthenticated connection."""

# The head of a WebSocket frame (RFC 6455, 5.2).
WHOLE_TEXT: Final = 0x81
"""The first byte of a frame that is a whole text: FIN and opcode 1."""
WHOLE_BINARY: Final = 0x82
"""The first byte of a frame that is a whole binary message."""
OPCODES: Final = frozenset(Opcode)
"""Those of RFC 6455; a frame with another one is refused by its head."""
MASKED: Final = 0x80
"""The bit of the second byte that is set in frames of a client, whose payload is masked (RFC 6455, 5.3)."""
_short_head = Struct("!BB").pack
_medium_head = Struct("!BBH").pack
_long_head = Struct("!BBQ").pack


class _Incoming:
    """A binary message of which a part has arrived."""

    __slots__ = ("done", "mask", "number", "offset", "size")

    def __init__(self, number: int, offset: int, size: int, mask: bytes) -> None:
        self.number = number
        self.offset = offset
        self.size = size
        self.mask = mask
        """Twice the mask; empty without one."""
        self.done = 0
        """The size of the data that has arrived."""


_quiet = logging.getLogger("berrymq.websocket")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False  # the owner of the connection reports errors of the peer, in one line


def server_connection(screen: Callable[[Request], Refusal | None] | None = None) -> Connection:
    """Return the server's side of a connection that was just accepted.

    Args:
        screen: checks the head of each HTTP request; see `HttpServer`.
    """
    return Connection("server", screen)


def client_connection(url: str, headers: Mapping[str, str] | None = None) -> Connection:
    """Return the client's side, whose first bytes request the upgrade to a WebSocket.

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
    """One side of a connection; made by `server_connection` or `client_connection`.

    Not thread-safe: its channel holds a lock.

    Bounds: a frame above `_most_bytes` is refused when its head has arrived, before any of its payload is
    stored; the fragments of a message together are bounded by `websockets`; HTTP by ``http_server.py``.

    Args:
        side: ``"client"`` or ``"server"``; a client masks what it sends.
        screen: at a server, checks the head of each HTTP request; see `HttpServer`.

    Attributes:
        side: see above.
    """

    def __init__(
        self,
        side: Literal["client", "server"],
        screen: Callable[[Request], Refusal | None] | None = None,
    ) -> None:
        self.side = side
        self.closed = False
        """Nothing more is received, and nothing can be sent. Set once; `receive` returns nothing
        afterwards."""
        self._protocol: Protocol | None = None
        """The state machine of `websockets`; None before the upgrade."""
        self.outgoing: list[bytes] = []
        """The bytes to be written; see `take`."""
        self._http = HttpServer(self.outgoing, screen) if side == "server" else None
        """Before the upgrade, at a server."""
        self._awaits_head = side == "client"
        """The head of the response to the upgrade is not complete."""
        self._unread = bytearray()
        """The beginning of a WebSocket frame, or of the response to the upgrade."""
        self._missing = 0
        """The least number of bytes of that frame that are still missing."""
        self._most_bytes = MAX_TEXT_BYTES if side == "client" else MAX_UNAUTHENTICATED_BYTES
        """The largest frame that is accepted at present."""
        self._in_fragments = False
        """Whether a fragmented message is being received."""
        self._is_piece = False
        """Whether that is a binary message, and those are pieces."""
        self._fragments = bytearray()
        """The parts of a fragmented message so far; joined at once, since small objects take much more
        memory."""
        self.takes_pieces = False
        """Binary messages are pieces of buffers, which are reported as they arrive."""
        self._incoming: _Incoming | None = None
        """The binary message that is being received."""
        self.is_trusted = side == "client"
        """The other side is authenticated."""
        self.partial_bytes = 0
        """The size of what was received and is not complete. Counted by the channel for the budget: a peer
        that sends the beginnings of large messages uses memory too."""

    def use(self, protocol: Protocol) -> None:
        """Switch to WebSocket.

        Args:
            protocol: has sent or received the upgrade; what it has to send is appended to `outgoing`.
        """
        self._protocol = protocol
        self._http = None
        self._collect(protocol)

    @property
    def is_websocket(self) -> bool:
        """Whether it was upgraded."""
        return self._protocol is not None and self._protocol.state is State.OPEN

    # -- bytes -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Process received bytes, and return the events.

        The loop handles whole text frames itself and splits off any others. A partial frame is kept in
        `_unread` and, since `_missing` says how much is needed at least, a large message that arrives in a
        thousand pieces is looked at once and not a thousand times.

        Args:
            data: any number of bytes, frames need not be whole; ``b""`` at the end of the stream.

        Returns:
            The events in order; none when the connection is closed. A violation of the protocol is a
            `Closed`.
        """
        if self.closed:
            return []
        if self._protocol is None or self._protocol.state is not State.OPEN or not data or self._incoming:
            return self._receive_other(data)
        events: list[Event] = []
        if len(data) < self._missing:
            self._unread += data
            self._missing -= len(data)
            self.partial_bytes += len(data)
            return events
        if self._unread:
            data, self._unread, self._missing = bytes(self._unread + data), bytearray(), 0
        masked, mask_bytes = (MASKED, 4) if self.side == "server" else (0, 0)
        at, end = 0, len(data)
        while at < end and not self.closed:
            second = data[at + 1] if at + 1 < end else masked
            size = second & 0x7F
            start = at + 2 + mask_bytes
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10]), start + 8
            after = start + size
            if (at + 1 < end and (data[at] & 0x0F not in OPCODES or second & MASKED != masked)) or (
                size > self._most_bytes and start - mask_bytes <= end  # the mask need not be there yet
            ):
                self._feed(data[at:], events)  # which refuses it by its head
                break
            if at < end and data[at] == WHOLE_BINARY and self.takes_pieces and not self._in_fragments:
                after = self._begin_piece(data, at, start, size, events)
            elif after > end:
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

    def _begin_piece(self, data: bytes, at: int, start: int, size: int, events: list[Event]) -> int:
        """Read the head of a binary message, and report the beginning of its data.

        Args:
            data: what was received.
            at: where its frame begins.
            start: where its payload begins.
            size: the size of its payload.
            events: are appended to.

        Returns:
            Where what follows begins.
        """
        end, after = len(data), start + PIECE_HEAD.size
        if after > end:
            self._unread = bytearray(data[at:])
            self._missing = after - end if start <= end else 1
            return end
        size -= PIECE_HEAD.size
        if not 0 < size <= MAX_PIECE_BYTES:
            events.append(self._wrong_size(size))
            return end
        head, mask = data[start:after], b""
        if self.side == "server":
            mask = 2 * data[start - 4 : start]
            head = apply_mask(head, mask[:4])
        number, offset = PIECE_HEAD.unpack(head)
        self._incoming = _Incoming(number, offset, size, mask)
        return after + self._take_piece(self._incoming, memoryview(data)[after:], events)

    @property
    def piece_bytes(self) -> int:
        """The number of bytes that are missing of the binary message that is being received."""
        return 0 if self._incoming is None else self._incoming.size - self._incoming.done

    def receive_piece(self, data: memoryview) -> list[Event]:
        """Process bytes of the binary message that is being received, without a copy.

        Args:
            data: at most `piece_bytes`.
        """
        events: list[Event] = []
        if self._incoming is not None and not self.closed:
            self._take_piece(self._incoming, data, events)
        return events

    def _take_piece(self, incoming: _Incoming, data: memoryview, events: list[Event]) -> int:
        """Report the next part of a binary message.

        Args:
            incoming: the message.
            data: what has arrived.
            events: are appended to.

        Returns:
            The number of bytes that were part of it.
        """
        start = incoming.done
        part = data[: incoming.size - start]
        size = len(part)
        if not size:
            return 0
        if incoming.mask:
            # The head takes a multiple of the mask's length.
            part = memoryview(apply_mask(part, incoming.mask[start % 4 : start % 4 + 4]))
        incoming.done = start + size
        if incoming.done == incoming.size:
            self._incoming = None
        events.append(Piece(incoming.number, incoming.offset, incoming.size, start, part))
        return size

    def _receive_other(self, data: bytes) -> list[Event]:
        """Process HTTP, the response to an upgrade, the rest of a piece, or the end of the stream."""
        protocol = self._protocol
        if self._incoming is not None and data:
            events: list[Event] = []
            view = memoryview(data)
            following = view[self._take_piece(self._incoming, view, events) :]
            return events + self.receive(bytes(following)) if following else events
        self.partial_bytes += len(data)
        if protocol is None:
            assert self._http is not None
            events = self._http.receive(data)
            self.closed = self._http.closed
            if events:
                self.partial_bytes = 0
            return events
        events = []
        if not data:
            self._feed(bytes(self._unread), events)
            protocol.receive_eof()
            self._handle_events(events, ended=True)
            return events
        if self._awaits_head:  # behind its end, frames may begin
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
        """Return what is to be written, in pieces, and clear it.

        The caller writes them in order. A large body is the very object that `send_text` was given, so it can
        be counted once for all its receivers.
        """
        out = self.outgoing[:]
        self.outgoing.clear()  # in place: `_http` has the same list
        return out

    # -- HTTP, at a server -----------------------------------------------------------------------------------

    def respond(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> list[Event]:
        """Respond to the last request; return the next one, if it was received already.

        Args:
            status: of HTTP.
            headers: further headers; the length of the body is added.
            body: the content, which a response to HEAD lacks.
        """
        if self._http is None or self.closed:
            return []
        events = self._http.respond(status, headers, body)
        self.closed = self._http.closed
        return events

    def stream(
        self, status: int, headers: Iterable[tuple[str, str]], size: int, read: Callable[[int], bytes | None]
    ) -> Iterator[list[Event]]:
        """Respond to the last request with a large body, a part at a time.

        Args:
            status: of HTTP.
            headers: further headers; the length of the body is added.
            size: of the body in bytes.
            read: returns the part of the body that begins at an offset; None if it is gone.

        Yields:
            Nothing after each part, and at the end what `respond` returns. If the body is gone before its
                end, the connection ends.
        """
        http = self._http
        if http is None or self.closed:
            return
        place = 0 if http.begin_response(status, headers, size) else size
        while place < size:
            part = read(place)
            if not part:
                self.closed = True
                return
            place += len(part)
            http.send_body(part)
            yield []
        events = http.end_response()
        self.closed = http.closed
        yield events

    def upgrade(self, request: Request) -> list[Event]:
        """Upgrade the connection to a WebSocket, or refuse it.

        Args:
            request: the request to upgrade, which `receive` has returned.

        Returns:
            `Opened` and the events of the bytes behind the request; after a refusal what `respond` returns.
        """
        assert self._http is not None
        protocol = ServerProtocol(
            state=State.OPEN,
            subprotocols=[SUBPROTOCOL],
            max_size=MAX_UNAUTHENTICATED_BYTES,
            logger=_quiet,
        )
        try:
            response = protocol.accept(UpgradeRequest(request.target, Headers(request.headers)))
            status = response.status_code
        except InvalidHandshake:  # a header that h11 accepts and `websockets` does not
            status = 400
        if status != 101:
            return self.respond(status, [("Connection", "close")], b"a WebSocket upgrade was expected here\n")
        rest = self._http.trailing_data
        self.use(protocol)
        self.outgoing.append(response.serialize())
        return [Opened(), *(self.receive(rest) if rest else [])]

    def trust(self) -> None:
        """Accept messages of full size from now on: the peer is authenticated.

        Called when the access token was shown or proved.
        """
        self.is_trusted = True
        self._most_bytes = MAX_TEXT_BYTES
        if self._protocol is not None:
            self._protocol.max_message_size = MAX_TEXT_BYTES

    # -- WebSocket -------------------------------------------------------------------------------------------

    def _feed(self, data: bytes, events: list[Event]) -> None:
        """Pass one frame, or the response to the upgrade, to `websockets`.

        After a close frame its parser refuses further bytes by exceptions, which are no news.

        Args:
            data: whole, so that its parser never has to wait.
            events: are appended to.
        """
        if data:
            assert self._protocol is not None
            with suppress(EOFError, AssertionError):  # bytes behind the close frame
                self._protocol.receive_data(data)
                self._handle_events(events)

    def _handle_events(self, events: list[Event], *, ended: bool = False) -> None:
        """Convert the events of `websockets`, and report the end of the connection once.

        Args:
            events: are appended to.
            ended: whether the stream of bytes has ended.
        """
        protocol = self._protocol
        assert protocol is not None
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._handle_frame(event, events)
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
        """Return the event for the response to the upgrade; a refusal has the node's error message."""
        error = self._protocol.handshake_exc if self._protocol is not None else None
        if error is None:
            return Opened()
        reason = response.reason_phrase if isinstance(error, InvalidHandshake) else str(error)
        try:
            _, answer = jsonrpc.parse_reply(bytes(response.body or b""))
        except ValueError:
            answer = None
        return Refused(response.status_code, reason, answer.message if isinstance(answer, RpcError) else "")

    def _handle_frame(self, frame: Frame, events: list[Event]) -> None:
        """Handle a data frame that is not a whole text; control frames are handled by `websockets`."""
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._in_fragments = not frame.fin
            self._is_piece = self.takes_pieces and frame.opcode is Opcode.BINARY
            if frame.fin:
                events.append(self._message(bytes(frame.data)))
            else:
                self._fragments = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT:
            self._fragments += frame.data
            if frame.fin:
                self._in_fragments = False
                whole, self._fragments = bytes(self._fragments), bytearray()
                events.append(self._message(whole))

    def _message(self, whole: bytes) -> Event:
        """Return the event for a message that came in several frames."""
        if not self._is_piece:
            return Text(whole)
        size = len(whole) - PIECE_HEAD.size
        if not 0 < size <= MAX_PIECE_BYTES:
            return self._wrong_size(size)
        number, offset = PIECE_HEAD.unpack_from(whole)
        return Piece(number, offset, size, 0, memoryview(whole)[PIECE_HEAD.size :])

    def _wrong_size(self, size: int) -> Closed:
        """Close the connection after a binary message of a wrong size, and return the event."""
        reason = f"a binary message with {size} bytes of data"
        self.close(CloseCode.PROTOCOL_ERROR, reason)
        return Closed(CloseCode.PROTOCOL_ERROR, reason)

    def send_text(self, data: bytes | tuple[bytes, ...]) -> None:
        """Send one text message; nothing is sent before the upgrade, and after `close`.

        A server's parts are passed on as they are, a client masks and so has to copy them.

        Args:
            data: the message in UTF-8, or its parts; those of a large one are not copied, where possible.
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

    def send_piece(self, head: bytes, data: bytes) -> None:
        """Send a binary message.

        Args:
            head: its first bytes, see `PIECE_HEAD`.
            data: what follows; it is not copied, where possible.
        """
        protocol = self._protocol
        if protocol is None or protocol.state is not State.OPEN:
            return
        size = len(head) + len(data)
        masked = MASKED if self.side == "client" else 0
        if size < 126:
            frame = _short_head(WHOLE_BINARY, masked | size)
        elif size < 65_536:
            frame = _medium_head(WHOLE_BINARY, masked | 126, size)
        else:
            frame = _long_head(WHOLE_BINARY, masked | 127, size)
        if masked:
            mask = os.urandom(4)
            self.outgoing += (frame + mask + apply_mask(head, mask), apply_mask(data, mask))
        else:
            self.outgoing += (frame + head, data)

    def ping(self) -> None:
        """Send a ping. The pong counts as received bytes; it is no event.

        A WebSocket in any other state than open sends none.
        """
        protocol = self._protocol
        if protocol is not None and protocol.state is State.OPEN:
            protocol.send_ping(b"")
            self._collect(protocol)

    def close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Send a close frame; only what is in `outgoing` is still to be written after that.

        Args:
            code: the reason as a code.
            reason: the reason as text, cut to 120 bytes of UTF-8; the frame has room for 123 (RFC 6455, 5.5).
        """
        protocol = self._protocol
        if protocol is not None and protocol.state is State.OPEN:
            with suppress(WebSocketException):
                protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
            self._collect(protocol)
        self.closed = True

    def abandon(self) -> None:
        """Discard everything that is held, for the object may live on until the garbage collector runs.

        Called when the connection is aborted. The garbage collector may be late, and thousands of aborted
        connections must not hold megabytes each.
        """
        self.closed = True
        self._fragments = bytearray()
        self._unread = bytearray()
        self._incoming = None
        self.outgoing.clear()
        if self._http is not None:
            self._http.discard()
        self.partial_bytes = 0
        if self._protocol is not None:
            self._protocol.reader.discard()

    def _collect(self, protocol: Protocol) -> None:
        """Append what `websockets` has to send, without the empty piece that stands for the end."""
        self.outgoing += [data for data in protocol.data_to_send() if data]
