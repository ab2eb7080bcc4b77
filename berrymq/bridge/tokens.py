"""The clients of a node that have no link: each has a token, and may have a queue that waits here for it.

They speak plain JSON-RPC, over a WebSocket or by single HTTP requests, so a connection that ends says
nothing of them: a token that has not been used for its ``ttl`` expires.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any

from berrymq.errors import QueueClosed
from berrymq.queues import Queue

from .errors import PayloadError, RpcError
from .message_fields import message_fields
from .protocol.jsonrpc import EMPTY, INTERNAL_ERROR, INVALID_REQUEST, OVERFLOW, UNKNOWN_TOKEN

if TYPE_CHECKING:
    from berrymq.bus import Bus
    from berrymq.identifiers import Identifier
    from berrymq.messages import Message

__all__ = ["MAX_PARK_SECONDS", "TokenHolder", "Tokens"]

MAX_TOKENS = 1000
MAX_QUEUE = 10_000
"""Messages that wait for a client; then the oldest make room, and the client is told how many."""
MAX_PARK_SECONDS = 25.0
"""How long one call of ``get`` waits at most, so that no proxy on the way gives it up."""

_log = logging.getLogger("berrymq")


class TokenHolder:
    """One client that holds a token.

    Args:
        name: the source of the messages it sends.
        ttl: seconds after which a token that is not used expires.
        queue: what it may take messages from.
    """

    def __init__(self, name: str, ttl: float, queue: Queue | None) -> None:
        self.name = name
        self.ttl = ttl
        self.queue = queue
        self.expiry: asyncio.TimerHandle | None = None
        self._parked: asyncio.Future[Message] | None = None
        self._taken = 0
        self._last: dict[str, Any] | None = None
        self._reported = 0

    async def get(self, timeout: float, received: int | None) -> dict[str, Any]:
        """Take the next message, waiting for it at most *timeout* seconds.

        Args:
            timeout: 0 does not wait.
            received: the number ``n`` of the last message that the client has. When that is not the last
                one that was taken, the answer with that one was lost, and it is given again.

        Raises:
            RpcError: EMPTY, or the client has no queue.
        """
        queue = self.queue
        if queue is None:
            raise RpcError(INVALID_REQUEST, "this token has no queue: it came from connect_oneway")
        if received is not None and self._last is not None and received < self._taken:
            return self._last
        if self._parked is not None:
            self._parked.cancel()  # its asker has given it up, and must not take what this one gets
        if timeout > 0 and queue.empty():
            message = await self._park(queue, min(timeout, MAX_PARK_SECONDS))
        elif queue.empty():
            raise RpcError(EMPTY, "nothing waits")
        else:
            message = queue.get_nowait()
        self._taken += 1
        self._last = None
        dropped, self._reported = queue.dropped - self._reported, queue.dropped
        self._last = {"n": self._taken, **_fields(message), "dropped": dropped}
        return self._last

    async def _park(self, queue: Queue, seconds: float) -> Message:
        parked = self._parked = asyncio.ensure_future(queue.aget())
        try:
            await asyncio.wait([parked], timeout=seconds)
            if parked.done() and not parked.cancelled():
                return parked.result()
            raise RpcError(EMPTY, "nothing came")
        except QueueClosed:
            raise RpcError(UNKNOWN_TOKEN, "the token was closed while this call waited") from None
        finally:
            parked.cancel()
            if self._parked is parked:
                self._parked = None

    @property
    def is_waiting(self) -> bool:
        """Whether a call waits for a message."""
        return self._parked is not None

    def close(self) -> None:
        """The token is void."""
        if self.expiry is not None:
            self.expiry.cancel()
        if self.queue is not None:
            self.queue.close()


def _fields(message: Message) -> dict[str, Any]:
    try:
        return message_fields(message)
    except PayloadError as error:
        raise RpcError(
            INTERNAL_ERROR, f"a message {message.id} was taken and can't be sent: {error}"
        ) from None


class Tokens:
    """The tokens of a node. Lives on the node's loop.

    Args:
        bus: where the queues of clients collect.
        loop: the node's.
    """

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop) -> None:
        self._bus = bus
        self._loop = loop
        self._holders: dict[str, TokenHolder] = {}

    def __len__(self) -> int:
        return len(self._holders)

    @property
    def holders(self) -> list[TokenHolder]:
        """Who has a token, the oldest first."""
        return list(self._holders.values())

    def give(self, name: str, ttl: float, identifier: Identifier | None = None) -> str:
        """A new token; with an *identifier*, a queue begins to collect.

        Raises:
            RpcError: there are too many tokens.
        """
        if len(self._holders) >= MAX_TOKENS:
            raise RpcError(
                OVERFLOW, f"this node has {MAX_TOKENS} clients already; close_connection those that are done"
            )
        queue = None
        if identifier is not None:
            queue = Queue(identifier, maxsize=MAX_QUEUE, bus=self._bus)
        token = secrets.token_urlsafe(16)
        self._holders[token] = TokenHolder(name, ttl, queue)
        self._renew(token)
        return token

    def holder(self, token: str) -> TokenHolder:
        """Who holds a token; its time to live starts anew.

        Raises:
            RpcError: nobody does, or it has expired.
        """
        holder = self._holders.get(token)
        if holder is None:
            raise RpcError(UNKNOWN_TOKEN, "unknown or expired token: connect again")
        self._renew(token)
        return holder

    def close(self, token: str) -> bool:
        """Make a token void; whether there was one."""
        holder = self._holders.pop(token, None)
        if holder is None:
            return False
        holder.close()
        return True

    def close_all(self) -> None:
        """The node leaves."""
        for token in list(self._holders):
            self.close(token)

    def _renew(self, token: str) -> None:
        holder = self._holders[token]
        if holder.expiry is not None:
            holder.expiry.cancel()
        holder.expiry = self._loop.call_later(holder.ttl, self._expire, token)

    def _expire(self, token: str) -> None:
        holder = self._holders[token]
        if holder.is_waiting:
            self._renew(token)
            return
        queue = holder.queue
        if queue is not None and not queue.empty():
            _log.warning(
                "a client's queue of %s has expired with %d messages in it", queue.follows, queue.qsize()
            )
        self.close(token)
