"""A queue at another node that this process takes messages from: style 03 of the 2009 library.

It needs no link: the messages wait in a queue at the other node (``node/mailbox.py``), and ``get`` is a call
that is answered when one is there. Exactly once over cuts: each answer has a number, each call says which one
was received last, and the node repeats the answer that was lost. So a call may be repeated at will.
"""

from __future__ import annotations

import logging
import os
import threading
from base64 import b64decode
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec
from msgspec import Meta, Raw

from berrymq.errors import QueueClosed
from berrymq.identifiers import Identifier
from berrymq.messages import Message
from berrymq.queues import Empty

from .buffers import Missing
from .errors import LinkError, RpcError
from .payload import TYPE_MARK, decode_payload, encode_message
from .protocol.fields import Moment
from .protocol.jsonrpc import EMPTY, UNKNOWN_TOKEN
from .runtime import runtime
from .transport.dialling import NETWORK_ERRORS, Dialled, dial, explain

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from .discovery.endpoint import Endpoint
    from .discovery.finding import Found

__all__ = ["RemoteQueue"]

RETRY_SECONDS = 0.2
"""The interval of attempts to reach the node while a ``get`` waits."""
WAIT_SECONDS = 25.0
"""The longest wait of one call at the other node; then it is repeated. Below the timeouts of proxies, many of
which cut what is silent for 30 or 60 seconds."""
CALL_SECONDS = 5.0
"""The time for an answer beyond that."""

_log = logging.getLogger("berrymq")


class Download(msgspec.Struct):
    """A buffer that is fetched in parts."""

    path: str
    size: Annotated[int, Meta(ge=0, le=2**40)]


class _Taken(msgspec.Struct):
    """A message as ``get`` returns it."""

    n: Annotated[int, Meta(ge=0)]
    """Its number in the queue, from 1 on."""
    id: str
    args: Raw
    kwargs: Raw
    sent_at: Moment
    source: str | None = None
    dropped: Annotated[int, Meta(ge=0)] = 0
    """Messages that were dropped there since the answer before."""
    buffers: list[str | Download | None] = []


class RemoteQueue:
    """Takes messages from a queue at another node. Usable in ``with`` and on any thread.

    A connection that was cut is replaced at the next call, and an answer that was lost with it is sent again.
    Messages stay at the other node for ``ttl`` seconds.

    Threads may take and send at the same time. Two that wait in ``get`` take turns.

    Args:
        found: the node's endpoint.
        identifier: the messages that the queue collects.
        ttl: seconds for which it is kept without a call.
        name: the source of messages published through it.
        shared: whether it takes turns with the shared queues of the identifier, which only a hub has.
        past: begin with so many of the newest messages that are retained there.
        ssl_context: trusted certificates; by default the system's.
    """

    def __init__(
        self,
        found: Found,
        identifier: str | Identifier,
        *,
        ttl: float,
        name: str,
        shared: bool = False,
        past: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.identifier = Identifier.parse(identifier)
        self.asked: Endpoint | None = None
        """The address that was requested, if that is another one."""
        self.dropped = 0
        """Messages that were dropped at the other node because the queue was full."""
        self.found = found
        self._ttl = ttl
        self._name = name
        self.shared = shared
        # A thread that waits for a message must not keep others from sending, so each purpose has its own
        # connection.
        self._taking = _Caller(found, ssl_context)
        self._sending = _Caller(found, ssl_context)
        self._token_lock = threading.Lock()
        try:
            self._token = self._connect(self._taking, past)
        except BaseException:
            self._taking.close()
            raise
        self._received = 0
        """The number of the last message that has arrived; with the lock of `_taking` held."""
        self._closed = False
        self._is_waiting = False
        self._pid = os.getpid()
        """A forked child has the same sockets, and must not use them."""

    @property
    def url(self) -> str:
        """The URL of the other node."""
        return self.found.endpoint.url

    def get(self, block: bool = True, timeout: float | None = None) -> Message:
        """Return the next message; wait for one, at most *timeout* seconds, unless *block* is false.

        With *block*, a node that can't be reached is tried again until *timeout*, every `RETRY_SECONDS`.

        Raises:
            Empty: there is none, or another thread waits already.
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
        """Let one thread call at a time, for answers are numbered; non-blocking calls do not overtake.

        Return whether this thread may call now.
        """
        if not block:
            return self._taking.lock.acquire(timeout=0.0 if self._is_waiting else CALL_SECONDS)
        return self._taking.lock.acquire(timeout=-1 if timeout is None else timeout)

    def _get(self, block: bool, until: float | None) -> Message:
        """Call until a message comes. The lock is held."""
        timer = threading.Event()
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
                timer.wait(RETRY_SECONDS)
            else:
                return self._message(result)

    def _get_params(self, block: bool, wait: float) -> Callable[[], dict[str, Any]]:
        """Return the params of ``get``, for a new queue if the former one has expired."""
        return lambda: {"block": block, "timeout": wait, "received": self._received}

    def get_nowait(self) -> Message:
        """Return the next message; raise `Empty` without one.

        Raises:
            Empty: there is none.
            QueueClosed: this queue was closed.
            LinkError: the node can't be reached.
        """
        return self.get(block=False)

    def send_message(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Publish a message at the other node and the nodes behind it that follow it.

        Raises:
            PayloadError: an argument can't cross.
            LinkError: the node can't be reached, or the connection was cut before it acknowledged: then the
                message may have arrived or not.
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
        """Close the queue and drop its messages.

        A thread that waits in `get` gets a `QueueClosed`. If the node can't be reached, the queue there
        expires.
        """
        runtime().forget(self)
        if self.closed:
            return
        self._closed = True
        self._taking.close()  # release the threads that wait there
        try:
            with self._sending.lock:
                params = {"token": self._token, "received": self._received}
                self._sending.call("close_connection", params, CALL_SECONDS)
        except NETWORK_ERRORS as error:
            _log.debug("the queue will expire by itself: %s", error)
        self._sending.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed; also True in a forked child, since it is the parent's."""
        return self._closed or self._pid != os.getpid()

    def __iter__(self) -> Iterator[Message]:
        """Yield messages, waiting for each, until the queue is closed."""
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
        """Decode a message, and note its number and how many were dropped before it."""
        taken = msgspec.json.decode(result, type=_Taken)
        self._received = taken.n
        self.dropped += taken.dropped
        args: Any = tuple(msgspec.json.decode(taken.args, type=list[Any]))
        kwargs = msgspec.json.decode(taken.kwargs, type=dict[str, Any])
        if TYPE_MARK in bytes(result):
            args, kwargs = decode_payload(list(args), kwargs, buffers_of(taken.buffers, self._download))
        return Message.make(taken.id, args, kwargs, source=taken.source, sent_at=taken.sent_at)

    def _download(self, path: str, offset: int) -> str:
        """Return a part of a buffer in base64."""
        with self._sending.lock:
            found = self._sending.call("buffer", {"path": path, "offset": offset}, CALL_SECONDS)
        return msgspec.json.decode(found, type=str)

    def _call(self, caller: _Caller, method: str, params: Any, wait: float) -> Raw:
        """Call a method with the token, or with a new one if that has expired.

        The new token has a new queue, so what was in the former one is lost, which is logged.
        """
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
        """Open a session with a queue at the node; return its token."""
        params: dict[str, Any] = {"identifier": self.identifier.text, "ttl": self._ttl, "name": self._name}
        if past:
            params["past"] = past
        if self.shared:
            params["shared"] = True
        return msgspec.json.decode(caller.call("connect_via_queue", params, CALL_SECONDS), type=str)


def buffers_of(
    forms: Sequence[str | Download | None], fetch: Callable[[str, int], str]
) -> list[memoryview | Missing]:
    """Return the buffers of a message.

    Args:
        forms: base64, or what is to be fetched.
        fetch: returns in base64 the part of a buffer that begins at an offset.
    """
    found: list[memoryview | Missing] = []
    for form in forms:
        if isinstance(form, Download):
            found.append(_fetch(form, fetch))
        elif form is None:
            found.append(Missing("its memory is gone"))
        else:
            found.append(memoryview(bytearray(b64decode(form, validate=True))))
    return found


def _fetch(form: Download, fetch: Callable[[str, int], str]) -> memoryview | Missing:
    """Fetch a buffer in parts."""
    data = bytearray()
    try:
        while len(data) < form.size:
            part = b64decode(fetch(form.path, len(data)), validate=True)
            if not part:
                return Missing("it ends before its size")
            data += part
    except (RpcError, *NETWORK_ERRORS) as error:
        return Missing(f"it was not downloaded: {error}")
    return memoryview(data)


class _Caller:
    """A connection for calls, replaced when it was cut."""

    def __init__(self, found: Found, ssl_context: ssl.SSLContext | None) -> None:
        self.lock = threading.Lock()
        """Held during a call."""
        self._found = found
        self._ssl_context = ssl_context
        self._dialled: Dialled | None = None
        self._closed = False

    def call(self, method: str, params: dict[str, Any], timeout: float) -> Raw:
        """Call a method and return its result; with the lock held.

        Raises:
            RpcError: it answered with an error.
            OSError: the connection was cut or closed, or did not answer in time (`TimeoutError`).
            LinkError: the text received is no answer.
        """
        if self._dialled is None or self._dialled.closed:
            self._dialled = dial(self._found, self._ssl_context, min(CALL_SECONDS, timeout))
        dialled = self._dialled
        dialled.deadline = monotonic() + timeout
        try:
            if self._closed:  # it was closed during the dial, so `close` did not see this connection
                raise ConnectionAbortedError("the connection was closed here")  # noqa: TRY301
            return dialled.call(method, params)
        except RpcError:
            raise
        except BaseException:
            dialled.close()  # its answer may come later, and must not be taken for that of the next call
            raise

    def close(self) -> None:
        """Close the connection; a thread that waits on it is released, and closes it."""
        self._closed = True
        dialled = self._dialled
        if dialled is None:
            return
        if self.lock.acquire(blocking=False):
            dialled.close()
            self.lock.release()
        else:
            dialled.abort()
