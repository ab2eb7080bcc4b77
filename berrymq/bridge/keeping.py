"""What the hub remembers: `keep`, `latest`, and the list of what is retained."""

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
from .payload import decode_payload
from .protocol.frames import WireMessage
from .protocol.limits import KEEP_LAST
from .transport.dialling import NETWORK_ERRORS

if TYPE_CHECKING:
    from berrymq.bus import Bus

    from .api import Link

__all__ = ["Keep", "Kept", "KeptIdentifier", "alatest", "aligned", "keep", "latest"]

CALL_SECONDS = 10.0


class Keep(msgspec.Struct, frozen=True):
    """What the hub was told to keep."""

    identifier: str
    last: int
    """How many messages of each identifier that it matches."""
    by: str
    """Who asked for it first."""
    since: float
    """When: seconds since 1970."""


class KeptIdentifier(msgspec.Struct, frozen=True):
    """What the hub retains of one identifier."""

    id: str
    count: int
    bytes: int
    first_at: float | None
    """When the oldest of the messages was sent: seconds since 1970."""
    last_at: float | None
    dropped: int
    """Messages that were dropped for want of memory."""


class Kept(msgspec.Struct, frozen=True):
    """What the hub keeps, for people and programs to look at."""

    keeps: list[Keep]
    identifiers: list[KeptIdentifier]
    identifiers_more: int
    """How many identifiers there are beside those that are listed."""
    dropped: int

    def __str__(self) -> str:
        return "\n".join(aligned(self.rows())) or "nothing is kept"

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row of text for each `Keep`: what is kept, how much, since when and by whom."""
        rows: list[tuple[str, ...]] = []
        for one in self.keeps:
            matching = [
                each for each in self.identifiers if Identifier.parse(each.id).matches(one.identifier)
            ]
            count, size = sum([each.count for each in matching]), sum([each.bytes for each in matching])
            dropped = sum([each.dropped for each in matching])
            of_each = f" of each of {len(matching):,}" if len(matching) > 1 else ""
            rows.append(
                (
                    one.identifier,
                    f"{count:,} message{'' if count == 1 else 's'}, {human(size)}",
                    f"the last {one.last:,}{of_each}",
                    f"since {moment(one.since)} by {printable(one.by)}",
                    f"{dropped:,} dropped" if dropped else "",
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
    """Have the hub retain messages from now on, for those who come later; without arguments, list them.

    What is published next is retained. It lasts as long as the hub, also after this process has ended;
    ``follow(…, past=True)``, ``Queue(…, past=100)`` and `latest` give it again.

    Args:
        identifier: what is kept; None lists what is.
        last: how many messages of each identifier that it matches; 0 ends it. Where it is kept already, the
            larger number counts.
        bus: whose link is used; by default, that of the default bus.

    Raises:
        LinkError: there is no link to a hub, or it did not answer, or refuses.
    """
    link = _link_to_hub(bus)
    if identifier is None:
        return msgspec.json.decode(_call(link, "kept", {}), type=Kept)
    text = Identifier.parse(identifier).text
    if last < 0:
        raise ValueError(f"last is a number of messages, or 0 to keep no more, not {last}")
    _call(link, "keep", {"identifier": text, "last": last})
    peer = link._connector.peer
    link.node.history.note_keep(text, last, peer.id if peer is not None else "")
    return None


def latest(identifier: str | Identifier, *, bus: Bus | None = None) -> Message | None:
    """Return the newest retained message that `identifier` matches, at once; None if there is none.

    Args:
        identifier: what is looked for; see `keep`.
        bus: whose link is used; by default, that of the default bus.

    Raises:
        LinkError: there is no link to a hub, or it did not answer.
    """
    params = {"identifier": Identifier.parse(identifier).text, "last": 1}
    found = msgspec.json.decode(_call(_link_to_hub(bus), "history", params), type=_History).messages
    if not found:
        return None
    args, kwargs = decode_payload(list(found[-1].args), found[-1].kwargs)
    content = WireMessage(found[-1].sent_at, args, kwargs)
    return PastMessage.of(Identifier.parse(found[-1].id), content, found[-1].source, None)


async def alatest(identifier: str | Identifier, *, bus: Bus | None = None) -> Message | None:
    """Return what `latest` does, without blocking the event loop."""
    return await asyncio.to_thread(latest, identifier, bus=bus)


class _Object(msgspec.Struct):
    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    source: str
    sent_at: float


class _History(msgspec.Struct):
    messages: list[_Object]


def _link_to_hub(bus: Bus | None) -> Link:
    bus = bus or berrymq.default_bus
    for one in links():
        if one.node.bus is bus and one.leads_to_hub and not one.closed:
            return one
    raise LinkError("the hub is what remembers messages, and there is no link to one: call link() first")


def _call(link: Link, method: str, params: dict[str, Any]) -> msgspec.Raw:
    try:
        return link._connector.call(method, params, CALL_SECONDS)
    except RpcError as error:
        raise LinkError(error.message) from None
    except NETWORK_ERRORS as error:
        raise LinkError(f"the hub did not answer: {str(error) or 'not in time'}") from None


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table."""
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
