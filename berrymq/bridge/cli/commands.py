"""The commands of the command line, apart from how their arguments are written."""

from __future__ import annotations

import os
import queue
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from berrymq.bridge.api import Link, link
from berrymq.bridge.discovery.candidates import candidates
from berrymq.bridge.errors import LinkError
from berrymq.bridge.hub.serving import HubOptions, let_go, log_to_file, serve_hub
from berrymq.bridge.hub.starting import READY, RUNNING, STARTED, launch_hub
from berrymq.bus import Bus
from berrymq.identifiers import Identifier

from .terminal import Printer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from berrymq.bridge.discovery.connection_file import ConnectionFile
    from berrymq.messages import Message

__all__ = ["Place", "follow", "get", "hub", "launch", "nodes", "silence_output", "twitter"]

FLUSH_SECONDS = 10.0

# On Windows nothing interrupts a wait without an end.
_WAIT = 0.5 if sys.platform == "win32" else None


class Place:
    """Which hub to link to, and as whom."""

    def __init__(
        self,
        url: str | None = None,
        access_token: str | None = None,
        name: str | None = None,
        room: str | None = None,
    ) -> None:
        self._url = url
        self._access_token = access_token
        self._name = name
        self._room = room

    def join(self, bus: Bus, *, start: bool) -> Link:
        """Link ``bus`` to it; without a URL a hub is found, and started if ``start`` and there is none.

        Raises:
            LinkError: there is no hub.
        """
        if start or self._url:
            return self._link(bus, self._url, self._access_token)
        for found in candidates():
            try:
                return self._link(bus, found.url, found.access_token)
            except LinkError:
                continue
        raise LinkError(
            "no hub of yours runs on this machine; `berrymq hub` starts one, so does a first link"
        )

    def _link(self, bus: Bus, url: str | None, access_token: str | None) -> Link:
        return link(url, access_token=access_token, name=self._name, room=self._room, bus=bus)


def hub(options: HubOptions, *, detach_when_ready: bool) -> int:
    """Be a hub until told to end; with ``detach_when_ready``, in the background once it listens."""
    printer = Printer()

    def on_ready(file: ConnectionFile) -> None:
        if detach_when_ready:
            log_to_file()
            printer.note(f"{READY} {file.info.url}")
            let_go()
            return
        printer.note(f"berryMQ hub at {file.info.url}")
        printer.note("Your programs on this machine find it by themselves. Ctrl-C ends it.")
        printer.note(f"Others need the access token that is in {file.path}")
        printer.flush()

    return 130 if serve_hub(options, on_ready) == signal.SIGINT else 0


def launch(arguments: Sequence[str]) -> int:
    """Start a hub in the background, unless one runs."""
    launched = launch_hub(arguments)
    printer = Printer()
    printer.note(f"{STARTED if launched.is_new else RUNNING} {launched.url}")
    printer.flush()
    return 0


def follow(place: Place, identifiers: Sequence[Identifier], *, json: bool = False) -> int:
    """Print messages as they come, until interrupted."""
    printer = Printer(json=json)
    with _inbox(place, identifiers) as inbox:
        while True:
            printer.message(_next(inbox))
            if inbox.empty():
                printer.flush()


def get(
    place: Place,
    identifiers: Sequence[Identifier],
    *,
    count: int = 1,
    timeout: float | None = None,
    json: bool = False,
) -> int:
    """Print the next messages; 1 when they did not come within ``timeout`` seconds each."""
    printer = Printer(json=json)
    with _inbox(place, identifiers) as inbox:
        for _ in range(count):
            try:
                printer.message(_next(inbox, timeout))
            except queue.Empty:
                raise LinkError(f"no message within {timeout:g} seconds") from None
            printer.flush()
    return 0


def twitter(place: Place, identifier: Identifier, args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    """Send one message; 1 when the hub did not take it."""
    bus = Bus("berrymq twitter")
    with place.join(bus, start=False) as joined:
        others = [node for node in joined.nodes() if not node.here]
        if not any(Identifier.parse(text).matches(identifier) for node in others for text in node.follows):
            Printer(sys.stderr).note(f"berrymq: nobody follows {identifier} at present")
        bus.twitter(identifier, *args, **kwargs)
        if not joined.flush(FLUSH_SECONDS):
            raise LinkError(f"the hub did not take the message within {FLUSH_SECONDS:g} seconds")
    return 0


def nodes(place: Place, *, json: bool = False) -> int:
    """Print who is there."""
    printer = Printer(json=json)
    with place.join(Bus("berrymq nodes"), start=False) as joined:
        printer.nodes([node for node in joined.nodes() if not node.here])
    printer.flush()
    return 0


@contextmanager
def _inbox(place: Place, identifiers: Sequence[Identifier]) -> Iterator[queue.Queue[Message]]:
    """Link, and collect what matches.

    It is bounded: when the reader of our output lags, so do the deliveries, and the other side is told to
    wait.
    """
    inbox: queue.Queue[Message] = queue.Queue(1000)
    is_open = True
    latest: Message | None = None

    def take(message: Message) -> None:
        nonlocal latest
        if message is latest:
            return  # it matches several of the identifiers
        latest = message
        while is_open:
            try:
                inbox.put(message, timeout=0.2)
                return
            except queue.Full:
                continue

    bus = Bus("berrymq follow")
    for identifier in identifiers:
        bus.follow(identifier, take)
    try:
        with place.join(bus, start=True):
            yield inbox
    finally:
        is_open = False


def _next(inbox: queue.Queue[Message], timeout: float | None = None) -> Message:
    while timeout is None:
        try:
            return inbox.get(timeout=_WAIT)
        except queue.Empty:
            continue
    return inbox.get(timeout=timeout)


def silence_output() -> None:
    """Whoever read our output has gone: let the interpreter's exit not stumble over that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
