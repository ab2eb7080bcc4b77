"""The clients of a node that have no link: each has a token, and may have a queue that waits here for it.

They speak plain JSON-RPC, over a WebSocket or by single HTTP requests, so a connection that ends says
nothing of them: a token that has not been used for its ``ttl`` expires.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any

from .errors import RpcError
from .mailbox import Mailbox
from .protocol.jsonrpc import EMPTY, INVALID_REQUEST, OVERFLOW, UNKNOWN_TOKEN

if TYPE_CHECKING:
    from berrymq.bus import Bus
    from berrymq.identifiers import Identifier

__all__ = ["MAX_PARK_SECONDS", "TokenHolder", "Tokens"]

MAX_TOKENS = 1000
MAX_PARK_SECONDS = 25.0
"""How long one call of ``get`` waits at most, so that no proxy on the way gives it up."""

_log = logging.getLogger("berrymq")


class TokenHolder:
    """One client that holds a token.

    Args:
        name: the source of the messages it sends.
        ttl: seconds after which a token that is not used expires.
        mailbox: what it may take messages from.
    """

    def __init__(self, name: str, ttl: float, mailbox: Mailbox | None) -> None:
        self.name = name
        self.ttl = ttl
        self.mailbox = mailbox
        self.expiry: asyncio.TimerHandle | None = None
        self._parked: asyncio.Task[None] | None = None
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
        mailbox = self.mailbox
        if mailbox is None:
            raise RpcError(INVALID_REQUEST, "this token has no queue: it came from connect_oneway")
        if received is not None and self._last is not None and received < self._taken:
            return self._last
        if self._parked is not None:
            self._parked.cancel()  # its asker has given it up, and must not take what this one gets
        if timeout > 0 and not mailbox and not await self._park(mailbox, min(timeout, MAX_PARK_SECONDS)):
            raise RpcError(EMPTY, "another call waits for the next message now")
        if mailbox.closed:
            raise RpcError(UNKNOWN_TOKEN, "the token was closed while this call waited")
        fields = mailbox.take()
        if fields is None:
            raise RpcError(EMPTY, "nothing waits" if timeout <= 0 else "nothing came")
        self._taken += 1
        dropped, self._reported = mailbox.dropped - self._reported, mailbox.dropped
        self._last = {"n": self._taken, **fields, "dropped": dropped}
        return self._last

    async def _park(self, mailbox: Mailbox, seconds: float) -> bool:
        """Wait for something to come; false when another call does that in this one's place."""
        parked = self._parked = asyncio.ensure_future(mailbox.wait(seconds))
        try:
            await asyncio.wait([parked])
            return not parked.cancelled()
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
        if self.mailbox is not None:
            self.mailbox.close()


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
        mailbox = None
        if identifier is not None:
            mailbox = Mailbox(identifier, self._bus, self._loop, name)
        token = secrets.token_urlsafe(16)
        self._holders[token] = TokenHolder(name, ttl, mailbox)
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
        if holder.mailbox:
            _log.warning(
                "a client's queue of %s has expired with %d messages in it",
                holder.mailbox.follows,
                len(holder.mailbox),
            )
        self.close(token)
