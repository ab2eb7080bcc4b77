"""A queue that collects at another node, and is emptied from here: style 03 of the 2009 library."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import msgspec
from msgspec import Meta, Raw

from berrymq.bridge.errors import LinkError, RpcError
from berrymq.bridge.loop import run
from berrymq.bridge.payload import decode, encode
from berrymq.bridge.protocol.frames import Moment
from berrymq.bridge.protocol.jsonrpc import EMPTY, UNKNOWN_TOKEN
from berrymq.errors import QueueClosed
from berrymq.identifiers import Identifier
from berrymq.messages import Message
from berrymq.queues import Empty

from .dialing import CONNECT_SECONDS, NETWORK_ERRORS, Connection, dial, explain

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from berrymq.bridge.discovery.candidates import Found

__all__ = ["RemoteQueue"]

T = TypeVar("T")

RETRY_SECONDS = 0.2
ASK_SECONDS = 25.0
"""How long one question may wait at the other node; then it is asked again."""

_log = logging.getLogger("berrymq")


class _Taken(msgspec.Struct):
    n: Annotated[int, Meta(ge=0)]
    id: str
    args: Raw
    kwargs: Raw
    sent_at: Moment
    source: str | None = None
    dropped: Annotated[int, Meta(ge=0)] = 0


class RemoteQueue:
    """Takes messages from a queue at another node. Usable in ``with``; may be used on any thread.

    A cut connection is made anew at the next call, and the answer that was lost in it is given again; what
    waits at the other node waits for ``ttl`` seconds.

    Args:
        place: where the node is.
        identifier: what the queue collects.
        ttl: seconds for which it is kept when nobody asks.
        name: the source of what is sent through it.
        ssl_context: what certificates are trusted; the system's unless told.
    """

    def __init__(
        self,
        place: Found,
        identifier: str | Identifier,
        *,
        ttl: float,
        name: str,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.identifier = Identifier.parse(identifier)
        self.url = place.url
        self.asked: str | None = None
        """The URL that was asked for, without a token, where that is another."""
        self.dropped = 0
        """Messages that were dropped at the other node, since too many waited or its answer was too late."""
        self._place = place
        self._ttl = ttl
        self._name = name
        self._ssl_context = ssl_context
        self._connection: Connection | None = None
        self._token: str | None = None
        self._received = 0
        self._closed = False
        self._pid = os.getpid()
        self._taking = asyncio.Lock()
        self._is_waiting = False
        run(self._call_once("ping", {}))
        run(self._renew_token())

    def get(self, block: bool = True, timeout: float | None = None) -> Message:
        """Take the next message; wait for one, at most *timeout* seconds, unless *block* is false.

        Raises:
            Empty: none came, or one who has waited for longer on another thread is first in line.
            QueueClosed: this queue was closed.
            LinkError: the node can't be reached; with *block*, only after *timeout*.
        """
        self._check_open()
        return run(self._get(block, timeout))

    def get_nowait(self) -> Message:
        """Take the next message; raise `Empty` when there is none."""
        return self.get(block=False)

    def send_message(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Say something at the other node, and to everybody behind it who follows it.

        Raises:
            PayloadError: an argument can't cross.
            LinkError: the node can't be reached, or the connection was cut before it confirmed: then the
                message may have arrived or not.
        """
        self._check_open()
        known = Identifier.parse(identifier)
        payload = msgspec.json.decode(encode(args, kwargs), type=tuple[Raw, Raw])
        run(self._send(str(known), *payload))

    def _check_open(self) -> None:
        if self.closed:
            raise QueueClosed(f"this queue of {self.identifier} is closed")

    def close(self) -> None:
        """Give up the queue and what waits in it."""
        if not self._closed:
            self._closed = True
            if self._pid == os.getpid():  # in a forked child the connection is its parent's
                run(self._close())

    @property
    def closed(self) -> bool:
        """True after `close`, and in a forked child, for it is the parent's."""
        return self._closed or self._pid != os.getpid()

    def __iter__(self) -> Iterator[Message]:
        """Take messages, waiting for each, until the queue is closed."""
        while True:
            try:
                message = self.get()
            except QueueClosed:
                return
            yield message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RemoteQueue {self.identifier} at {self.url}{', closed' if self._closed else ''}>"

    # -- on the I/O thread -----------------------------------------------------------------------------------

    async def _get(self, block: bool, timeout: float | None) -> Message:
        until = None if timeout is None else time.monotonic() + timeout
        async with self._turn(block, timeout):
            while True:
                left = None if until is None else max(0.0, until - time.monotonic())
                over = not block or left == 0.0
                params: dict[str, Any] = {"block": not over, "received": self._received}
                if left is not None:
                    params["timeout"] = min(left, ASK_SECONDS)
                try:
                    result = await self._call_with_token("get", params)
                except RpcError as error:
                    if error.code != EMPTY:
                        raise
                    if over:
                        raise Empty(error.message) from None
                except NETWORK_ERRORS as error:
                    if over:
                        raise LinkError(explain(self._place, error)) from None
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    return self._message(result)

    @asynccontextmanager
    async def _turn(self, block: bool, timeout: float | None) -> AsyncIterator[None]:
        """Ask one question at a time, for answers are numbered; `Empty` when it is not our turn in time.

        Who does not want to wait does not wait behind one who does.
        """
        if not block:
            timeout = 0.0 if self._is_waiting else CONNECT_SECONDS
        try:
            async with asyncio.timeout(timeout):
                await self._taking.acquire()
        except TimeoutError:
            raise Empty("another thread has waited for longer, and is first in line") from None
        self._is_waiting = block
        try:
            yield
        finally:
            self._is_waiting = False
            self._taking.release()

    def _message(self, result: Raw) -> Message:
        taken = msgspec.json.decode(result, type=_Taken)
        self._received = taken.n
        self.dropped += taken.dropped
        args, kwargs = decode(b"[%b,%b]" % (taken.args, taken.kwargs))
        return Message.make(taken.id, args, kwargs, source=taken.source, sent_at=taken.sent_at)

    async def _send(self, identifier: str, args: Raw, kwargs: Raw) -> None:
        try:
            await self._call_with_token(
                "send_message", {"identifier": identifier, "args": args, "kwargs": kwargs}
            )
        except NETWORK_ERRORS as error:
            raise LinkError(f"{identifier} may not have arrived: {explain(self._place, error)}") from None

    async def _call_with_token(self, method: str, params: dict[str, Any]) -> Raw:
        self._check_open()
        try:
            return await self._call_once(method, {"token": self._token, **params})
        except RpcError as error:
            if error.code != UNKNOWN_TOKEN:
                raise
        _log.warning(
            "the queue of %s at %s is gone, with what waited in it; a new one is made",
            self.identifier,
            self.url,
        )
        await self._renew_token()
        return await self._call_once(method, {"token": self._token, **params, **self._fresh(params)})

    def _fresh(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"received": self._received} if "received" in params else {}

    async def _renew_token(self) -> None:
        result = await self._call_once(
            "connect_via_queue", {"identifier": str(self.identifier), "ttl": self._ttl, "name": self._name}
        )
        self._token = msgspec.json.decode(result, type=str)
        self._received = 0

    async def _call_once(self, method: str, params: dict[str, Any]) -> Raw:
        if self._connection is None or self._connection.ended:
            self._connection = await asyncio.wait_for(dial(self._place, self._ssl_context), CONNECT_SECONDS)
        connection = self._connection
        patience = params.get("timeout", ASK_SECONDS) + CONNECT_SECONDS
        try:
            return await asyncio.wait_for(connection.call(method, params), patience)
        except TimeoutError:
            connection.close("no answer came")
            raise

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(
                self._call_once("close_connection", {"token": self._token}), CONNECT_SECONDS
            )
        except NETWORK_ERRORS as error:
            _log.debug("the queue will expire by itself: %s", error)
        if self._connection is not None:
            await self._connection.finish()
