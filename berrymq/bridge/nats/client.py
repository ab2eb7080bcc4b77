"""One connection to a NATS system, which nats-py keeps up. Used on the I/O thread alone."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import LinkError
from berrymq.bridge.peers_log import peers_log
from berrymq.printable import printable

from .asyncio_loop import EmbeddedLoop

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from berrymq.bridge.transport.loop import IoLoop

    from .address import NatsAddress

__all__ = ["NatsClient", "UnavailableError"]

RECONNECT_SECONDS = 0.25
"""The wait between attempts to reconnect; nats-py goes round all servers that it knows."""
PING_SECONDS = 5
"""The interval of pings; a server that leaves two of them unanswered is given up."""
PENDING_BYTES = 64 * 1024 * 1024
"""Received and not handled yet. Streams bound what is in flight to less; more is dropped, and sent again."""
CONNECT_SECONDS = 5

_MISSING = "NATS needs a package that is not installed: pip install nats-py"

_log = logging.getLogger("berrymq")


class UnavailableError(LinkError):
    """NATS is cut, or does not answer: it may do so soon."""


class NatsClient:
    """Connects, subscribes and publishes, until it is closed.

    Args:
        io: its thread runs everything here.
        address: the servers and credentials.
        name: shown in the server's monitoring.
        ssl_context: trusted certificates; by default the system's.
        on_up: called after connecting, and after each reconnect.
        on_cut: called when the connection is lost.
        on_message: called with what is received, in order of arrival for each subject.
    """

    def __init__(
        self,
        io: IoLoop,
        address: NatsAddress,
        *,
        name: str,
        ssl_context: ssl.SSLContext | None,
        on_up: Callable[[], object],
        on_cut: Callable[[], object],
        on_message: Callable[[bytes], object],
    ) -> None:
        self.address = address
        self.max_payload = 1024 * 1024
        """The server's limit of a message, in bytes."""
        self.connected = False
        self.acks = ""
        """The subject below which JetStream acknowledges, with a number as the last token."""
        self.on_ack: Callable[[int, bytes], object] = lambda *_: None
        """Called with that number and the answer."""
        self._io = io
        self._name = name
        self._ssl_context = ssl_context
        self._on_up, self._on_cut, self._on_message = on_up, on_cut, on_message
        self._loop: EmbeddedLoop | None = None
        self._client: Client | None = None
        self._out: deque[tuple[str, bytes, str, dict[str, str] | None]] = deque()
        self._has_out: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._problem = ""
        """The last error of nats-py, without its secrets."""

    # -- the connection --------------------------------------------------------------------------------------

    def start(self, subjects: Sequence[str], done: Callable[[Exception | None], object]) -> None:
        """Connect and subscribe; on the I/O thread.

        Args:
            subjects: subscribed to for as long as the client lives.
            done: called with None, or with why it failed.
        """
        try:
            import nats.aio.client
        except ImportError:
            done(LinkError(_MISSING))
            return
        self._loop = EmbeddedLoop(self._io)
        self._has_out = asyncio.Event()
        self._client = nats.aio.client.Client()

        def report(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is None:
                done(None)
            else:
                self._io.call(self._end, lambda: done(error))  # type: ignore[arg-type]

        self._loop.create_task(self._start(self._client, subjects)).add_done_callback(report)

    async def _start(self, client: Client, subjects: Sequence[str]) -> None:
        address = self.address
        options: dict[str, Any] = {}
        if address.password:
            options |= {"user": address.user, "password": address.password}
        elif address.user:
            options |= {"token": address.user}
        if address.credentials:
            if not Path(address.credentials).is_file():  # noqa: ASYNC240 - once, before anything else is there
                raise LinkError(f"there is no credentials file {printable(address.credentials)}")
            options |= {"user_credentials": address.credentials}
        if self._ssl_context is not None:
            options |= {"tls": self._ssl_context}
        try:
            await asyncio.wait_for(
                client.connect(
                    address.servers,
                    name=self._name,
                    connect_timeout=CONNECT_SECONDS,
                    reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # it only sleeps for it
                    max_reconnect_attempts=-1,
                    ping_interval=PING_SECONDS,
                    no_echo=True,
                    pending_size=0,  # nothing is buffered during a cut: the streams hold it
                    error_cb=self._note_error,
                    disconnected_cb=self._disconnected,
                    reconnected_cb=self._reconnected,
                    **options,
                ),
                CONNECT_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - nats-py raises errors of many kinds
            raise LinkError(self._explain(error)) from None
        self.max_payload = client.max_payload
        for subject in subjects:
            await client.subscribe(
                subject, cb=self._received, pending_msgs_limit=-1, pending_bytes_limit=PENDING_BYTES
            )
        self.acks = client.new_inbox()
        await client.subscribe(f"{self.acks}.*", cb=self._acknowledged, pending_msgs_limit=-1)
        await client.flush(CONNECT_SECONDS)
        self._loop.create_task(self._publish_all(client))  # type: ignore[union-attr]
        self.connected = True
        self._on_up()

    def _explain(self, error: Exception) -> str:
        """Return a sentence for people about a failed connection; nats-py's texts hold no secrets of ours."""
        text = printable(self._problem or str(error) or type(error).__name__)
        if "authorization" in text.lower():
            return f"the NATS server at {self.address} refuses these credentials"
        return f"no NATS server answers at {self.address}: {text}"

    async def _note_error(self, error: Exception) -> None:
        self._problem = str(error) or type(error).__name__
        if self.connected:
            peers_log.warning("NATS at %s: %s", self.address, printable(self._problem))

    async def _disconnected(self) -> None:
        if self.connected:
            self.connected = False
            self._out.clear()
            self._on_cut()

    async def _reconnected(self) -> None:
        self.max_payload = self._client.max_payload if self._client else self.max_payload
        self.connected = True
        self._on_up()

    # -- messages --------------------------------------------------------------------------------------------

    async def _received(self, message: Msg) -> None:
        self._io.run_guarded(self._on_message, (message.data,))

    async def _acknowledged(self, message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        if number.isdecimal():
            self._io.run_guarded(self.on_ack, (int(number), message.data))

    def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish after what was published before; dropped while there is no connection."""
        if self.connected and self._has_out is not None:
            self._out.append((subject, payload, reply, headers))
            self._has_out.set()

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of a cluster."""
        return bool(self._client is not None and self._client._server_info.get("cluster"))

    def run(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run a coroutine, which handles its errors, on the event loop of nats-py.

        Returns:
            False before the start and after the end, when it is not run.
        """
        if self._loop is None:
            work.close()
            return False
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes | None:
        """Return the answer to a request; None if there is no service of the subject.

        Raises:
            UnavailableError: there is no connection, or no answer in time.
        """
        from nats.errors import Error, NoRespondersError

        if self._client is None or not self.connected:
            raise UnavailableError(f"the connection to NATS at {self.address} is cut")
        try:
            return (await self._client.request(subject, payload, timeout=timeout)).data
        except NoRespondersError:
            return None
        except (Error, TimeoutError) as error:
            text = printable(str(error) or type(error).__name__)
            raise UnavailableError(f"NATS at {self.address} does not answer: {text}") from None

    @asynccontextmanager
    async def inbox(
        self, receive: Callable[[Msg], Awaitable[None]], subject: str = "", *, below: str = ""
    ) -> AsyncIterator[str]:
        """Subscribe to a subject, by default to one of its own, and give that.

        Args:
            receive: called with what is received.
            subject: the subject.
            below: what follows the subject in that of the subscription, such as ``.>``.

        Raises:
            UnavailableError: there is no connection.
        """
        from nats.errors import Error

        client = self._client
        if client is None or not self.connected:
            raise UnavailableError(f"the connection to NATS at {self.address} is cut")
        subject = subject or client.new_inbox()
        subscription = await client.subscribe(
            subject + below, cb=receive, pending_msgs_limit=-1, pending_bytes_limit=PENDING_BYTES
        )
        try:
            yield subject
        finally:
            with suppress(Error):
                await subscription.unsubscribe()

    async def _publish_all(self, client: Client) -> None:
        assert self._has_out is not None
        while True:
            await self._has_out.wait()
            self._has_out.clear()
            while self._out:
                try:
                    await client.publish(*self._out.popleft())
                except Exception as error:  # noqa: BLE001 - it was cut just now, and the stream resumes
                    _log.debug("NATS: %s", error)

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self, done: Callable[[], object]) -> None:
        """Publish what is left, and end; on the I/O thread.

        Args:
            done: called at the end.
        """
        client, loop = self._client, self._loop
        self.connected = False
        if client is None or loop is None:
            done()
            return

        async def end() -> None:
            with suppress(Exception):
                while self._out:
                    await client.publish(*self._out.popleft())
                await asyncio.wait_for(client.flush(1), 1.0)
            with suppress(Exception):
                await asyncio.wait_for(client.close(), 1.0)

        def ended(_: object) -> None:
            self._io.call(self._end, done)

        loop.create_task(end()).add_done_callback(ended)

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child; the connection is its parent's, and stays open."""
        transport = getattr(self._client, "_transport", None)
        writer = getattr(transport, "_io_writer", None)  # nats-py hands it out nowhere else
        sock = None if writer is None else writer.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                os.close(sock.fileno())

    def _end(self, done: Callable[[], object]) -> None:
        loop, self._loop, self._client = self._loop, None, None
        if loop is not None:
            loop.end()
        done()
