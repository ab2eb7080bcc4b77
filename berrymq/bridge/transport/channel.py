"""A non-blocking socket and the protocol that it carries.

Locks: `Channel._lock` guards the protocol object and the unwritten bytes, and is held while bytes are
written. `Channel._reading` is held by the one thread that reads at a time: the loop's, or one in
`Channel.pump`. It is taken before the other one. Events of a read are handled while it is held, so in order,
and without the first lock.

Which thread does what: any thread may send; whoever sends while the socket is idle writes itself, otherwise
the loop does when the socket is ready. The loop reads, or a thread that waits for an answer does so in its
place (`Channel.pump`): it takes the socket out of the loop, reads, and gives it back.

Races:

- Two senders: the order of bytes is the order in which they get `_lock`; a frame is encoded and appended in
  one hold of it, so frames never interleave.
- A sender and the loop that writes: bytes are written directly only if nothing is unwritten, so they can't
  overtake.
- `abort` and everything else: `closed` is set under `_lock` and the socket is shut down, which wakes a thread
  in `pump`; it is closed later, by the loop, which has stopped watching it before.

Back-pressure: there is none by not reading. What a slow reader leaves unwritten is bounded by the window of
the link above (``protocol/reliable_stream.py``) and for other clients by `MAX_UNREAD_BYTES`.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.events import CloseCode, Closed, Event, Text

from .pumping import wait_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from berrymq.bridge.protocol.connection import Connection
    from berrymq.bridge.protocol.frames import Frame

    from .budget import Budget
    from .loop import IoLoop
    from .tls import Tls

__all__ = ["Channel"]

READ_BYTES, MOST_READ_BYTES = 64 * 1024, 256 * 1024
"""The size of a read; more if the last one filled it, for each large buffer costs a system call of its own.
"""
UNAUTHENTICATED_READ_BYTES = 4 * 1024
"""The same for an unauthenticated peer: it may be thousands of frames, and many may send them at once. """
TURN_SECONDS = 0.005
"""The time for which one connection is processed before the others have their turn."""
SLICE_BYTES, MOST_SLICE_BYTES = 4 * 1024, 64 * 1024
"""The bytes that are processed between two checks of that time; more where that is fast, as within a large
message."""
LINGER_SECONDS = 1.0
"""The time for the last bytes of a connection that is being closed."""

WAITING_BYTES = 500
"""The approximate memory for a function that is called later; see `Channel.when_written`."""

SHARED_BYTES = 64 * 1024
"""Pieces of this size or more may be held by others too."""

MAX_UNREAD_BYTES = 64 * 1024 * 1024
"""A peer with a larger unread backlog is disconnected. Far above a window, so a link never reaches it; it is
for clients that call and do not read."""

_log = logging.getLogger("berrymq")


class Channel:
    """Moves bytes between a socket and a `Connection`.

    A sender writes to the socket itself if it is idle; else its bytes are added to the buffer, which the loop
    writes when the socket is ready. No thread ever blocks on the network.

    Args:
        loop: reads it.
        sock: connected and non-blocking.
        connection: the protocol.
        on_event: called with each event, on the thread that reads (the loop's, or one in `pump`), with no
            lock held.
        tls: encrypts.
        budget: counts what is held in either direction.
    """

    def __init__(  # noqa: PLR0917 - what moves the bytes, and what they are for
        self,
        loop: IoLoop,
        sock: socket.socket,
        connection: Connection,
        on_event: Callable[[Event], object],
        tls: Tls | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.connection = connection
        """The protocol; used with the lock held."""
        self.on_event = on_event
        self.opened_at = self.received_at = self.written_at = loop.time()
        """When it was opened, when bytes last arrived, and when the socket last accepted some."""
        self.closed = False
        """Whether nothing is read or written any more. Set with the lock held, read without it."""
        self._loop = loop
        self._sock = sock
        self._tls = tls
        self._lock = threading.RLock()
        self._unwritten: deque[bytes | memoryview] = deque()
        """Bytes that the socket has not accepted yet."""
        self._unwritten_bytes = 0
        self._queued_bytes = 0
        """The same, including written bytes of the first piece, which is held until all of it is written."""
        self._waiting: deque[Callable[[], object]] = deque()
        """Functions that are called as soon as nothing is unwritten. Not empty only while something is
        unwritten, or the loop is about to call `_send_waiting`."""
        self._ending = False
        """Whether the connection ends as soon as the unwritten bytes are written."""
        self._reading = threading.Lock()
        """Held by the thread that reads: the loop's, or one in `pump`."""
        self._read_bytes = READ_BYTES
        """The size of the next read."""
        self._unread: memoryview | None = None
        """What was read and is processed in the next turn."""
        self._closed_reported = False
        """Whether `on_event` has been called with the end."""
        self._budget = budget
        self._account = budget.open(self.shed) if budget is not None else None
        """What of the budget is held here. Kept up to date by `_count`."""
        self._parts: Iterator[list[Event]] | None = None
        """Parts of a large response that are still to be written; see `produce`."""
        self._kept_bytes = 0
        """The size of calls that are not answered yet; see `keep`."""

    @property
    def held_bytes(self) -> int:
        """The number of bytes held in either direction.

        Read without the lock by `shed`, which needs no exact value.
        """
        unread = 0 if self._unread is None else len(self._unread)
        waiting = WAITING_BYTES * len(self._waiting)
        return self._queued_bytes + self.connection.partial_bytes + self._kept_bytes + unread + waiting

    def keep(self, size: int) -> None:
        """Count bytes of unanswered calls as held; on any thread.

        Args:
            size: the number of bytes to add, negative once they are released.
        """
        with self._lock:
            self._kept_bytes += size
            self._count()

    def shed(self, target: int) -> None:
        """End the connection if more bytes than *target* are held; called by the budget when memory is short.

        Some bytes are always allowed, those of one large read.
        """
        if self.held_bytes > max(target, MOST_READ_BYTES):
            peers_log.warning("a connection is cut: %d bytes are held for it", self.held_bytes)
            self.abort()

    def _count(self) -> None:
        """Report a change of the held bytes to the budget; the lock is held."""
        account = self._account
        if account is not None:
            held = 0 if self.closed else self.held_bytes
            if held != account.held:
                account.grow(held - account.held)

    def start(self) -> None:
        """Start reading; on the loop's thread."""
        if not self.closed:
            self._loop.watch(self._sock, self._on_ready, writing=bool(self._unwritten))
            self._flush()

    # -- writing ---------------------------------------------------------------------------------------------

    def send_texts(self, texts: Iterable[Frame]) -> None:
        """Send WebSocket messages; on any thread.

        They are written to the socket at once if it is idle. Errors end the connection, and are not raised.

        On one thread the order of calls is the order of messages. Nothing is known about delivery: that is
        what the acknowledgements of the link are for.

        Args:
            texts: the messages in UTF-8, whole or in parts.
        """
        with self._lock:
            for text in texts:
                self.connection.send_text(text)
            out = self.connection.outgoing
            if self._unwritten or self._tls is not None or self.closed or len(out) > 1:
                self._flush()
                return
            # The usual case, `_flush` and `_write` in one: the socket accepts everything at once.
            if not out:  # the WebSocket is closing
                return
            data = out.pop()
            if len(data) >= SHARED_BYTES:
                out.append(data)
                self._flush()
                return
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                _log.debug("a connection was cut: %s", error)
                self.abort()
                return
            self.written_at = monotonic()
            if sent < len(data):
                self._unwritten.append(memoryview(data)[sent:])
                self._unwritten_bytes = len(data) - sent
                self._queued_bytes = len(data)
                self._count()
                self._loop.call(self._watch_writing)

    def send_text(self, text: bytes) -> None:
        """Send one WebSocket message; on any thread.

        For answers to calls; as `send_texts`, without its fast way.
        """
        with self._lock:
            self.connection.send_text(text)
            self._flush()

    def take_pieces(self) -> None:
        """Report binary messages as `Piece` events from now on; on the thread that reads."""
        self.connection.takes_pieces = True

    def send_piece(self, head: bytes, data: bytes) -> None:
        """Send one binary WebSocket message, in two parts; on any thread."""
        with self._lock:
            self.connection.send_piece(head, data)
            self._flush()

    def when_written(self, send: Callable[[], object]) -> None:
        """Call a function that sends something as soon as everything sent before is written; on any thread.

        It is called at once if nothing is unwritten. What is sent before the call overtakes it, and it takes
        no memory for its data until then.

        Args:
            send: called once, in the order of the calls; or never, if the connection ends.
        """
        with self._lock:
            if self._unwritten or self._waiting:
                self._waiting.append(send)
                self._check_unread()
            elif not self.closed:
                send()

    def _send_waiting(self) -> None:
        """Call waiting functions until the socket is busy again, or the turn is over; on the loop."""
        until = self._loop.time() + TURN_SECONDS
        with self._lock:
            while self._waiting and not self._unwritten and not self.closed:
                if self._loop.time() > until:
                    self._loop.call(self._send_waiting)
                    return
                self._waiting.popleft()()

    def act(self, action: Callable[[Connection], list[Event] | None]) -> None:
        """Call a function with the protocol and write the result; on any thread.

        For all that is not a text message: responses, the upgrade, pings.

        Args:
            action: called with the lock held; the events that it returns are handled in the next turn of the
                loop.
        """
        with self._lock:
            events = action(self.connection)
            if self.connection.closed and not self._ending:  # that was the last response
                self._ending = True
                self._loop.call_later(LINGER_SECONDS, self.abort)
            self._flush()
            if self._ending and not self._unwritten:
                self.abort()
        if events:
            self._loop.call(self._handle, events)

    def produce(self, parts: Iterator[list[Event]]) -> None:
        """Write what is too large for the buffer: a part each time that it is empty; on the loop.

        Args:
            parts: has the protocol send the next part, and yields events, which are handled.
        """
        self._parts = parts
        self._produce()

    def _produce(self) -> None:
        """Write parts until the socket is busy, or the turn is over."""
        until = self._loop.time() + TURN_SECONDS
        while self._parts is not None and not self._unwritten and not self.closed:
            with self._lock:
                events = next(self._parts, None)
                if events is None:
                    self._parts = None
                    self._ending = self._ending or self.connection.closed
                self._flush()
                if self._ending and not self._unwritten:
                    self.abort()
            if events:
                self._loop.call(self._handle, events)
            if self._loop.time() > until:
                self._loop.call(self._produce)
                return

    def close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Send a close frame, write the buffer, and end within `LINGER_SECONDS`; on any thread.

        What was sent before is written first, for as long as `LINGER_SECONDS`.

        Args:
            code: the reason as a code.
            reason: the reason as text.
        """
        with self._lock:
            if self.closed:
                return
            self.connection.close(code, reason)
            self._ending = True
            self._flush()
        self._loop.call_later(LINGER_SECONDS, self.abort)

    def abort(self) -> None:
        """End at once; on any thread.

        The end is reported to `on_event` by the loop, once, with whatever thread called this.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self.connection.abandon()
            while self._unwritten:
                self._dequeue()
            self._unwritten_bytes = 0
            self._waiting.clear()
            self._unread = self._parts = None
            self._count()
        with suppress(OSError):  # wakes a thread that is in `pump`
            self._sock.shutdown(socket.SHUT_RDWR)
        self._loop.call(self._finish, Closed())

    def close_in_child(self) -> None:
        """Close the descriptor in a forked child; the connection is its parent's, and stays open.

        No close frame is written and nothing is shut down, which would end the parent's connection too.
        """
        self.closed = True
        self._lock = threading.RLock()
        self._sock.close()

    def _flush(self) -> None:
        """Write the protocol's output; the lock is held.

        With TLS everything is encrypted first, in the order of the calls.
        """
        out = self.connection.take()
        if self._tls is not None:
            try:
                for data in out:
                    self._tls.send(data)
            except ssl.SSLError as error:
                _log.debug("TLS: %s", error)
                self.abort()
                return
            encrypted = self._tls.take()
            out = [encrypted] if encrypted else []
        if self.closed:
            return
        waited = bool(self._unwritten)
        for data in out:
            self._unwritten.append(data)
            self._unwritten_bytes += len(data)
            self._queued_bytes += len(data)
            if len(data) >= SHARED_BYTES and self._account is not None:
                self._account.share(data, 1)
        if not waited and self._unwritten:
            self._write()
        self._check_unread()

    def _check_unread(self) -> None:
        """Count what is held, and end the connection if it is too much; the lock is held."""
        self._count()
        if self._unwritten_bytes + WAITING_BYTES * len(self._waiting) > MAX_UNREAD_BYTES:
            peers_log.warning("a connection is cut: the other side does not read what it is sent")
            self.abort()

    def _write(self) -> None:
        """Write the buffer until it is empty or the socket is busy; the lock is held."""
        unwritten = self._unwritten
        try:
            while unwritten:
                sent = self._sock.send(unwritten[0]) if len(unwritten) == 1 else self._send_many()
                self._unwritten_bytes -= sent
                self.written_at = self._loop.time()
                while unwritten and sent >= len(unwritten[0]):
                    sent -= len(unwritten[0])
                    self._dequeue()
                if sent:
                    unwritten[0] = memoryview(unwritten[0])[sent:]
        except (BlockingIOError, InterruptedError):
            self._loop.call(self._watch_writing)
        except OSError as error:
            _log.debug("a connection was cut: %s", error)
            self.abort()
        else:
            if self._ending:
                self.abort()

    def _dequeue(self) -> None:
        """Release the first piece."""
        data = self._unwritten.popleft()
        whole = data if isinstance(data, bytes) else data.obj
        assert isinstance(whole, bytes)
        self._queued_bytes -= len(whole)
        if len(whole) >= SHARED_BYTES and self._account is not None:
            self._account.share(whole, -1)

    def _send_many(self) -> int:
        """Write several pieces with one system call; return the number of bytes written."""
        most = [self._unwritten[index] for index in range(min(len(self._unwritten), 64))]
        if hasattr(self._sock, "sendmsg"):
            return self._sock.sendmsg(most)
        return self._sock.send(most[0])  # Windows

    def _watch_writing(self) -> None:
        """Have the loop report when the socket accepts bytes again; on the loop."""
        if not self.closed:
            self._loop.watch(self._sock, self._on_ready, writing=bool(self._unwritten))

    # -- reading, on the loop --------------------------------------------------------------------------------

    def _on_ready(self, mask: int) -> None:
        """Write and read what is possible; the callback of the loop.

        Args:
            mask: `selectors.EVENT_READ`, `EVENT_WRITE`, or both.
        """
        if mask & selectors.EVENT_WRITE:
            with self._lock:
                self._write()
                if not self._unwritten and not self.closed:
                    self._loop.watch(self._sock, self._on_ready)
            if self._waiting:
                self._send_waiting()
            if self._parts is not None:
                self._produce()
        if mask & selectors.EVENT_READ and self._unread is None:
            self._read_in_turn()

    def _read_in_turn(self) -> None:
        """Read, unless another thread does.

        Called by the loop; if another thread reads, that one continues.
        """
        if not self.closed and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()

    def _read(self) -> None:  # noqa: C901, PLR0912 - all that comes goes this way: a call less is felt
        """Read, or continue with what was read, for as long as a turn takes.

        Holding `_reading`, and not `_lock`, while events are handled: a handler may send, and another thread
        too. At most one read is made for each turn, and a large read is processed in slices of some
        milliseconds, so that one busy peer does not delay the others.
        """
        data: bytes | memoryview | None
        if self._unread is not None:
            data, self._unread = self._unread, None
        else:
            try:
                data = self._sock.recv(
                    self._read_bytes if self.connection.is_trusted else UNAUTHENTICATED_READ_BYTES
                )
            except OSError as error:
                data = self._no_data(error)
            if data is not None:
                self._read_bytes = MOST_READ_BYTES if len(data) >= READ_BYTES else READ_BYTES
                self.received_at = self._loop.time()
                if self._tls is not None:
                    data = self._decrypt(self._tls, data)
        if data is None:
            return
        try:
            for part in (data,) if len(data) <= SLICE_BYTES else self._slices(memoryview(data)):
                with self._lock:
                    if 0 < len(part) <= self.connection.piece_bytes:
                        events = self.connection.receive_piece(memoryview(part))
                    else:
                        events = self.connection.receive(bytes(part))
                    if self.connection.closed or self._ending:
                        self._read_last(part)
                    elif self.connection.outgoing:
                        self._flush()
                    if self.connection.partial_bytes or (self._account is not None and self._account.held):
                        self._count()
                for event in events:
                    self.on_event(event) if type(event) is Text else self._handle((event,))
        except Exception:  # noqa: BLE001 - after a mistake of ours what comes next could not be understood
            peers_log.exception("connection cut: unexpected error while reading")
            self.abort()
            return
        budget = self._budget
        if budget is not None and budget.held > budget.limit:
            budget.relieve(self.received_at)

    def _no_data(self, error: OSError) -> bytes | None:
        """Return None where nothing can be read now, ``b""`` where the connection was cut."""
        if isinstance(error, (BlockingIOError, InterruptedError)):
            return None
        _log.debug("a connection was cut: %s", error)
        return b""

    def _slices(self, data: memoryview) -> Iterator[memoryview]:
        """Yield what was read in slices, until the turn is over; the rest is left for the next one."""
        time = self._loop.time
        begun = now = time()
        size = SLICE_BYTES
        while data and not self.closed:
            if now - begun > TURN_SECONDS:
                self._unread = data
                with self._lock:
                    self._count()
                self._loop.call(self._read_in_turn)
                return
            # All of a piece is taken at once, unless it is unmasked: that makes objects, and larger ones lie
            # in new pages each time.
            most = MOST_SLICE_BYTES if self.connection.side == "server" else len(data)
            size = max(size, min(self.connection.piece_bytes, len(data), most))
            yield data[:size]
            data = data[size:]
            former, now = now, time()
            size = min(4 * size, MOST_SLICE_BYTES) if now - former < TURN_SECONDS / 10 else SLICE_BYTES

    def _decrypt(self, tls: Tls, data: bytes) -> bytes | None:
        """Return the decrypted bytes; None for a part of the handshake or of a record."""
        with self._lock:
            try:
                plain = tls.receive(data)
            except (ssl.SSLError, ConnectionResetError) as error:
                _log.debug("TLS: %s", error)
                self._flush()
                return b""
            if not plain:
                self._flush()
                return None
            return plain

    def _read_last(self, data: bytes | memoryview) -> None:
        """Write the protocol's last output; the lock is held."""
        if not self._ending:
            self._ending = True
            self._loop.call_later(LINGER_SECONDS, self.abort)
        self._flush()
        if not self._unwritten or not data:
            self.abort()

    @property
    def reader(self) -> Channel:
        """What has to be pumped to receive: this connection itself."""
        return self

    def pump(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        *,
        wake: socket.socket | None = None,
        spin_until: float = 0.0,
    ) -> bool:
        """Read on this thread, which waits for the result; return early if that is not possible.

        Waking a thread through a lock takes more time than all the rest. So the socket is removed from the
        loop during that time, which costs a system call and wakes no thread.

        Events are handled on this thread, so the caller must hold no lock that other threads need.

        Args:
            is_done: checked after each read.
            deadline: by `time.monotonic`; None for none.
            wake: ends the wait when it is readable.
            spin_until: poll until then before blocking, which saves the time of waking up.

        Returns:
            False if another thread reads already, or the system does not support it.
        """
        if self._unwritten or self.closed or not self._reading.acquire(blocking=False):
            return False
        try:
            if not self._loop.suspend(self._sock):
                return False

            def is_over() -> bool:
                while not (is_done() or self.closed or self._unwritten):
                    if self._unread is None or (deadline is not None and monotonic() >= deadline):
                        return False
                    self._loop.run_guarded(self._read)
                return True

            def read() -> None:
                self._loop.run_guarded(self._read)

            wait_here(self._sock, read, is_over, deadline, wake=wake, spin_until=spin_until)
            return True
        finally:
            self._reading.release()
            with self._lock:
                if not self.closed:
                    self._loop.watch(self._sock, self._on_ready, writing=bool(self._unwritten))
            if self._unread is not None:
                self._loop.call(self._read_in_turn)

    def _handle(self, events: Iterable[Event]) -> None:
        """Pass events to `on_event`, the end of the connection only once."""
        for event in events:
            if isinstance(event, Closed):
                self._report_closed(event)
            else:
                self.on_event(event)

    def _report_closed(self, event: Closed) -> None:
        if not self._closed_reported:
            self._closed_reported = True
            on_event = self.on_event
            # It refers to what refers to this channel. Without it an ended link is freed at once, not when
            # the garbage collector runs, until when a hub would hold many.
            self.on_event = _ignore
            on_event(event)

    def _finish(self, event: Closed) -> None:
        """Close the socket and report the end; on the loop."""
        if self._account is not None:
            self._account.close()
        self._loop.unwatch(self._sock)
        self._sock.close()
        self._report_closed(event)


def _ignore(event: Event) -> None:
    """Handle an event after the end."""
