"""The clients of a node that have no link: each has a token, and may have a queue here.

They speak plain JSON-RPC, over a WebSocket or by single HTTP requests, so they outlive their connections: a
session expires when it is not used for its ``ttl``.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import RpcError
from berrymq.bridge.node.mailbox import Mailbox
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.jsonrpc import EMPTY, INVALID_REQUEST, OVERFLOW, UNKNOWN_TOKEN, Later

if TYPE_CHECKING:
    from berrymq.bridge.node.retained import Retained
    from berrymq.bridge.node.room import Room
    from berrymq.bridge.node.router import Router
    from berrymq.bridge.transport.loop import Timer
    from berrymq.identifiers import Identifier

__all__ = ["MAX_WAIT_SECONDS", "Session", "Sessions"]

MAX_SESSIONS = 1000
"""Beyond it the token that was unused for longest is void."""
MAX_WAIT_SECONDS = 25.0
"""The longest wait of one call of ``get``, so that no proxy times out."""
EXPIRY_CHECK_SECONDS = 1.0
"""The least interval of checks whether a session with a waiting call has expired."""


class Session:
    """One client.

    Messages have numbers, from 1 on. A client that gives the number of the last one it received gets a lost
    answer again; so a cut between the answer and its arrival loses nothing, as long as memory is not short.

    Args:
        name: the source of the messages that it publishes.
        room: its room.
        ttl: seconds without use after which it expires.
        mailbox: its queue, if it has one.
    """

    def __init__(
        self, router: Router, name: str, room: Room, ttl: float, mailbox: Mailbox | Any | None
    ) -> None:
        self.name = name
        self.room = room
        self.ttl = ttl
        self.mailbox = mailbox
        self.expiry: Timer | None = None
        self._router = router
        self._waiting: Later | None = None
        self._timeout: Timer | None = None
        self._taken = 0
        """The number of the last message taken."""
        self._last_dropped = 0
        """The number of drops that was sent with the last message."""
        self._last_is_lost = False
        """That message was dropped since memory was short, and its client did not receive it: it has been
        counted."""
        self._reported = 0
        """The number of drops that answers have reported."""

    def get(self, timeout: float, received: int | None) -> dict[str, Any] | Later:
        """Answer with the next message; wait for it at most *timeout* seconds.

        Args:
            timeout: 0 does not wait.
            received: the number ``n`` of the last message that the client received. If that is not the last
                one taken, the answer was lost, and it is sent again.

        Raises:
            RpcError: EMPTY, or the client has no queue.
        """
        mailbox = self.mailbox
        if mailbox is None:
            raise RpcError(INVALID_REQUEST, "this token has no queue: it came from connect_oneway")
        if received is not None and received < self._taken:
            if mailbox.last is not None:
                return self._numbered(mailbox.last)
            if received == self._taken - 1 and not self._last_is_lost:  # memory was short: it was dropped
                self._last_is_lost = True
                mailbox.dropped += 1
                self._reported -= self._last_dropped
        # A call that waits already was abandoned by its client, and must not take the message of this one.
        self._stop_waiting(RpcError(EMPTY, "another call waits for the next message now"))
        taken = self._take()
        if taken is not None:
            return taken
        timeout = max(timeout, mailbox.least_seconds)
        if timeout <= 0:
            raise RpcError(EMPTY, "nothing waits")
        later = self._waiting = Later(cancel=lambda: self._forget(later))
        mailbox.on_arrival = self._arrived
        self._timeout = self._router.loop.call_later(
            min(timeout, MAX_WAIT_SECONDS), self._stop_waiting, RpcError(EMPTY, "nothing came")
        )
        return later

    def _take(self) -> dict[str, Any] | None:
        """Take the next message from the queue; None without one."""
        mailbox = self.mailbox
        assert mailbox is not None
        fields = mailbox.take()
        if fields is None:
            return None
        self._taken += 1
        self._last_is_lost = False
        self._last_dropped, self._reported = mailbox.dropped - self._reported, mailbox.dropped
        return self._numbered(fields)

    def _numbered(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"n": self._taken, **fields, "dropped": self._last_dropped}

    def _arrived(self) -> None:
        taken = self._take() if self._waiting is not None else None
        if taken is not None:
            self._stop_waiting(taken)

    def _stop_waiting(self, outcome: object) -> None:
        """Answer the call that waits, if there is one.

        Args:
            outcome: its result, or an error.
        """
        waiting, self._waiting = self._waiting, None
        if self._timeout is not None:
            self._timeout.cancel()
        if self.mailbox is not None:
            self.mailbox.on_arrival = None
        if waiting is not None:
            # In a turn of its own: the answer must not be sent in the middle of a delivery.
            self._router.loop.call(waiting.resolve, outcome)

    def _forget(self, later: Later) -> None:
        if self._waiting is later:
            self._waiting = None
            self._stop_waiting(None)

    def acknowledge(self, received: int | None) -> None:
        """Note that the client has the last message: it does not go back to a shared queue."""
        if received is not None and received >= self._taken and self.mailbox is not None:
            self.mailbox.acknowledge()

    @property
    def is_waiting(self) -> bool:
        """Whether a call waits for a message."""
        return self._waiting is not None

    def close(self) -> int:
        """Invalidate the token; return the number of messages that were not taken."""
        if self.expiry is not None:
            self.expiry.cancel()
        self._stop_waiting(RpcError(UNKNOWN_TOKEN, "the token was closed while this call waited"))
        return self.mailbox.close() if self.mailbox is not None else 0


class Sessions:
    """The sessions of a node, by token. Used on the loop alone.

    Args:
        router: delivers to their queues.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._sessions: dict[str, Session] = {}
        """The most recently used last."""

    def __len__(self) -> int:
        return len(self._sessions)

    def all(self) -> list[Session]:
        """Return all sessions, the least recently used first."""
        return list(self._sessions.values())

    def open(
        self,
        name: str,
        room: str | None,
        ttl: float,
        identifier: Identifier | None = None,
        *,
        past: int = 0,
        shared: bool = False,
    ) -> str:
        """Add a session and return its token; with an *identifier*, it has a queue.

        Args:
            name: the source of the client's messages.
            room: its room.
            ttl: seconds without use after which the session expires.
            identifier: the messages that its queue collects.
            past: the number of retained messages with which the queue begins.
            shared: whether it takes turns with the shared queues of the identifier.

        Raises:
            RpcError: there are too many sessions, and a call waits in each of them; or this node has no
                shared queues.
        """
        if len(self._sessions) >= MAX_SESSIONS:
            self._close_idle()
        router = self._router
        the_room = router.room(room)
        mailbox: Mailbox | Any | None = None
        if identifier is not None and shared:
            with router.lock:
                mailbox = router.shared_mailbox(the_room, identifier, name)
        elif identifier is not None:
            mailbox = Mailbox(identifier.text, router.budget, router.downloads)
            with router.lock:
                for batch, count in router.past(the_room, identifier, past) if past else ():
                    mailbox.accept(batch, count)
                the_room.follow(mailbox, [identifier])
                router.announcements.schedule(the_room, [identifier])
        token = secrets.token_urlsafe(16)
        self._sessions[token] = Session(router, name, the_room, ttl, mailbox)
        self._renew(token)
        return token

    def begin_with(self, token: str, past: list[Retained]) -> None:
        """Have the queue of a session begin with retained messages."""
        session = self._sessions.get(token)
        if session is not None and isinstance(session.mailbox, Mailbox):
            with self._router.lock:
                session.mailbox.begin_with(past)

    def _close_idle(self) -> None:
        """Close the least recently used session, so that those of one client keep no other out."""
        idle = next((token for token, session in self._sessions.items() if not session.is_waiting), None)
        if idle is None:
            raise RpcError(OVERFLOW, f"this node has {MAX_SESSIONS} clients already, which all wait in get")
        name = self._sessions[idle].name
        left = self._end(self._sessions.pop(idle))
        peers_log.warning("the token of %r is void, for there are too many: %d messages dropped", name, left)

    def find(self, token: str) -> Session:
        """Return the session of a token, and restart its time to live.

        Raises:
            RpcError: the token is unknown or has expired.
        """
        session = self._sessions.get(token)
        if session is None:
            raise RpcError(UNKNOWN_TOKEN, "unknown or expired token: connect again")
        self._renew(token)
        return session

    def close(self, token: str, received: int | None = None) -> bool:
        """Invalidate a token; return whether it was valid.

        Args:
            token: the token.
            received: the number of the last message that the client has.
        """
        session = self._sessions.pop(token, None)
        if session is None:
            return False
        session.acknowledge(received)
        left = self._end(session)
        if left and session.mailbox is not None:
            peers_log.warning(
                "a client's queue of %r has ended with %d messages in it", session.mailbox.follows, left
            )
        return True

    def _end(self, session: Session) -> int:
        """Close an invalidated session; return the number of messages that were not taken."""
        mailbox = session.mailbox
        if isinstance(mailbox, Mailbox):
            from berrymq.identifiers import Identifier

            identifier = Identifier.parse(mailbox.follows)
            with self._router.lock:
                session.room.unfollow(mailbox, [identifier])
                self._router.announcements.schedule(session.room, [identifier])
        return session.close()

    def close_all(self) -> None:
        """Close every session."""
        for token in list(self._sessions):
            self.close(token)

    def _renew(self, token: str) -> None:
        session = self._sessions[token] = self._sessions.pop(token)
        if session.expiry is not None:
            session.expiry.cancel()
        session.expiry = self._router.loop.call_later(session.ttl, self._expire, token)

    def _expire(self, token: str) -> None:
        session = self._sessions[token]
        if session.is_waiting:
            seconds = max(session.ttl, EXPIRY_CHECK_SECONDS)
            session.expiry = self._router.loop.call_later(seconds, self._expire, token)
        else:
            self.close(token)
