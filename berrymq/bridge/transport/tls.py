"""TLS as bytes in and bytes out (`ssl.MemoryBIO`), so that any thread may send while another receives."""

from __future__ import annotations

import ssl

__all__ = ["Tls"]

CHUNK = 256 * 1024
"""The size of a read of decrypted bytes."""


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
        """What was to be sent before the handshake was done."""
        self.established = False
        """Whether the handshake is done."""

    def receive(self, data: bytes) -> bytes:
        """Decrypt received bytes; the handshake takes place here, too.

        Args:
            data: from the socket, ``b""`` at the end of the stream.

        Returns:
            The plain text, ``b""`` if there is none yet. There may be bytes to be written then: see `take`.

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
        """Return the encrypted bytes that are to be written, and clear them."""
        return self._outgoing.read()

    def _handshake(self) -> bool:
        """Continue the handshake; return whether it is done, after which what was waiting is encrypted."""
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._ssl.write(data)
        return True
