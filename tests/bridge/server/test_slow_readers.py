"""Clients that do not read what they are answered: the node's memory is bounded all the same."""

import asyncio
import json
import struct

import pytest

from berrymq.bridge.server import server as server_module
from berrymq.bridge.transport import channel as channel_module
from tests.bridge.server.conftest import TOKEN
from tests.support.nodes import wait
from tests.support.raw_http import RawConnection, request

ANSWER = 1_000_000
LIMIT = 16 * 1024 * 1024
"""More than the system's buffers of a connection hold."""


@pytest.fixture
async def get(nodes, node, server):
    """A short call with a long answer."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "connect_via_queue", "params": ["a:b"]}
    async with await RawConnection.open(server.address) as connection:
        await connection.send(post(server, json.dumps(call).encode()))
        token = (await connection.answer()).json["result"]
    await asyncio.to_thread(nodes.settle)
    node.bus.twitter("a:b", "x" * ANSWER)
    await asyncio.to_thread(nodes.settle)
    params = {"token": token, "received": 0}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "get_nowait", "params": params}).encode()


def post(server, body):
    return request(
        "POST",
        "/rpc",
        body,
        Host=f"{server.address[0]}:{server.address[1]}",
        Authorization=f"Bearer {TOKEN}",
        Content_Type="application/json",
        Content_Length=str(len(body)),
    )


async def upgrade(server):
    connection = await RawConnection.open(server.address)
    await connection.send(
        request(
            "GET",
            "/ws",
            Host=f"{server.address[0]}:{server.address[1]}",
            Authorization=f"Bearer {TOKEN}",
            Upgrade="websocket",
            Connection="Upgrade",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
            Sec_WebSocket_Protocol="berrymq.v1",
        )
    )
    assert (await connection.answer()).status == 101
    connection.reader._transport.pause_reading()
    return connection


def frame(opcode, data):
    """A WebSocket frame, masked with zeros."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([0x80 | opcode]) + length + bytes(4) + data


async def test_a_websocket_that_is_not_read_is_closed(server, get, monkeypatch, caplog):
    monkeypatch.setattr(channel_module, "MAX_UNREAD_BYTES", LIMIT)
    async with await upgrade(server) as connection:
        (conversation,) = [one for one in server._conversations if one.channel.connection.is_websocket]
        most = calls = 0
        while conversation in server._conversations:
            await connection.send(frame(1, get))
            await asyncio.sleep(0.001)
            calls += 1
            most = max(most, conversation.channel.held_bytes)
            assert calls < 10_000
    assert most < LIMIT + 2 * ANSWER
    assert "does not read" in caplog.text


async def test_one_that_is_pinged_without_end_is_closed(server, monkeypatch, caplog):
    monkeypatch.setattr(channel_module, "MAX_UNREAD_BYTES", LIMIT)
    async with await upgrade(server) as connection:
        pings = frame(9, b"x" * 120) * 1000
        for _ in range(1000):
            await asyncio.wait_for(connection.send(pings), 10)
            await asyncio.sleep(0.001)
            if not server._conversations:
                break
        else:
            raise AssertionError("it goes on")
    assert "does not read" in caplog.text


async def test_over_http_many_requests_whose_answers_are_not_read_are_cut_off(
    server, get, monkeypatch, caplog
):
    monkeypatch.setattr(channel_module, "MAX_UNREAD_BYTES", LIMIT)
    async with await RawConnection.open(server.address) as connection:
        connection.reader._transport.pause_reading()
        connection.writer.write(post(server, get) * 100)
        async with await RawConnection.open(server.address) as other:
            await other.send(post(server, b'{"jsonrpc":"2.0","id":1,"method":"ping"}'))
            assert (await other.answer()).json["result"] == "pong"
            await asyncio.to_thread(wait, lambda: len(server._conversations) == 1, "it is cut off")
    assert "does not read" in caplog.text


async def test_an_answer_over_http_that_is_not_read_is_given_up(server, get, monkeypatch, caplog):
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 0.2)
    async with await RawConnection.open(server.address) as connection:
        connection.reader._transport.pause_reading()
        batch = b"[" + b",".join([get] * 10) + b"]"
        for _ in range(10):
            await connection.send(post(server, batch))
        await asyncio.to_thread(wait, lambda: not server._conversations, "the connection is given up")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
