"""What a server does with what one connection says: it answers calls and hands frames to the neighbour.

The same for a WebSocket of a node, of a hub and of a Jupyter server, and for single HTTP requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from berrymq.bridge.access_token import same_token
from berrymq.bridge.errors import RpcError
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.protocol.frames import FRAME_METHODS, decode_frame
from berrymq.bridge.protocol.jsonrpc import Call
from berrymq.bridge.websocket import CloseCode

from .methods import methods

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from berrymq.bridge.network.peer import Peer, Transport
    from berrymq.bridge.node import Node

__all__ = ["Conversation"]

T = TypeVar("T")

_log = logging.getLogger("berrymq")

MAX_CALLS = 64
"""Calls of one connection that may be under way at once."""
MAX_BATCH_ANSWER_BYTES = 4 * 1024 * 1024
"""How large the answers to a batch may become before its other calls are refused."""


class Conversation:
    """One connection to a node, as seen from the node.

    Args:
        node: whom it talks to.
        transport: where answers go; None for a single HTTP request, over which no link can be made.
        authenticated: whether the access token was shown already; else the first call has to show it.
    """

    def __init__(self, node: Node, transport: Transport | None = None, *, authenticated: bool) -> None:
        self.node = node
        self.transport = transport
        self.authenticated = authenticated
        self.peer: Peer | None = None
        self.after_reply: list[Callable[[], None]] = []
        """What methods want to be done as soon as their answer is on its way."""
        self.admits: Callable[[str], bool] = lambda token: same_token(token, node.access_token)
        """Whether an access token is the right one."""
        self.follows: set[str] | None = None
        """What the neighbour follows, where it says so by calls; to be told to the node."""
        self.ended = False
        """The connection is no more."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def receive(self, data: str | bytes) -> None:
        """Take one WebSocket message."""
        assert self.transport is not None
        if self.peer is not None:
            try:
                frame = decode_frame(data)
            except ValueError as error:
                self.peer.heard(self.transport)
                reason = str(error)
            else:
                self._take_frame(frame)
                return
        else:
            reason = "no link was made over this connection"
        try:
            calls, is_batch = jsonrpc.parse(data)
        except RpcError as error:
            self.transport.write(jsonrpc.failure(None, error))
            return
        for call in calls:
            if isinstance(call, Call) and call.method in FRAME_METHODS:
                self._break(f"{call.method}: {reason}")
                return
        if len(self._tasks) >= MAX_CALLS:
            too_many = RpcError(jsonrpc.TOO_LARGE, f"more than {MAX_CALLS} calls under way on one connection")
            self.transport.write(jsonrpc.failure(None, too_many))
            return
        _ = self._start(self._answer(calls, is_batch))

    async def answer(self, data: bytes) -> bytes | None:
        """Answer one HTTP request; None when there is nothing to say, or nobody any more to say it to."""
        try:
            calls, is_batch = jsonrpc.parse(data)
        except RpcError as error:
            return jsonrpc.failure(None, error)
        task = self._start(self._run(calls, is_batch))
        await asyncio.wait([task])
        self._follow_up()
        return None if task.cancelled() else task.result()

    def check_token(self, access_token: str) -> None:
        """Let the other side in, or raise RpcError."""
        if not self.admits(access_token):
            raise RpcError(jsonrpc.NOT_ALLOWED, "wrong access token")
        self.authenticated = True

    def closed(self) -> None:
        """The connection has ended: what waits is given up.

        What was said last, as that the link is over, came in the same breath as the end and has yet to begin;
        that is still done.
        """
        self.ended = True
        for task in self._tasks:
            self.node.loop.call_soon(task.cancel)
        if self.peer is not None and self.transport is not None:
            self.peer.lost(self.transport)

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(self, calls: list[Call | RpcError], is_batch: bool) -> None:
        assert self.transport is not None
        answer = await self._run(calls, is_batch)
        if answer is not None:
            self.transport.write(answer)
        self._follow_up()

    def _follow_up(self) -> None:
        after, self.after_reply = self.after_reply, []
        for function in after:
            function()

    async def _run(self, calls: list[Call | RpcError], is_batch: bool) -> bytes | None:
        answers: list[bytes] = []
        size = 0
        for call in calls:
            answer = await self._call(call, _refusal(call, size) if is_batch else None)
            if answer is not None:
                answers.append(answer)
                size += len(answer)
        if not answers:
            return None
        return jsonrpc.batch(answers) if is_batch else answers[0]

    async def _call(self, call: Call | RpcError, refusal: RpcError | None) -> bytes | None:
        if isinstance(call, RpcError):
            return jsonrpc.failure(None, call)
        if not self.authenticated and call.method != "authenticate":
            refusal = RpcError(jsonrpc.NOT_ALLOWED, "show the access token first: authenticate(access_token)")
        if refusal is not None:
            return _error_answer(call, refusal)
        try:
            return await methods.call(self, call)
        except Exception:  # noqa: BLE001 - see below
            # A mistake of ours, not the caller's: it is logged whole here, and nothing of it goes over the
            # network.
            _log.exception("a call of the wire method %s failed", call.method)
            return _error_answer(call, RpcError(jsonrpc.INTERNAL_ERROR, "internal error"))

    def _take_frame(self, frame: object) -> None:
        assert self.peer is not None
        assert self.transport is not None
        try:
            self.peer.receive(self.transport, frame)  # type: ignore[arg-type]  # it is a Frame
        except ValueError as error:
            self._break(str(error))

    def _break(self, reason: str) -> None:
        assert self.transport is not None
        _log.warning("a connection is closed: %s", reason)
        self.transport.close("protocol error", CloseCode.PROTOCOL_ERROR)
        if self.peer is not None:
            self.peer.lost(self.transport)


def _refusal(call: Call | RpcError, answered: int) -> RpcError | None:
    """Why a call can't be made in a batch to which there are so many bytes of answers already."""
    if isinstance(call, Call) and call.method == "interconnect":
        return RpcError(jsonrpc.INVALID_REQUEST, "interconnect can't be part of a batch: call it by itself")
    if answered >= MAX_BATCH_ANSWER_BYTES:
        return RpcError(jsonrpc.TOO_LARGE, "the answers to this batch are too large: make this call again")
    return None


def _error_answer(call: Call, error: RpcError) -> bytes | None:
    return None if call.is_notification else jsonrpc.failure(call.id, error)
