"""What the process of a hub does: listen, say where, route what comes, and end when it is time."""

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
from berrymq.bridge.server.server import Server
from berrymq.bridge.transport.budget import MAX_HELD_BYTES, Budget
from berrymq.bridge.transport.loop import IoLoop

from .history import KEEP_BYTES, KEEP_MESSAGES
from .roster import Roster
from .router import Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berrymq.bridge.discovery.connection_file import ConnectionFile
    from berrymq.bridge.transport.loop import Timer

__all__ = ["HubOptions", "detach", "log_to_file", "serve_hub"]

LOG_BYTES = 256 * 1024

NOTE_SECONDS = 0.1
"""After so long it is noted who has gone, for a hub that may have to take this one's place."""

_log = logging.getLogger("berrymq")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """How a hub listens.

    Attributes:
        host: name or address to listen at.
        port: its port; 0 lets the system choose one.
        idle: seconds after its last node has left until it ends; ``None`` for never.
        access_token: what lets a node in; made when not given.
        allow_insecure: plain text may cross the network.
        hosts: further names under which it is reached.
        origins: web pages, by origin, that may talk to it.
        certificate: the file of its TLS certificate.
        key: the file of the certificate's key, where it is another.
        memory: bytes that may wait for slow nodes, all together.
        keep_bytes: bytes of messages that are retained, all together.
        keep_messages: how many messages are.
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

    def __repr__(self) -> str:
        return f"<HubOptions {self.host}:{self.port}>"


def serve_hub(options: HubOptions, on_ready: Callable[[ConnectionFile], None] | None = None) -> int | None:
    """Be the hub of this user on this machine, until a signal ends it or nobody has been there for long.

    Args:
        options: how it listens.
        on_ready: called once it does.

    Returns:
        The number of that signal; None when it was idle.

    Raises:
        LinkError: it can't listen as it was told, or there is a hub already.
    """
    tls = _tls(options)
    directory = runtime_directory()
    with hub_lock(directory):
        loop = IoLoop()
        roster = Roster(directory)
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
            life = HubLifetime(loop, hub, server, file, roster, options.idle)
            with _signals(life):
                if on_ready is not None:
                    on_ready(file)
                loop.run()
        return life.signal


class HubLifetime:
    """When the hub ends: at a signal, or when nobody has been there for so many seconds."""

    def __init__(  # noqa: PLR0917 - the parts of the process
        self,
        loop: IoLoop,
        hub: Hub,
        server: Server,
        file: ConnectionFile,
        roster: Roster,
        idle: float | None,
    ) -> None:
        self.signal: int | None = None
        self._loop = loop
        self._hub = hub
        self._server = server
        self._file = file
        self._roster = roster
        self._will_note = False
        self._idle = idle
        self._timer: Timer | None = None
        hub.on_peers_changed = self._look
        server.on_websocket_end = self._restart
        loop.call(self._look)
        loop.call_later(connection_file.RENEWAL_SECONDS, self._renew)

    def _look(self) -> None:
        self._roster.add(self._hub.peers)
        if not self._will_note:
            self._will_note = True
            self._loop.call_later(NOTE_SECONDS, self._note)
        if any(peer.connected for peer in self._hub.peers.values()):
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None and self._idle is not None:
            self._timer = self._loop.call_later(self._idle, self._idle_for_long)

    def _note(self) -> None:
        self._will_note = False
        if self._hub.is_gathering:  # who has not come back yet is still expected
            self._look()
        else:
            self._roster.replace(self._hub.peers)

    def _restart(self) -> None:
        """Somebody has left: from now on it is counted how long nobody has been there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._look()

    def _idle_for_long(self) -> None:
        self._timer = None
        # Clients without a link come and go, and are there as long as their token. Who keeps a WebSocket
        # open, as the Jupyter server does for its kernels, is there as well.
        if len(self._server.sessions) or self._server.has_websockets:
            self._look()
        else:
            self.end(None)

    def _renew(self) -> None:
        try:
            self._file.renew()
        except (OSError, LinkError) as error:
            _log.warning(
                "cannot renew the connection file, so other processes will not find this hub: %s", error
            )
        self._loop.call_later(connection_file.RENEWAL_SECONDS, self._renew)

    def end(self, signal: int | None) -> None:
        """Let everybody go, then end."""
        self.signal = signal
        self._hub.on_peers_changed = self._server.on_websocket_end = lambda: None
        self._will_note = True  # never again
        self._roster.remove()
        self._file.remove()  # first, so that nobody is led to a hub that shuts down
        self._hub.close()
        self._server.stop()
        self._loop.call_later(0.05, self._loop.stop)  # what was written last is on its way by then


class _LogFile(RotatingFileHandler):
    """Opens the log itself, never what a symbolic link in its place leads to."""

    def _open(self) -> TextIOWrapper:
        descriptor = open_regular(Path(self.baseFilename), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return TextIOWrapper(FileIO(descriptor, "a"), encoding=self.encoding, write_through=True)


def log_to_file() -> None:
    """Log into the runtime directory from now on, a bounded amount.

    Raises:
        LinkError: nothing can be written there.
    """
    os.umask(0o077)
    path = runtime_directory() / "hub.log"
    try:
        handler = _LogFile(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise LinkError(f"can't write {path}: {error.strerror or error}") from error
    logging.basicConfig(handlers=[handler], format="%(asctime)s %(levelname)s %(message)s", force=True)


def detach() -> None:
    """Go on without the terminal or the pipes of who started this."""
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 - a device, not a path
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # who started this may be gone
                stream.flush()
            os.dup2(nothing.fileno(), stream.fileno())


@contextlib.contextmanager
def _signals(life: HubLifetime) -> Iterator[None]:
    """Let the signals that mean "end" do it in good order."""

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
