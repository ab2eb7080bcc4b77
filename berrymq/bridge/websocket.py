"""What both sides of a WebSocket share."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["MAX_FRAME_BYTES", "SUBPROTOCOL", "CloseCode", "ignore_closed"]

SUBPROTOCOL = "berrymq.v1"
MAX_FRAME_BYTES = 24 * 1024 * 1024
"""The largest request body and WebSocket message."""


class CloseCode(IntEnum):
    """Why a WebSocket is closed: RFC 6455, 7.4.1."""

    NORMAL = 1000
    GOING_AWAY = 1001
    """The node leaves."""
    PROTOCOL_ERROR = 1002
    POLICY_VIOLATION = 1008
    """Whoever is there was not let in."""


def ignore_closed(future: asyncio.Future[Any]) -> None:
    """Take note of a write that the end of its connection cut short; that end is reported on its own."""
    if not future.cancelled():
        future.exception()
