"""Mutual proof of the access token, for links without TLS: neither side sends it.

Whoever listens on the port of a hub that has ended must learn nothing, so the server proves itself first::

    client: hello(nonce=C)              a number used once
    server: {nonce: S, proof: HMAC(token, "berrymq server" C S port)}
    client: authenticate(proof=HMAC(token, "berrymq client" C S port))

HMAC is HMAC-SHA-256 in hexadecimal (RFC 2104); the parts of its text are joined by spaces. The port is the
one that the server listens on, as it says with its proof. On loopback the client compares it with the one it
has dialled, for otherwise a stranger on a port could pass the proof on from the hub that really runs on
another.

Each node has a secret key, whose hash is its public id. It shows the key itself to hubs alone, which take no
other proof of an id. To a node that it links directly it shows its id and a key for that address alone, which
the other side keeps with the link. So what such a node learns is of no use at a hub.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["NONCE_BYTES", "client_proof", "key_for", "new_nonce", "node_id_of", "same_proof", "server_proof"]

NONCE_BYTES = 16


def new_nonce() -> str:
    """A number used once, as text."""
    return secrets.token_hex(NONCE_BYTES)


def server_proof(access_token: str, client_nonce: str, server_nonce: str, port: int) -> str:
    """What a server shows to prove that it knows the access token."""
    return _proof(access_token, f"berrymq server {client_nonce} {server_nonce} {port}")


def client_proof(access_token: str, client_nonce: str, server_nonce: str, port: int) -> str:
    """What a client shows to prove that it knows the access token."""
    return _proof(access_token, f"berrymq client {client_nonce} {server_nonce} {port}")


def same_proof(given: str, expected: str) -> bool:
    """Whether two proofs are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def node_id_of(key: str) -> str:
    """The public id of a node, from the key that it shows to hubs alone.

    So nobody can take the id of another node, with which its messages are marked, nor resume its links.
    """
    return hashlib.sha256(f"berrymq node {key}".encode()).hexdigest()[:16]


def key_for(key: str, url: str) -> str:
    """What a node with this key shows, with its id, to a node at that address that is no hub."""
    return _proof(key, f"berrymq direct {url}")


def _proof(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
