"""What the process of a hub does: listen, say where, hand on what comes, and end when it is time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

from berrymq.bridge.discovery.runtime_directory import runtime_directory
from berrymq.bridge.errors import LinkError
from berrymq.bridge.node import Node
from berrymq.bridge.server.listener import listen

from .joining import Joining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from berrymq.bridge.discovery.connection_file import ConnectionFile

__all__ = ["HubOptions", "let_go", "log_to_file", "serve_hub"]

_LOG_BYTES = 256 * 1024


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
        alone: it does not link to the other hubs of this user.
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
    alone: bool = False

    def __repr__(self) -> str:
        return f"<HubOptions {self.host}:{self.port}>"


def serve_hub(options: HubOptions, on_ready: Callable[[ConnectionFile], None] | None = None) -> int | None:
    """Be a hub until a signal says to end, or the last node has been gone for long enough.

    Gives the number of that signal; None when it was idle.

    Args:
        options: how it listens.
        on_ready: called once it does.

    Raises:
        LinkError: it can't listen as it was told.
    """
    # A selector loop: tornado needs one on Windows, where it is not the default.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(_serve(options, on_ready))


async def _serve(options: HubOptions, on_ready: Callable[[ConnectionFile], None] | None) -> int | None:
    node = Node(name="hub", hub=True, access_token=options.access_token)
    joining: Joining | None = None
    try:
        listener = await listen(
            node,
            options.host,
            options.port,
            ssl_context=_tls(options),
            insecure=options.allow_insecure,
            hosts=options.hosts,
            origins=options.origins,
        )
        end: asyncio.Future[int | None] = node.loop.create_future()
        file = listener.publish("hub")
        if not options.alone:
            joining = Joining(node, file.info)
        with _signals(end), _Idle(node, options.idle, end):
            if on_ready is not None:
                on_ready(file)
            return await end
    finally:
        if joining is not None:
            await joining.close()
        await node.close()


def log_to_file() -> None:
    """Log into the runtime directory from now on, a bounded amount.

    Raises:
        LinkError: nothing can be written there.
    """
    os.umask(0o077)
    path = runtime_directory() / "hub.log"
    try:
        handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise LinkError(f"can't write {path}: {error.strerror or error}") from error
    logging.basicConfig(handlers=[handler], format="%(asctime)s %(levelname)s %(message)s", force=True)


def let_go() -> None:
    """Go on without the terminal or the pipes of who started this."""
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 - a device, not a path
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # who started this may be gone
                stream.flush()
            os.dup2(nothing.fileno(), stream.fileno())


class _Idle:
    """Sets ``end`` when no node but other hubs has been linked for so many seconds, from the start on."""

    def __init__(self, node: Node, seconds: float | None, end: asyncio.Future[int | None]) -> None:
        self._node = node
        self._seconds = seconds
        self._end = end
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._node.on_peers_changed = self._look
        self._look()

    def __exit__(self, *_: object) -> None:
        self._node.on_peers_changed = None
        self._stop()

    def _look(self) -> None:
        if any(peer.connected and not peer.sees_all for peer in self._node.neighbours):
            self._stop()
        elif self._timer is None and self._seconds is not None:
            self._timer = self._node.loop.call_later(self._seconds, self._over)

    def _over(self) -> None:
        self._timer = None
        if len(
            self._node.tokens
        ):  # clients without a link, which come and go, are there as long as their token
            self._look()
        else:
            _set(self._end, None)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _set(end: asyncio.Future[int | None], value: int | None) -> None:
    if not end.done():
        end.set_result(value)


@contextlib.contextmanager
def _signals(end: asyncio.Future[int | None]) -> Iterator[None]:
    """Let the signals that mean "end" do it in good order."""

    def on_signal(number: int, _: object) -> None:
        end.get_loop().call_soon_threadsafe(_set, end, number)

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
