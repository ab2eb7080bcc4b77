"""The commands that link to a hub, without the parsing of their arguments.

Each links a bus of its own, so the process follows nothing beside what it was asked for. Errors are raised
and become one line (``command_line.py``); an interrupt ends any wait.
"""

from __future__ import annotations

import queue
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berrymq.bridge.api import Link, link
from berrymq.bridge.discovery.finding import find
from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.limits import KEEP_LAST
from berrymq.bus import Bus
from berrymq.targets import QueueTarget

from .terminal import Printer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from berrymq.identifiers import Identifier
    from berrymq.messages import Message

__all__ = ["Destination", "follow", "get", "keep", "nodes", "twitter"]

FLUSH_SECONDS = 10.0
"""The time for the hub to acknowledge a message."""

INBOX_SIZE = 1000
"""Messages that may be buffered for printing before deliveries block."""

# On Windows nothing interrupts a wait without a timeout.
_WAIT = 0.5 if sys.platform == "win32" else None


@dataclass(frozen=True, slots=True)
class Destination:
    """The hub to link to, and the name and room there. A value of None is found automatically."""

    url: str | None = None
    access_token: str | None = None
    name: str | None = None
    room: str | None = None

    def join(self, bus: Bus, *, start: bool) -> Link:
        """Link `bus` to the hub; without a URL it is found, or started if `start` is set.

        Raised errors name the first endpoint that was tried.

        Raises:
            LinkError: there is no hub.
        """
        if start or self.url:
            return self._link(bus, self.url, self.access_token)
        problem: LinkError | None = None
        for found in find():
            try:
                return self._link(bus, found.endpoint.url, found.access_token)
            except LinkError as error:
                problem = problem or error
        raise problem or LinkError(
            "no hub of yours runs on this machine; `berrymq hub` starts one, so does a first link"
        )

    def _link(self, bus: Bus, url: str | None, access_token: str | None) -> Link:
        return link(url, access_token=access_token, name=self.name, room=self.room, bus=bus)


def follow(
    destination: Destination,
    identifiers: Sequence[Identifier],
    *,
    past: bool | int = False,
    json: bool = False,
) -> int:
    """Print messages as they arrive, until interrupted.

    Args:
        destination: the hub.
        identifiers: the messages to print.
        past: print first so many of the newest messages that the hub retains; True for all.
        json: print JSON objects.

    Raises:
        LinkError: there is no hub, and none can be started.
        OutputError: standard output can't be written.
    """
    printer = Printer(json=json)
    with _inbox(destination, identifiers, past) as inbox:
        while True:
            printer.message(_next(inbox))
            if inbox.empty():
                printer.flush()


def get(
    destination: Destination,
    identifiers: Sequence[Identifier],
    *,
    count: int = 1,
    timeout: float | None = None,
    json: bool = False,
) -> int:
    """Print the next messages; raise an error if one does not arrive within `timeout` seconds.

    It takes no message from others, for each follower gets a copy.

    Raises:
        LinkError: none came in time, or there is no hub.
        OutputError: standard output can't be written.
    """
    printer = Printer(json=json)
    with _inbox(destination, identifiers) as inbox:
        for _ in range(count):
            try:
                printer.message(_next(inbox, timeout))
            except queue.Empty:
                raise LinkError(f"no message within {timeout:g} seconds") from None
            printer.flush()
    return 0


def twitter(
    destination: Destination, identifier: Identifier, args: Sequence[Any], kwargs: dict[str, Any]
) -> int:
    """Send one message; raise an error if the hub does not acknowledge it.

    That there are no followers at present is said on standard error, and is no error.

    Raises:
        LinkError: there is no hub, or it has not acknowledged the message in `FLUSH_SECONDS`.
        PayloadError: a value can't cross.
    """
    bus = Bus("berrymq twitter")
    with destination.join(bus, start=False) as joined:
        if not joined.is_followed(identifier):
            Printer(sys.stderr).note(f"berrymq: no followers of {identifier} at present")
        bus.twitter(identifier, *args, **kwargs)
        if not joined.flush(FLUSH_SECONDS):
            raise LinkError(f"the hub did not take the message within {FLUSH_SECONDS:g} seconds")
    return 0


def keep(
    destination: Destination,
    identifiers: Sequence[Identifier],
    *,
    last: int = KEEP_LAST,
    drop: bool = False,
    json: bool = False,
) -> int:
    """Have the hub retain messages, or end that; without identifiers, list what it retains.

    Args:
        destination: the hub.
        identifiers: the messages to retain.
        last: the number of messages of each identifier.
        drop: end the retention instead.
        json: print the list as JSON.
    """
    from berrymq.bridge.keeping import keep

    bus = Bus("berrymq keep")
    with destination.join(bus, start=False):
        for identifier in identifiers:
            keep(identifier, last=0 if drop else last, bus=bus)
        if not identifiers:
            printer = Printer(json=json)
            printer.kept(keep(bus=bus))
            printer.flush()
    return 0


def nodes(destination: Destination, *, json: bool = False) -> int:
    """Print the reachable nodes; on stderr, why a hub is not linked to those of other machines.

    Without this process itself.
    """
    printer, problems = Printer(json=json), Printer(sys.stderr)
    with destination.join(Bus("berrymq nodes"), start=False) as joined:
        printer.nodes([node for node in joined.nodes() if not node.here])
        upstream = joined.status().get("upstream") if joined.leads_to_hub else None
        if upstream and upstream["problem"]:
            problems.note(f"berrymq: those of other machines are missing: {upstream['problem']}")
    printer.flush()
    problems.flush()
    return 0


@contextmanager
def _inbox(
    destination: Destination, identifiers: Sequence[Identifier], past: bool | int = False
) -> Iterator[queue.Queue[Message]]:
    """Link, and collect matching messages in a queue, which answers no questions.

    It is bounded. If the reader of our output is slow, deliveries block, and the other side holds back.

    A message that several of the identifiers match is put once: each follower but the first has a guard that
    leaves out what an earlier one has.
    """
    inbox: queue.Queue[Message] = queue.Queue(INBOX_SIZE)
    is_open = True

    def take(message: Message) -> None:
        while is_open:
            try:
                inbox.put(message, timeout=0.2)
                return
            except queue.Full:
                continue

    bus = Bus("berrymq follow")
    wanted = list(dict.fromkeys(identifiers))

    def subscribe() -> None:
        for place, identifier in enumerate(wanted):

            def is_first(message: Message, others: list[Identifier] = wanted[:place]) -> bool:
                return not any(one.matches(message.identifier) for one in others)

            bus._subscribe(
                identifier,
                QueueTarget(take, "berrymq follow", None),
                guard=is_first if place else None,
                past=past,
            )

    if not past:
        subscribe()
    try:
        with destination.join(bus, start=True):
            if past:  # which only a link can bring
                subscribe()
            yield inbox
    finally:
        is_open = False


def _next(inbox: queue.Queue[Message], timeout: float | None = None) -> Message:
    """Return the next message; without a timeout wait for as long as it takes.

    Raises:
        Empty: none came in time.
    """
    while timeout is None:
        try:
            return inbox.get(timeout=_WAIT)
        except queue.Empty:
            continue
    return inbox.get(timeout=timeout)
