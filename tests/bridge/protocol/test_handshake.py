import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.protocol import handshake
from berrymq.bridge.protocol.handshake import (
    client_proof,
    new_nonce,
    node_id_of,
    same_proof,
    server_proof,
)

TOKEN = "the access token"


class Side:
    """One who takes part in a handshake, with what he knows."""

    def __init__(self, token, port):
        self.token = token
        self.port = port
        self.nonce = new_nonce()

    def says(self, client_nonce):
        """What a server answers to ``hello``."""
        return self.nonce, server_proof(self.token, client_nonce, self.nonce, self.port), self.port

    def believes(self, answer, dialled):
        """Whether a client that has dialled a port shows its own proof."""
        nonce, proof, port = answer
        return same_proof(proof, server_proof(self.token, self.nonce, nonce, port)) and port == dialled

    def admits(self, client_nonce, proof):
        """Whether a server lets a client in."""
        return same_proof(proof, client_proof(self.token, client_nonce, self.nonce, self.port))


def test_both_sides_prove_that_they_know_the_token():
    client, server = Side(TOKEN, 0), Side(TOKEN, 8137)
    answer = server.says(client.nonce)
    assert client.believes(answer, 8137)
    assert server.admits(client.nonce, client_proof(TOKEN, client.nonce, *answer[::2]))


@given(st.text(min_size=1).filter(lambda token: token != TOKEN and token.isascii()))
def test_who_knows_another_token_is_not_believed(token):
    client, server = Side(TOKEN, 0), Side(token, 8137)
    assert not client.believes(server.says(client.nonce), 8137)
    client, server = Side(token, 0), Side(TOKEN, 8137)
    assert not server.admits(client.nonce, client_proof(token, client.nonce, server.nonce, 8137))


def test_a_stranger_on_one_port_can_not_pass_on_the_proof_of_a_hub_on_another():
    client, hub = Side(TOKEN, 0), Side(TOKEN, 9000)
    nonce, proof, port = hub.says(client.nonce)  # the stranger has asked the hub with the client's nonce
    assert not client.believes((nonce, proof, port), 8137)
    assert not client.believes((nonce, proof, 8137), 8137), "the port is part of what is proved"


def test_the_proof_of_one_side_is_none_of_the_other():
    client, server = Side(TOKEN, 0), Side(TOKEN, 8137)
    _, proof, _ = server.says(client.nonce)
    assert not server.admits(client.nonce, proof)


def test_a_proof_holds_for_one_connection():
    client, server, again = Side(TOKEN, 0), Side(TOKEN, 8137), Side(TOKEN, 8137)
    proof = client_proof(TOKEN, client.nonce, server.nonce, 8137)
    assert server.admits(client.nonce, proof)
    assert not again.admits(client.nonce, proof)
    assert not server.admits(new_nonce(), proof)


def test_nonces_differ_and_are_long():
    nonces = {new_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert all(len(bytes.fromhex(nonce)) == handshake.NONCE_BYTES for nonce in nonces)


@pytest.mark.parametrize("given_proof", ["", "é", "\ud800", "0" * 63, "0" * 65, "\0" * 64])
def test_what_is_no_proof_is_not_the_proof(given_proof):
    assert not same_proof(given_proof, server_proof(TOKEN, "c", "s", 1))


# What a client in another language has to reach as well.
VECTORS = [
    (
        server_proof,
        "berrymq server 00112233445566778899aabbccddeeff ffeeddccbbaa99887766554433221100 8137",
        "2c7719d1562838b083197e763bb9f80e35d3568653455ac69809e0f9315fb75e",
    ),
    (
        client_proof,
        "berrymq client 00112233445566778899aabbccddeeff ffeeddccbbaa99887766554433221100 8137",
        "533f5f140ae45cf1c7428d668d9e279901ef5ba31768154799042257f8ede14c",
    ),
]


@pytest.mark.parametrize(("prove", "text", "expected"), VECTORS, ids=["server", "client"])
def test_fixed_values(prove, text, expected):
    proof = prove("sesame", "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100", 8137)
    assert proof == hmac.new(b"sesame", text.encode(), hashlib.sha256).hexdigest()
    assert proof == expected


def test_the_fixed_id_of_a_key():
    key = "a key that is kept secret"
    assert node_id_of(key) == hashlib.sha256(b"berrymq node a key that is kept secret").hexdigest()[:16]
    assert node_id_of(key) == "9fbe11bbf0fd5929"


@given(st.text(max_size=40), st.text(max_size=40))
def test_another_key_has_another_id(one, other):
    try:
        ids = node_id_of(one), node_id_of(other)
    except UnicodeEncodeError:  # the wire lets printable ASCII in alone
        return
    assert (ids[0] == ids[1]) == (one == other)
