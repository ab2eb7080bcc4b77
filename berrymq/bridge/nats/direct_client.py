"""nats-py's client with a short way for messages: see `SocketTransport`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nats import errors
from nats.aio.client import Client
from nats.protocol.command import hpub_cmd, pub_cmd
from nats.protocol.parser import Parser

from berrymq.bridge.peers_log import peers_log

from .socket_transport import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from berrymq.bridge.transport.loop import IoLoop

    from .asyncio_loop import EmbeddedLoop

__all__ = ["DirectClient", "NoTlsError"]

MAX_BUFFERED = 65 * 1024 * 1024
"""The limit of an incomplete message, in bytes; NATS allows messages of 64 MiB."""

_NO_NEWLINES = {ord("\r"): " ", ord("\n"): " "}


class NoTlsError(OSError):
    """The URL requires TLS, and the server has none."""


class DirectClient(Client):
    """Hands messages of some subscriptions over where they are read, and writes where they are published.

    Everything else that the server sends is handled by nats-py, on its own loop. So its parser never has to
    wait, and may be run by whichever thread reads.

    Args:
        io: reads the connection.
        loop: runs nats-py.
    """

    def __init__(self, io: IoLoop, loop: EmbeddedLoop) -> None:
        super().__init__()
        self._io = io
        self._asyncio_loop = loop
        self._takers: dict[int, Callable[[bytes, bytes], object]] = {}
        """By subscription."""
        self._steps: set[asyncio.Task[None]] = set()

    @property
    def socket_transport(self) -> SocketTransport | None:
        """The transport of the current connection, or of the last one."""
        transport = self._transport
        return transport if isinstance(transport, SocketTransport) else None

    async def subscribe_directly(self, subject: str, take: Callable[[bytes, bytes], object]) -> None:
        """Subscribe for as long as the client lives.

        Args:
            subject: may have wildcards.
            take: called with the subject and the payload of each message, on the thread that reads; it must
                not raise.
        """
        subscription = await self.subscribe(subject, future=self._asyncio_loop.create_future())
        self._takers[subscription._id] = take

    def publish_directly(
        self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish on any thread; dropped while there is no connection."""
        transport = self.socket_transport
        if transport is None or not self.is_connected:
            return
        head = _encode_headers(headers) if headers else b""
        size = len(head) + len(payload)
        if size > self.max_payload:  # for that the server would end the connection
            peers_log.warning(
                "a message of %d bytes is not published: the NATS server does not accept it", size
            )
        elif headers:
            transport.write(hpub_cmd(subject, reply, head, payload))
        else:
            transport.write(pub_cmd(subject, reply, payload))

    # -- what nats-py calls ----------------------------------------------------------------------------------

    async def _connect_to_server(self, s: Any) -> None:
        former = self.socket_transport
        if former is not None:
            former.close()
        self._transport = SocketTransport(self._io)
        await super()._connect_to_server(s)

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:  # noqa: ARG002
        transport = self.socket_transport
        if transport is not None and self.is_connected:  # subscriptions are made again after a cut
            transport.write(cmd)

    async def _read_loop(self) -> None:
        transport, parser = self.socket_transport, Parser(self)
        if transport is None or self.is_closed:
            return

        def parse(data: bytes) -> None:
            step = parser.parse(data)
            with suppress(StopIteration):
                step.send(None)
                step.close()
                raise RuntimeError("nats-py's parser awaited something")
            if len(parser.buf) > MAX_BUFFERED:
                raise errors.ProtocolError

        try:
            error = await transport.read_until_end(parse)
        except asyncio.CancelledError:
            return
        if not isinstance(error, (OSError, errors.ProtocolError, errors.UnexpectedEOF)):
            await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        take = self._takers.get(sid)
        if take is not None:
            take(subject, data)
        else:
            self._later(super()._process_msg(sid, subject, reply, data, headers))  # type: ignore[arg-type]

    async def _process_ping(self) -> None:
        self._later(super()._process_ping())

    async def _process_pong(self) -> None:
        self._later(super()._process_pong())

    async def _process_err(self, err_msg: str) -> None:
        self._later(super()._process_err(err_msg))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            self._require_tls(info)
            await super()._process_info(info, initial_connection=True)
        else:
            self._later(super()._process_info(info))

    def _require_tls(self, info: dict[str, Any]) -> None:
        """Use TLS where the URL requires it, and not only where the server does.

        Raises:
            NoTlsError: the server has none.
        """
        if self._current_server is not None and self._current_server.uri.scheme == "tls":
            if not (info.get("tls_required") or info.get("tls_available")):
                raise NoTlsError("it offers no TLS, which tls:// requires")
            info["tls_required"] = True

    def _later(self, step: Coroutine[Any, Any, None]) -> None:
        """Run a step of nats-py on its loop, after those before."""
        self._io.call(self._run, step)

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        if self._asyncio_loop.is_closed():
            step.close()
        else:
            task = self._asyncio_loop.create_task(step)
            self._steps.add(task)  # asyncio holds tasks weakly
            task.add_done_callback(self._steps.discard)


def _encode_headers(headers: dict[str, str]) -> bytes:
    lines = [f"{key}: {value.translate(_NO_NEWLINES)}\r\n" for key, value in headers.items()]
    return b"NATS/1.0\r\n%b\r\n" % "".join(lines).encode()
