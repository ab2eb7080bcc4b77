"""The wire vectors against a real node: in this process, over HTTP and over a WebSocket."""

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from berrymq.bridge.node import Node
from berrymq.bridge.server.conversation import Conversation
from berrymq.bridge.server.listener import listen
from tests.support.conformance import Case, cases
from tests.support.websockets import websocket

CASES = cases("jsonrpc")


@pytest.fixture
async def node():
    node = Node(name="node")
    await listen(node)
    yield node
    await node.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_in_this_process(case, node):
    fresh = Case(case.name, case.steps)
    for step in case.steps:
        conversation = Conversation(node, authenticated=True)
        fresh.check(step, await conversation.answer(fresh.text(step).encode()))


@pytest.mark.parametrize("path", ["rpc", "", "JSON"])
async def test_over_http(path, node):
    client = AsyncHTTPClient(force_instance=True)
    headers = {"Authorization": f"Bearer {node.access_token}", "Content-Type": "application/json"}
    for case in cases("jsonrpc"):
        for step in case.steps:
            request = HTTPRequest(
                node.url + path, method="POST", headers=headers, body=case.text(step).encode()
            )
            response = await client.fetch(request)
            assert response.code == (204 if step["expect"] is None else 200)
            case.check(step, response.body or None)
    client.close()


async def test_over_a_websocket(node):
    async with websocket(node, node.access_token) as socket:
        for case in cases("jsonrpc"):
            if case.name == "interconnect takes a WebSocket":
                continue
            for step in case.steps:
                await socket.write_message(case.text(step))
                if step["expect"] is None:
                    # What comes first is the answer to the next call, so there was none to this one.
                    await socket.write_message('{"jsonrpc":"2.0","id":"next","method":"ping"}')
                    assert await socket.read_message() == '{"jsonrpc":"2.0","result":"pong","id":"next"}'
                else:
                    answer = await socket.read_message()
                    case.check(step, answer.encode())
