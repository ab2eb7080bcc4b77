"""Retained messages in the forms in which they are read, and the interface of a stored history."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from berrymq.bridge.protocol.batches import LargeBatchBytes, large_batch, parse_batch, split_batch
from berrymq.bridge.protocol.json_checks import FrameError

from .mailbox import read_message, read_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq.bridge.protocol.batches import Batch, Memory
    from berrymq.bridge.protocol.offers import Offers
    from berrymq.identifiers import Identifier

    from .downloads import Downloads

    Done = Callable[[Any], object]
    """Called on the I/O thread with the result, or a `LinkError`."""

__all__ = ["Retained", "StoredHistory", "as_batch", "cut", "objects_of"]

OBJECT_BYTES = 200
"""The approximate size of a message as an object beside its payload."""

Retained = tuple[int, int, bytes]
"""A batch: the number of its first message among all that are retained, its count, its bytes."""


def as_batch(data: bytes) -> Batch:
    """Return a retained batch, with its buffers if it has some.

    Raises:
        FrameError: it is malformed.
    """
    return large_batch(data, data.memory)[0] if isinstance(data, LargeBatchBytes) else parse_batch(data)


class StoredHistory(Protocol):
    """The history of a room outside of this process. Used on the I/O thread."""

    def keep(self, identifier: Identifier, last: int, by: str, done: Done) -> None:
        """Retain the newest messages of each identifier that matches, from now on; 0 as *last* ends that."""

    def kept(self, done: Done) -> None:
        """Pass what is retained to *done*, as the wire's ``kept`` returns it."""

    def history(
        self,
        identifier: Identifier,
        last: int | None,
        after: int,
        done: Done,
        *,
        to: Offers | None,
        downloads: Downloads,
    ) -> None:
        """Pass the messages that an identifier matches to *done*, as the wire's ``history`` returns them."""

    def past(self, identifier: Identifier, last: int | None, done: Done) -> None:
        """Pass the retained messages that an identifier matches to *done*, in order, for a live subscriber.

        The interest of the subscriber is announced before. Live messages after the call of *done* are not
        among them.
        """


def objects_of(
    batches: Iterable[Retained], most_bytes: int, *, to: Offers | None, downloads: Downloads
) -> tuple[list[dict[str, Any]], bool]:
    """Return retained messages as objects, and whether there are more.

    For the wire's ``history``: each has the fields of a message, its number ``n`` and, for
    large ones, its buffers. Malformed messages are left out.

    Args:
        batches: in order.
        most_bytes: the approximate limit of their size; there is one message at least.
        to: how the caller reads buffers; None for a client without a link.
        downloads: hold large buffers for one.
    """
    messages: list[dict[str, Any]] = []
    size = 0
    for number, _, data in batches:
        head = parse_batch(data)
        for place, raw in enumerate(read_messages(head)):
            if messages and size + len(raw) > most_bytes:
                return messages, True
            fields = read_message(head, raw)
            if fields is None:
                continue
            if isinstance(data, LargeBatchBytes):
                fields |= _fields_of(data.memory, to, downloads)
                of_buffers = sum([len(form or "") for form in fields.get("buffers", ())])
                if messages and size + of_buffers > most_bytes:
                    return messages, True
                size += of_buffers
            messages.append({"n": number + place, **fields})
            size += len(raw) + OBJECT_BYTES
    return messages, False


def _fields_of(memory: Memory, to: Offers | None, downloads: Downloads) -> dict[str, Any]:
    """Return the buffers of a message as fields of its object.

    Args:
        memory: the buffers.
        to: how the reader reads buffers; None for a client without a link.
        downloads: hold large buffers for one.
    """
    if to is None or not (to.shares_memory or to.pulls):
        return {"buffers": downloads.forms(memory)}
    found: dict[str, Any] = msgspec.json.decode(b"{%b}" % memory.parameter(to=to, beside=0))
    to.hold([memory])
    return found


def cut(batch: Retained, count: int) -> list[Retained]:
    """Return the last *count* messages of a batch as one; nothing for 0, or if it is malformed.

    The batch is decoded and encoded again.
    """
    number, whole, data = batch
    with suppress(FrameError):
        head = parse_batch(data)
        wanted = range(head.first + whole - count, head.first + whole)
        return [(number + whole - count, count, part) for _, part in split_batch(head, wanted)]
    return []
