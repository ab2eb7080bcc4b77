"""The server's side of a WebSocket, written by hand (RFC 6455): sessions do with frames what they like.

It uses nothing of the library that is tested. What the client does wrong is collected in `faults`.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class ServerSide:
    """One accepted connection.

    Args:
        sock: just accepted.
        changed: is notified after every change; its lock guards all attributes.
    """

    def __init__(self, sock: socket.socket, changed: threading.Condition) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.faults: list[str] = []
        self.pongs: deque[bytes] = deque()
        self.pings = 0
        """The client's, so far."""
        self.is_mute = False
        """Nothing is written any more, and what arrives is ignored."""
        self.ended = False
        """Nothing more arrives."""
        self.close_code: int | None = None
        """The code with which the client has closed it."""
        self.head = ""
        """The request to upgrade."""
        self.received = bytearray()
        """All bytes until the client was authenticated, to see what it tells."""
        self.records = True
        self._changed = changed
        self._writing = threading.Lock()
        self._sent_close = False
        self._on_text: Callable[[str], None] | None = None
        self._thread = threading.Thread(target=self._read_all, name="scripted hub", daemon=True)

    # -- the upgrade -----------------------------------------------------------------------------------------

    def read_head(self) -> dict[str, str]:
        """Read the request to upgrade; return its headers, with lower-case names."""
        self.sock.settimeout(10)
        data = b""
        while not data.endswith(b"\r\n\r\n"):  # a client sends nothing behind it before it has the answer
            piece = self.sock.recv(65536)
            if not piece:
                raise ConnectionResetError("the client closed the connection before it asked for an upgrade")
            data += piece
        self.received += data
        self.head = data.decode("latin-1")
        lines = self.head.split("\r\n")
        pairs = [line.partition(":") for line in lines[1:] if line]
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    def refuse(self, status: int, body: bytes = b"") -> None:
        """Answer the request to upgrade with an error."""
        head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        self.cut(reset=False)

    def upgrade(self, key: str, subprotocol: str | None, on_text: Callable[[str], None]) -> None:
        """Accept the upgrade, and read from now on.

        Args:
            key: the client's `Sec-WebSocket-Key`.
            subprotocol: the one that is chosen.
            on_text: called with each message, with the lock held.
        """
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        self.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n".encode()
        )
        self.sock.settimeout(None)
        self._on_text = on_text
        self._thread.start()

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        with self._writing, suppress(OSError):
            if not self.is_mute:
                self.sock.sendall(data)

    @staticmethod
    def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
        """Return a frame, unmasked as a server's are."""
        first, size = (0x80 if final else 0) | opcode, len(payload)
        if size < 126:
            head = struct.pack("!BB", first, size)
        elif size < 65536:
            head = struct.pack("!BBH", first, 126, size)
        else:
            head = struct.pack("!BBQ", first, 127, size)
        return head + payload

    def send(
        self, text: str, *, fragments: int = 1, ping_inside: bool = False, bytewise: bool = False
    ) -> None:
        """Send one message.

        Args:
            text: the message.
            fragments: the number of frames that it is sent in.
            ping_inside: send a ping between them.
            bytewise: write each byte by itself.
        """
        data = text.encode()
        step = -(-len(data) // fragments)
        pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
        out = []
        for index, piece in enumerate(pieces):
            is_last = index == len(pieces) - 1
            out.append(self.frame(CONTINUATION if index else TEXT, piece, final=is_last))
            if ping_inside and not is_last:
                out.append(self.frame(PING, b"inside"))
        whole = b"".join(out)
        if bytewise:
            for byte in whole:
                self.write(bytes([byte]))
        else:
            self.write(whole)

    def close(self, code: int | None, reason: str = "") -> None:
        """Begin to close it."""
        self._sent_close = True
        self.write(self.frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode()))

    def cut(self, *, reset: bool = True) -> None:
        """End the connection without a word; with a reset, what is on its way is lost."""
        with suppress(OSError):
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.sock.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            # A thread that blocks in recv keeps the connection open after a close alone.
            self.sock.shutdown(socket.SHUT_RD)
        self.sock.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5)

    # -- reading ---------------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        try:
            self._read_frames()
        except (OSError, EOFError):
            pass
        except ValueError as error:
            self._fault(str(error))
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _fault(self, text: str) -> None:
        with self._changed:
            self.faults.append(text)
            self._changed.notify_all()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def _read_frame(self) -> tuple[int, bool, bytes]:
        """Read one frame; return its opcode, whether it is the last of its message, and its payload."""
        first, second = self._exactly(2)
        size = second & 0x7F
        if first & 0x70:
            raise ValueError("the client set a reserved bit of a frame; no extension was agreed on")
        if not second & 0x80:
            raise ValueError("the client sent a frame that is not masked")
        if size >= 126:
            wide, least = (2, 126) if size == 126 else (8, 65536)
            size = int.from_bytes(self._exactly(wide))
            if size < least:
                raise ValueError("the client wrote the length of a frame in more bytes than it takes")
        mask, masked = self._exactly(4), self._exactly(size)
        keys = (mask * (size // 4 + 1))[:size]
        return (
            first & 0x0F,
            bool(first & 0x80),
            (int.from_bytes(masked) ^ int.from_bytes(keys)).to_bytes(size),
        )

    def _read_frames(self) -> None:
        """Read messages until the connection ends."""
        message: bytearray | None = None
        while True:
            opcode, is_final, payload = self._read_frame()
            if opcode >= CLOSE:
                if len(payload) > 125 or not is_final:
                    raise ValueError("the client sent a control frame that is too long, or in fragments")
                if self._control(opcode, payload):
                    return
                continue
            if (opcode == CONTINUATION) == (message is None):
                raise ValueError("the client began a message inside of another, or continued none")
            if opcode not in {CONTINUATION, TEXT}:
                raise ValueError(
                    f"the client sent a message of opcode {opcode}; these sessions have text only"
                )
            message = bytearray() if message is None else message
            message += payload
            if is_final:
                self._text(bytes(message))
                message = None

    def _text(self, data: bytes) -> None:
        if self.records:
            self.received += data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ValueError("the client sent text that is not UTF-8") from None
        with self._changed:
            assert self._on_text is not None
            if not self.is_mute:
                self._on_text(text)
            self._changed.notify_all()

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Process a control frame; return whether it is the last."""
        if opcode == PING:
            self.write(self.frame(PONG, payload))
        with self._changed:
            self.pings += opcode == PING
            if opcode == PONG:
                self.pongs.append(payload)
            elif opcode == CLOSE:
                self.close_code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                if not self._sent_close:
                    self.write(self.frame(CLOSE, payload[:2]))
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_WR)
            self._changed.notify_all()
        return opcode == CLOSE
