"""The sessions with a node, at real ones: over HTTP and over WebSockets."""

import hashlib
import hmac
import json

import pytest

from berrymq.bridge.protocol import handshake
from tests.conformance.node_sessions import NodeSession, node_vectors
from tests.conformance.sessions import DIRECTORY
from tests.support.nodes import Nodes

TOKEN = "the-access-token-of-the-vectors"
VECTORS = {vector.name: vector for vector in node_vectors()}
HANDSHAKE = json.loads((DIRECTORY / "nodes" / "handshake.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def servers(nodes):
    """A hub, and a node that is none."""
    hub = nodes.hub("node")
    nodes.servers[hub].access_token = TOKEN
    node = nodes.add("node", listening=False)
    return {"hub": nodes.servers[hub], "node": nodes.listen(node, access_token=TOKEN)}


@pytest.fixture
def play(servers):
    def play(vector, kind):
        session = NodeSession(servers[kind].address, TOKEN, vector.hub)
        try:
            session.play(vector.steps)
        finally:
            session.close()

    return play


@pytest.mark.parametrize("name", VECTORS)
def test_session(name, play):
    play(VECTORS[name], VECTORS[name].at)


def test_a_node_that_is_no_hub(play):
    """What concerns JSON-RPC and HTTP alone is the same there."""
    for name, vector in VECTORS.items():
        if name.startswith(("jsonrpc: ", "http: ")):
            play(vector, "node")


@pytest.mark.parametrize("vector", HANDSHAKE["proofs"], ids=lambda vector: vector["access_token"][:10])
def test_the_proofs_of_a_handshake(vector):
    token, port = vector["access_token"], vector["port"]
    nonces = vector["client_nonce"], vector["server_nonce"]
    for side, prove in (("server", handshake.server_proof), ("client", handshake.client_proof)):
        text = f"berrymq {side} {nonces[0]} {nonces[1]} {port}"  # as the page on the wire has it
        assert hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest() == vector[side]
        assert prove(token, *nonces, port) == vector[side]


@pytest.mark.parametrize("vector", HANDSHAKE["ids"], ids=lambda vector: vector["id"])
def test_the_ids_of_nodes(vector):
    assert handshake.node_id_of(vector["key"]) == vector["id"]


@pytest.mark.parametrize("vector", HANDSHAKE["addresses"], ids=lambda vector: vector["url"])
def test_what_is_shown_to_others_than_the_hub(vector):
    text = f"berrymq direct {vector['url']}"
    assert hmac.new(vector["key"].encode(), text.encode(), hashlib.sha256).hexdigest() == vector["shown"]
    assert handshake.key_for(vector["key"], vector["url"]) == vector["shown"]
