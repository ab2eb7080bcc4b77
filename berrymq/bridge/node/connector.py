"""Keeping a link up: dial, shake hands, and reconnect after a cut.

A thread that exists only while it dials does what blocks; the I/O loop takes over the connection.

The life of a link, as this side sees it:

    open        dial, handshake, ``interconnect``; wait for the other side's interest
    linked      frames in both directions, processed by the node
    cut         dial again with a growing backoff, and resume the stream
    moved       the hub has ended: find or start another, and link to that with a new stream
    closed      by this side

A reconnecting link never gives up by itself: a laptop may sleep for days. The other side, which accepted it,
forgets it after its ttl; then the streams begin again and the number of messages it has dropped is learnt
with the answer (``lost``).
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
from msgspec import UNSET

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import frames, handshake, jsonrpc
from berrymq.bridge.protocol.events import CloseCode, Closed, Text
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import LinkStats
from berrymq.bridge.transport.dialling import CONNECT_SECONDS, NETWORK_ERRORS, dial, more_specific

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from berrymq.bridge.discovery.finding import Found
    from berrymq.bridge.protocol.events import Event
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.dialling import Dialled

    from .node import Node
    from .peer import Peer, Role

__all__ = ["Connector"]

FIRST_BACKOFF_SECONDS = 0.05
"""It doubles with each attempt, with some randomness, so that the nodes of a killed hub do not dial in
step."""
SHORT_BACKOFF_SECONDS, SHORT_SECONDS = 0.25, 5.0
"""The longest backoff during the first seconds of a cut: the successor of a killed hub waits for all nodes to
reconnect, but not for long (see ``hub/takeover.py``)."""
LONGEST_BACKOFF_SECONDS = 5.0
"""The most that a user waits when a network comes back."""
STEADY_SECONDS = 1.0
"""A link that was up for this long is redialled without backoff after a cut; else the backoff continues."""
INTEREST_SECONDS = 6.0
"""The timeout for the first announcement of interest on a new link. `link` returns after it all the same;
then the first messages may find no follower."""

GIVE_WAY_SECONDS = 0.1
"""The time for which one of two nodes that dial each other waits for the other's link. Some round trips."""

DIALS = 4
"""The number of immediate attempts at an endpoint that accepts a connection and cuts it."""

WATCH_SECONDS = 0.5
"""The interval of checks whether a shared link, made by the other side, is still up."""

_log = logging.getLogger("berrymq")


class _Answer(msgspec.Struct):
    """Answer to ``interconnect``."""

    id: str
    name: str
    hub: bool
    resumed: bool
    """Whether the other side still has the stream."""
    received: int
    """The number of frames that it has received."""
    lost: int = 0
    """Messages that it has dropped with an expired link of this node."""
    memory: bool = False
    pull: bool = False


class Connector:
    """One link that this process keeps up, until it is closed.

    Args:
        node: this process.
        find: returns the endpoints to try, in order; called for each attempt.
        ttl: seconds for which the other side keeps undelivered messages after a cut.
        ssl_context: trusted certificates; by default the system's.
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
        """The endpoint that it is linked to."""
        self.peer: Peer | None = None
        """None before the first link, and while a shared link is replaced."""
        self.closed = False
        """Set once, by this side."""
        self.stats = LinkStats()
        """Counters over the whole life of the link, whichever node it is linked to."""
        self._find = find
        self._ttl = ttl
        self._ssl_context = ssl_context
        self._dialling: threading.Thread | None = None
        self._interest_known = threading.Event()
        self._resumes = True
        self._wake = threading.Event()
        """Ends a wait between two attempts, when the connector is closed."""
        self._backoff = 0.0
        """The seconds before the next attempt; 0 after a link that was up for `STEADY_SECONDS`."""
        self._linked_at = 0.0
        self._calls: dict[int, Future[msgspec.Raw]] = {}
        self._call_numbers = itertools.count(1)

    @property
    def connected(self) -> bool:
        """Whether the link has a connection."""
        return self.peer is not None and self.peer.connected

    # -- making it -------------------------------------------------------------------------------------------

    def open(self, timeout: float) -> None:
        """Link for the first time; return when the other side has announced its interest.

        Raises:
            LinkError: it failed. The text says why, and what to do.
        """
        deadline = monotonic() + timeout
        self._connect(deadline, DIALS)
        self._interest_known.wait(max(0.0, min(INTEREST_SECONDS, deadline - monotonic())))

    def _connect(self, deadline: float, dials: int = 0) -> None:
        """Try the endpoints in order, several times each if they cut the connection.

        Raises:
            LinkError: all of them failed; the text is about the first.
        """
        problem: str | None = None
        refused = False
        endpoints = iter(self._find())
        while True:
            try:
                found = next(endpoints, None)
            except LinkError:  # no hub can be started, since one runs that refused the link
                if refused:
                    break
                raise
            if found is None:
                break
            if monotonic() >= deadline:
                problem = problem or found.no_answer
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
        """Link to a node, or use the link to it that exists already.

        Where both sides dial each other at once, the one with the greater id gives way: it dials again, and
        is refused if the other's link is up by then. If it is not refused, the node that is linked under that
        id is another one.

        Args:
            found: the endpoint.
            deadline: by `time.monotonic`.
            dials: how many more times to dial if the connection is cut at once.

        Raises:
            LinkError: the node refuses, or does not behave as one.
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
        """Return the secret to present there: a hub accepts only the one from which the id is derived.

        To other nodes it presents a secret derived for that address, so that none of them can use it towards
        the hub or another node.
        """
        if dialled.is_hub:
            return self.node.key
        return handshake.key_for(self.node.key, found.endpoint.url)

    def _dial(self, found: Found, deadline: float, dials: int) -> Dialled:
        """Connect; try again if a flood of unauthenticated connections caused this one to be dropped."""
        while True:
            try:
                return dial(found, self._ssl_context, max(0.1, min(CONNECT_SECONDS, deadline - monotonic())))
            except (ConnectionResetError, BrokenPipeError):
                if not dials:
                    raise
                dials -= 1

    def _is_linked_already(self, dialled: Dialled, key: str) -> bool:
        """Return whether a link to that node exists already.

        The id that a node claims is no proof. So a link that the other side made, or that was made under
        another address, is used only if the node refuses a second one.
        """
        there = self.node.peers.get(dialled.node_id)
        if there is None or there.key != key or not self._share(there):
            return False
        dialled.close()
        return True

    def _share(self, there: Peer | None) -> bool:
        """Use an existing link, if it is not this one: two would deliver everything twice."""
        if there is None or there is self.peer:
            return False
        self.peer = there
        self._interest_known.set()
        self.node.loop.call_later(WATCH_SECONDS, self._watch_shared)
        return True

    def _watch_shared(self) -> None:
        """Make a link of its own when the shared one has ended."""
        if self.closed:
            return
        peer = self.peer
        if peer is not None and self.node.peers.get(peer.id) is peer:
            self.node.loop.call_later(WATCH_SECONDS, self._watch_shared)
        else:
            self.peer = None
            self._reconnect()

    def _interconnect(self, dialled: Dialled, key: str) -> _Answer:
        """Turn a connection into a link.

        Raises:
            RpcError: the other side refuses.
            LinkError: its id is not the one that it claimed.
        """
        node, peer = self.node, self.peer
        params: dict[str, Any] = {"name": node.name, "key": key, "room": node.home.name, "ttl": self._ttl}
        params["pull"] = True
        probe = node.memories.probe()
        if probe is not None:
            params["memory"] = probe
        if key != node.key:
            params["id"] = node.id
        if peer is not None and self._resumes:
            params["resume"] = {"id": peer.id, "received": peer.stream.received}
        try:
            raw = dialled.call("interconnect", params)
        except RpcError as error:
            if error.code != jsonrpc.INVALID_PARAMS or "resume" not in params:
                raise
            del params["resume"]  # it does not remember this link, so both sides start a new stream
            raw = dialled.call("interconnect", params)
        answer = msgspec.json.decode(raw, type=_Answer)
        if answer.id != dialled.node_id or answer.id == node.id:
            raise LinkError("the node there calls itself by two ids, or by that of this node")
        if answer.hub != dialled.is_hub:
            raise LinkError("the node there says that it is a hub and is none")
        return answer

    def _adopt(self, dialled: Dialled, answer: _Answer, key: str, may_give_way: bool) -> bool:
        """Have the loop take over the connection, and wait for that; return False if it gave way."""
        done: Future[bool] = Future()
        loop = self.node.loop
        loop.call(self._attach, dialled, answer, key, may_give_way, done)
        while True:
            try:
                return done.result(0.2)
            except TimeoutError:
                if loop.stopped:  # this link was closed in between, and was the last one
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
                    node.remove_peer(other, "the node has a new link")
                channel = dialled.hand_over(node.loop, lambda event: self._on_event(channel, event))
                peer = self._peer_for(answer, key)
                peer.stream.offers.shares_memory, peer.stream.offers.pulls = answer.memory, answer.pull
                if answer.lost:
                    peer.stream.stats.lost += answer.lost
                    peers_log.warning(
                        "%d messages were dropped at %r while the link was cut", answer.lost, answer.name
                    )
                try:
                    node.attach(peer, channel, answer.received if answer.resumed else None)
                except FrameError as error:  # resuming it would fail again each time
                    self._resumes = False
                    channel.close(CloseCode.PROTOCOL_ERROR, str(error))
                else:
                    self._resumes = True
        finally:
            done.set_result(not gives_way)

    def _peer_for(self, answer: _Answer, key: str) -> Peer:
        """Return the peer of the other side; if that is another node than before, replace the former one."""
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
        warned = False
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
            if self.closed:  # it was closed while this thread slept
                return  # type: ignore[unreachable]
            try:
                self._connect(monotonic() + 30.0)
            except LinkError as error:
                if not warned and monotonic() - began > SHORT_SECONDS:
                    warned = True
                    _log.warning("link cut, still retrying: %s", error)
            except Exception:  # noqa: BLE001 - whatever it is, the link must not stay cut for it
                _log.exception("unexpected error while reconnecting")
            else:
                if self.connected or self.closed:
                    return

    def call(self, method: str, params: dict[str, Any], timeout: float) -> msgspec.Raw:
        """Call a method of the other side and return its result; not to be used on the loop.

        Args:
            method: its name.
            params: by name; encoded as JSON.
            timeout: seconds to wait for the result.

        Raises:
            RpcError: it answered with an error.
            OSError: the connection was cut, or did not answer in time (`TimeoutError`).
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
        """Pass an answer to its caller; ignore the notifications of a later version.

        Raises:
            FrameError: it is neither.
        """
        envelope = frames.parse(data)
        if envelope.method is not UNSET and envelope.id is UNSET:
            return
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
        """Replace the connection of another connector, which has linked to the same node since."""
        other.closed = True
        self.found = other.found

    # -- closing ---------------------------------------------------------------------------------------------

    def flush(self, deadline: float | None) -> bool:
        """Wait until the other side has everything that was published; return False at the timeout."""
        node, peer = self.node, self.peer
        if not node.outbox.wait_until_empty(deadline) or peer is None:
            return peer is None
        timer = threading.Event()
        while not peer.stream.idle:
            if self.closed or (deadline is not None and monotonic() >= deadline):
                return False
            timer.wait(0.001)
        return True

    def close(self, flush: float) -> int:
        """End the link, after up to *flush* seconds for the last messages.

        Returns:
            The number of messages that the other side did not get.
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
        node.empty_outbox()  # count what was published while the link was cut
        return node.remove_peer(peer, "closed")
