"""The bounds of one end of a link, and its counters."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "KEEP_LAST",
    "MAX_CALLS_IN_FLIGHT",
    "MAX_DEPTH",
    "MAX_FOLLOWS",
    "MAX_KEEP_LAST",
    "MAX_PAYLOAD_BYTES",
    "MAX_REPLAYS",
    "MAX_TEXT_BYTES",
    "Limits",
    "LinkStats",
]

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
"""The largest payload of one message, in bytes of JSON."""

MAX_TEXT_BYTES = 24 * 1024 * 1024
"""The largest request body and WebSocket message. Half as much again as a payload, for its envelope and for
buffers that are sent as text."""

MAX_DEPTH = 128
"""The limit of nested arrays and objects in a payload. Beyond `berrymq.bridge.payload.encoding.MAX_DEPTH`, so
that whatever Python may send is accepted; a parser that recurses is safe at this depth."""

MAX_FOLLOWS = 10_000
"""The limit of identifiers that one side of a link may follow."""

MAX_CALLS_IN_FLIGHT = 64
"""The limit of unanswered JSON-RPC requests on one connection."""

KEEP_LAST = 1_000
"""The default number of messages that a hub retains of each identifier."""

MAX_KEEP_LAST = 1_000_000
"""The largest such number. Fewer are retained where the hub's limits are reached before."""

MAX_REPLAYS = 32
"""The limit of unanswered queries for retained messages on one link. Each answer may be large, and has to be
read before more is asked for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one end of a link.

    Both ends apply their own; nothing of them is negotiated.
    """

    window_messages: int = 65_536
    """The limit of messages in flight: sent and not yet acknowledged."""
    window_bytes: int = 8 * 1024 * 1024
    """The same in bytes. Window by round-trip time is the throughput: 8 MiB at 10 ms are 800 MB/s."""
    buffer_messages: int = 100_000
    """The limit of messages buffered behind the window; on overflow the oldest are dropped and counted."""
    buffer_bytes: int = 64 * 1024 * 1024
    """The same in bytes, with the overhead of each element."""
    frame_messages: int = 4_096
    """The limit of messages in one frame, unless a single batch has more."""
    frame_bytes: int = 256 * 1024
    """Larger frames would make acknowledgements rarer and the first message of a burst later, without being
    faster."""
    keepalive: float = 5.0
    """Seconds of silence until a ping is sent; after three times that the connection is aborted."""
    ack_delay: float = 0.01
    """Seconds for which an acknowledgement may be delayed, to cover more frames."""


@dataclass(slots=True)
class LinkStats:
    """Counters of a link since it was made; the last three are its present state."""

    sent: int = 0
    """Messages put into a frame; retransmission does not count."""
    received: int = 0
    """Messages received, duplicates not counted."""
    dropped: int = 0
    """Messages for the other side that were dropped here: the buffer overflowed, or the link ended."""
    lost: int = 0
    """Messages for this side that the other side has reported as dropped."""
    duplicates: int = 0
    """Messages that arrived again, after a cut or over another path, and were ignored."""
    cuts: int = 0
    """Connections that ended while the link was open."""
    in_flight: int = 0
    """Messages sent that the other side has not acknowledged yet."""
    buffered: int = 0
    """Messages that are not sent yet."""
    buffered_bytes: int = 0
    """Their memory, in bytes."""
