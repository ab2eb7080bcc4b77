"""The server's half of HTTP: requests, their responses, and the limits of both. h11 parses and writes.

Requests are handled one at a time: the next one is read when the response to the last has been written, so a
client that sends many at once (pipelining) costs no memory beyond the bytes themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

from .events import Closed, Request
from .limits import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .events import Event, Refusal

__all__ = ["MAX_HEADER_BYTES", "HttpServer"]

MAX_HEADER_BYTES = 16 * 1024
"""The largest head of a request."""


class HttpServer:
    """Reads requests and writes responses, until the connection ends or is upgraded.

    Args:
        outgoing: the list that responses are appended to, as bytes.
        screen: checks the head of each request. The refusal that it returns is sent, and the connection ends,
            so the body of a request that is not allowed is never buffered.
    """

    def __init__(
        self, outgoing: list[bytes], screen: Callable[[Request], Refusal | None] | None = None
    ) -> None:
        self.closed = False
        """The connection is to be closed: nothing more is read."""
        self._outgoing = outgoing
        self._screen = screen
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._request: h11.Request | None = None
        """The head of the request that is being read."""
        self._is_head = False
        """Whether it is a HEAD request, whose response has no body."""
        self._body = bytearray()
        """What has arrived of its body."""

    @property
    def trailing_data(self) -> bytes:
        """What was received behind the last request."""
        return self._http.trailing_data[0]

    def receive(self, data: bytes) -> list[Event]:
        """Read bytes; return a request that is complete, or the end.

        Args:
            data: received bytes, ``b""`` at the end of the stream.

        Returns:
            One `Request`, one `Closed`, or nothing yet. A malformed request is answered with an error status.
        """
        try:
            self._http.receive_data(data)
            return self._next_request()
        except h11.RemoteProtocolError as error:
            self._fail_http(error)
            return [Closed(None, "not HTTP")]

    def _next_request(self) -> list[Event]:
        """Return the next request, or nothing while it is incomplete or the last one is not answered.

        Raises:
            h11.RemoteProtocolError: it is malformed or too large.
        """
        http = self._http
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    self._outgoing.append(
                        http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
                return []
            if event is h11.PAUSED:
                return []
            if isinstance(event, h11.Request):
                self._is_head = event.method == b"HEAD"
                check_head(event)
                self._request = event
                refusal = self._screen(self._whole_request()) if self._screen is not None else None
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
        """Return the request that has been read, and forget it."""
        event, self._request = self._request, None
        assert event is not None
        body, self._body = bytes(self._body), bytearray()
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
        return Request(event.method.decode("ascii"), event.target.decode("ascii"), headers, body)

    def _fail_http(self, error: h11.RemoteProtocolError) -> None:
        """Answer a malformed request, if an answer can still be sent, and end the connection."""
        http = self._http
        if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = b"this is not a request that can be read\n"
            response = h11.Response(
                status_code=error.error_status_hint or 400,
                headers=[("Connection", "close"), ("Content-Length", str(len(body)))],
            )
            for event in (response, h11.Data(data=b"" if self._is_head else body), h11.EndOfMessage()):
                self._outgoing.append(http.send(event) or b"")
        self.closed = True

    def respond(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> list[Event]:
        """Respond to the last request; return the next one, if it was received already.

        Args:
            status: of HTTP.
            headers: further headers; ``Content-Length`` is added, except for 204 and 304.
            body: the content; a response to HEAD has its length only.
        """
        if self.closed:
            return []
        self.begin_response(status, headers, len(body))
        self.send_body(b"" if self._is_head else body)
        return self.end_response()

    def begin_response(self, status: int, headers: Iterable[tuple[str, str]], size: int) -> bool:
        """Send the head of a response; return whether a body is to follow.

        Args:
            status: of HTTP.
            headers: further headers.
            size: of the body in bytes.
        """
        fields = [*headers, ("Content-Length", str(size))]
        if status in (204, 304):
            fields = list(headers)
        self._outgoing.append(self._http.send(h11.Response(status_code=status, headers=fields)) or b"")
        return not self._is_head

    def send_body(self, data: bytes) -> None:
        """Send a part of the body."""
        self._outgoing.append(self._http.send(h11.Data(data=data)) or b"")

    def end_response(self) -> list[Event]:
        """End a response; return the next request, if it was received already."""
        http = self._http
        self._outgoing.append(http.send(h11.EndOfMessage()) or b"")
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            try:
                return self._next_request()
            except h11.RemoteProtocolError as error:
                self._fail_http(error)
                return [Closed(None, "not HTTP")]
        self.closed = True
        return []

    def discard(self) -> None:
        """Drop the body that is received so far."""
        self._body = bytearray()


def check_head(request: h11.Request) -> None:
    """Check the size of a request's head, and the length of the body that it announces.

    Two lengths could be read in two ways by a proxy and by this server (request smuggling; RFC 9112, 6.3).

    Raises:
        h11.RemoteProtocolError: one of them is too large, or two lengths are announced.
    """
    if sum([len(name) + len(value) + 4 for name, value in request.headers]) > MAX_HEADER_BYTES:
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
    headers = dict(request.headers)
    length = headers.get(b"content-length")
    if (
        length is not None and b"transfer-encoding" in headers
    ):  # a proxy may use the other one: request smuggling
        raise h11.RemoteProtocolError("two lengths of the body")
    if length is not None and int(length) > MAX_TEXT_BYTES:  # h11 has checked that it is a number
        raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
