"""TLS as bytes in and bytes out (`ssl.MemoryBIO`), so that any thread may send while another receives."""

from __future__ import annotations

import ssl

__all__ = ["Tls"]

CHUNK = 256 * 1024


class Tls:
    """One side of a TLS connection. Not thread-safe: its channel holds a lock.

    Args:
        context: certificates and settings.
        server_name: the server's name, at a client; None at the server.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._waiting: list[bytes] = []
        self.established = False

    def receive(self, data: bytes) -> bytes:
        """Decrypt received bytes, ``b""`` at their end; return the plain text, ``b""`` if there is none yet.

        Raises:
            ssl.SSLError: the other side does not speak TLS, or its certificate is not trusted.
            ConnectionResetError: the other side has closed the connection.
        """
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        if not self.established and not self._handshake():
            return b""
        plain: list[bytes] = []
        try:
            while chunk := self._ssl.read(CHUNK):
                plain.append(chunk)
            ended = True
        except ssl.SSLWantReadError:
            ended = False
        except ssl.SSLEOFError:
            ended = True
        if ended and not plain:
            raise ConnectionResetError("the other side has ended the connection")
        return b"".join(plain)

    def send(self, data: bytes) -> None:
        """Encrypt bytes; until the handshake is done, they are buffered."""
        if not self.established and not self._handshake():
            self._waiting.append(data)
            return
        self._ssl.write(data)

    def take(self) -> bytes:
        """Return what is to be written, and clear it."""
        return self._outgoing.read()

    def _handshake(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._ssl.write(data)
        return True
