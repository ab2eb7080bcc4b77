"""A queue that is kept at another node and emptied from here: style 03 of the 2009 library."""

from __future__ import annotations

import logging
import os
import threading
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec
from msgspec import Meta, Raw

from berrymq.errors import QueueClosed
from berrymq.identifiers import Identifier
from berrymq.messages import Message
from berrymq.queues import Empty

from .errors import LinkError, RpcError
from .payload import TYPE_MARK, decode_payload, encode_message
from .protocol.frames import Moment
from .protocol.jsonrpc import EMPTY, UNKNOWN_TOKEN
from .runtime import runtime
from .transport.dialling import NETWORK_ERRORS, Dialled, dial, explain

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from .discovery.endpoint import Endpoint
    from .discovery.finding import Found

__all__ = ["RemoteQueue"]

RETRY_SECONDS = 0.2
WAIT_SECONDS = 25.0
"""How long one question may wait at the other node; then it is asked again."""
CALL_SECONDS = 5.0
"""How long an answer may take beyond that."""

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
        found: where the node is.
        identifier: what the queue collects.
        ttl: seconds for which it is kept when nobody asks.
        name: the source of what is published through it.
        past: begin with so many of the newest messages that are retained there.
        ssl_context: what certificates are trusted; the system's by default.
    """

    def __init__(
        self,
        found: Found,
        identifier: str | Identifier,
        *,
        ttl: float,
        name: str,
        past: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.identifier = Identifier.parse(identifier)
        self.asked: Endpoint | None = None
        """The address that was asked for, where that is another."""
        self.dropped = 0
        """Messages that were dropped at the other node since too many waited."""
        self.found = found
        self._ttl = ttl
        self._name = name
        # One who waits for a message must not keep others from sending, so each has a connection of its own.
        self._taking = _Caller(found, ssl_context)
        self._sending = _Caller(found, ssl_context)
        self._token_lock = threading.Lock()
        try:
            self._token = self._connect(self._taking, past)
        except BaseException:
            self._taking.close()
            raise
        self._received = 0
        self._closed = False
        self._is_waiting = False
        self._pid = os.getpid()

    @property
    def url(self) -> str:
        """Where the other node is."""
        return self.found.endpoint.url

    def get(self, block: bool = True, timeout: float | None = None) -> Message:
        """Take the next message; wait for one, at most *timeout* seconds, unless *block* is false.

        Raises:
            Empty: none came, or another thread is ahead in line.
            QueueClosed: this queue was closed.
            LinkError: the node can't be reached; with *block*, only after *timeout*.
        """
        self._check_open()
        until = None if timeout is None else monotonic() + timeout
        if not self._take_turn(block, timeout):
            raise Empty("another thread is already waiting for the next message")
        self._is_waiting = block
        try:
            return self._get(block, until)
        finally:
            self._is_waiting = False
            self._taking.lock.release()

    def _take_turn(self, block: bool, timeout: float | None) -> bool:
        """Ask one at a time, for answers are numbered; who does not wait passes no one who does."""
        if not block:
            return self._taking.lock.acquire(timeout=0.0 if self._is_waiting else CALL_SECONDS)
        return self._taking.lock.acquire(timeout=-1 if timeout is None else timeout)

    def _get(self, block: bool, until: float | None) -> Message:
        pause = threading.Event()
        while True:
            self._check_open()
            left = None if until is None else max(0.0, until - monotonic())
            over = not block or left == 0.0
            wait = 0.0 if over else min(WAIT_SECONDS, WAIT_SECONDS if left is None else left)
            try:
                result = self._call(self._taking, "get", self._get_params(not over, wait), wait)
            except RpcError as error:
                if error.code != EMPTY:
                    raise
                if over:
                    raise Empty(error.message) from None
            except NETWORK_ERRORS as error:
                self._check_open()
                if over:
                    raise LinkError(explain(self.found, error)) from None
                pause.wait(RETRY_SECONDS)
            else:
                return self._message(result)

    def _get_params(self, block: bool, wait: float) -> Callable[[], dict[str, Any]]:
        """Params of ``get``, made anew when a new queue takes the place of one that has expired."""
        return lambda: {"block": block, "timeout": wait, "received": self._received}

    def get_nowait(self) -> Message:
        """Take the next message; raise `Empty` when there is none."""
        return self.get(block=False)

    def send_message(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Publish a message at the other node, and to everybody behind it who follows it.

        Raises:
            PayloadError: an argument can't cross.
            LinkError: the node can't be reached, or the connection was cut before it acknowledged: then
                the message may have arrived or not.
        """
        self._check_open()
        known = Identifier.parse(identifier)
        encoded = msgspec.json.decode(encode_message(0.0, args, kwargs), type=tuple[float, Raw, Raw])
        params = {"identifier": known.text, "args": encoded[1], "kwargs": encoded[2]}
        with self._sending.lock:
            try:
                self._call(self._sending, "send_message", lambda: params, 0.0)
            except NETWORK_ERRORS as error:
                raise LinkError(f"{known} may not have arrived: {explain(self.found, error)}") from None

    def _check_open(self) -> None:
        if self.closed:
            raise QueueClosed(f"this queue of {self.identifier} is closed")

    def close(self) -> None:
        """Give up the queue and what waits in it."""
        runtime().forget(self)
        if self.closed:
            return
        self._closed = True
        self._taking.close()  # whoever waits there is let go
        try:
            with self._sending.lock:
                self._sending.call("close_connection", {"token": self._token}, CALL_SECONDS)
        except NETWORK_ERRORS as error:
            _log.debug("the queue will expire by itself: %s", error)
        self._sending.close()

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

    def _message(self, result: Raw) -> Message:
        taken = msgspec.json.decode(result, type=_Taken)
        self._received = taken.n
        self.dropped += taken.dropped
        args: Any = tuple(msgspec.json.decode(taken.args, type=list[Any]))
        kwargs = msgspec.json.decode(taken.kwargs, type=dict[str, Any])
        if TYPE_MARK in bytes(result):
            args, kwargs = decode_payload(list(args), kwargs)
        return Message.make(taken.id, args, kwargs, source=taken.source, sent_at=taken.sent_at)

    def _call(self, caller: _Caller, method: str, params: Any, wait: float) -> Raw:
        """Call a method with the token; where that has expired, with a new one."""
        token = self._token
        try:
            return caller.call(method, {"token": token, **params()}, wait + CALL_SECONDS)
        except RpcError as error:
            if error.code != UNKNOWN_TOKEN or self._closed:
                raise
        with self._token_lock:
            if self._token == token:
                _log.warning(
                    "the queue of %s at %s is gone, with what waited in it; a new one is made",
                    self.identifier,
                    self.url,
                )
                self._token = self._connect(caller)
                self._received = 0
        return caller.call(method, {"token": self._token, **params()}, wait + CALL_SECONDS)

    def _connect(self, caller: _Caller, past: int = 0) -> str:
        params = {"identifier": self.identifier.text, "ttl": self._ttl, "name": self._name, "past": past}
        return msgspec.json.decode(caller.call("connect_via_queue", params, CALL_SECONDS), type=str)


class _Caller:
    """A connection for calls, made anew when it was cut."""

    def __init__(self, found: Found, ssl_context: ssl.SSLContext | None) -> None:
        self.lock = threading.Lock()
        """Held by who calls."""
        self._found = found
        self._ssl_context = ssl_context
        self._dialled: Dialled | None = None
        self._closed = False

    def call(self, method: str, params: dict[str, Any], timeout: float) -> Raw:
        """Call a method and wait for the result; with the lock held.

        Raises:
            RpcError: it answered with an error.
            OSError: the connection ended, or is closed, or the time is over (`TimeoutError`).
            LinkError: what came is no answer.
        """
        if self._dialled is None or self._dialled.closed:
            self._dialled = dial(self._found, self._ssl_context, min(CALL_SECONDS, timeout))
        dialled = self._dialled
        dialled.deadline = monotonic() + timeout
        try:
            if self._closed:  # meanwhile, so that whoever closed it has not seen this connection
                raise ConnectionAbortedError("the connection was closed here")  # noqa: TRY301
            return dialled.call(method, params)
        except RpcError:
            raise
        except BaseException:
            dialled.close()  # its answer may come later, and must not be taken for that of the next call
            raise

    def close(self) -> None:
        """End the connection; whoever waits on it on another thread is let go, and closes it."""
        self._closed = True
        dialled = self._dialled
        if dialled is None:
            return
        if self.lock.acquire(blocking=False):
            dialled.close()
            self.lock.release()
        else:
            dialled.abort()
