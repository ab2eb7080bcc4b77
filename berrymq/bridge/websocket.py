"""What both sides of a WebSocket share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["MAX_FRAME_BYTES", "SUBPROTOCOL", "ignore_closed"]

SUBPROTOCOL = "berrymq.v1"
MAX_FRAME_BYTES = 24 * 1024 * 1024
"""The largest request body and WebSocket message."""


def ignore_closed(future: asyncio.Future[Any]) -> None:
    """Take note of a write that the end of its connection cut short; that end is reported on its own."""
    if not future.cancelled():
        future.exception()
