"""Who is not let in, and what is refused, on the WebSocket."""

import hashlib
import hmac
import json
import os
import struct
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.connection import MAX_UNAUTHENTICATED_BYTES, Connection
from berrymq.bridge.protocol.events import CloseCode
from berrymq.bridge.protocol.limits import MAX_TEXT_BYTES
from berrymq.bridge.server import server as server_module
from berrymq.bridge.transport.channel import UNAUTHENTICATED_READ_BYTES
from tests.bridge.server.conftest import TOKEN
from tests.support.certificates import client_context, make_certificate, server_context
from tests.support.nodes import wait
from tests.support.raw_http import RawConnection, ask, request
from tests.support.websockets import websocket

NONCE = "a nonce of the tests"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def upgrade(address, **headers):
    own = {
        "Host": f"{address[0]}:{address[1]}",
        "Authorization": f"Bearer {TOKEN}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Protocol": "berrymq.v1",
    }
    return request("GET", "/ws", **(own | headers))


@pytest.fixture
def connect(server):
    """Open a WebSocket to the node, with the access token or another or none; it is closed after the test."""
    with ExitStack() as stack:
        yield lambda token=TOKEN, query="": stack.enter_context(websocket(server, token, query))


def proof_of(side, answer, token=TOKEN, nonce=NONCE):
    """What one side shows, as the page on the wire describes it."""
    text = f"berrymq {side} {nonce} {answer['nonce']} {answer['port']}"
    return hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest()


class TestUpgrade:
    async def test_the_one_that_the_others_differ_from(self, address):
        answer = await ask(address, upgrade(address))
        assert answer.status == 101
        assert answer.headers["sec-websocket-protocol"] == "berrymq.v1"

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"Authorization": "Bearer wrong-token-wrong-token-wrong"}, 401),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": ["http://localhost", "http://localhost"]}, 403),
            ({"Sec_WebSocket_Origin": "https://evil.example", "Origin": "https://evil.example"}, 403),
            ({"Host": "evil.example"}, 403),
            ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
            ({"Host": "evil.example", "Authorization": None}, 403),
            ({"Origin": "https://evil.example", "Authorization": None}, 403),
            ({"Sec_WebSocket_Version": "1"}, 400),
            ({"Connection": "close"}, 426),
            ({"Upgrade": "h2c"}, 426),
            ({"Content_Length": "1000000"}, 400),
        ],
    )
    async def test_is_refused(self, address, change, status):
        assert (await ask(address, upgrade(address, **change))).status == status

    async def test_a_token_in_the_url_does_not_let_in(self, address, connect):
        data = upgrade(address, Authorization=None).replace(b"/ws ", f"/ws?token={TOKEN} ".encode())
        assert (await ask(address, data)).status == 101
        socket = connect(None, f"?token={TOKEN}")
        assert socket.answer("ping")["error"]["code"] == -32001

    async def test_other_subprotocols_are_not_spoken(self, address):
        answer = await ask(address, upgrade(address, Sec_WebSocket_Protocol="chat, mqtt"))
        assert "sec-websocket-protocol" not in answer.headers

    async def test_compression_is_not(self, address):
        answer = await ask(address, upgrade(address, Sec_WebSocket_Extensions="permessage-deflate"))
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


class TestStrangers:
    def test_they_can_do_nothing_but_show_that_they_know_the_token(self, connect):
        socket = connect(None)
        for method in (
            "ping",
            "nodes",
            "status",
            "interconnect",
            "connect_oneway",
            "get",
            "missing",
            "close_connection",
        ):
            answer = socket.answer(method, id=method)
            assert answer["error"]["code"] == -32001
        assert socket.answer("authenticate", {"access_token": TOKEN})["result"] == "ok"
        assert socket.answer("ping")["result"] == "pong"

    def test_both_sides_prove_it_and_neither_shows_it(self, server, connect, caplog):
        socket = connect(None)
        answer = socket.answer("hello", {"nonce": NONCE})["result"]
        assert answer["proof"] == proof_of("server", answer)
        assert answer["port"] == server.port
        assert socket.answer("authenticate", {"proof": proof_of("client", answer)})["result"] == "ok"
        assert socket.answer("ping")["result"] == "pong"

    @pytest.mark.parametrize(
        "proof",
        [
            lambda answer: proof_of("server", answer),
            lambda answer: answer["proof"],
            lambda answer: proof_of("client", answer, "wrong"),
            lambda answer: proof_of("client", answer, nonce="another nonce, as long"),
            lambda answer: proof_of("client", answer | {"port": 1}),
            lambda answer: "",
            lambda answer: "é" * 64,
        ],
        ids=[
            "the server's",
            "what it said",
            "another token",
            "another nonce",
            "another port",
            "none",
            "no text",
        ],
    )
    def test_what_proves_nothing_ends_the_connection(self, connect, proof):
        socket = connect(None)
        answer = socket.answer("hello", {"nonce": NONCE})["result"]
        assert socket.answer("authenticate", {"proof": proof(answer)})["error"]["code"] == -32001
        assert socket.receive() is None
        assert socket.close_code == CloseCode.POLICY_VIOLATION

    def test_a_proof_is_good_for_one_connection(self, connect):
        first, second = connect(None), connect(None)
        answer = first.answer("hello", {"nonce": NONCE})["result"]
        second.answer("hello", {"nonce": NONCE})
        proof = proof_of("client", answer)
        assert second.answer("authenticate", {"proof": proof})["error"]["code"] == -32001
        assert first.answer("authenticate", {"proof": proof})["result"] == "ok"

    def test_a_proof_without_a_hello_is_none(self, connect):
        socket = connect(None)
        assert socket.answer("authenticate", {"proof": "0" * 64})["error"]["code"] == -32001
        assert socket.receive() is None

    def test_an_empty_nonce_is_refused(self, connect):
        assert connect(None).answer("hello", {"nonce": ""})["error"]["code"] == -32602

    def test_a_notification_of_theirs_is_not_answered_and_not_run(self, server, connect):
        socket = connect(None)
        socket.send('{"jsonrpc":"2.0","method":"connect_oneway"}')
        assert socket.answer("ping", id="next")["id"] == "next"
        assert len(server.sessions) == 0

    def test_the_token_and_the_rest_may_come_in_one_batch(self, connect):
        socket = connect(None)
        calls = [
            {"jsonrpc": "2.0", "method": "ping", "id": 1},
            {"jsonrpc": "2.0", "method": "authenticate", "params": {"access_token": TOKEN}, "id": 2},
            {"jsonrpc": "2.0", "method": "ping", "id": 3},
        ]
        socket.send(json.dumps(calls))
        answers = {answer["id"]: answer for answer in socket.receive()}
        assert answers[1]["error"]["code"] == -32001
        assert answers[3]["result"] == "pong"

    @pytest.mark.parametrize("token", ["wrong", "", TOKEN + "x", TOKEN[:-1], "é"])
    def test_a_wrong_token_ends_the_connection(self, connect, token):
        socket = connect(None)
        assert socket.answer("authenticate", {"access_token": token})["error"]["code"] == -32001
        assert socket.receive() is None
        assert socket.close_code == CloseCode.POLICY_VIOLATION

    def test_one_connection_has_one_guess(self, connect):
        socket = connect(None)
        guesses = [
            {"jsonrpc": "2.0", "method": "authenticate", "params": {"access_token": guess}, "id": guess}
            for guess in ("wrong", TOKEN)
        ]
        socket.send(json.dumps(guesses))
        answers = socket.receive()
        assert [answer.get("error", {}).get("code") for answer in answers] == [-32001, -32001]
        assert socket.receive() is None

    def test_they_are_not_waited_for_long(self, nodes, node, monkeypatch):
        monkeypatch.setattr(server_module, "AUTHENTICATION_SECONDS", 0.2)
        server = nodes.listen(node, access_token=TOKEN)
        with websocket(server) as stranger, websocket(server, TOKEN) as guest:
            assert stranger.receive() is None
            assert stranger.close_code == CloseCode.POLICY_VIOLATION
            assert guest.answer("ping")["result"] == "pong"

    def test_they_may_not_say_much(self, connect):
        socket = connect(None)
        socket.send(" " * (MAX_UNAUTHENTICATED_BYTES + 1))
        assert socket.receive() is None
        assert socket.close_code == 1009
        socket = connect(None)
        assert socket.answer("authenticate", {"access_token": TOKEN})["result"] == "ok"
        socket.send('{"jsonrpc":"2.0","id":1,"method":"ping"' + " " * 100_000 + "}")
        assert socket.receive()["result"] == "pong"

    def test_nor_much_in_fragments(self, connect):
        socket = connect(None)
        with pytest.raises(ConnectionClosed):
            socket.connection.send(" " * 1000 for _ in range(1_000))
            socket.connection.recv(10)

    @pytest.mark.parametrize("method", ["messages", "ask", "answer", "interest", "dropped", "ack"])
    @pytest.mark.parametrize("token", [None, TOKEN], ids=["stranger", "guest"])
    def test_frames_without_a_link_are_not_taken(self, connect, method, token):
        socket = connect(token)
        socket.notify(method, n=1, ack=0)
        if token is None:
            assert socket.answer("ping")["error"]["code"] == -32001  # one notification among others
        else:
            assert socket.receive() is None
            assert socket.close_code == CloseCode.PROTOCOL_ERROR

    async def test_a_thousand_of_them_do_not_keep_the_owner_out(self, server, address):
        silent = [await RawConnection.open(address) for _ in range(1_000)]
        with websocket(server, TOKEN) as socket:
            assert socket.answer("ping")["result"] == "pong"
        assert len(server._unauthenticated) <= server_module.MAX_UNAUTHENTICATED
        for connection in silent:
            connection.writer.close()

    async def test_nor_do_those_who_say_hello_and_no_more(self, nodes, server, address, connect):
        sockets = []
        for _ in range(100):
            sockets.append(await RawConnection.open(address))
            await sockets[-1].send(upgrade(address, Authorization=None))
        link = nodes.connector(nodes.add("owner", listening=False), server.router)
        link.open(10.0)
        assert link.connected
        for connection in sockets:
            connection.writer.close()


class TestFrames:
    async def test_one_that_is_too_large_ends_the_connection_before_it_has_come(self, address):
        async with await RawConnection.open(address) as connection:
            await connection.send(upgrade(address))
            assert (await connection.answer()).status == 101
            await connection.send(b"\x81\xff" + struct.pack(">Q", MAX_TEXT_BYTES + 1) + b"mask")
            await connection.ended()

    @pytest.mark.parametrize(
        "data",
        [
            b"\x81\x05hello",
            b"\xf1\x85mask....",
            b"\x83\x80mask",
            b"\x81\x82mask" + bytes(a ^ b for a, b in zip(b"\xff\xfe", b"mask", strict=False)),
            os.urandom(1),
        ],
        ids=["unmasked", "reserved bits", "unknown opcode", "no UTF-8", "half a frame"],
    )
    async def test_what_is_no_frame_harms_nobody_else(self, address, connect, data):
        other = connect()
        async with await RawConnection.open(address) as connection:
            await connection.send(upgrade(address))
            await connection.answer()
            await connection.send(data)
        assert other.answer("ping")["result"] == "pong"

    @pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "binary"])
    def test_hostile_json_is_answered_and_the_connection_goes_on(self, connect, kind):
        socket = connect()
        for text in ("[" * 200_000, '{"a":NaN}', '"\\ud800"', "\x00", "[" + "1," * 200 + "1]"):
            socket.send(kind(text))
            assert "error" in socket.receive()
        assert socket.answer("ping")["result"] == "pong"

    def test_calls_in_flight_are_bounded(self, connect):
        socket = connect()
        tokens = [socket.answer("connect_via_queue", ["a:b"])["result"] for _ in range(70)]
        for number, token in enumerate(tokens):
            socket.call("get", {"token": token, "timeout": 25}, id=number)
        refused = [socket.receive() for _ in range(6)]
        assert {answer["error"]["code"] for answer in refused} == {-32005}
        assert [answer["id"] for answer in refused] == list(range(64, 70))
        assert connect().answer("close_connection", [tokens[0]])["result"] == "ok"
        assert (socket.receive()["id"], socket.answer("ping")["result"]) == (0, "pong")

    def test_websockets_count_as_connections(self, server, connect, monkeypatch):
        monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 3)
        sockets = [connect() for _ in range(3)]
        with pytest.raises((InvalidHandshake, ConnectionClosed, OSError)):
            connect().connection.recv(10)
        for socket in sockets:
            assert socket.answer("ping")["result"] == "pong"
        sockets[0].connection.close()
        wait(lambda: len(server._conversations) < 3, "its end is seen")
        assert connect().answer("ping")["result"] == "pong"


class TestTls:
    @pytest.fixture
    def secure(self, nodes, node, files):
        return nodes.listen(node, ssl_context=server_context(*files), hosts=["localhost"])

    def test_a_link_to_one_whose_certificate_is_trusted(self, nodes, node, secure, files):
        assert secure.url.startswith("https://localhost:")
        link = nodes.connector(nodes.add("here"), node, ssl_context=client_context(files[0]))
        link.open(10.0)
        assert link.connected

    def test_no_link_to_one_whose_certificate_is_not(self, nodes, node, secure, caplog):
        link = nodes.connector(nodes.add("here"), node)
        with pytest.raises(LinkError, match=r"no TLS connection to .*: self-signed certificate"):
            link.open(10.0)
        assert secure.access_token not in caplog.text
        assert not node.peers

    async def test_plain_text_is_not_answered_there(self, secure):
        data = request("POST", "/rpc", b"", Host="localhost", Content_Length="0")
        assert (await ask(secure.address, data)).status == 0


def test_of_a_stranger_little_is_read_at_a_time(connect, monkeypatch):
    """What comes in one piece may be thousands of frames, and others wait meanwhile."""
    read = []
    honest = Connection.receive

    def receive(connection, data):
        read.append((connection.is_trusted, len(data)))
        return honest(connection, data)

    socket = connect(token=None)
    monkeypatch.setattr(Connection, "receive", receive)
    protocol = socket.connection.protocol
    with socket.connection.protocol_mutex:  # all in one piece
        for _ in range(20):
            protocol.send_text(b" " * 4000)
        socket.connection.send_data()
    for _ in range(20):
        assert socket.receive()["error"]["code"] == -32700
    assert {trusted for trusted, _ in read} == {False}
    assert max(size for _, size in read) <= UNAUTHENTICATED_READ_BYTES
    assert socket.answer("authenticate", {"access_token": TOKEN})["result"] == "ok"
    read.clear()
    socket.send(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"}) + " " * 100_000)
    assert socket.receive()["result"] == "pong"
    assert max(size for _, size in read) > UNAUTHENTICATED_READ_BYTES
