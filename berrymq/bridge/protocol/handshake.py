"""Mutual proof of the access token, for links without TLS: neither side sends it.

Another program may have the port of a hub that has ended, so the server proves itself first::

    client: hello(nonce=C)              a number used once
    server: {nonce: S, proof: HMAC(token, "berrymq server" C S port)}
    client: authenticate(proof=HMAC(token, "berrymq client" C S port))

HMAC is HMAC-SHA-256 in hexadecimal (RFC 2104); the parts of its text are joined by spaces. The port is the
one that the server listens on, which it sends with its proof. On loopback the client compares it with the one
it has dialled; otherwise a program on a port could relay the proof of the hub that runs on another.

Each node has a secret key, whose hash is its public id. It presents the key itself to hubs alone, which
accept no other proof of an id. To a directly linked node it presents its id and a key for that address alone,
which the other side stores with the link and can't use at a hub.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["NONCE_BYTES", "client_proof", "key_for", "new_nonce", "node_id_of", "same_proof", "server_proof"]

NONCE_BYTES = 16
"""The random bytes of a nonce, which has two hexadecimal digits for each."""


def new_nonce() -> str:
    """Return a random number as text, to be used once."""
    return secrets.token_hex(NONCE_BYTES)


def server_proof(access_token: str, client_nonce: str, server_nonce: str, port: int) -> str:
    """Return the server's proof that it knows the access token.

    Args:
        access_token: the secret.
        client_nonce: the nonce of ``hello``.
        server_nonce: the nonce of its answer.
        port: the port on which the server listens.

    Returns:
        64 hexadecimal digits.
    """
    return _proof(access_token, f"berrymq server {client_nonce} {server_nonce} {port}")


def client_proof(access_token: str, client_nonce: str, server_nonce: str, port: int) -> str:
    """Return the client's proof that it knows the access token.

    It differs from that of the server, so the proof of one side can't be sent back to it.

    Args:
        access_token: the secret.
        client_nonce: the nonce of ``hello``.
        server_nonce: the nonce of its answer.
        port: the port that the server has sent.

    Returns:
        64 hexadecimal digits.
    """
    return _proof(access_token, f"berrymq client {client_nonce} {server_nonce} {port}")


def same_proof(given: str, expected: str) -> bool:
    """Return whether two proofs are equal, in constant time.

    Args:
        given: what the other side sent; any text.
        expected: the right one.
    """
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def node_id_of(key: str) -> str:
    """Return the public id of a node with this key: 16 hexadecimal digits of its hash.

    So no node can take the id of another one, which marks its messages, or resume its links.
    """
    return hashlib.sha256(f"berrymq node {key}".encode()).hexdigest()[:16]


def key_for(key: str, url: str) -> str:
    """Return the key that a node presents, with its id, to a node at that address that is no hub.

    Args:
        key: the secret key of the node.
        url: the address of the other node, in normal form (`Endpoint.url`).
    """
    return _proof(key, f"berrymq direct {url}")


def _proof(secret: str, text: str) -> str:
    """Return HMAC-SHA-256 of a text, in hexadecimal."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
