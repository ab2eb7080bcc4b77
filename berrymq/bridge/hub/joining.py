"""The hubs of one user on one machine are one network: whichever comes later links to those before it.

A script may have started a hub, and a Jupyter server, which is a hub too, comes later: who is linked to the
one hears who is linked to the other. Where hubs are is read from the connection files of this user; no client
tells it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from berrymq.bridge.client.connector import Connector
from berrymq.bridge.discovery.candidates import Found
from berrymq.bridge.discovery.connection_file import read_all
from berrymq.bridge.errors import LinkError
from berrymq.bridge.network.handover import HANDOVER_SECONDS

if TYPE_CHECKING:
    from berrymq.bridge.discovery.connection_file import ConnectionInfo
    from berrymq.bridge.node import Node

__all__ = ["Joining", "older_hubs"]

TTL = 30.0
"""Seconds for which hubs keep what could not pass between them: on one machine, while one stands still."""

_log = logging.getLogger("berrymq")

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
        self._node = node
        self._own = own
        self._over = asyncio.Event()
        self._ending: asyncio.TimerHandle | None = None
        self._connector: Connector | None = None
        self._task = node.loop.create_task(self._join())

    async def close(self) -> None:
        """Leave the other hub."""
        self._task.cancel()
        if self._connector is not None:
            await self._connector.close()

    async def _join(self) -> None:
        wait = RETRY_SECONDS
        while True:
            if await asyncio.to_thread(older_hubs, self._own):
                self._connector = connector = Connector(self._node, self._places, ttl=TTL)
                with contextlib.suppress(LinkError):
                    await connector.open()
                    wait = RETRY_SECONDS
                    await self._over.wait()
                    self._over.clear()
                    await self._leave(connector)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_RETRY_SECONDS)

    async def _leave(self, connector: Connector) -> None:
        peer = connector.peer
        if peer is not None and self._node.peer(peer.id) is peer:
            stranded = self._node.retire_peer(peer)
            if stranded:
                _log.warning("a hub has ended, and %d messages for nodes behind it were dropped", stranded)
        await connector.close(flush=0)

    def _places(self) -> list[Found]:
        """Called on a thread, at each attempt."""
        older = older_hubs(self._own)
        self._node.loop.call_soon_threadsafe(self._plan_end, bool(older))
        return [Found(info.url, info.access_token, "an older hub", info) for info in older]

    def _plan_end(self, is_there: bool) -> None:
        """Where it has ended, its nodes have a while to come here; the next hub is younger and will dial."""
        if is_there and self._ending is not None:
            self._ending.cancel()
            self._ending = None
        elif not is_there and self._ending is None:
            self._ending = self._node.loop.call_later(HANDOVER_SECONDS, self._end)

    def _end(self) -> None:
        self._ending = None
        self._over.set()


def older_hubs(own: ConnectionInfo) -> list[ConnectionInfo]:
    """The hubs of this user that began to listen earlier, the oldest first."""
    try:
        hubs = [info for info in read_all() if info.kind != "node" and _age(info) < _age(own)]
    except LinkError:  # the directory is no longer private
        return []
    return sorted(hubs, key=_age)


def _age(info: ConnectionInfo) -> tuple[float, str]:
    return info.started_at, info.url
