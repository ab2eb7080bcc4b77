"""The hubs of one user on one machine are one network: whichever comes later links to those before it.

A script may have started a hub, and a Jupyter server, which is a hub too, comes later: who is linked to the
one hears who is linked to the other. Where hubs are is read from the connection files of this user; no client
tells it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from berrymq.bridge.client.connector import Connector
from berrymq.bridge.discovery.candidates import Found
from berrymq.bridge.discovery.connection_file import read_all
from berrymq.bridge.errors import LinkError

if TYPE_CHECKING:
    from berrymq.bridge.discovery.connection_file import ConnectionInfo
    from berrymq.bridge.node import Node

__all__ = ["Joining", "older_hubs"]

TTL = 30.0
"""Seconds for which hubs keep what could not pass between them: on one machine, while one stands still."""

RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 60.0
"""Until an older hub that did not answer is tried again; each time twice as long."""


class Joining:
    """Keeps a hub linked to an older one, the oldest that answers, as long as there is one.

    Lives on the loop of the hub.

    Args:
        node: the hub.
        own: its connection file, which is written already: of two that start at once, one sees the other.
    """

    def __init__(self, node: Node, own: ConnectionInfo) -> None:
        self._own = own
        self._connector = Connector(node, self._places, ttl=TTL)
        self._loop = node.loop
        self._task = node.loop.create_task(self._join())
        self._ending: asyncio.Task[int] | None = None

    async def close(self) -> None:
        """Leave the other hub."""
        self._task.cancel()
        await self._connector.close()

    async def _join(self) -> None:
        wait = RETRY_SECONDS
        while await asyncio.to_thread(older_hubs, self._own):
            with contextlib.suppress(LinkError):
                await self._connector.open()
                return
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_RETRY_SECONDS)

    def _places(self) -> list[Found]:
        """Called on a thread, at each attempt."""
        older = older_hubs(self._own)
        if not older:  # it has ended, and whoever comes next is younger and will dial
            self._loop.call_soon_threadsafe(self._end)
        return [Found(info.url, info.access_token, "an older hub") for info in older]

    def _end(self) -> None:
        self._ending = self._loop.create_task(self._connector.close(flush=0))


def older_hubs(own: ConnectionInfo) -> list[ConnectionInfo]:
    """The hubs of this user that began to listen earlier, the oldest first."""
    try:
        hubs = [info for info in read_all() if info.kind != "node" and _age(info) < _age(own)]
    except LinkError:  # the directory is no longer private
        return []
    return sorted(hubs, key=_age)


def _age(info: ConnectionInfo) -> tuple[float, str]:
    return info.started_at, info.url
