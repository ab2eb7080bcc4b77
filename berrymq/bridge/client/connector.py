"""Keeping a link up from the side that dials: find the other side, connect, and resume after every cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import random
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.processes import this_process
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.protocol.frames import NodeRecord
from berrymq.bridge.protocol.session import Session

from .dialing import CONNECT_SECONDS, NETWORK_ERRORS, Connection, dial, explain

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from berrymq.bridge.discovery.candidates import Found
    from berrymq.bridge.network.peer import Peer
    from berrymq.bridge.node import Node

__all__ = ["Connector"]

LONGEST_WAIT = 2.0
"""The longest time between two attempts, in seconds."""
STEADY_SECONDS = 2.0
"""After a link that held this long, the first attempt is made at once."""

_log = logging.getLogger("berrymq")


class _Interconnected(msgspec.Struct):
    session: Annotated[str, Meta(min_length=1, max_length=255)]
    resumed: bool
    received: Annotated[int, Meta(ge=0)]
    node: NodeRecord


class Connector:
    """One link of a node, kept up from this side until it is closed.

    Lives on the loop of its node.

    Args:
        node: whose link it is.
        find: gives the places to try, likeliest first; it is asked again at each attempt and may block.
        ttl: seconds for which the other side keeps the session when the link is cut.
        ssl_context: what certificates are trusted; the system's unless told.
    """

    def __init__(
        self,
        node: Node,
        find: Callable[[], Iterable[Found]],
        *,
        ttl: float,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.node = node
        self.peer: Peer | None = None
        self.found: Found | None = None
        """Where the link leads to at present, or led to last."""
        self._find = find
        self._ttl = ttl
        self._ssl_context = ssl_context
        self._cut = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_shared = False
        self._connection: Connection | None = None
        self.closed = False

    @property
    def leads_to_hub(self) -> bool:
        """Whether the other side is a hub."""
        return self.peer is not None and self.peer.sees_all

    async def open(self) -> None:
        """Make the link, trying each place once; from then on it is kept up.

        Raises:
            LinkError: no place could be linked to; the text says what was tried.
        """
        await self._try_all()
        # Until the other side has said who follows what, a message for them would go nowhere.
        assert self.peer is not None
        try:
            await asyncio.wait_for(self.peer.introduced.wait(), CONNECT_SECONDS)
        except TimeoutError:
            _log.debug("node %s has not said who is there", self.peer.id)
        self._task = asyncio.ensure_future(self._keep_up())

    async def close(self, flush: float = 2.0) -> int:
        """End the link, after waiting up to *flush* seconds for what was said last.

        Returns:
            How many messages the other side did not get.
        """
        if self.closed:
            return 0
        self.closed = True
        for task in (self._task, self._watch):
            if task is not None:
                task.cancel()
        try:
            if flush > 0:
                await self._flush(flush)
        finally:  # also when whoever waits for this is interrupted
            dropped = self._leave()
        if self._connection is not None:
            await self._connection.finish()
        return dropped

    @property
    def _own_peer(self) -> Peer | None:
        """The neighbour, where this connector and no other keeps the link to it up."""
        peer = self.peer
        is_own = peer is not None and not self._is_shared and self.node.peer(peer.id) is peer
        return peer if is_own else None

    async def _flush(self, seconds: float) -> None:
        """Wait for so long, half of it for nodes that are expected back."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.node.traffic.flush_outbox(), seconds)
        peer = self._own_peer
        if peer is None or not peer.connected:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(peer.flush(), seconds / 2)
        self.node.end_handover(peer)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(peer.flush(), seconds / 2)

    def _leave(self) -> int:
        """End the link; how many messages the other side did not get."""
        peer = self._own_peer
        if peer is None:
            return 0
        if peer.transport is not None:
            peer.transport.write(jsonrpc.request("close_connection", [peer.session.id], 0))
        dropped = self.node.remove_peer(peer)
        if self._connection is not None:
            self._connection.close()
        return dropped

    async def _keep_up(self) -> None:
        loop = self.node.loop
        wait = 0.0
        linked_at = loop.time()
        while True:
            await self._cut.wait()
            if loop.time() - linked_at > STEADY_SECONDS:
                wait = 0.0
            linked_at = math.inf  # until there is a link again, the waits only grow
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come at once
            wait = min(max(0.05, wait * 2), LONGEST_WAIT)
            try:
                await self._try_all()
                linked_at = loop.time()
            except LinkError as error:
                _log.debug("still cut: %s", error)
            except Exception:  # noqa: BLE001 - no file, no thread: that passes, and the link has to come back
                _log.warning("a link can't be made at present", exc_info=True)

    async def _try_all(self) -> None:
        """Link to the first place that answers; where the link led before comes first."""
        problems = []
        tried = set()
        former = [self.found] if self.found is not None and self.found.may_be_there else []
        places = iter(itertools.chain(former, self._find()))
        while (place := await asyncio.to_thread(next, places, None)) is not None:
            if place.url in tried:
                continue
            tried.add(place.url)
            problem = await self._try(place)
            if problem is None:
                return
            problems.append(problem)
        raise LinkError("; ".join(problems) or "no hub was found")

    async def _try(self, place: Found) -> str | None:
        """Link to one place; what went wrong, if anything did."""
        try:
            await asyncio.wait_for(self._connect(place), CONNECT_SECONDS)
        except NETWORK_ERRORS as error:
            return explain(place, error)
        except ValueError as error:
            return f"{place.url} does not keep to the protocol: {error}"
        self.found = place
        return None

    async def _connect(self, place: Found) -> None:
        connection = await dial(place, self._ssl_context)
        try:
            answer = await self._interconnect(connection)
            there = self.node.peer(answer.node.id)
            if there is None or there is self.peer or not there.connected or self.node.id < answer.node.id:
                self._carry_on(connection, answer)
                return
            # Both sides have dialled at the same time. The link that the node with the smaller id made stays.
        except RpcError as error:
            there = self.node.peer(str(error.data)) if error.code == jsonrpc.ALREADY_LINKED else None
            if there is None or not there.connected:
                connection.close("the link was not made")
                raise
        except BaseException:
            connection.close("the link was not made")
            raise
        connection.close("there is a link already")
        self._share(there)

    def _share(self, peer: Peer) -> None:
        """Use a link that somebody else keeps up: the other side, or another connector of this node."""
        former, self.peer = self.peer, peer
        if former is not None and former is not peer:
            self.node.merge_peer(former, peer)
        self._is_shared = True
        self._cut.clear()
        self._watch = asyncio.ensure_future(self._wait_for_cut(peer))

    async def _wait_for_cut(self, peer: Peer) -> None:
        await peer.cut.wait()
        self._cut.set()

    async def _interconnect(self, connection: Connection) -> _Interconnected:
        own = self.node.record
        session = self.peer.session if self.peer is not None and not self.peer.expired else None
        result = await connection.call(
            "interconnect",
            {
                "node": own.name,
                "room": own.room,
                "follows": own.follows,
                "id": own.id,
                "hub": own.hub,
                "version": own.version,
                "session": session.id if session is not None else None,
                "received": session.received if session is not None else 0,
                "ttl": self._ttl,
                "process": msgspec.to_builtins(this_process()),
            },
        )
        try:
            return msgspec.json.decode(result, type=_Interconnected)
        except msgspec.DecodeError as error:
            raise LinkError(f"the other side does not speak this protocol: {error}") from None

    def _carry_on(self, connection: Connection, answer: _Interconnected) -> None:
        """Let the session, a new one or the one there was, go on over the connection."""
        if self.closed:
            raise LinkError("the link was closed")
        if connection.ended:  # on the heels of its answer
            raise ConnectionResetError("it closed the connection")
        peer = self.peer
        received = answer.received
        self._is_shared = False
        if peer is None or peer.expired:
            now = self.node.loop.time()
            session = Session(answer.session, now, self.node.limits, to_hub=answer.node.hub)
            peer = self.node.add_peer(answer.node, session, self._ttl)
            self.peer = peer
        elif not answer.resumed:
            self.node.rename_peer(peer, answer.node, answer.session)
            received = 0
        self._connection = connection
        connection.on_closed = lambda: self._on_closed(peer, connection)
        self._cut.clear()
        peer.attach(connection, received)
        connection.carry(peer)

    def _on_closed(self, peer: Peer, connection: Connection) -> None:
        peer.lost(connection)
        if not peer.connected:
            self._cut.set()
