"""What untrusted bytes are put to, and what has to come of it: the same under atheris and under pytest.

The first byte of an input chooses the way in, the rest is what comes that way. Whatever it is, it is
answered with JSON-RPC or HTTP, or ends the connection, or is left out; no exception escapes, nothing fails
inside, nobody else is cut off, and no more is held than the budget. In what is sent, ``${t}`` and ``${q}``
stand for tokens of the node, one to send with and one with a queue, ``${o}`` for the sender's own id.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET
from websockets.frames import Frame, Opcode

from berrymq.bridge.errors import PayloadError, RpcError
from berrymq.bridge.payload import TYPE_MARK, decode_payload, decode_values, encode_message
from berrymq.bridge.protocol import batches, frames, json_checks, jsonrpc
from berrymq.bridge.protocol.connection import client_connection, server_connection
from berrymq.bridge.protocol.events import Closed, Piece, Text
from berrymq.bridge.protocol.frames import NUMBERED
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import Limits
from berrymq.bridge.protocol.offers import MAX_PIECE_BYTES, PIECE_HEAD, pull_frame
from berrymq.bridge.protocol.reliable_stream import Account, Stream, Total
from berrymq.bridge.server.conversation import Conversation
from berrymq.bridge.server.methods import methods
from berrymq.bridge.transport.budget import Budget
from berrymq.identifiers import Identifier
from tests.conformance.node_sessions import node_vectors
from tests.support.network import TOKEN, Member, Network, VirtualDialled, WireEnd, pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq.bridge.node.router import Router
    from berrymq.bridge.protocol.connection import Connection
    from berrymq.bridge.protocol.events import Event
    from berrymq.bridge.server.server import Server

MAX_INPUT = 4096
FRESH_NETWORK_AFTER = 500
"""Inputs, so that what one of them leaves behind does not count for all that follow."""
MAX_STEPS = 512
"""Bytes that a stream is driven with: its bounds are so small that more bring nothing new."""
MAX_ANSWER = 1024 * 1024
BUDGET = 4 * 1024 * 1024
LIMITS = Limits(window_messages=64, buffer_messages=256, buffer_bytes=256 * 1024)

(
    HTTP,
    BODY,
    WEBSOCKET,
    STRANGERS_WEBSOCKET,
    CALLS,
    UNAUTHENTICATED_CALLS,
    MEMBER,
    DIRECT,
    CLIENT,
    CLIENTS_CONNECTION,
    STREAM,
    FRAMES,
    PAYLOAD,
    REPLY,
    PIECES,
) = range(15)


class ByteEnd:
    """A connection without a socket, in the place of a `Channel`."""

    def __init__(self, network: Network, conversation: Conversation) -> None:
        self.connection: Connection = server_connection(conversation.screen)
        self.on_event = conversation.on_event
        self.closed = False
        self.written = b""
        self.opened_at = self.received_at = self.written_at = network.loop.time()
        self._loop = network.loop
        conversation.channel = self  # type: ignore[assignment]

    def receive(self, data: bytes) -> None:
        """Take in what was read."""
        self._handle([] if self.closed else self.connection.receive(data))

    def act(self, action: Callable[[Connection], list[Event] | None]) -> None:
        events = action(self.connection)
        self._flush()
        if events:
            self._loop.call(self._handle, events)

    def send_text(self, text: bytes) -> None:
        self.connection.send_text(text)
        self._flush()

    def take_pieces(self) -> None:
        self.connection.takes_pieces = True

    def send_piece(self, head: bytes, data: bytes) -> None:
        self.connection.send_piece(head, data)
        self._flush()

    def when_written(self, send: Callable[[], object]) -> None:
        send()

    def send_texts(self, texts: Iterable[frames.Frame]) -> None:
        for text in texts:
            self.send_text(frames.join(text))

    def keep(self, size: int) -> None:
        pass

    def close(self, code: Any = 1000, reason: str = "") -> None:
        self.connection.close(code, reason)
        self.abort()

    def abort(self) -> None:
        self._flush()
        if not self.closed:
            self.closed = True
            self._loop.call(self.on_event, Closed())

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            self.on_event(event)
        self._flush()

    def _flush(self) -> None:
        self.written += b"".join(self.connection.take())


class Target:
    """A hub and a node, and the ways to them.

    Called with an input, it raises AssertionError if that broke something.
    """

    def __init__(self) -> None:
        self.inputs = 0
        self.ways: dict[int, Callable[[bytes], None]] = {
            HTTP: self.http,
            BODY: self.body,
            WEBSOCKET: self.websocket,
            STRANGERS_WEBSOCKET: lambda data: self.websocket(data, trusted=False),
            CALLS: self.calls,
            UNAUTHENTICATED_CALLS: self.strangers_calls,
            MEMBER: lambda data: self.link(data, self.hub),
            DIRECT: lambda data: self.link(data, self.node),
            CLIENT: self.client,
            CLIENTS_CONNECTION: self.clients_connection,
            STREAM: self.stream,
            FRAMES: self.frames,
            PAYLOAD: self.payload,
            REPLY: self.reply,
            PIECES: self.pieces,
        }
        self.fresh()

    def fresh(self) -> None:
        """A hub with a node that follows something, and a member that wants everything."""
        self.network = network = Network(limits=LIMITS)
        self.hub = network.hub(Budget(BUDGET))
        self.node = network.node("fuzzed", budget=Budget(BUDGET))
        self.node.bus.follow("a:*", lambda message: None, direct=True)
        self.connector = network.link(self.node, self.hub)
        self.neighbour = Member(network, self.hub, "neighbour")
        self.neighbour.frame("interest", add=["*:*", "*@n:*"], reset=True)
        self.turn()

    def close(self) -> None:
        self.network.close()

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        if self.inputs % FRESH_NETWORK_AFTER == 0:
            self.close()
            self.fresh()
        if data:
            self.ways[data[0] % len(self.ways)](data[1:])
            self.turn()
            self.check_the_others()

    def turn(self) -> None:
        """Let all arrive that is on its way."""
        network = self.network
        network.loop.run_due()
        steps = 0
        while busy := network.busy():
            for end in busy:
                while end.arriving and not end.closed:
                    end.take_one()
                    network.loop.run_due()
                    steps += 1
                    assert steps < 10_000, "it does not fall silent"
        network.wires = [end for end in network.wires if not end.closed]

    def check_the_others(self) -> None:
        """What came one way must do no harm to those who came another."""
        assert self.neighbour.closed is None, f"the neighbour's link was cut: {self.neighbour.closed}"
        for frame in self.neighbour.heard:
            for batch in frame.get("params", {}).get("batches", []):
                assert len(batch[5]) == batch[4]
        self.neighbour.heard.clear()
        self.neighbour.wire.said.clear()
        self.neighbour.wire.other.said.clear()
        assert self.connector.stats.cuts == 0, "the node's link was cut"
        for router in (self.hub, self.node):
            held = sum(account.held for account in router.budget.accounts)
            assert 0 <= router.budget.held <= min(held, BUDGET)

    # -- the ways in -----------------------------------------------------------------------------------------

    def accept(self, router: Router) -> tuple[Conversation, ByteEnd]:
        server = self.network.servers[router]
        conversation = Conversation(server)
        return conversation, ByteEnd(self.network, conversation)

    def http(self, data: bytes) -> None:
        """The bytes of a connection."""
        _, end = self.accept(self.hub)
        self.feed(end, data.replace(b"${a}", TOKEN.encode()))
        assert not end.written or end.written.startswith(b"HTTP/1.1 ")

    def body(self, data: bytes) -> None:
        """The body of a request by one who was let in."""
        server = self.network.servers[self.node]
        _, end = self.accept(self.node)
        body = self.with_tokens(data, server)
        head = (
            "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.feed(end, head.encode() + body)
        status, _, answer = end.written.partition(b"\r\n")[0], *end.written.partition(b"\r\n\r\n")[1:]
        assert status.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")) or not status
        self.check(answer or None)
        server.sessions.close_all()

    def websocket(self, data: bytes, *, trusted: bool = True) -> None:
        """The bytes of a WebSocket."""
        conversation, end = self.accept(self.hub)
        authorization = f"Authorization: Bearer {TOKEN}\r\n" if trusted else ""
        end.receive(UPGRADE % authorization.encode())
        self.network.loop.run_due()
        assert end.written.startswith(b"HTTP/1.1 101 ")
        end.written = b""
        self.feed(end, data)
        assert trusted or not conversation.authenticated
        self.forget()

    def feed(self, end: ByteEnd, data: bytes) -> None:
        """Let the bytes come in two parts, and then the end."""
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            if part:
                end.receive(part)
                self.network.loop.run_due()
        end.receive(b"")
        self.turn()
        end.abort()
        self.network.loop.run_due()
        assert end.connection.closed

    def calls(self, data: bytes) -> None:
        """Messages on a WebSocket of one who was let in, each on a line."""
        server = self.network.servers[self.node]
        dialled = VirtualDialled(self.network, server)
        self.say(dialled.there, self.with_tokens(data, server))
        server.sessions.close_all()

    def strangers_calls(self, data: bytes) -> None:
        """Messages of one who was not let in."""
        dialled = VirtualDialled(self.network, self.network.servers[self.hub])
        dialled.conversation.authenticated = False
        before = set(self.hub.peers)
        self.say(dialled.there, data)
        assert set(self.hub.peers) == before, "a stranger has made a link"
        assert not dialled.conversation.authenticated

    def say(self, end: WireEnd, data: bytes) -> None:
        for line in data.split(b"\n"):
            if not end.closed:
                end.on_event(Text(line))
                self.network.loop.run_due()
        for answer in end.said:
            self.check(answer)
        end.cut()
        self.forget()

    def link(self, data: bytes, router: Router) -> None:
        """Frames over a link; each empty line cuts it, and it is taken up again."""
        resume: dict[str, Any] | None = None
        for part in data.split(b"\n\n")[:4]:
            try:
                member = Member(self.network, router, "other", resume=resume, pulls=True)
            except RpcError:  # it has acknowledged more than it says now
                member = Member(self.network, router, "other", pulls=True)
            for line in part.replace(b"${o}", member.id.encode()).split(b"\n"):
                if not member.wire.closed and not member.wire.other.closed:
                    for event in events_of(line):
                        member.wire.other.on_event(event)
                    self.turn()
            for said in member.wire.other.said:
                self.check(said)
            numbers = [frame["params"].get("n", 0) for frame in member.heard if "params" in frame]
            resume = {"id": router.id, "received": max(numbers, default=0)}
            member.wire.abort()
            self.turn()
        self.forget()

    def client(self, data: bytes) -> None:
        """What a hub sends to a node that has linked to it."""
        network = Network(limits=LIMITS)
        node = network.node("client", budget=Budget(BUDGET))
        node.bus.follow("a:*", lambda message: None, direct=True)
        connector = network.link(node, network.hub(Budget(BUDGET)))
        network.loop.run_due()
        wire = connector.wire
        assert wire is not None
        for line in data.replace(b"${o}", node.id.encode()).split(b"\n"):
            if not wire.closed:
                for event in events_of(line):
                    wire.on_event(event)
                node.bus.twitter("a:b", 1)
                network.loop.run_due()
        for said in wire.said:
            self.check(said)
        held = sum(account.held for account in node.budget.accounts)
        assert 0 <= node.budget.held <= min(held, BUDGET)
        network.close()

    def clients_connection(self, data: bytes) -> None:
        """The bytes that a server sends."""
        connection = client_connection("ws://localhost/ws")
        connection.take()
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            if part:
                connection.receive(part)
        connection.receive(b"")
        assert connection.closed

    def stream(self, data: bytes) -> None:
        """What the other side says to a stream, and what is sent meanwhile, as small numbers."""
        account = Account(Total())
        stream = Stream(Limits(window_messages=4, buffer_messages=8, frame_messages=2), account=account)
        now = 1000.0
        data = data[:MAX_STEPS]
        for step, value in zip(data[::2], data[1::2], strict=False):
            now += (value % 7) / 100
            with suppress(FrameError):
                match step % 10:
                    case 0 | 1:
                        stream.send_batch(b"x" * value, 1 + value % 3)
                    case 2:
                        stream.receive(value % 16, stream._acknowledged + value // 64, value % 3, now)
                    case 3:
                        stream.acknowledged(value % 16)
                    case 4:
                        stream.resume(value % 16)
                    case 5:
                        stream.restart()
                    case 6:
                        stream.behind = bool(value % 2)
                    case 7:
                        stream.skip_oldest()
                    case 8:
                        stream.shed(value * 8)
                    case 9:
                        stream.caught_up()
            stream.frames(now)
            assert account.held == stream.held_bytes >= 0
            assert stream._in_flight_messages <= 4  # `snapshot` takes longer than all else here
            assert stream._buffered <= 8
            due = stream.ack_due_at()
            assert due is None or due > now
        stream.end()
        assert account.held == 0

    def frames(self, data: bytes) -> None:
        """What a hub accepts, all others can read as far as they do."""
        with suppress(FrameError):
            envelope = frames.parse(data)
            if envelope.method in NUMBERED:
                frames.parse_params(str(envelope.method), envelope.params)
        read = frames.read_messages(data, trusted=False)
        if read is not None:
            params = frames.parse_params("messages", frames.parse(data).params)
            assert (read.n, read.ack) == (params.n, params.ack)
            assert [batch.messages for batch in read.batches] == [
                batches.parse_messages(batches.parse_batch(raw)) for raw in params.batches
            ]
        question = frames.read_question(data)
        if isinstance(question, frames.ReadAskParams):
            params = frames.parse_params("ask", frames.parse(data).params)
            batch = batches.parse_batch(params.batch)
            assert (question.n, question.question) == (params.n, params.question)
            assert question.batch.messages == batches.parse_messages(batch)
            batches.check_batch(batch, params.batch)
        elif question is not None:
            params = frames.parse_params("answer", frames.parse(data).params)
            assert (question.n, question.question) == (params.n, params.question)
            found = [frames.parse_answer(raw) for raw in frames.split_answers(params.answers, one=False)]
            assert question.answers == [
                (one.source, decode_values(one.values), decode_values(one.errors)) for one in found
            ]
        with suppress(FrameError, UnicodeDecodeError):
            json_checks.check_utf8(data)  # as is done with whatever comes
            batch = batches.parse_batch(data)
            batches.check_batch(batch)
            count = len(json.loads(bytes(batch.messages)))
            assert count == batch.count
            numbers = range(batch.first, batch.first + batch.count)
            parts = batches.split_batch(batch, [number for number in numbers if number % 3])
            assert sum(part.count for part, _ in parts) == sum(1 for number in numbers if number % 3)
            with suppress(FrameError):
                batches.parse_messages(batch)

    def payload(self, data: bytes) -> None:
        """What can be read can be sent again, and is the same then."""
        try:
            values = read(data)
            again = read(b"[" + encode_message(1.5, *values)[len(b"[1.5,") :])
        except (ValueError, PayloadError):
            return
        assert again == values or "nan" in repr(values).lower(), "it came back as something else"

    def pieces(self, data: bytes) -> None:
        """The bytes of a WebSocket that carries pieces of buffers, on either side."""
        client, server = client_connection("ws://localhost/ws"), server_connection()
        client.receive(ACCEPTED)
        (request,) = server.receive(UPGRADE % b"")
        server.upgrade(request)
        for connection in (client, server):
            connection.trust()
            connection.takes_pieces = True
            whole, at = len(data), 0
            for end in (whole // 3, whole // 2, whole):
                for event in connection.receive(data[at:end]) if end > at else ():
                    if isinstance(event, Piece):
                        assert 0 < len(event.data) <= event.size - event.start <= MAX_PIECE_BYTES
                assert connection.partial_bytes <= whole + len(UPGRADE)
                at = end
            connection.receive(b"")
            assert connection.closed

    def reply(self, data: bytes) -> None:
        with suppress(ValueError):
            jsonrpc.parse_reply(data)

    def with_tokens(self, data: bytes, server: Server) -> bytes:
        open_ = server.sessions.open
        if b"${t}" in data:
            data = data.replace(b"${t}", open_("fuzz", None, 60.0).encode())
        if b"${q}" in data:
            data = data.replace(b"${q}", open_("fuzz", None, 60.0, Identifier.parse("a:*")).encode())
        return data

    # -- what has to come of it ------------------------------------------------------------------------------

    def forget(self) -> None:
        """Nothing is left of who was here."""
        self.turn()
        for router in (self.hub, self.node):
            for peer in list(router.peers.values()):
                if peer.name not in ("neighbour", "fuzzed") and peer.role != "hub":
                    router.remove_peer(peer, "the input is over")
        self.turn()

    def check(self, answer: bytes | None) -> None:
        """Raise AssertionError unless it is an answer or a frame that everybody can read."""
        if answer is None:
            return
        assert len(answer) < MAX_ANSWER, "a short call has a long answer"
        decoded = json.loads(answer)
        for data in [json.dumps(part).encode() for part in decoded] if type(decoded) is list else [answer]:
            envelope = frames.parse(data)
            if envelope.method is not UNSET and envelope.id is UNSET:
                frames.parse_params(envelope.method, envelope.params)
                continue
            _, result = jsonrpc.parse_reply(data)
            assert getattr(result, "code", 0) != jsonrpc.INTERNAL_ERROR, "a mistake inside"


def events_of(line: bytes) -> list[Event]:
    """What comes over a link: a line, or ``#number,offset,size`` for a piece of buffers."""
    if line.startswith(b"#"):
        with suppress(ValueError):
            number, offset, size = [int(part) for part in line[1:].split(b",")]
            if 0 <= number < 2**64 and 0 <= offset < 2**64 and 0 < size <= 100_000:
                return list(pieces_of(PIECE_HEAD.pack(number, offset) + bytes(size)))
    return [Text(line)]


def read(data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Args and kwargs of a message, as a node reads them."""
    args, kwargs = msgspec.json.decode(data, type=tuple[tuple[Any, ...], dict[str, Any]])
    return decode_payload(list(args), kwargs) if TYPE_MARK in data else (args, kwargs)


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\n%bUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: berrymq.v1\r\n\r\n"
)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def seeds() -> list[bytes]:
    """What to begin with: the wire vectors, and a frame and a value of each kind."""
    said = [
        "\n".join(str(step["call"])[: MAX_INPUT // 2] for step in vector.steps).encode()
        for vector in node_vectors()
        if vector.name.startswith("jsonrpc: ") and vector.hub == "websocket"
    ]
    head = batches.batch_head("a:b", "${o}", "other")
    body = encode_message(1.5, [1, {"a": (2.5, {3})}], {"x": None}, "c:d")
    batch = batches.encode_batch(head, 1, [b"[1,[2],{}]", body], 2)
    question = batches.encode_batch(head, 3, [body], 1)
    sent = [
        frames.NUMBERED_FRAME % (b"interest", 1, 0, b'"add":["a:*","*:*"],"reset":true'),
        frames.NUMBERED_FRAME % (b"messages", 2, 1, b'"batches":[%b]' % batch),
        frames.NUMBERED_FRAME % (b"ask", 3, 1, b'"question":1,"batch":%b' % question),
        frames.NUMBERED_FRAME % (b"answer", 4, 1, b'"question":1,"answers":[["other",[1],[]]]'),
        frames.NUMBERED_FRAME % (b"dropped", 5, 1, b'"count":2'),
        frames.NUMBERED_FRAME % (b"interest", 6, 1, b'"remove":["a:*"],"everything":true'),
        frames.NUMBERED_FRAME % (b"join", 7, 1, b'"group":"a:*","maxsize":3,"had":[["other",1,2]]'),
        frames.NUMBERED_FRAME % (b"put", 8, 1, b'"group":"a:*","batch":%b' % batch),
        frames.NUMBERED_FRAME
        % (b"want", 9, 1, b'"group":"a:*","waiting":1,"ahead":9,"question":1,"now":5,"first":9'),
        frames.NUMBERED_FRAME % (b"want", 10, 1, b'"group":"a:*","taken":[[1,1]],"returned":[[2,9]]'),
        frames.NUMBERED_FRAME % (b"leave", 11, 1, b'"group":"a:*","taken":[[1,2]]'),
        frames.ack_frame(1),
    ]
    large = batches.encode_batch(
        head, 5, [b'[1,[{"$type":"bytes","value":{"$type":"buffer","value":0}}],{}]'], 1
    )
    pulled = [
        frames.NUMBERED_FRAME % (b"interest", 1, 0, b'"add":["*:*"],"reset":true'),
        frames.NUMBERED_FRAME % (b"buffers", 2, 1, b'"batch":%b,"memory":1,"sizes":[90],"reason":""' % large),
        frames.NUMBERED_FRAME % (b"messages", 3, 1, b'"batches":[%b]' % question.replace(b",3,1,", b",6,1,")),
        b"#1,0,90",
        frames.NUMBERED_FRAME
        % (
            b"ask",
            4,
            1,
            b'"question":1,"batch":%b,"memory":2,"sizes":[10]' % large.replace(b",5,1,", b",7,1,"),
        ),
        b"#2,0,10",
        frames.NUMBERED_FRAME
        % (b"answer", 5, 1, b'"question":1,"answers":[["other",[1],[],{"memory":3,"sizes":[70,8]}]]'),
        frames.NUMBERED_FRAME % (b"past", 6, 1, b'"query":1,"batches":[%b],"memory":4,"sizes":[9]' % large),
        frames.NUMBERED_FRAME % (b"join", 7, 1, b'"group":"a:*"'),
        frames.NUMBERED_FRAME % (b"put", 8, 1, b'"group":"a:*","batch":%b,"memory":5,"sizes":[9]' % large),
        b"#5,0,9",
        frames.NUMBERED_FRAME
        % (b"jobs", 9, 1, b'"group":"a:*","jobs":[[1,%b]],"memory":6,"sizes":[1000000000]' % large),
        frames.NUMBERED_FRAME
        % (
            b"buffers",
            10,
            1,
            b'"batch":%b,"memory":[1,3,5,"%b",90],"sizes":[90],"reason":""' % (large, b"0" * 32),
        ),
        b'{"jsonrpc":"2.0","method":"gone","params":{"memory":1,"reason":"x"}}',
        pull_frame(1, 0, 50),
        pull_frame(1, 50, 40),
        frames.NUMBERED_FRAME % (b"release", 11, 1, b'"memory":[1,2]'),
    ]
    pieces = [
        Frame(Opcode.BINARY, PIECE_HEAD.pack(1, 0) + b"x" * 90).serialize(mask=masked)
        + Frame(Opcode.TEXT, frames.ack_frame(1)).serialize(mask=masked)
        + Frame(Opcode.BINARY, PIECE_HEAD.pack(1, 90) + b"x" * 70_000, fin=False).serialize(mask=masked)[
            :2000
        ]
        for masked in (True, False)
    ]
    calls = [
        jsonrpc.request("hello", ["0123456789abcdef"], 1),
        jsonrpc.request("authenticate", {"access_token": "wrong"}, 2),
        jsonrpc.request("nodes", [], 3),
        jsonrpc.request("ask", ["${t}", "a:x"], 4),
        jsonrpc.request("close_connection", ["${q}"], 5),
        jsonrpc.request("interconnect", ["me", "a key that is long enough"], 6),
    ]
    links = [
        b"\n".join(pulled),
        b"\n".join(pulled[:4]),
        b"\n".join(pulled[6:]),
        *sent,
        *calls,
        b"\n".join(sent + calls),
        b"\n\n".join(sent),
    ]
    values = [body] + [b'[[{"$type":"%b","value":%b}],{}]' % value for value in VALUES]
    masked = [
        b"".join(Frame(Opcode.TEXT, line).serialize(mask=True) for line in calls),
        Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True)
        + Frame(Opcode.PING, b"b").serialize(mask=True)
        + Frame(Opcode.CONT, b"c").serialize(mask=True),
        Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=True),
    ]
    requests = [
        UPGRADE % b"" + masked[0],
        (
            b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${a}\r\n"
            b"Content-Type: application/json\r\nContent-Length: 40\r\n\r\n"
            b'{"jsonrpc":"2.0","method":"ping","id":1}'
        ),
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HEAD / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
    ]
    return [
        bytes([way]) + data[:MAX_INPUT]
        for way, inputs in (
            (HTTP, requests),
            (BODY, said),
            (WEBSOCKET, masked),
            (STRANGERS_WEBSOCKET, masked),
            (CALLS, [*said, *links]),
            (UNAUTHENTICATED_CALLS, [*calls, b"\n".join(calls + sent)]),
            (MEMBER, links),
            (DIRECT, links),
            (CLIENT, links),
            (CLIENTS_CONNECTION, [ACCEPTED, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"]),
            (STREAM, [bytes(range(200)), b"\x00\x05\x02\x11\x04\x00\x05\x01\x00\x09\x07\x01\x08\x02" * 9]),
            (FRAMES, [batch, question, *sent, *pulled]),
            (PIECES, pieces),
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
    names = set(NUMBERED)
    for name, method in methods._methods.items():
        names |= {name, *method.decoders}
    for params in (
        frames.BuffersParams,
        frames.MessagesParams,
        frames.AskParams,
        frames.AnswerParams,
        frames.InterestParams,
    ):
        names |= set(params.__struct_fields__)
    names |= {"jsonrpc", "method", "params", "id", "result", "error", "$type", "value", "ack", "count"}
    quoted = [f'"{name}"'.encode() for name in sorted(names)] + [b'"%b"' % name for name, _ in VALUES]
    others = [
        b"${t}",
        b"${q}",
        b"${o}",
        b"${a}",
        b'"a:b"',
        b'"_a:b"',
        b'"*:*"',
        b"\n",
        b"\r\n\r\n",
        b"\\ud800",
        b"null",
        b"[" * 130 + b"]" * 130,
        b"9" * 20,
        b"\n#1,0,90",
        PIECE_HEAD.pack(1, 0),
        b"\x82\xfe\x00\x6a\x00\x00\x00\x00",
        b"1e999",
        b"\x81\x80\x00\x00\x00\x00",
        b"\x88\x80\x00\x00\x00\x00",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff",
    ]
    return [*quoted, *others]
