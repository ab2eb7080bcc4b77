"""The server: HTTP and WebSocket on one port, for clients that know the access token.

It spends nothing on a connection before its first byte, little before it is authenticated, and closes the
most dispensable one at each limit, so that no unauthenticated program keeps others out for long. Timers end
what is silent for too long.

`Server.start` may be called on any thread; all else runs on the loop.

The life of a connection, and what it costs at each stage:

    accepted          a socket in `_silent`; the oldest is closed when there are too many
    first byte        a `Conversation` and a `Channel` in `_unauthenticated`; for 5 s at most
    authenticated     in `_conversations`; refused with an error if there are `MAX_CONNECTIONS`
    a link            its peer in `Router.peers`, which outlives it
"""

from __future__ import annotations

import errno
import logging
import socket
from collections import OrderedDict
from contextlib import ExitStack
from time import time
from typing import TYPE_CHECKING, Any

from berrymq.bridge.access_token import new_access_token
from berrymq.bridge.addresses import is_loopback, is_wildcard
from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.node.router import MAX_PEERS
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol import frames, handshake, jsonrpc
from berrymq.bridge.protocol.connection import server_connection
from berrymq.bridge.protocol.events import CloseCode
from berrymq.bridge.protocol.jsonrpc import Later
from berrymq.bridge.transport.channel import Channel
from berrymq.bridge.transport.tls import Tls

from .conversation import Conversation
from .host_and_origin import HostPolicy
from .sessions import Sessions

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.router import Router

    from .sessions import Session

__all__ = ["Server"]

MAX_CONNECTIONS = 1_000
"""The limit of authenticated connections. Files are the scarce resource: each connection takes one."""
MAX_UNAUTHENTICATED = 64
"""The limit of unauthenticated connections; beyond that the oldest is aborted. As many again may be silent,
which do not displace those that have sent something."""
AUTHENTICATION_SECONDS = 5.0
"""The time for a client to authenticate. From its first byte; a connection that sends none has as long."""
IDLE_SECONDS = 60.0
"""The time for which an HTTP connection may be silent, or leave its response unread. A call that is
unanswered, such as ``get``, keeps the connection open."""
MOST_ACCEPTED = 16
"""The limit of connections accepted in one turn; their first bytes are read before the next. A flood of
connections must not keep the loop from reading others."""
BACKLOG = 128
"""The limit of connections that are not accepted yet."""
ACCEPT_BACKOFF_SECONDS = 0.5
"""The time for which no connection is accepted when no more files can be opened."""
REPORT_SECONDS = 10.0
"""The least interval of warnings that files can't be opened."""

_log = logging.getLogger("berrymq")


class Server:
    """Accepts connections of other nodes and programs to a node. Used on the loop alone, but for `start`.

    Args:
        router: the node.
        access_token: the secret that clients need; random by default.
        ssl_context: TLS certificate; required beyond loopback unless `insecure` is set.
        insecure: allow plain text beyond loopback.
        hosts: further host names of this node; with TLS the certificate's name first.
        origins: web pages, by origin, that may connect.
        insecure: also needed behind a proxy that ends TLS on another machine.
    """

    def __init__(
        self,
        router: Router,
        *,
        access_token: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
    ) -> None:
        self.router = router
        """The node."""
        self.access_token = access_token or new_access_token()
        """The secret that clients need."""
        self.address: tuple[str, int] = ("", 0)
        """Host and port of the first socket; the port is 0 before `start`."""
        self.policy = HostPolicy()
        """The hosts and origins that are allowed."""
        self.sessions = Sessions(router)
        """The clients without a link."""
        self.on_websocket_end: Callable[[], object] = lambda: None
        """Called on the loop when the WebSocket of an authenticated client has ended."""
        self._ssl_context = ssl_context
        self._insecure = insecure
        self._hosts = list(hosts)
        self._origins = list(origins)
        self._host = ""
        """As it was given to `start`."""
        self._sockets: list[socket.socket] = []
        self._silent: OrderedDict[socket.socket, float] = OrderedDict()
        """Connections that have sent nothing yet, and when they were accepted: nothing else is held for them.
        """
        self._unauthenticated: OrderedDict[Conversation, None] = OrderedDict()
        """Connections that have sent something, the oldest first."""
        self._conversations: dict[Conversation, None] = {}
        """Authenticated connections."""
        self._crowded_at = float("-inf")
        """When no more files could be opened, the last time."""

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return self.address[1]

    @property
    def url(self) -> str:
        """The URL at which it listens, ``http://`` or ``https://``.

        It is what the connection file says.
        """
        scheme = "https" if self._ssl_context is not None else "http"
        host = self._reachable_host()
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def _reachable_host(self) -> str:
        """Return the name or address by which clients reach it; one that the policy allows."""
        bound = self.address[0]
        if self._ssl_context is not None and self._hosts:
            return self._hosts[0]  # the certificate is for a name
        if is_wildcard(bound):
            return "::1" if ":" in bound else "127.0.0.1"
        return bound if is_loopback(bound) else self._host

    # -- listening -------------------------------------------------------------------------------------------

    def start(self, host: str = "localhost", port: int = 0) -> None:
        """Listen, and accept connections from now on.

        Args:
            host: a name or address to bind to; ``localhost`` is 127.0.0.1 alone.
            port: with 0 the system chooses one, see `port`.

        Raises:
            LinkError: it would be reachable from other machines without TLS, or the address can't be had.
        """
        if not (is_loopback(host) or self._ssl_context is not None or self._insecure):
            raise LinkError(
                f"listening on {host!r} lets other machines read what passes: "
                "give a TLS certificate, or say explicitly that plain text is fine there"
            )
        self._host = host
        self.policy = HostPolicy.of(host, self._hosts, self._origins)
        try:
            self._sockets = listen_on("127.0.0.1" if host == "localhost" else host, port)
        except OSError as error:
            reason = str(error.strerror or error).partition(" (while")[0]  # create_server repeats the address
            raise LinkError(f"can't listen on {host}:{port}: {reason}") from error
        bound = self._sockets[0].getsockname()
        self.address = (bound[0], bound[1])
        self.router.loop.call(self._watch)
        self.router.loop.call(self._sweep)

    def _watch(self) -> None:
        """Accept connections, from the start on or after a pause."""
        for sock in self._sockets:
            self.router.loop.watch(sock, lambda _, sock=sock: self._accept(sock))  # type: ignore[misc]

    def _accept(self, listening: socket.socket) -> None:
        """Accept up to `MOST_ACCEPTED` connections, for which nothing but the socket is held yet."""
        for turn in range(MOST_ACCEPTED):
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                # The system reserves a file before it checks for a pending connection; only the first accept
                # has one for sure.
                if turn == 0 and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._free_descriptor(error)
                return
            sock.setblocking(False)
            self._silent[sock] = self.router.loop.time()
            if len(self._silent) > MAX_UNAUTHENTICATED:
                self._drop_silent(next(iter(self._silent)))
            self.router.loop.watch(sock, lambda _, sock=sock: self._handle_first(sock))  # type: ignore[misc]

    def _drop_silent(self, sock: socket.socket) -> None:
        """Close a connection that has sent nothing."""
        del self._silent[sock]
        self.router.loop.unwatch(sock)
        sock.close()

    def _handle_first(self, sock: socket.socket) -> None:
        """Process the first bytes of a connection, or its end.

        The byte is only peeked at: the protocol reads it again.
        """
        if sock not in self._silent:
            return
        try:
            if sock.recv(1, socket.MSG_PEEK):
                del self._silent[sock]
                self._begin(sock)
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass  # it was cut
        self._drop_silent(sock)

    def _free_descriptor(self, error: OSError) -> None:
        """Free a file descriptor: close the most dispensable connection, or accept none for a while.

        In the order of how little is lost: a silent connection, an unauthenticated one, the HTTP connection
        that was idle for longest. A link or an unanswered call is never closed for it.

        Args:
            error: what `accept` has raised.
        """
        now = self.router.loop.time()
        if now - self._crowded_at > REPORT_SECONDS:
            _log.warning("no connection can be accepted now: %s (see `ulimit -n`)", error.strerror)
        self._crowded_at = now
        idle = [
            one for one in self._conversations if not (one.channel.connection.is_websocket or one.is_busy)
        ]
        if self._silent:
            self._drop_silent(next(iter(self._silent)))
            return
        given_up = next(iter(self._unauthenticated), None) or min(
            idle, key=lambda one: one.channel.received_at, default=None
        )
        if given_up is not None:
            self.forget(given_up)
            given_up.channel.abort()
            return
        for one in self._sockets:
            self.router.loop.unwatch(one)
        self.router.loop.call_later(ACCEPT_BACKOFF_SECONDS, self._watch)

    def _begin(self, sock: socket.socket) -> None:
        """Begin the conversation on a connection whose first bytes have arrived.

        If there are too many unauthenticated ones, the oldest is aborted.
        """
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation = Conversation(self)
        connection = server_connection(conversation.screen)
        tls = Tls(self._ssl_context) if self._ssl_context is not None else None
        conversation.channel = Channel(
            self.router.loop, sock, connection, conversation.on_event, tls, self.router.budget
        )
        self._unauthenticated[conversation] = None
        if len(self._unauthenticated) > MAX_UNAUTHENTICATED:
            oldest, _ = self._unauthenticated.popitem(last=False)
            oldest.channel.abort()
        conversation.channel.start()

    def admit_client(self, conversation: Conversation) -> bool:
        """Admit an authenticated connection; return False if there are too many, which is logged.

        Called when the access token was shown or proved.
        """
        if len(self._conversations) >= MAX_CONNECTIONS:
            self.note_refusal(self.overflow_text)
            return False
        self._unauthenticated.pop(conversation, None)
        self._conversations[conversation] = None
        return True

    @property
    def overflow_text(self) -> str:
        """The error text for an authenticated client over the limit."""
        return (
            f"{MAX_CONNECTIONS} connections are open here already: close those that are done, then try again"
        )

    def forget(self, conversation: Conversation) -> None:
        """Remove an ended connection."""
        self._unauthenticated.pop(conversation, None)
        if conversation in self._conversations:
            del self._conversations[conversation]
            if conversation.is_websocket:
                self.on_websocket_end()

    @property
    def has_websockets(self) -> bool:
        """Whether an authenticated client has a WebSocket open, whether a link or not."""
        return any(conversation.is_websocket for conversation in self._conversations)

    def _sweep(self) -> None:
        """End connections that did not authenticate in time, and idle ones of HTTP.

        It runs every second, until `stop`.
        """
        if not self._sockets:
            return
        now = self.router.loop.time()
        for sock in [sock for sock, since in self._silent.items() if now - since > AUTHENTICATION_SECONDS]:
            self._drop_silent(sock)
        for conversation in list(self._unauthenticated):
            if now - conversation.channel.opened_at > AUTHENTICATION_SECONDS:
                conversation.channel.close(CloseCode.POLICY_VIOLATION, "no access token was shown")
                conversation.channel.abort()
        for conversation in list(self._conversations):
            channel = conversation.channel
            if (
                not channel.connection.is_websocket
                and not conversation.is_busy
                and now - max(channel.received_at, channel.written_at) > IDLE_SECONDS
            ):
                channel.abort()
        self.router.loop.call_later(AUTHENTICATION_SECONDS / 5, self._sweep)

    def note_refusal(self, reason: str) -> None:
        """Log a refused request."""
        peers_log.warning("a request is refused: %s", reason)

    def stop(self) -> None:
        """Close the port and every connection, with the code for a node that shuts down.

        The links end with 1001, which says that this was no cut.
        """
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            self.router.loop.unwatch(sock)
            sock.close()
        for sock in list(self._silent):
            self._drop_silent(sock)
        self.sessions.close_all()
        for conversation in [*self._unauthenticated, *self._conversations]:
            conversation.channel.close(CloseCode.GOING_AWAY, "the node shuts down")

    # -- the wire methods ------------------------------------------------------------------------------------

    def link(  # noqa: PLR0917 - the parameters of the call
        self,
        name: str,
        key: str,
        claimed: str | None,
        room: str | None,
        ttl: float,
        resume: tuple[str, int] | None,
    ) -> tuple[Peer, dict[str, Any], int | None]:
        """Find or make the peer for a connection that becomes a link.

        A node that has started again under the same key replaces its former peer; its backlog is dropped. One
        that resumes keeps its peer, with the stream as it was.

        Args:
            name: the node's name.
            key: its secret.
            claimed: its id, where the key is for this link alone; else the id is derived from the key.
            room: its room.
            ttl: seconds for which the link may be disconnected before it expires.
            resume: the link to be resumed: our id, and the number of the last frame received.

        Returns:
            The peer, the answer to it, and the number of frames it has received; None if it starts a new
                stream.

        Raises:
            RpcError: there are too many peers, or it is this node itself, or its key does not fit its id.
        """
        router = self.router
        if claimed is not None and router.is_hub:  # it would mark messages, and keep the real node out
            raise RpcError(jsonrpc.NOT_ALLOWED, "a hub takes no id but that which is made from the key")
        id = claimed or handshake.node_id_of(key)
        with router.lock:
            peer = router.peers.get(id)
            is_same = peer is not None and handshake.same_proof(key, peer.key)
            if claimed is not None and peer is not None and not is_same:
                if not peer.expires:
                    raise RpcError(
                        jsonrpc.ALREADY_LINKED, "this node has linked to the one of that id already"
                    )
                # Either may be the real owner of the id. Neither gets the other's link, nor keeps it out.
                id = handshake.node_id_of(key)
                peer = router.peers.get(id)
                is_same = peer is not None and handshake.same_proof(key, peer.key)
            if (
                peer is not None
                and is_same
                and resume is not None
                and resume[0] == router.id
                and peer.room.name == room
            ):
                received: int | None = resume[1]
                assert received is not None
                if not peer.stream.can_resume(received):
                    raise RpcError(jsonrpc.INVALID_PARAMS, f"frame {received} was not the last that came")
            else:
                received = None
                if peer is not None:
                    router.remove_peer(peer, "the node has started again")
                peer = self._new_peer(id, name, key, room, ttl, resume)
            answer = {
                "id": router.id,
                "name": router.name,
                "hub": router.is_hub,
                "resumed": received is not None,
                "received": peer.stream.received,
                "lost": router.pop_missed(key),
            }
            return peer, answer, received

    def _new_peer(  # noqa: PLR0917 - as above
        self, id: str, name: str, key: str, room: str | None, ttl: float, resume: object
    ) -> Peer:
        """Make the peer of a new link. The router's lock is held.

        Raises:
            RpcError: the node would link to itself, or there are too many links.
        """
        router = self.router
        if id == router.id:
            raise RpcError(jsonrpc.INVALID_PARAMS, "a node can't be linked to itself")
        if len(router.peers) >= MAX_PEERS:
            self._remove_disconnected_peer()
        if len(router.peers) >= MAX_PEERS:
            raise RpcError(jsonrpc.OVERFLOW, f"this node has {MAX_PEERS} links already")
        if resume is not None:
            router.node_resumed()
        peer = router.add_peer(id, name, room, "member" if router.is_hub else "direct", key=key, ttl=ttl)
        peer.expires = True
        return peer

    def _remove_disconnected_peer(self) -> None:
        """Remove a disconnected peer: one without a backlog, else the one disconnected longest."""
        cut = [one for one in self.router.peers.values() if one.expires and not one.connected]
        if cut:
            self.router.expire(min(cut, key=lambda one: (one.stream.held_bytes > 0, one.since)))

    def publish(self, session: Session, identifier: str, message: bytes) -> None:
        """Publish a message for a client that has no link.

        Args:
            session: the client's.
            identifier: the message's identifier.
            message: as it is encoded in a batch.
        """
        router = self.router
        with router.lock:
            router.publish_for_client(session.room, identifier, session.name, [message])
            router.flush_all()
        router.budget.relieve(router.loop.time())

    def ask(self, session: Session, identifier: str, message: bytes, timeout: float) -> Later:
        """Put a question for a client that has no link.

        It is cancelled if the connection of the call ends first.

        Args:
            session: the client's.
            identifier: the question's identifier.
            message: as it is encoded in a batch.
            timeout: seconds after which the answers so far are the result.

        Returns:
            The answers, as a JSON array.
        """
        router = self.router

        def done(answers: list[bytes]) -> None:
            timer.cancel()
            router.loop.call(later.resolve, frames.as_raw(answers))

        def end() -> None:
            give_up()
            later.resolve(frames.as_raw(so_far()))

        later = Later()
        timer = router.loop.call_later(timeout, end)
        with router.lock:
            give_up, so_far = router.ask_for_client(session.room, identifier, session.name, message, done)

        def cancel() -> None:
            timer.cancel()
            give_up()

        later.cancel = cancel
        return later

    def status(self) -> dict[str, Any]:
        """Return the names and counters of the node, its peers and clients."""
        return {
            **self.router.status(),
            "clients": [
                {
                    "name": session.name,
                    "room": session.room.name,
                    "follows": None if session.mailbox is None else session.mailbox.follows,
                    "waiting": 0 if session.mailbox is None else len(session.mailbox),
                    "dropped": 0 if session.mailbox is None else session.mailbox.dropped,
                }
                for session in sorted(self.sessions.all(), key=lambda session: session.name)[:100]
            ],
            "clients_more": max(0, len(self.sessions) - 100),
            "now": time(),
        }


def listen_on(host: str, port: int) -> list[socket.socket]:
    """Listen at every address of a host; with port 0 the system chooses one, the same for all.

    Args:
        host: a name or address; "" for all addresses of this machine.
        port: the port.

    Returns:
        Non-blocking sockets, one for each address.

    Raises:
        OSError: one of them is unavailable. None is left open then.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        for family, (name, _, *scope) in addresses:
            try:
                listening = socket.create_server((str(name), port, *scope), family=family, backlog=BACKLOG)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(addresses) > 1:
                    continue  # a system without IPv6, whose names have such addresses anyway
                raise
            listening.setblocking(False)
            port = listening.getsockname()[1]
            sockets.append(opened.enter_context(listening))
        opened.pop_all()
    return sockets
