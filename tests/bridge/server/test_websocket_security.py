"""Who is not let in, and what is refused, on the WebSocket."""

import asyncio
import json
import os
import struct
from contextlib import AsyncExitStack

import pytest
from tornado.httpclient import HTTPClientError

from berrymq.bridge.client.connector import Connector
from berrymq.bridge.discovery.candidates import Found
from berrymq.bridge.errors import LinkError
from berrymq.bridge.node import Node
from berrymq.bridge.server import listener as listener_module
from berrymq.bridge.server.listener import MAX_STRANGER_BYTES, listen
from berrymq.bridge.websocket import MAX_FRAME_BYTES, CloseCode
from tests.support.certificates import client_context, make_certificate, server_context
from tests.support.raw_http import RawConnection, ask, request
from tests.support.websockets import websocket

TOKEN = "the-access-token-of-the-tests-0123456789"
LIMIT = 10


@pytest.fixture
async def node():
    node = Node(name="node", access_token=TOKEN)
    await listen(node)
    yield node
    await node.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def upgrade(node, **headers):
    own = {
        "Host": f"{node.address[0]}:{node.address[1]}",
        "Authorization": f"Bearer {TOKEN}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Protocol": "berrymq.v1",
    }
    return request("GET", "/ws", **(own | headers))


@pytest.fixture
async def connect(node):
    """Open a WebSocket to the node, with the access token or another or none; it is closed after the test."""
    async with AsyncExitStack() as stack:
        yield lambda token=TOKEN, query="": stack.enter_async_context(websocket(node, token, query))


async def say(socket, method, params=None, id=1):
    await socket.write_message(
        json.dumps({"jsonrpc": "2.0", "method": method, "params": params or [], "id": id})
    )


async def hear(socket):
    """What comes next, or None when the connection has ended."""
    text = await asyncio.wait_for(socket.read_message(), LIMIT)
    return None if text is None else json.loads(text)


class TestUpgrade:
    async def test_the_one_that_the_others_differ_from(self, node):
        answer = await ask(node.address, upgrade(node))
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
            ({"Sec_WebSocket_Version": "1"}, 426),
            ({"Connection": "close"}, 400),
            ({"Upgrade": "h2c"}, 400),
            ({"Content_Length": "1000000"}, 400),
        ],
    )
    async def test_is_refused(self, node, change, status):
        assert (await ask(node.address, upgrade(node, **change))).status == status

    async def test_a_token_in_the_url_does_not_let_in(self, node, connect):
        data = upgrade(node, Authorization=None).replace(b"/ws ", f"/ws?token={TOKEN} ".encode())
        assert (await ask(node.address, data)).status == 101
        socket = await connect(None, f"?token={TOKEN}")
        await say(socket, "ping")
        assert (await hear(socket))["error"]["code"] == -32001

    async def test_other_subprotocols_are_not_spoken(self, node):
        answer = await ask(node.address, upgrade(node, Sec_WebSocket_Protocol="chat, mqtt"))
        assert "sec-websocket-protocol" not in answer.headers


class TestStrangers:
    async def test_they_can_do_nothing_but_show_the_token(self, node, connect):
        socket = await connect(None)
        for method in (
            "ping",
            "nodes",
            "interconnect",
            "connect_oneway",
            "get",
            "missing",
            "close_connection",
        ):
            await say(socket, method, id=method)
            answer = await hear(socket)
            assert answer["error"]["code"] == -32001
            assert answer["id"] == method
        await say(socket, "authenticate", [TOKEN])
        assert (await hear(socket))["result"] == "ok"
        await say(socket, "ping")
        assert (await hear(socket))["result"] == "pong"

    async def test_a_notification_of_theirs_is_not_answered_and_not_run(self, node, connect):
        socket = await connect(None)
        await socket.write_message('{"jsonrpc":"2.0","method":"connect_oneway"}')
        await say(socket, "ping", id="next")
        assert (await hear(socket))["id"] == "next"
        assert len(node.tokens) == 0

    async def test_the_token_and_the_rest_may_come_in_one_batch(self, node, connect):
        socket = await connect(None)
        calls = [
            {"jsonrpc": "2.0", "method": "ping", "id": 1},
            {"jsonrpc": "2.0", "method": "authenticate", "params": [TOKEN], "id": 2},
            {"jsonrpc": "2.0", "method": "ping", "id": 3},
        ]
        await socket.write_message(json.dumps(calls))
        answers = {answer["id"]: answer for answer in await hear(socket)}
        assert answers[1]["error"]["code"] == -32001
        assert answers[3]["result"] == "pong"

    @pytest.mark.parametrize(
        "params",
        [["wrong"], [""], [TOKEN + "x"], {"access_token": TOKEN[:-1]}],
    )
    async def test_a_wrong_token_ends_the_connection(self, node, connect, params):
        socket = await connect(None)
        await say(socket, "authenticate", params)
        assert (await hear(socket))["error"]["code"] == -32001
        assert await hear(socket) is None
        assert socket.close_code == CloseCode.POLICY_VIOLATION

    async def test_one_connection_has_one_guess(self, node, connect):
        socket = await connect(None)
        guesses = [
            {"jsonrpc": "2.0", "method": "authenticate", "params": [guess], "id": guess}
            for guess in ("wrong", TOKEN)
        ]
        await socket.write_message(json.dumps(guesses))
        assert [answer["error"]["code"] for answer in await hear(socket)] == [-32001, -32001]
        assert await hear(socket) is None

    async def test_guesses_are_counted_with_those_over_http(self, node, connect):
        for _ in range(12):
            socket = await connect(None)
            await say(socket, "authenticate", ["wrong"])
            assert await hear(socket)
        with pytest.raises(HTTPClientError) as caught:
            await connect("wrong-token-wrong-token-wrong")
        assert caught.value.code == 429

    async def test_one_from_elsewhere_who_guessed_too_often_is_not_even_heard(
        self, node, connect, monkeypatch
    ):
        monkeypatch.setattr(listener_module, "is_loopback", lambda host: False)
        for _ in range(12):
            socket = await connect(None)
            await say(socket, "authenticate", ["wrong"])
            assert await hear(socket)
        socket = await connect(None)
        await say(socket, "authenticate", [TOKEN])
        assert (await hear(socket))["error"]["code"] == -32001

    async def test_they_are_not_waited_for_long(self, node, connect, monkeypatch):
        monkeypatch.setattr(listener_module, "AUTHENTICATION_SECONDS", 0.1)
        stranger, guest = await connect(None), await connect()
        assert await hear(stranger) is None
        assert stranger.close_code == CloseCode.POLICY_VIOLATION
        await say(guest, "ping")
        assert (await hear(guest))["result"] == "pong"

    async def test_they_may_not_say_much(self, node, connect):
        socket = await connect(None)
        await socket.write_message(" " * (MAX_STRANGER_BYTES + 1))
        assert await hear(socket) is None
        socket = await connect(None)
        await say(socket, "authenticate", [TOKEN])
        assert (await hear(socket))["result"] == "ok"
        await socket.write_message('{"jsonrpc":"2.0","id":1,"method":"ping"' + " " * 100_000 + "}")
        assert (await hear(socket))["result"] == "pong"

    @pytest.mark.parametrize("method", ["send_messages", "announce", "ack", "dropped", "heartbeat"])
    @pytest.mark.parametrize("token", [None, TOKEN], ids=["stranger", "guest"])
    async def test_frames_without_a_link_end_the_connection(self, node, connect, method, token):
        socket = await connect(token)
        await socket.write_message(json.dumps({"jsonrpc": "2.0", "method": method, "params": {"n": 1}}))
        assert await hear(socket) is None
        assert socket.close_code == CloseCode.PROTOCOL_ERROR


class TestFrames:
    async def test_one_that_is_too_large_ends_the_connection_before_it_has_come(self, node):
        async with await RawConnection.open(node.address) as connection:
            await connection.send(upgrade(node))
            assert (await connection.answer()).status == 101
            await connection.send(b"\x81\xff" + struct.pack(">Q", MAX_FRAME_BYTES + 1) + b"mask")
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
    async def test_what_is_no_frame_harms_nobody_else(self, node, connect, data):
        other = await connect()
        async with await RawConnection.open(node.address) as connection:
            await connection.send(upgrade(node))
            await connection.answer()
            await connection.send(data)
        await say(other, "ping")
        assert (await hear(other))["result"] == "pong"

    @pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "binary"])
    async def test_hostile_json_is_answered_and_the_connection_goes_on(self, node, connect, kind):
        socket = await connect()
        for text in ("[" * 200_000, '{"a":NaN}', '"\\ud800"', "\x00", "[" + "1," * 200 + "1]"):
            await socket.write_message(kind(text), binary=kind is not str)
            assert "error" in await hear(socket)
        await say(socket, "ping")
        assert (await hear(socket))["result"] == "pong"

    async def test_calls_under_way_are_bounded(self, node, connect):
        socket = await connect()
        await say(socket, "connect_via_queue", ["a:b"])
        token = (await hear(socket))["result"]
        for number in range(70):
            await say(socket, "get", {"token": token, "timeout": 25}, id=number)
        codes = [(await hear(socket))["error"]["code"] for _ in range(69)]
        assert codes.count(-32005) == 6
        assert codes.count(-32003) == 63  # of one token, only the latest waits

    async def test_websockets_count_as_connections(self, node, connect, monkeypatch):
        monkeypatch.setattr(node.listener._server, "limit", 3)
        sockets = [await connect() for _ in range(3)]
        with pytest.raises((HTTPClientError, OSError)):
            await connect()
        for socket in sockets:
            await say(socket, "ping")
            assert (await hear(socket))["result"] == "pong"
        sockets[0].close()
        async with asyncio.timeout(LIMIT):
            while (await ask(node.address, upgrade(node))).status != 101:
                pass  # the server has not seen the end yet


class TestTLS:
    @pytest.fixture
    async def secure(self, files):
        node = Node(name="secure")
        await listen(node, "127.0.0.1", ssl_context=server_context(*files), hosts=["localhost"])
        yield node
        await node.close()

    def connector(self, node, context):
        here = Node(name="here")
        place = Found(node.url, node.access_token, "test")
        return Connector(here, lambda: [place], ttl=10, ssl_context=context)

    async def test_a_link_to_one_whose_certificate_is_trusted(self, secure, files):
        assert secure.url.startswith("https://localhost:")
        connector = self.connector(secure, client_context(files[0]))
        await connector.open()
        assert connector.peer.connected
        await connector.close()
        await connector.node.close()

    async def test_no_link_to_one_whose_certificate_is_not(self, secure, caplog):
        connector = self.connector(secure, None)
        with pytest.raises(LinkError, match="has a certificate that is not trusted"):
            await connector.open()
        assert secure.access_token not in caplog.text
        await connector.node.close()

    async def test_plain_text_is_not_answered_there(self, secure):
        data = request("POST", "/rpc", b"", Host="localhost", Content_Length="0")
        assert (await ask(secure.address, data)).status == 0
