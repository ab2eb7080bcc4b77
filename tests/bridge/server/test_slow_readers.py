"""Clients that do not read what they are answered: the node's memory is bounded all the same."""

import asyncio
import json
import struct

import pytest

from berrymq.bridge.node import Node
from berrymq.bridge.server import listener, sockets
from berrymq.bridge.server.listener import listen
from tests.support.nodes import until
from tests.support.raw_http import RawConnection, request

TOKEN = "the-access-token-of-the-tests-0123456789"
ANSWER = 1_000_000
LIMIT = 16 * 1024 * 1024
"""More than the system's buffers of a connection hold."""


@pytest.fixture
async def node():
    node = Node(name="node", access_token=TOKEN)
    await listen(node)
    yield node
    await node.close()


@pytest.fixture
async def get(node):
    """A short call with a long answer."""
    conversation = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "connect_via_queue", "params": ["a:b"]})
    async with await RawConnection.open(node.address) as connection:
        await connection.send(post(node, conversation.encode()))
        token = (await connection.answer()).json["result"]
    node.bus.twitter("a:b", "x" * ANSWER)
    params = {"token": token, "received": 0}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "get_nowait", "params": params}).encode()


def post(node, body):
    return request(
        "POST",
        "/rpc",
        body,
        Host=f"{node.address[0]}:{node.address[1]}",
        Authorization=f"Bearer {TOKEN}",
        Content_Type="application/json",
        Content_Length=str(len(body)),
    )


async def upgrade(node):
    connection = await RawConnection.open(node.address)
    await connection.send(
        request(
            "GET",
            "/ws",
            Host=f"{node.address[0]}:{node.address[1]}",
            Authorization=f"Bearer {TOKEN}",
            Upgrade="websocket",
            Connection="Upgrade",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        )
    )
    assert (await connection.answer()).status == 101
    connection.reader._transport.pause_reading()
    return connection


def frame(opcode, data):
    """A WebSocket frame, masked with zeros."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([0x80 | opcode]) + length + bytes(4) + data


async def test_a_websocket_that_is_not_read_is_closed(node, get, monkeypatch, caplog):
    monkeypatch.setattr(sockets, "MAX_UNSENT_BYTES", LIMIT)
    async with await upgrade(node) as connection:
        await until(lambda: node.listener.sockets, "the connection is open")
        (socket,) = node.listener.sockets
        most, calls = 0, 0
        while node.listener.sockets:
            await connection.send(frame(1, get))
            await asyncio.sleep(0)
            calls += 1
            most = max(most, socket.transport._unsent)
            assert calls < 1000
    assert LIMIT < most < LIMIT + 2 * ANSWER
    assert "does not read" in caplog.text


async def test_one_that_is_pinged_without_end_is_closed(node, caplog):
    async with await upgrade(node) as connection:
        await until(lambda: node.listener.sockets, "the connection is open")
        pings = frame(9, b"x" * 120) * 1000
        for _ in range(1000):
            await asyncio.wait_for(connection.send(pings), 10)
            await asyncio.sleep(0)
            if not node.listener.sockets:
                break
        else:
            raise AssertionError("it goes on")
    assert "does not read" in caplog.text


async def test_over_http_no_call_is_made_before_the_answer_to_the_last_one_was_read(node, get):
    async with await RawConnection.open(node.address) as connection:
        connection.reader._transport.pause_reading()
        oneway = post(node, b'{"jsonrpc":"2.0","id":1,"method":"connect_oneway"}')
        connection.writer.write(post(node, get) * 20 + oneway)
        holders = len(node.tokens)
        async with await RawConnection.open(node.address) as other:
            for _ in range(20):
                await other.send(post(node, b'{"jsonrpc":"2.0","id":1,"method":"ping"}'))
                assert (await other.answer()).json["result"] == "pong"
        assert len(node.tokens) == holders


async def test_an_answer_over_http_that_is_not_read_is_given_up(node, get, monkeypatch, caplog):
    monkeypatch.setattr(listener, "ANSWER_SECONDS", 0.2)
    async with await RawConnection.open(node.address) as connection:
        connection.reader._transport.pause_reading()
        batch = b"[" + b",".join([get] * 10) + b"]"
        for _ in range(10):
            await connection.send(post(node, batch))
        await until(lambda: not node.listener._server.requests, "the connection is given up")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
