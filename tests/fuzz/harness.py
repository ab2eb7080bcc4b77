"""What untrusted bytes are put to, and what has to come of it: the same under atheris and under pytest.

The first byte of an input chooses the way in, the rest is what comes that way. Whatever it is, it is
answered with JSON-RPC, or ends the connection, or is left out; no exception escapes, nothing fails inside.
In what is said, ``${t}`` and ``${q}`` stand for tokens of the node, one to send with and one with a queue.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from berrymq.bridge import payload
from berrymq.bridge.errors import PayloadError, RpcError
from berrymq.bridge.node import Node
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.protocol.frames import (
    FRAME_METHODS,
    HEARTBEAT,
    NodeRecord,
    SendMessages,
    WireMessage,
    ack_frame,
    announce_frame,
    decode_frame,
    dropped_frame,
    messages_frame,
)
from berrymq.bridge.server.conversation import Conversation
from berrymq.bridge.server.methods import methods
from berrymq.identifiers import Identifier
from tests.support.conformance import cases

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_INPUT = 4096
FRESH_NODE_AFTER = 2_000
"""Inputs, so that what one of them leaves behind does not count for all that follow."""
MAX_ANSWER = 1024 * 1024

HTTP, WEBSOCKET, STRANGER, LINK, PAYLOAD, REPLY = range(6)


class Transport:
    """Takes down what is said to the other side."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def close(self, reason: str = "", code: int = 1000) -> None:
        self.closed = True


class Target:
    """A node, and the ways to it; called with an input, it raises AssertionError if that broke something."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.failures: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.inputs = 0
        self.node = self.fresh()
        self.ways: dict[int, Callable[[bytes], None]] = {
            HTTP: self.http,
            WEBSOCKET: self.websocket,
            STRANGER: self.stranger,
            LINK: self.link,
            PAYLOAD: self.payload,
            REPLY: self.reply,
        }

    def fresh(self) -> Node:
        """A node with a follower, and a neighbour that wants everything."""
        node = Node(name="fuzzed", loop=self.loop)
        node.bus.follow("a:*", lambda message: None, direct=True)
        self.neighbour = Transport()
        params = {"node": "neighbour", "id": "neighbour", "follows": ["*:*"]}
        self.beside = Conversation(node, self.neighbour, authenticated=True)
        self.say(self.beside, jsonrpc.request("interconnect", params, 0))
        return node

    def close(self) -> None:
        self.loop.run_until_complete(self.node.close())
        self.turn()
        self.loop.close()

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        if self.inputs % FRESH_NODE_AFTER == 0:
            self.loop.run_until_complete(self.node.close())
            self.node = self.fresh()
        if data:
            self.ways[data[0] % len(self.ways)](data[1:])
            self.turn()
            self.hand_on()
            assert not self.neighbour.closed, "the neighbour's link was cut"
            assert not self.failures, self.failures

    def turn(self) -> None:
        """Let the loop do what is ready, and what follows at once from that."""
        for _ in range(4):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    # -- the ways in -----------------------------------------------------------------------------------------

    def http(self, data: bytes) -> None:
        conversation = Conversation(self.node, authenticated=True)
        answering = self.loop.create_task(conversation.answer(self.with_tokens(data)))
        self.turn()
        self.loop.call_soon(conversation.closed)  # a call that waits for a message is given up
        self.check(self.loop.run_until_complete(answering))
        self.node.tokens.close_all()

    def websocket(self, data: bytes, *, authenticated: bool = True) -> None:
        transport = Transport()
        conversation = Conversation(self.node, transport, authenticated=authenticated)
        self.say(conversation, self.with_tokens(data))
        self.end(conversation, transport)

    def stranger(self, data: bytes) -> None:
        self.websocket(data, authenticated=False)
        assert self.node.peers == 1, "a stranger has made a link"

    def link(self, data: bytes) -> None:
        """A link; each empty line cuts it, and it is taken up again."""
        params: dict[str, Any] = {"node": "other", "id": "other", "follows": ["a:*", "c:d"]}
        for part in self.with_tokens(data).split(b"\n\n")[:4]:
            transport = Transport()
            conversation = Conversation(self.node, transport, authenticated=True)
            self.say(conversation, jsonrpc.request("interconnect", params, 1))
            self.node.bus.twitter("a:said", 1)
            self.say(conversation, part)
            _, linked = jsonrpc.parse_reply(transport.said[0])
            if not isinstance(linked, RpcError):
                params["session"] = json.loads(bytes(linked))["session"]
            self.end(conversation, transport, keep=True)
        self.forget()

    def payload(self, data: bytes) -> None:
        """What can be read can be sent again, and is the same then."""
        try:
            values = payload.decode(data)
            again = payload.decode(payload.encode(*values))
        except (ValueError, PayloadError):
            return
        assert again == values or "nan" in repr(values).lower(), "it came back as something else"

    def reply(self, data: bytes) -> None:
        with suppress(ValueError):
            jsonrpc.parse_reply(data)

    def with_tokens(self, data: bytes) -> bytes:
        give = self.node.tokens.give
        if b"${t}" in data:
            data = data.replace(b"${t}", give("fuzz", 60.0).encode())
        if b"${q}" in data:
            data = data.replace(b"${q}", give("fuzz", 60.0, Identifier.parse("a:*")).encode())
        return data

    def say(self, conversation: Conversation, data: bytes) -> None:
        for line in data.split(b"\n"):
            self.loop.call_soon(conversation.receive, line)
            self.turn()

    def hand_on(self) -> None:
        """Let the neighbour take what it was told."""
        said, self.neighbour.said = self.neighbour.said, []
        last = 0
        for data in said:
            self.check(data)
            with suppress(ValueError):
                last = getattr(decode_frame(data).params, "n", last)
        self.say(self.beside, ack_frame(last) if last else HEARTBEAT)

    # -- what has to come of it ------------------------------------------------------------------------------

    def end(self, conversation: Conversation, transport: Transport, *, keep: bool = False) -> None:
        self.loop.call_soon(conversation.closed)
        self.turn()
        for answer in transport.said:
            self.check(answer)
        if not keep:
            self.forget()

    def forget(self) -> None:
        self.node.tokens.close_all()
        for peer in self.node.neighbours:
            if peer.id != "neighbour":
                self.node.remove_peer(peer)

    def check(self, answer: bytes | None) -> None:
        if answer is None:
            return
        assert len(answer) < MAX_ANSWER, "a short call has a long answer"
        with suppress(ValueError):
            frame = decode_frame(answer.decode())
            if isinstance(frame, SendMessages):
                for message in frame.params.batch:
                    json.loads(bytes(message.payload))
            return
        for part in json.loads(answer) if answer.startswith(b"[") else [json.loads(answer)]:
            _, result = jsonrpc.parse_reply(json.dumps(part))
            assert getattr(result, "code", 0) != jsonrpc.INTERNAL_ERROR, "a mistake inside"


def seeds() -> list[bytes]:
    """What to begin with: the wire vectors, and a frame and a value of each kind."""
    said = [
        "\n".join(str(step["send"])[: MAX_INPUT // 2] for step in case.steps).encode()
        for case in cases("jsonrpc")
    ]
    body = payload.encode([1, {"a": (2.5, {3})}], {"x": None})
    message = WireMessage("a:b", Raw(body), "s", 0.0, "o", 1)
    question = WireMessage("a:b", Raw(body), "s", 0.0, "o", 2, question=1, callback="c:d")
    frames = [
        HEARTBEAT,
        ack_frame(1),
        dropped_frame(1, 2),
        announce_frame(1, [NodeRecord("o", "n", 1, None, False, ("a:b",), ("other",))]),
        messages_frame(1, [message]),
        messages_frame(1, [question]),
    ]
    calls = [
        jsonrpc.request("follow", ["a:x"], 1),
        jsonrpc.request("unfollow", ["a:x"], 2),
        jsonrpc.request("nodes", [], 3),
        jsonrpc.request("close_connection", ["${q}"], 4),
    ]
    links = [*frames, *calls, b"\n".join(frames + calls), b"\n\n".join(frames)]
    values = [body] + [b'[[{"$type":"%b","value":%b}],{}]' % value for value in VALUES]
    return [
        bytes([way]) + data[:MAX_INPUT]
        for way, inputs in (
            (HTTP, said),
            (WEBSOCKET, said),
            (STRANGER, said),
            (LINK, links),
            (PAYLOAD, values),
            (REPLY, [b'{"jsonrpc":"2.0","id":1,"result":[]}', jsonrpc.failure(1, RpcError(-32000, "x", 1))]),
        )
        for data in inputs
    ]


VALUES = [
    (b"tuple", b'[1,"a",null,1.5e3]'),
    (b"set", b"[1,2305843009213693952,2.5]"),
    (b"frozenset", b"[true]"),
    (b"dict", b'[[1,"one"],[{"$type":"tuple","value":[]},2]]'),
    (b"float", b'"-inf"'),
    (b"complex", b"[1.0,-2.0]"),
    (b"Decimal", b'"1.50"'),
    (b"UUID", b'"12345678-1234-5678-1234-567812345678"'),
    (b"datetime", b'"2026-01-02T03:04:05.000006+01:00"'),
    (b"date", b'"2026-01-02"'),
    (b"time", b'"03:04:05"'),
    (b"timedelta", b"[1,2,3]"),
    (b"elsewhere", b"{}"),
]
"""The types that cross, each with a value, and one that is not known here."""


def words() -> list[bytes]:
    """What inputs are made of, which no mutation finds by itself."""
    names = set(FRAME_METHODS)
    for name, method in methods._methods.items():
        names |= {name, *method.decoders}
    names |= {"jsonrpc", "method", "params", "id", "result", "error", "$type", "value", "n", "batch", "nodes"}
    quoted = [f'"{name}"'.encode() for name in sorted(names)] + [b'"%b"' % name for name, _ in VALUES]
    others = [
        b"${t}",
        b"${q}",
        b'"a:b"',
        b'"_a:b"',
        b'"*:*"',
        b"\n",
        b"\\ud800",
        b"null",
        b"9" * 20,
        b"1e999",
    ]
    return [*quoted, *others]
