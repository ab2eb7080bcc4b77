"""How much one end of a link may keep, and what it has counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "LinkStats"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one end of a link."""

    window_messages: int = 8_192
    """How many messages may be sent and not yet acknowledged."""
    window_bytes: int = 8 * 1024 * 1024
    queue_messages: int = 100_000
    """How many messages may wait behind the window before the oldest are dropped."""
    queue_bytes: int = 64 * 1024 * 1024
    frame_messages: int = 512
    """How many messages go into one frame at most."""
    frame_bytes: int = 256 * 1024
    announced_bytes: int = 1024 * 1024
    """How large a frame of announcements may become, unless a single one is larger."""
    heartbeat: float = 5.0
    """Seconds of silence until a heartbeat is sent; after three times that the connection counts as dead."""
    ack_delay: float = 0.01
    """Seconds an acknowledgement may wait for more to acknowledge."""


@dataclass(slots=True)
class LinkStats:
    """What passed over a link, counted from its start. All but the last three only grow."""

    sent: int = 0
    """Messages put into a frame; a message that is sent again after a cut counts once."""
    received: int = 0
    """Messages taken, duplicates not counted."""
    dropped: int = 0
    """Messages for the other side that were dropped here, because its buffer was full or it stayed away too
    long.
    """
    lost: int = 0
    """Messages for this side that the other side says it had to drop."""
    duplicates: int = 0
    """Frames that came once more after a cut, and were left out."""
    cuts: int = 0
    """Connections that ended while the link was open."""
    in_flight: int = 0
    """Messages sent that the other side has not acknowledged yet."""
    queued: int = 0
    """Messages that wait to be sent."""
    queued_bytes: int = 0
