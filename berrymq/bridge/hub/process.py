"""The process of a hub: listen, publish the address, route, and shut down on a signal or when idle.

Only one hub runs for each user, machine and runtime directory: it holds ``hub_lock`` from before it listens
until after it has stopped. Whoever starts one at the same time waits for the lock, or finds the connection
file of the first.

The order of the end matters, for others look for a hub at any moment: first the connection file is removed,
so that no process finds this one; then links are closed; the lock is released last, when the process leaves
`serve_hub`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import ssl
import sys
from dataclasses import dataclass
from io import FileIO, TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from berrymq.bridge.discovery import connection_file
from berrymq.bridge.discovery.file_lock import open_regular
from berrymq.bridge.discovery.runtime_directory import runtime_directory
from berrymq.bridge.discovery.starting import hub_lock
from berrymq.bridge.errors import LinkError
from berrymq.bridge.node.process_lock import remove_stale
from berrymq.bridge.server.server import Server
from berrymq.bridge.transport.budget import MAX_HELD_BYTES, Budget
from berrymq.bridge.transport.loop import IoLoop

from .history import KEEP_BYTES, KEEP_MESSAGES
from .roster import Roster
from .router import Hub

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berrymq.bridge.discovery.connection_file import ConnectionFile
    from berrymq.bridge.nats.address import NatsAddress
    from berrymq.bridge.nats.upstream import Upstream
    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.transport.loop import Timer

__all__ = ["HubOptions", "detach", "log_to_file", "serve_hub"]

DESCRIPTORS = 8_192
"""Files and connections that a hub may have open, where the system lets it. A thousand connections, and the
arrays of others that it holds for their followers."""
LOG_BYTES = 256 * 1024
UPSTREAM_SECONDS = 2.5
"""The time limit for leaving NATS when a hub shuts down."""

ROSTER_SECONDS = 0.1
"""The delay before the roster is rewritten after nodes have disconnected, in seconds. New nodes are added at
once, for one that is missing in it would not be waited for by a successor; one too many makes a successor
wait for it."""

_log = logging.getLogger("berrymq")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """How a hub listens.

    Attributes:
        host: name or address to listen at.
        port: its port; 0 lets the system choose one.
        idle: seconds without a node until it shuts down; ``None`` for never.
        access_token: the secret that clients need; random by default.
        allow_insecure: allow plain text beyond loopback.
        hosts: further host names of the hub.
        origins: origins of web pages that may connect.
        certificate: file with its TLS certificate.
        key: file with the certificate's key, if it is a separate one.
        memory: bytes that may be buffered for all nodes together.
        keep_bytes: bytes of messages that may be retained in total.
        keep_messages: the number of messages that may be retained in total.
        upstream: the NATS system that links it to the hubs of other machines.
    """

    host: str = "127.0.0.1"
    port: int = 0
    idle: float | None = None
    access_token: str | None = None
    allow_insecure: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    memory: int = MAX_HELD_BYTES
    keep_bytes: int = KEEP_BYTES
    keep_messages: int = KEEP_MESSAGES
    upstream: NatsAddress | None = None

    def __repr__(self) -> str:
        return f"<HubOptions {self.host}:{self.port}>"


def serve_hub(options: HubOptions, on_ready: Callable[[ConnectionFile], None] | None = None) -> int | None:
    """Run the hub of this user on this machine, until a signal or the idle timeout ends it.

    Signals are handled while it runs, so it is called on the main thread.

    Args:
        options: how it listens.
        on_ready: called with its connection file once it listens.

    Returns:
        The number of the signal; None after the idle timeout.

    Raises:
        LinkError: it can't listen as the options say, or a hub runs already.
    """
    tls = _tls(options)
    directory = runtime_directory()
    _allow_descriptors()
    with hub_lock(directory):
        loop = IoLoop()
        roster = Roster(directory)
        remove_stale(directory)
        hub = Hub(
            loop,
            name="hub",
            budget=Budget(options.memory),
            expected=roster.read(),
            keep_bytes=options.keep_bytes,
            keep_messages=options.keep_messages,
        )
        server = Server(
            hub,
            access_token=options.access_token,
            ssl_context=tls,
            insecure=options.allow_insecure,
            hosts=options.hosts,
            origins=options.origins,
        )
        server.start(options.host, options.port)
        with connection_file.publish(
            url=server.url, access_token=server.access_token, name=hub.name, kind="hub"
        ) as file:
            upstream = None
            if options.upstream is not None:
                from berrymq.bridge.nats.upstream import Upstream  # it loads asyncio

                upstream = Upstream(hub, options.upstream)
            life = HubLifetime(loop, hub, server, file, roster, options.idle, upstream)
            with _signals(life):
                if on_ready is not None:
                    on_ready(file)
                loop.run()
        return life.signal


class HubLifetime:
    """Shuts the hub down at a signal, or after some seconds without a node.

    Used on the loop alone.
    """

    def __init__(  # noqa: PLR0917 - the parts of the process
        self,
        loop: IoLoop,
        hub: Hub,
        server: Server,
        file: ConnectionFile,
        roster: Roster,
        idle: float | None,
        upstream: Upstream | None,
    ) -> None:
        self.signal: int | None = None
        """The one that has ended it; None otherwise."""
        self._loop = loop
        self._hub = hub
        self._server = server
        self._file = file
        self._roster = roster
        self._upstream = upstream
        self._write_scheduled = False
        self._idle = idle
        self._timer: Timer | None = None
        """Runs while no node is connected."""
        hub.on_peers_changed = self._check
        server.on_websocket_end = self._restart
        loop.call(self._check)
        file.keep_renewed(loop.call_later)

    @property
    def _members(self) -> dict[str, Peer]:
        """The nodes that are linked to this hub, by id; not the hubs of other machines."""
        return {id: peer for id, peer in self._hub.peers.items() if peer.role != "mesh"}

    def _check(self) -> None:
        self._roster.add(self._members)
        if self._upstream is not None:
            self._upstream.update()
        if not self._write_scheduled:
            self._write_scheduled = True
            self._loop.call_later(ROSTER_SECONDS, self._write_roster)
        if any(peer.connected for peer in self._members.values()):
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None and self._idle is not None:
            self._timer = self._loop.call_later(self._idle, self._idle_timeout)

    def _write_roster(self) -> None:
        self._write_scheduled = False
        if self._hub.takeover.active:  # the roster still lists nodes that are expected to reconnect
            self._check()
        else:
            self._roster.replace(self._members)

    def _restart(self) -> None:
        """Restart the idle timeout, after a client has disconnected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._check()

    def _idle_timeout(self) -> None:
        """Shut down, unless something else than a link needs the hub."""
        self._timer = None
        # Clients without a link count as long as their token is valid. So do open WebSockets, such as those
        # that the Jupyter server holds open for its kernels, and jobs in shared queues.
        if len(self._server.sessions) or self._server.has_websockets or self._hub.groups.have_jobs:
            self._check()
        else:
            self.end(None)

    def end(self, signal: int | None) -> None:
        """Disconnect all nodes and stop the loop.

        Args:
            signal: its number; None after the idle timeout.
        """
        self.signal = signal
        self._hub.on_peers_changed = self._server.on_websocket_end = lambda: None
        self._write_scheduled = True  # schedule no more rewrites
        self._roster.remove()
        self._file.remove()  # first, so that no process finds a hub that shuts down
        if self._upstream is None:
            self._stop()
        else:
            self._upstream.close(self._stop)
            self._loop.call_later(UPSTREAM_SECONDS, self._stop)

    def _stop(self) -> None:
        self._hub.close()
        self._server.stop()
        self._loop.call_later(0.05, self._loop.stop)  # time for the last bytes to be written


def _allow_descriptors() -> None:
    """Let this process have as many file descriptors as it may: connections and others' arrays take many."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = DESCRIPTORS if hard < 0 else min(hard, DESCRIPTORS)
        if 0 <= soft < wanted:
            with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than it says
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _LogFile(RotatingFileHandler):
    """A rotating log file that is opened without following symbolic links.

    Another user could otherwise make a link in a shared directory, and have this process write elsewhere.
    """

    def _open(self) -> TextIOWrapper:
        descriptor = open_regular(Path(self.baseFilename), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return TextIOWrapper(FileIO(descriptor, "a"), encoding=self.encoding, write_through=True)


def log_to_file() -> None:
    """Log into the runtime directory from now on, up to a bounded size.

    Raises:
        LinkError: the file can't be written.
    """
    os.umask(0o077)
    path = runtime_directory() / "hub.log"
    try:
        handler = _LogFile(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise LinkError(f"can't write {path}: {error.strerror or error}") from error
    logging.basicConfig(handlers=[handler], format="%(asctime)s %(levelname)s %(message)s", force=True)


def detach() -> None:
    """Detach from the terminal or the pipes of the process that started this one.

    Called when it listens, so that the starter gets every error before that.
    """
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 - a device, not a path
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # their other end may be closed
                stream.flush()
            os.dup2(nothing.fileno(), stream.fileno())


@contextlib.contextmanager
def _signals(life: HubLifetime) -> Iterator[None]:
    """Shut the hub down on signals that end a process.

    Handlers run between two instructions of the loop, so they only schedule the end.
    """

    def on_signal(number: int, _: object) -> None:
        life._loop.call_from_signal(life.end, number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    for number, handler in former.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _tls(options: HubOptions) -> ssl.SSLContext | None:
    """Return the TLS context of a certificate; None without one.

    Raises:
        LinkError: the files can't be used.
    """
    if options.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.certificate, options.key)
    except (OSError, ssl.SSLError) as error:
        raise LinkError(
            f"can't use the certificate {options.certificate}: {error.strerror or error}"
        ) from error
    return context
