"""How much one end of a link may hold, and what it has counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "KEEP_LAST",
    "MAX_CALLS_IN_FLIGHT",
    "MAX_DEPTH",
    "MAX_FOLLOWS",
    "MAX_PAYLOAD_BYTES",
    "MAX_TEXT_BYTES",
    "Limits",
    "LinkStats",
]

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
"""The largest payload of one message, in bytes of JSON."""

MAX_TEXT_BYTES = 24 * 1024 * 1024
"""The largest request body and WebSocket message."""

MAX_DEPTH = 128
"""How deep arrays and objects of a payload may nest."""

MAX_FOLLOWS = 10_000
"""How many identifiers one side of a link may follow."""

MAX_CALLS_IN_FLIGHT = 64
"""JSON-RPC requests of one connection that may wait for their answers at once."""


KEEP_LAST = 1_000
"""How many messages of each identifier a hub retains that keeps it, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one end of a link."""

    window_messages: int = 65_536
    """How many messages may be in flight: sent and not yet acknowledged."""
    window_bytes: int = 8 * 1024 * 1024
    buffer_messages: int = 100_000
    """How many messages may wait behind the window; beyond that the oldest are dropped and counted."""
    buffer_bytes: int = 64 * 1024 * 1024
    frame_messages: int = 4_096
    """How many messages go into one frame, unless a single batch has more."""
    frame_bytes: int = 256 * 1024
    keepalive: float = 5.0
    """Seconds of silence until a ping is sent; after three times that the connection counts as dead."""
    ack_delay: float = 0.01
    """Seconds for which an acknowledgement may wait for more to acknowledge."""


@dataclass(slots=True)
class LinkStats:
    """What passed over a link since it was made; the last three describe this moment."""

    sent: int = 0
    """Messages put into a frame; one that is retransmitted after a cut counts once."""
    received: int = 0
    """Messages taken in, duplicates not counted."""
    dropped: int = 0
    """Messages for the other side that were dropped here: the buffer overflowed, or the link ended."""
    lost: int = 0
    """Messages for this side that the other side says it dropped."""
    duplicates: int = 0
    """Messages that came once more, after a cut or over another path, and were left out."""
    cuts: int = 0
    """Connections that ended while the link was open."""
    in_flight: int = 0
    """Messages sent that the other side has not acknowledged yet."""
    buffered: int = 0
    """Messages that wait to be sent."""
    buffered_bytes: int = 0
