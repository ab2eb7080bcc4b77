"""One connection to a NATS system, which nats-py keeps up."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import LinkError
from berrymq.bridge.peers_log import peers_log
from berrymq.printable import printable

from .asyncio_loop import EmbeddedLoop

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from nats.aio.msg import Msg

    from berrymq.bridge.transport.loop import IoLoop

    from .address import NatsAddress
    from .direct_client import DirectClient

__all__ = ["NatsClient", "UnavailableError"]

RECONNECT_SECONDS = 0.25
"""The wait between attempts to reconnect; nats-py goes round all servers that it knows."""
PING_SECONDS = 5
"""The interval of pings; a server that leaves two of them unanswered is given up."""
PENDING_BYTES = 64 * 1024 * 1024
"""The bytes that are received from JetStream and not handled yet; more are dropped."""
CONNECT_SECONDS = 5
MIN_PAYLOAD = 16 * 1024
"""The smallest ``max_payload`` with which links work, in bytes; the default of NATS is 1 MiB."""

_MISSING = "NATS needs a package that is not installed: pip install nats-py"

_log = logging.getLogger("berrymq")


class UnavailableError(LinkError):
    """NATS is disconnected or does not answer, which may soon change."""


class NatsClient:
    """Connects, subscribes and publishes, until it is closed.

    Used on the I/O thread, except as noted.

    Args:
        io: its thread runs everything here.
        address: the servers and credentials.
        name: shown in the server's monitoring.
        ssl_context: trusted certificates; by default the system's.
        on_up: called after connecting, and after each reconnect.
        on_cut: called when the connection is lost.
        on_message: called with what is received, in order, on the thread that reads: the I/O thread, or one
            in `pump`.
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
        self._client: DirectClient | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._problem = ""
        """The last error of nats-py, without its secrets."""
        self._refused = False
        """Whether the server refused the connection for good, because of `_problem`."""
        self._failure = ""
        """Why the last attempt to connect has failed, as a sentence."""

    # -- the connection --------------------------------------------------------------------------------------

    def start(self, subjects: Sequence[str], done: Callable[[Exception | None], object]) -> None:
        """Connect and subscribe; on the I/O thread.

        Args:
            subjects: subscribed to for as long as the client lives.
            done: called with None, or with why it failed.
        """
        try:
            from .direct_client import DirectClient
        except ImportError:
            done(LinkError(_MISSING))
            return
        self._loop = EmbeddedLoop(self._io)
        self._client = DirectClient(self._io, self._loop)

        def report(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            self._failure = str(error or "")
            if error is None:
                done(None)
            else:
                self._io.call(self._end, lambda: done(error))  # type: ignore[arg-type]

        self._loop.create_task(self._start(self._client, subjects)).add_done_callback(report)

    async def _start(self, client: DirectClient, subjects: Sequence[str]) -> None:
        address = self.address
        options: dict[str, Any] = address.login()
        if self._ssl_context is not None:
            options |= {"tls": self._ssl_context}
        self._connecting = asyncio.create_task(
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
            )
        )
        try:
            await asyncio.wait_for(self._connecting, CONNECT_SECONDS)
        except asyncio.CancelledError:
            if not self._refused:
                raise
            raise LinkError(self._explain(None)) from None
        except Exception as error:  # noqa: BLE001 - nats-py raises errors of many kinds
            raise LinkError(self._explain(error)) from None
        self.max_payload = client.max_payload
        if self.max_payload < MIN_PAYLOAD:
            raise LinkError(
                f"the NATS server at {address} takes messages of {self.max_payload:,} bytes, "
                f"and a link needs {MIN_PAYLOAD:,}: set its max_payload"
            )
        for subject in subjects:
            await client.subscribe_directly(subject, self._received)
        self.acks = client.new_inbox()
        await client.subscribe_directly(f"{self.acks}.*", self._acknowledged)
        await client.flush(CONNECT_SECONDS)
        self.connected = True
        self._on_up()

    @property
    def problem(self) -> str:
        """Why there is no connection, as a sentence; "" if there is one."""
        if self.connected:
            return ""
        return self._failure or f"NATS at {self.address} is not connected"

    def _explain(self, error: Exception | None) -> str:
        """Return why a connection has failed, as a sentence; nats-py's texts hold no secrets of ours."""
        text = printable(self._problem or str(error) or type(error).__name__)
        if "authorization" in text.lower():
            return f"the NATS server at {self.address} refuses these credentials"
        if self._refused:
            return f"the NATS server at {self.address} is not trusted: {text}"
        return f"no NATS server answers at {self.address}: {text}"

    async def _note_error(self, error: Exception) -> None:
        from .direct_client import NoTlsError

        self._problem = str(error) or type(error).__name__
        if not self.connected and self._connecting is not None and not self._connecting.done():
            # nats-py would try again what another attempt does not change
            is_distrusted = isinstance(error, (ssl.SSLCertVerificationError, NoTlsError))
            self._refused = "authorization violation" in self._problem.lower() or (
                is_distrusted and len(self.address.hosts) == 1
            )
            if self._refused:
                self._connecting.cancel()
        if self.connected:
            peers_log.warning("NATS at %s: %s", self.address, printable(self._problem))

    async def _disconnected(self) -> None:
        if self.connected:
            self.connected = False
            peers_log.warning("the connection to NATS at %s is cut, and made again", self.address)
            self._on_cut()

    async def _reconnected(self) -> None:
        self.max_payload = self._client.max_payload if self._client else self.max_payload
        self.connected = True
        self._on_up()

    # -- messages --------------------------------------------------------------------------------------------

    def _received(self, _: bytes, payload: bytes) -> None:
        self._io.run_guarded(self._on_message, (payload,))

    def _acknowledged(self, subject: bytes, payload: bytes) -> None:
        number = subject.rpartition(b".")[2]
        if number.isdigit():
            self._io.call(self.on_ack, int(number), payload)

    def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish after what was published before; on any thread. Dropped while there is no connection."""
        client = self._client
        if self.connected and client is not None:
            client.publish_directly(subject, payload, reply, headers)

    def pump(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        *,
        wake: socket.socket | None = None,
        spin_until: float = 0.0,
    ) -> bool:
        """Receive on this thread, which waits for the result; see `Channel.pump`."""
        transport = self._client.socket_transport if self._client is not None else None
        if transport is None or not self.connected:
            return False
        return transport.pump(is_done, deadline, wake=wake, spin_until=spin_until)

    def as_reader(self, function: Callable[[], object]) -> bool:
        """Call a function in place of reading; return False, without a call, if another thread reads."""
        transport = self._client.socket_transport if self._client is not None else None
        if transport is None:
            self._io.run_guarded(function)
            return True
        return transport.as_reader(lambda: self._io.run_guarded(function))

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of a cluster."""
        return bool(self._client is not None and self._client._server_info.get("cluster"))

    def run(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run a coroutine, which handles its errors, on the event loop of nats-py.

        Returns:
            False before the start and after the end; then it is not run.
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
                await asyncio.wait_for(client.flush(1), 1.0)
            with suppress(Exception):
                await asyncio.wait_for(client.close(), 1.0)

        def ended(_: object) -> None:
            self._io.call(self._end, done)

        loop.create_task(end()).add_done_callback(ended)

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child; the connection is its parent's, and stays open."""
        transport = self._client.socket_transport if self._client is not None else None
        if transport is not None:
            transport.close_in_child()

    def _end(self, done: Callable[[], object]) -> None:
        transport = self._client.socket_transport if self._client is not None else None
        if transport is not None:
            transport.close()
        loop, self._loop, self._client = self._loop, None, None
        if loop is not None:
            loop.end()
        done()
