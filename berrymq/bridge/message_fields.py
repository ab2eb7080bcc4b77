"""A message as one JSON object: what ``get`` answers, and what the command line prints with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from .payload import encode

if TYPE_CHECKING:
    from berrymq.messages import Message

__all__ = ["message_fields"]


def message_fields(message: Message) -> dict[str, Any]:
    """Its fields by name; the arguments are written as they are on the wire.

    Raises:
        PayloadError: an argument can't be written.
    """
    args, kwargs = msgspec.json.decode(encode(message.args, message.kwargs), type=tuple[Raw, Raw])
    return {
        "id": message.id,
        "args": args,
        "kwargs": kwargs,
        "source": message.source,
        "sent_at": message.sent_at,
    }
