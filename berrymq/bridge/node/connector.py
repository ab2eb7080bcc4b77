"""Keeps up the link that this process has made: dials, shakes hands, and comes back after a cut.

A thread that lives only while it dials does what has to wait; the I/O loop takes over the connection.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import handshake, jsonrpc
from berrymq.bridge.protocol.connection import CloseCode, Closed, Text
from berrymq.bridge.protocol.frames import FrameError
from berrymq.bridge.protocol.limits import LinkStats
from berrymq.bridge.transport.dialling import CONNECT_SECONDS, NETWORK_ERRORS, dial, more_specific

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from berrymq.bridge.discovery.finding import Found
    from berrymq.bridge.protocol.connection import Event
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.dialling import Dialled

    from .node import Node
    from .peer import Peer, Role

__all__ = ["Connector"]

FIRST_BACKOFF_SECONDS = 0.05
SHORT_BACKOFF_SECONDS, SHORT_SECONDS = 0.25, 5.0
"""For the first seconds of a cut no attempt waits for longer than this: when a hub was killed, the one that
takes its place waits for all to come back, and not for long (see ``hub/router.py``)."""
LONGEST_BACKOFF_SECONDS = 5.0
STEADY_SECONDS = 1.0
"""A link that was up for so long is dialled at once when it is cut; one that was not has its backoff go on.
"""
INTEREST_SECONDS = 6.0
"""How long a new link waits to be told what the other side wants."""

GIVE_WAY_SECONDS = 0.1
"""How long one of two nodes that dial each other waits for the other's link."""

DIALS = 4
"""How often a place is dialled again at once that accepts a connection and cuts it."""

WATCH_SECONDS = 0.5
"""How often it is looked whether a link that the other side made is still there."""

_log = logging.getLogger("berrymq")


class _Answer(msgspec.Struct):
    id: str
    name: str
    hub: bool
    resumed: bool
    received: int
    lost: int = 0


class Connector:
    """One link that this process keeps up, until it is closed.

    Args:
        node: this process.
        find: gives the places to try, in order; called anew for each attempt.
        ttl: seconds for which the other side keeps what could not be delivered while the link is cut.
        ssl_context: what certificates are trusted; the system's by default.
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
        self.found: Found | None = None
        """Where it leads."""
        self.peer: Peer | None = None
        self.closed = False
        self.stats = LinkStats()
        """Counts over the whole life of the link, whatever it is linked to."""
        self._find = find
        self._ttl = ttl
        self._ssl_context = ssl_context
        self._dialling: threading.Thread | None = None
        self._interest_known = threading.Event()
        self._resumes = True
        self._wake = threading.Event()
        self._backoff = 0.0
        self._linked_at = 0.0
        self._calls: dict[int, Future[msgspec.Raw]] = {}
        self._call_numbers = itertools.count(1)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self.peer is not None and self.peer.connected

    # -- making it -------------------------------------------------------------------------------------------

    def open(self, timeout: float) -> None:
        """Link for the first time; return when it is known what the other side follows.

        Raises:
            LinkError: it can't be done. The text says why, and what to do.
        """
        deadline = monotonic() + timeout
        self._connect(deadline, DIALS)
        self._interest_known.wait(max(0.0, min(INTEREST_SECONDS, deadline - monotonic())))

    def _connect(self, deadline: float, dials: int = 0) -> None:
        """Try the places one after another, and each of them so many times more if it cuts us off.

        Raises:
            LinkError: none of them lets us in; the text is about the first.
        """
        problem: str | None = None
        refused = False
        places = iter(self._find())
        while True:
            try:
                found = next(places, None)
            except LinkError:  # no hub can be started, which is no wonder where one runs and said no
                if refused:
                    break
                raise
            if found is None:
                break
            if monotonic() >= deadline:
                problem = problem or f"no link in time; is {found.endpoint.url} overloaded or stopped?"
                break
            try:
                self._link_to(found, deadline, dials)
            except NETWORK_ERRORS as error:
                problem = more_specific(problem, found, error)
                refused = refused or isinstance(error, RpcError)
                continue
            self.found = found
            return
        raise LinkError(problem or "there is no hub to link to")

    def _link_to(self, found: Found, deadline: float, dials: int) -> None:
        """Link to a node, or use the link to it that there is already.

        Where both sides dial each other at once, the one with the greater id gives way: it dials once more,
        and is refused if the other's link is there by then. If it is not refused, then whoever is linked here
        under that id is another.
        """
        for may_give_way in (True, False):
            dialled = self._dial(found, deadline, dials)
            key = self.key_for(found, dialled)
            if self._is_linked_already(dialled, key):
                return
            try:
                answer = self._interconnect(dialled, key)
            except BaseException as error:
                dialled.close()
                if (
                    isinstance(error, RpcError)
                    and error.code == jsonrpc.ALREADY_LINKED
                    and self._share(self.node.peers.get(dialled.node_id))
                ):
                    return
                raise
            self._linked_at = monotonic()
            if self._adopt(dialled, answer, key, may_give_way):
                return
            self._wake.wait(GIVE_WAY_SECONDS)

    def key_for(self, found: Found, dialled: Dialled) -> str:
        """Return the secret to show there: a hub takes only the one from which the id is made."""
        if dialled.is_hub:
            return self.node.key
        return handshake.key_for(self.node.key, found.endpoint.url)

    def _dial(self, found: Found, deadline: float, dials: int) -> Dialled:
        """Connect; where a flood of strangers has pushed us out before we were let in, try again."""
        while True:
            try:
                return dial(found, self._ssl_context, max(0.1, min(CONNECT_SECONDS, deadline - monotonic())))
            except (ConnectionResetError, BrokenPipeError):
                if not dials:
                    raise
                dials -= 1

    def _is_linked_already(self, dialled: Dialled, key: str) -> bool:
        """Whether there is a link to that place already.

        What a node says of its id is no proof. So a link that the other side made, or that was made under
        another address, serves here as well only if the node refuses to make another one.
        """
        there = self.node.peers.get(dialled.node_id)
        if there is None or there.key != key or not self._share(there):
            return False
        dialled.close()
        return True

    def _share(self, there: Peer | None) -> bool:
        """Use a link that there is, if it is not this one: two would bring everything twice."""
        if there is None or there is self.peer:
            return False
        self.peer = there
        self._interest_known.set()
        self.node.loop.call_later(WATCH_SECONDS, self._watch_shared)
        return True

    def _watch_shared(self) -> None:
        """Make a link of its own when the one that it shares has ended."""
        if self.closed:
            return
        peer = self.peer
        if peer is not None and self.node.peers.get(peer.id) is peer:
            self.node.loop.call_later(WATCH_SECONDS, self._watch_shared)
        else:
            self.peer = None
            self._reconnect()

    def _interconnect(self, dialled: Dialled, key: str) -> _Answer:
        """Make a connection a link.

        Raises:
            RpcError: the other side refuses.
            LinkError: it is not what it said that it is.
        """
        node, peer = self.node, self.peer
        params: dict[str, Any] = {"name": node.name, "key": key, "room": node.home.name, "ttl": self._ttl}
        if key != node.key:
            params["id"] = node.id
        if peer is not None and self._resumes:
            params["resume"] = {"id": peer.id, "received": peer.stream.received}
        try:
            raw = dialled.call("interconnect", params)
        except RpcError as error:
            if error.code != jsonrpc.INVALID_PARAMS or "resume" not in params:
                raise
            del params["resume"]  # it does not remember what we have, so both begin anew
            raw = dialled.call("interconnect", params)
        answer = msgspec.json.decode(raw, type=_Answer)
        if answer.id != dialled.node_id or answer.id == node.id:
            raise LinkError("the node there calls itself by two ids, or by that of this node")
        if answer.hub != dialled.is_hub:
            raise LinkError("the node there says that it is a hub and is none")
        return answer

    def _adopt(self, dialled: Dialled, answer: _Answer, key: str, may_give_way: bool) -> bool:
        """Have the loop take over, with this thread waiting until it has; False if it gave way."""
        done: Future[bool] = Future()
        loop = self.node.loop
        loop.call(self._attach, dialled, answer, key, may_give_way, done)
        while True:
            try:
                return done.result(0.2)
            except TimeoutError:
                if loop.stopped:  # meanwhile, since this link was closed and was the last one
                    dialled.close()
                    return True

    def _attach(
        self, dialled: Dialled, answer: _Answer, key: str, may_give_way: bool, done: Future[bool]
    ) -> None:
        gives_way = False
        node = self.node
        try:
            if self.closed:
                dialled.close()
                return
            with node.lock:
                other = node.peers.get(answer.id)
                if other is not None and other is not self.peer:
                    gives_way = may_give_way and node.id > answer.id
                    if gives_way:
                        dialled.close()
                        return
                    node.remove_peer(other, "the node is linked anew")
                channel = dialled.hand_over(node.loop, lambda event: self._on_event(channel, event))
                peer = self._peer_for(answer, key)
                if answer.lost:
                    peer.stream.stats.lost += answer.lost
                    peers_log.warning(
                        "%d messages were dropped at %r while the link was cut", answer.lost, answer.name
                    )
                try:
                    node.attach(peer, channel, answer.received if answer.resumed else None)
                except FrameError as error:  # to resume it would fail again each time
                    self._resumes = False
                    channel.close(CloseCode.PROTOCOL_ERROR, str(error))
                else:
                    self._resumes = True
        finally:
            done.set_result(not gives_way)

    def _peer_for(self, answer: _Answer, key: str) -> Peer:
        """The other side; where it is another node than before, that takes the place of the former one."""
        node, peer = self.node, self.peer
        if peer is None or peer.id not in node.peers or node.peers[peer.id] is not peer:
            role: Role = "hub" if answer.hub else "direct"
            peer = node.add_peer(answer.id, answer.name, node.home.name, role, key=key, ttl=self._ttl)
            peer.use_stats(self.stats)
            peer.on_interest_known = self._interest_known.set
            self.peer = peer
        elif peer.id != answer.id:
            del node.peers[peer.id]
            peer.id, peer.name = answer.id, answer.name
            peer.role = "hub" if answer.hub else "direct"
            node.peers[peer.id] = peer
            node.refresh_roles()
        peer.key = key
        return peer

    # -- carrying it -----------------------------------------------------------------------------------------

    def _on_event(self, channel: Channel, event: Event) -> None:
        peer = self.peer
        if peer is None:
            return
        if isinstance(event, Text):
            try:
                self._handle_answer(event.data)
            except FrameError as error:
                self.node.close_for_error(peer, channel, lambda end: self._on_event(channel, end), error)
        elif isinstance(event, Closed):
            self._cut(peer, channel, event)

    def _cut(self, peer: Peer, channel: Channel, event: Closed) -> None:
        if peer.channel is not channel:
            return
        for waiting in list(self._calls.values()):
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the link was cut"))
        self.node.connection_lost(peer, channel, event)
        if not self.closed:
            self._reconnect()

    def _reconnect(self) -> None:
        if self._dialling is None or not self._dialling.is_alive():
            self._dialling = threading.Thread(
                target=self._keep_dialling, name="berrymq dialling", daemon=True
            )
            try:
                self._dialling.start()
            except RuntimeError:
                _log.debug("not reconnecting: the interpreter is shutting down")

    def _keep_dialling(self) -> None:
        said = False
        began = monotonic()
        if began - self._linked_at > STEADY_SECONDS:
            self._backoff = 0.0
        while not self.closed:
            if self._backoff:
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - so that not all come at once
                self._wake.wait(self._backoff * jitter)
            longest = (
                SHORT_BACKOFF_SECONDS if monotonic() - began < SHORT_SECONDS else LONGEST_BACKOFF_SECONDS
            )
            self._backoff = min(max(FIRST_BACKOFF_SECONDS, 2 * self._backoff), longest)
            if self.closed:  # while it waited
                return  # type: ignore[unreachable]
            try:
                self._connect(monotonic() + 30.0)
            except LinkError as error:
                if not said and monotonic() - began > SHORT_SECONDS:
                    said = True
                    _log.warning("link cut, still retrying: %s", error)
            except Exception:  # noqa: BLE001 - whatever it is, the link must not stay cut for it
                _log.exception("unexpected error while reconnecting")
            else:
                if self.connected or self.closed:
                    return

    def call(self, method: str, params: dict[str, Any], timeout: float) -> msgspec.Raw:
        """Call a method of the other side and wait for the result; not on the loop.

        Raises:
            RpcError: it answered with an error.
            OSError: the connection was cut, or the time is over (`TimeoutError`).
        """
        peer = self.peer
        channel = peer.channel if peer is not None else None
        if peer is None or channel is None:
            raise ConnectionResetError("the link is cut")
        if peer.expires:
            raise LinkError("the other side has made this link, and takes no calls over it")
        waiting: Future[msgspec.Raw] = Future()
        number = next(self._call_numbers)
        self._calls[number] = waiting
        try:
            channel.send_text(jsonrpc.request(method, params, number))
            return waiting.result(timeout)
        finally:
            del self._calls[number]

    def _handle_answer(self, data: bytes) -> None:
        try:
            id, result = jsonrpc.parse_reply(data)
        except ValueError as error:
            raise FrameError(str(error)) from None
        waiting = self._calls.get(id) if isinstance(id, int) else None
        if waiting is not None and not waiting.done():
            if isinstance(result, RpcError):
                waiting.set_exception(result)
            else:
                waiting.set_result(msgspec.Raw(bytes(result)))

    def take_over(self, other: Connector) -> None:
        """Take the place of another connector, which has linked to the same node meanwhile."""
        other.closed = True
        self.found = other.found

    # -- its end ---------------------------------------------------------------------------------------------

    def flush(self, deadline: float | None) -> bool:
        """Wait until the other side has everything that was published; False if that took too long."""
        node, peer = self.node, self.peer
        if not node.outbox.wait_until_empty(deadline) or peer is None:
            return peer is None
        pause = threading.Event()
        while not peer.stream.idle:
            if self.closed or (deadline is not None and monotonic() >= deadline):
                return False
            pause.wait(0.001)
        return True

    def close(self, flush: float) -> int:
        """End the link, after up to so many seconds for what was published last.

        Returns:
            How many messages the other side did not get.
        """
        if self.closed:
            return 0
        if self.peer is not None and self.peer is self.node.shared.peer:
            self.node.shared.leave()  # what is published from now on stays here
        if flush > 0 and self.connected:
            self.flush(monotonic() + flush)
        self.closed = True
        self._wake.set()
        peer, node = self.peer, self.node
        if peer is None or node.peers.get(peer.id) is not peer:
            return 0
        node.empty_outbox()  # what was published while the link was cut is to be counted
        return node.remove_peer(peer, "closed")
