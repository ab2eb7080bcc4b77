"""The socket of a connection to NATS as a `Transport` of nats-py, which any thread may write and read.

With nats-py's own, a message crosses five iterations of asyncio at each end and a switch of threads: its
flusher task, the stream reader, the read loop, a queue and a task for each subscription. Here a thread that
publishes writes to the socket itself if that is idle, the I/O loop reads it without asyncio, and a thread
that waits for an answer reads it in the I/O loop's place (`SocketTransport.pump`), as in
``transport/channel.py``. nats-py still connects, authenticates, requests TLS, parses and reconnects.

Locks: `_reading` is held by the one thread that reads at a time; `_lock` guards TLS and the unwritten bytes,
and is taken after it. What is read is handed on with `_reading` held, and without `_lock`.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from nats import errors
from nats.aio.transport import Transport

from berrymq.bridge.transport.channel import MAX_UNREAD_BYTES, MOST_READ_BYTES, READ_BYTES
from berrymq.bridge.transport.pumping import wait_here
from berrymq.bridge.transport.tls import Tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from urllib.parse import ParseResult

    from berrymq.bridge.transport.loop import IoLoop

__all__ = ["SocketTransport"]

MAX_LINE_BYTES = 1024 * 1024
"""The longest line that a server may send before it is connected."""
BUSY_BYTES = 1024 * 1024
"""The number of unwritten bytes above which nats-py's flusher waits."""


class SocketTransport(Transport):
    """One connection, from dialling to its end; nats-py gets a new one for each attempt.

    The abstract methods are nats-py's, and called on the I/O thread; `write`, `pump` and `close_in_child` may
    be called on any.

    Args:
        io: reads it.
    """

    def __init__(self, io: IoLoop) -> None:
        self.closed = False
        self._io = io
        self._sock: socket.socket | None = None
        self._tls: Tls | None = None
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._unwritten: deque[memoryview] = deque()
        self._unwritten_bytes = 0
        self._read_bytes = READ_BYTES
        self._joined: list[bytes] = []
        """What the I/O thread writes at the end of this turn."""
        self._joined_bytes = 0
        self._buffer = bytearray()
        """What was read before `read_until_end`, and not used yet."""
        self._on_data: Callable[[bytes], object] | None = None
        self._ended: asyncio.Future[Exception] | None = None
        self._writable: asyncio.Future[None] | None = None
        """Completed when nothing is unwritten any more."""

    def __bool__(self) -> bool:
        return True

    # -- connecting, with asyncio ----------------------------------------------------------------------------

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:  # noqa: ARG002
        """Connect to the first address of a host that accepts.

        Raises:
            OSError: no address accepts; `TimeoutError` if that takes too long.
        """
        async with asyncio.timeout(connect_timeout):
            self._sock = await _connect(uri.hostname or "", uri.port or 0)

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,  # noqa: ARG002
        connect_timeout: int,  # noqa: ARG002 - `readline`, which nats-py calls next, has a timeout
    ) -> None:
        """Use TLS from now on; the handshake takes place with what is written and read next."""
        host = uri if isinstance(uri, str) else uri.hostname
        with self._lock:
            self._tls = Tls(ssl_context, host)

    async def readline(self) -> bytes:
        """Return the next line; less at the end of the connection.

        Raises:
            OSError: the connection was cut, or its certificate is not trusted.
        """
        while (end := self._buffer.find(b"\n") + 1) == 0:
            data = await self._receive()
            if not data or len(self._buffer) > MAX_LINE_BYTES:
                end = len(self._buffer)
                break
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line

    async def read(self, buffer_size: int) -> bytes:
        """Refuse: the connected client reads by `read_until_end`."""
        raise NotImplementedError

    async def _receive(self) -> bytes:
        """Return the next bytes, decrypted; none at the end."""
        assert self._sock is not None, "nats-py connects first"
        while not self.closed:
            data = await asyncio.get_running_loop().sock_recv(self._sock, READ_BYTES)
            if self._tls is None:
                return data
            if plain := self._decrypt(data):
                return plain
        return b""

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, payload: bytes) -> None:
        """Write at once; on the I/O thread at the end of this turn, together with its other writes.

        Each system call may hand the GIL to a busy thread for milliseconds, so the I/O thread joins what it
        writes. May be called on any thread. Errors end the connection, and are not raised.
        """
        with self._lock:
            if self._joined or self._io.is_current:
                if not self._joined:
                    self._io.call(self._write_joined)
                self._joined.append(payload)
                self._joined_bytes += len(payload)
            else:
                self._encrypt_and_write(payload)

    def _write_joined(self) -> None:
        with self._lock:
            payload, self._joined, self._joined_bytes = b"".join(self._joined), [], 0
            self._encrypt_and_write(payload)
            is_busy = bool(self._unwritten)
        if not is_busy:
            self._release_writers()

    def _encrypt_and_write(self, payload: bytes) -> None:
        """Write to the socket if it is idle, else after what is unwritten. The lock is held."""
        if self._tls is not None and not self.closed:
            try:
                self._tls.send(payload)
            except OSError as error:  # the handshake has failed
                self._io.call(self._end, error)
            payload = self._tls.take()
        self._write(payload)

    def writelines(self, payload: Iterable[bytes]) -> None:
        """Write several parts."""
        self.write(b"".join(payload))

    def _write(self, data: bytes) -> None:
        """Write encrypted bytes. The lock is held."""
        if self.closed or not data or self._sock is None:
            return
        sent = 0
        if not self._unwritten:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._io.call(self._end, error)
                return
        if sent < len(data):
            if not self._unwritten and self._on_data is not None:
                self._io.call(self._watch)
            self._unwritten.append(memoryview(data)[sent:])
            self._unwritten_bytes += len(data) - sent
            if self._unwritten_bytes > MAX_UNREAD_BYTES:
                self._io.call(self._end, OSError("the server does not read what it is sent"))

    async def drain(self) -> None:
        """Wait until the server has read enough."""
        while self._unwritten_bytes + self._joined_bytes > BUSY_BYTES and not self.closed:
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    def _write_more(self) -> None:
        """Write what is unwritten; on the I/O loop."""
        with self._lock:
            try:
                while self._unwritten and not self.closed and self._sock is not None:
                    sent = self._sock.send(self._unwritten[0])
                    self._unwritten_bytes -= sent
                    if sent == len(self._unwritten[0]):
                        self._unwritten.popleft()
                    else:
                        self._unwritten[0] = self._unwritten[0][sent:]
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._io.call(self._end, error)
                return
        self._release_writers()
        self._watch()

    def _release_writers(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # -- reading ---------------------------------------------------------------------------------------------

    async def read_until_end(self, on_data: Callable[[bytes], object]) -> Exception:
        """Hand over what is read, without asyncio, until the connection ends; return why.

        Args:
            on_data: called on the I/O thread, or on one in `pump`.
        """
        self._ended = asyncio.get_running_loop().create_future()
        self._on_data = on_data
        rest, self._buffer = bytes(self._buffer), bytearray()
        if rest:
            with self._reading:
                self._hand_over(rest)
        self._watch()
        return await self._ended

    def _watch(self) -> None:
        """Have the I/O loop read and, if something is unwritten, write; on any thread."""
        with self._lock:
            if not self.closed and self._sock is not None:
                self._io.watch(self._sock, self._on_ready, writing=bool(self._unwritten))

    def _on_ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._write_more()
        if mask & selectors.EVENT_READ and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()

    def _read(self) -> None:
        """Read once. `_reading` is held."""
        if self.closed or self._sock is None:
            return
        try:
            data = self._sock.recv(self._read_bytes)
            self._read_bytes = MOST_READ_BYTES if len(data) >= READ_BYTES else READ_BYTES
            if self._tls is not None:
                data = self._decrypt(data) or b""
                if not data:  # a part of a record
                    return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._io.call(self._end, error)
            return
        if data:
            self._hand_over(data)
        else:
            self._io.call(self._end, errors.UnexpectedEOF())

    def _hand_over(self, data: bytes) -> None:
        assert self._on_data is not None
        try:
            self._on_data(data)
        except Exception as error:  # noqa: BLE001 - what follows could not be parsed
            self._io.call(self._end, error)

    def _decrypt(self, data: bytes) -> bytes:
        """Return decrypted bytes; none for a part of the handshake or of a record.

        Raises:
            OSError: the other side has ended the connection, or is not trusted.
        """
        assert self._tls is not None
        with self._lock:
            try:
                return self._tls.receive(data)
            finally:
                self._write(self._tls.take())

    def pump(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        *,
        wake: socket.socket | None = None,
        spin_until: float = 0.0,
    ) -> bool:
        """Read on this thread, which waits for the result; see `Channel.pump`."""
        sock = self._sock
        if sock is None or self._on_data is None or self._unwritten or self.closed:
            return False
        if not self._reading.acquire(blocking=False):
            return False
        try:
            if not self._io.suspend(sock):
                return False

            def is_over() -> bool:
                return is_done() or self.closed or bool(self._unwritten)

            wait_here(sock, self._read, is_over, deadline, wake=wake, spin_until=spin_until)
            return True
        finally:
            self._reading.release()
            self._watch()

    def as_reader(self, function: Callable[[], object]) -> bool:
        """Call a function in place of reading; return False, without a call, if another thread reads."""
        if not self._reading.acquire(blocking=False):
            return False
        try:
            function()
        finally:
            self._reading.release()
        return True

    # -- the end ---------------------------------------------------------------------------------------------

    def at_eof(self) -> bool:
        """Return whether it has ended."""
        return self.closed

    def _end(self, error: Exception) -> None:
        """Report an error; nats-py closes the transport next."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(error)
        if self._sock is not None:
            self._io.unwatch(self._sock)
        self._release_writers()

    def close(self) -> None:
        """End the connection. What the socket has accepted is sent."""
        with self._lock:
            if self.closed:
                return
            self._encrypt_and_write(b"".join(self._joined))
            self.closed = True
            self._joined.clear()
            self._unwritten.clear()
            self._unwritten_bytes = self._joined_bytes = 0
        self._release_writers()
        if self._sock is not None:
            self._io.unwatch(self._sock)
            with suppress(OSError):  # wakes a thread that is in `pump`
                self._sock.shutdown(socket.SHUT_RDWR)
            self._close_socket(self._sock)

    def _close_socket(self, sock: socket.socket) -> None:
        """Close the descriptor, as soon as no thread waits for it."""
        if self._reading.acquire(blocking=False):
            self._reading.release()
            sock.close()
        else:
            self._io.call_later(0.001, self._close_socket, sock)

    async def wait_closed(self) -> None:
        """Return: it is closed."""

    def close_in_child(self) -> None:
        """Close the descriptor in a forked child; the connection is its parent's, and stays open."""
        self.closed = True
        self._lock = threading.Lock()
        if self._sock is not None:
            self._sock.close()


async def _connect(host: str, port: int) -> socket.socket:
    """Return a socket connected to the first address of a host that accepts."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError("the host has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # such as an address family that this system lacks
            failure = error
            continue
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure
