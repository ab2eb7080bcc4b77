"""The hub's history: `keep`, `latest`, and the list of what is retained.

The history is the hub's: it belongs to no process, and what one has it retain every later subscription of the
room gets. So these functions are calls over a link, and need one. When the hub is killed its history is lost;
the nodes that had it retain identifiers request that of its successor
(`berrymq.bridge.node.history.HubHistory`). On NATS the history is on JetStream
(`berrymq.bridge.nats.history`).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

import msgspec

import berrymq
from berrymq.identifiers import Identifier
from berrymq.messages import Message, PastMessage
from berrymq.printable import printable

from .api import links
from .errors import LinkError, RpcError
from .node.connector import Connector
from .node.inbox import read_batch
from .payload import decode_payload
from .protocol.batches import WireMessage
from .protocol.frames import Buffers
from .protocol.json_checks import FrameError
from .protocol.limits import KEEP_LAST, MAX_KEEP_LAST
from .transport.dialling import NETWORK_ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berrymq.bus import Bus

    from .api import Link

__all__ = ["Keep", "Kept", "KeptIdentifier", "alatest", "aligned", "keep", "latest"]

CALL_SECONDS = 10.0
BUFFERS_SECONDS = 120.0
"""The time for large buffers beyond that."""


class Keep(msgspec.Struct, frozen=True):
    """An identifier whose messages the hub retains."""

    identifier: str
    last: int
    """The number of messages of each identifier that it matches."""
    by: str
    """The name of the first requester."""
    since: float
    """The time of the first request, in seconds since 1970."""
    identifiers: int = 0
    """The number of identifiers with retained messages that it matches."""
    count: int = 0
    """The number of their messages."""
    bytes: int = 0
    dropped: int = 0
    """The number of messages that were dropped at the hub's limits."""


class KeptIdentifier(msgspec.Struct, frozen=True):
    """The retained messages of one identifier."""

    id: str
    count: int
    """The number of retained messages."""
    bytes: int
    """Their approximate memory at the hub, overhead included."""
    first_at: float | None
    """When the oldest of the messages was sent, in seconds since 1970."""
    last_at: float | None
    """When the newest of the messages was sent, in seconds since 1970."""
    dropped: int
    """The number of messages that were dropped at the hub's limits."""


class Kept(msgspec.Struct, frozen=True):
    """What the hub retains: the value of ``keep()``."""

    keeps: list[Keep]
    identifiers: list[KeptIdentifier]
    identifiers_more: int
    """The number of identifiers that are not listed."""
    dropped: int
    """The number of messages that were dropped at the hub's limits, of all identifiers."""

    def __str__(self) -> str:
        return "\n".join(aligned(self.rows())) or "nothing is kept"

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row of text for each `Keep`: identifier, amounts, time and requester."""
        rows: list[tuple[str, ...]] = []
        for one in self.keeps:
            of_each = f" of each of {one.identifiers:,}" if one.identifiers > 1 else ""
            rows.append(
                (
                    one.identifier,
                    f"{one.count:,} message{'' if one.count == 1 else 's'}, {human(one.bytes)}",
                    f"the last {one.last:,}{of_each}",
                    f"since {moment(one.since)} by {printable(one.by)}",
                    f"{one.dropped:,} dropped" if one.dropped else "",
                )
            )
        return rows

    def __repr__(self) -> str:
        return str(self)


@overload
def keep(identifier: None = None, *, last: int = KEEP_LAST, bus: Bus | None = None) -> Kept: ...
@overload
def keep(identifier: str | Identifier, *, last: int = KEEP_LAST, bus: Bus | None = None) -> None: ...
def keep(
    identifier: str | Identifier | None = None, *, last: int = KEEP_LAST, bus: Bus | None = None
) -> Kept | None:
    """Have the hub retain messages from now on, for later subscriptions; without arguments, list them.

    They are retained as long as the hub runs, also after this process has ended; on NATS, or if the hub is
    linked to NATS, the server stores them, and they outlive the hub. ``follow(…, past=True)``,
    ``Queue(…, past=100)`` and `latest` return them.

    Args:
        identifier: the messages to retain; None for the list.
        last: the number of messages of each identifier that it matches; 0 ends the retention. If they are
            retained already, the larger number counts.
        bus: the bus whose link is used; by default, the default bus.

    Raises:
        LinkError: there is no link to a hub or to NATS, the other side did not answer or refused, or the NATS
            server has no JetStream.
    """
    link = _link_to_hub(bus)
    if identifier is None:
        return msgspec.json.decode(_call(link, "kept", {}), type=Kept)
    text = Identifier.parse(identifier).text
    if not 0 <= last <= MAX_KEEP_LAST:
        raise ValueError(
            f"last is a number of messages, at most {MAX_KEEP_LAST:,}, or 0 to keep no more, not {last:,}"
        )
    result = msgspec.json.decode(_call(link, "keep", {"identifier": text, "last": last}))
    peer = link._connector.peer
    if result != "stored" and peer is not None:
        link.node.history.note_keep(text, last, peer.id)
    return None


def latest(identifier: str | Identifier, *, bus: Bus | None = None) -> Message | None:
    """Return the newest retained message that `identifier` matches; None without one.

    Its `Message.past` is true. Of an array that the hub could retain no longer an `Opaque` comes in its
    place.

    Args:
        identifier: the message; see `keep`.
        bus: the bus whose link is used; by default, the default bus.

    Raises:
        LinkError: there is no link to a hub or to NATS, or the other side did not answer.
    """
    link, known = _link_to_hub(bus), Identifier.parse(identifier)
    if not link.leads_to_hub:
        return _latest_on_nats(link, known)
    params = {"identifier": known.text, "last": 1}
    found = msgspec.json.decode(_call(link, "history", params), type=_History).messages
    if not found:
        return None
    one = found[-1]
    peer = link._connector.peer
    buffers: Sequence[Any] = ()
    if one.sizes and peer is not None:
        try:
            buffers = link.node.receive_now(peer, one, BUFFERS_SECONDS).views()
        except TimeoutError:
            raise LinkError("the hub did not send all of it in time") from None
    args, kwargs = decode_payload(list(one.args), one.kwargs, buffers)
    content = WireMessage(one.sent_at, args, kwargs)
    return PastMessage.of(Identifier.parse(one.id), content, one.source, None)


def _latest_on_nats(link: Link, identifier: Identifier) -> Message | None:
    connector = link._connector
    assert not isinstance(connector, Connector)
    batch = connector.latest(identifier, CALL_SECONDS)
    if batch is None:
        return None
    try:
        (message,) = read_batch(batch)
    except FrameError as error:
        raise LinkError(f"the message on NATS can't be read: {error}") from None
    return PastMessage.of(Identifier.parse(batch.identifier), message, batch.source, None)


async def alatest(identifier: str | Identifier, *, bus: Bus | None = None) -> Message | None:
    """Return what `latest` does, without blocking the event loop."""
    return await asyncio.to_thread(latest, identifier, bus=bus)


class _Object(Buffers, kw_only=True):
    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    source: str
    sent_at: float


class _History(msgspec.Struct):
    messages: list[_Object]


def _link_to_hub(bus: Bus | None) -> Link:
    """Return the first open link of a bus that leads to a hub, or to NATS.

    Raises:
        LinkError: there is none.
    """
    bus = bus or berrymq.default_bus
    for one in links():
        if one.node.bus is bus and one.has_history and not one.closed:
            return one
    raise LinkError(
        "messages are retained by the hub, and there is no link to one: call link() first, or %link"
    )


def _call(link: Link, method: str, params: dict[str, Any]) -> msgspec.Raw:
    """Call a method of the hub; every failure is a `LinkError` with one sentence."""
    try:
        return link._connector.call(method, params, CALL_SECONDS)
    except RpcError as error:
        raise LinkError(error.message) from None
    except NETWORK_ERRORS as error:
        raise LinkError(f"the hub did not answer: {str(error) or 'not in time'}") from None


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: of text; all have the same length.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()
        for row in rows
    ]


def moment(seconds: float) -> str:
    """Return a time for people, with the day if that is not today."""
    then = datetime.fromtimestamp(seconds, UTC).astimezone()
    is_today = then.date() == datetime.now(UTC).astimezone().date()
    return f"{then:%H:%M:%S}" if is_today else f"{then:%Y-%m-%d %H:%M:%S}"


def human(size: int) -> str:
    """Return a number of bytes for people."""
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.1f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f} MiB"
