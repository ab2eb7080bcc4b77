"""The newest message of an identifier, for the views: held undecoded, decoded on demand.

A hub holds at most `HELD_BYTES` of the newest batch of each identifier that it counts: the beginning of one
message, or the end of several. So its memory and its work for each batch are bounded, and it decodes a
message only when a page shows it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

if TYPE_CHECKING:
    from berrymq.bridge.protocol.batches import Batch

__all__ = ["HELD_BYTES", "hold", "hold_message", "read"]

HELD_BYTES: Final = 2_048
"""The limit of what is held of a batch, in bytes."""

_BACKWARDS: Final = re.compile(rb'"(?:[^"]|"(?=\\))*"(?!\\)|[\[\]{}]')
"""A string or a bracket of JSON that is read backwards. A quote within a string follows a backslash; the one
that opens the string does not, for outside of strings JSON has no backslashes."""
_BEFORE_ARGS: Final = re.compile(rb"\s*\[\s*\[\s*[-+.\deE]+\s*,\s*")
"""The beginning of an array of messages, up to the ``args`` of the first."""


class _Payload(Struct, array_like=True, gc=False):
    """A message as it is encoded in a batch, its arguments undecoded."""

    sent_at: float
    args: Raw
    kwargs: Raw


_parse_messages = msgspec.json.Decoder(list[Raw]).decode
_parse_payload = msgspec.json.Decoder(_Payload).decode


def hold(batch: Batch) -> bytes:
    """Return what is held of a batch: its messages, or the beginning of one, or the end of several."""
    view = memoryview(batch.messages)
    return bytes(view[:HELD_BYTES] if batch.count == 1 else view[-HELD_BYTES:])


def hold_message(message: bytes) -> bytes:
    """Return what is held of one encoded message."""
    return (b"[%b]" % message[:HELD_BYTES])[:HELD_BYTES]


def read(held: bytes) -> dict[str, Any] | None:
    """Return the newest message of what `hold` returned.

    Returns:
        Its ``args`` and ``kwargs`` as JSON; of a longer message its beginning as text, ``begins``; None if it
        is malformed, or the last of several and too long.
    """
    try:
        if len(held) < HELD_BYTES:
            return _payload(bytes(_parse_messages(held)[-1]))
        start = _BEFORE_ARGS.match(held)
        if start is not None:
            return {"begins": held[start.end() :].decode(errors="ignore")}
        message = _last_message(held)
        return None if message is None else _payload(message)
    except (msgspec.DecodeError, IndexError, RecursionError):
        return None


def _payload(message: bytes) -> dict[str, Any]:
    """Return the arguments of an encoded message; raise `msgspec.DecodeError` if it is malformed."""
    found = _parse_payload(message)
    return {"args": found.args, "kwargs": found.kwargs}


def _last_message(end: bytes) -> bytes | None:
    """Return the last message of the end of an array of messages; None if it began before that."""
    depth, closed_at = 0, 0
    for token in _BACKWARDS.finditer(end[::-1]):
        if token[0] in b"]}":
            depth += 1
            if depth == 2:  # the array, and a message in it
                closed_at = token.start()
        elif token[0] in b"[{":
            depth -= 1
            if depth == 1:
                return end[len(end) - token.end() : len(end) - closed_at]
    return None
