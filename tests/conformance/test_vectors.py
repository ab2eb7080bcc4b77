"""The wire vectors against a real node: over HTTP and over a WebSocket."""

import hashlib
import hmac
import http.client

import pytest

from berrymq.bridge.protocol import handshake
from tests.support.conformance import cases, vectors
from tests.support.nodes import Nodes
from tests.support.websockets import websocket

TOKEN = "the-access-token-of-the-vectors"
CASES = [case.name for case in cases("jsonrpc")]


@pytest.fixture(scope="module")
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module", params=["node", "hub"])
def server(request, nodes):
    """A node that listens, or a hub."""
    router = nodes.add("node", listening=False) if request.param == "node" else nodes.hub("node")
    if router in nodes.servers:
        return nodes.servers[router]
    return nodes.listen(router, access_token=TOKEN)


@pytest.fixture(scope="module")
def post(server):
    """POST some text; the status and the body of the answer."""
    connection = http.client.HTTPConnection(*server.address)
    headers = {"Authorization": f"Bearer {server.access_token}", "Content-Type": "application/json"}

    def post(text, path="rpc"):
        connection.request("POST", f"/{path}", text.encode(), headers)
        response = connection.getresponse()
        return response.status, response.read()

    yield post
    connection.close()


@pytest.mark.parametrize("name", CASES)
def test_over_http(name, post):
    case = next(case for case in cases("jsonrpc") if case.name == name)
    for step in case.steps_over("http"):
        status, body = post(case.text(step))
        assert status == (204 if step["expect"] is None else 200)
        case.check(step, body or None)


@pytest.mark.parametrize("path", ["", "JSON"])
def test_under_the_other_paths(path, post):
    case = next(case for case in cases("jsonrpc") if case.name == "call without parameters")
    (step,) = case.steps
    status, body = post(case.text(step), path)
    assert status == 200
    case.check(step, body)


def test_over_a_websocket(server):
    with websocket(server, server.access_token) as socket:
        for case in cases("jsonrpc"):
            for step in case.steps_over("websocket"):
                socket.send(case.text(step))
                if step["expect"] is None:
                    # What comes first is the answer to the next call, so there was none to this one.
                    socket.call("ping", id="next")
                    assert socket.receive() == {"jsonrpc": "2.0", "result": "pong", "id": "next"}
                else:
                    case.check_value(step, socket.receive())


@pytest.mark.parametrize(
    "vector", vectors("handshake")["proofs"], ids=lambda vector: vector["access_token"][:10]
)
def test_the_proofs_of_a_handshake(vector):
    token, port = vector["access_token"], vector["port"]
    nonces = vector["client_nonce"], vector["server_nonce"]
    for side, prove in (("server", handshake.server_proof), ("client", handshake.client_proof)):
        text = f"berrymq {side} {nonces[0]} {nonces[1]} {port}"  # as the page on the wire has it
        assert hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest() == vector[side]
        assert prove(token, *nonces, port) == vector[side]


@pytest.mark.parametrize("vector", vectors("handshake")["ids"], ids=lambda vector: vector["id"])
def test_the_ids_of_nodes(vector):
    assert handshake.node_id_of(vector["key"]) == vector["id"]


@pytest.mark.parametrize("vector", vectors("handshake")["addresses"], ids=lambda vector: vector["url"])
def test_what_is_shown_to_others_than_the_hub(vector):
    text = f"berrymq direct {vector['url']}"
    assert hmac.new(vector["key"].encode(), text.encode(), hashlib.sha256).hexdigest() == vector["shown"]
    assert handshake.key_for(vector["key"], vector["url"]) == vector["shown"]
