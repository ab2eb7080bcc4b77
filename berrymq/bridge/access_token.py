"""The access token, the secret that clients of a node need: making, checking and comparing it.

A node writes its token into its connection file, which its user alone can read; programs elsewhere are given
it. Over plain text it is never sent (``protocol/handshake.py``); over TLS it may be, in a header
``Authorization: Bearer`` (RFC 6750).

Nothing here does I/O, and no text from here contains a token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

__all__ = ["MIN_TOKEN_LENGTH", "bearer_token", "check_access_token", "new_access_token", "same_token"]

MIN_TOKEN_LENGTH = 16
"""The least number of characters of a token that a user chooses; a shorter one could be guessed."""
_MAX_TOKEN_LENGTH = 1024
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)


def new_access_token() -> str:
    """Return a new secret of 256 random bits, as text that fits into a header."""
    return secrets.token_urlsafe(32)


def check_access_token(token: str) -> str | None:
    """Check an access token that a user has chosen.

    Args:
        token: the token, without spaces around it.

    Returns:
        Why it is not acceptable, as a clause without the token; None when it is.
    """
    if not MIN_TOKEN_LENGTH <= len(token) <= _MAX_TOKEN_LENGTH:
        length = f"{MIN_TOKEN_LENGTH} to {_MAX_TOKEN_LENGTH}"
        return f"an access token has {length} characters, not {len(token)}"
    if bearer_token(f"Bearer {token}") != token:
        return "an access token holds only letters, digits and . _ ~ + / -"
    return None


def same_token(given: str | None, expected: str | None) -> bool:
    """Return whether both are the same secret, in constant time. An empty one never is.

    The time depends neither on the place of a difference nor, by hashing both first, on the lengths.
    """
    one, other = (hashlib.sha256((text or "").encode("utf-8", "surrogatepass")) for text in (given, expected))
    return hmac.compare_digest(one.digest(), other.digest()) and bool(given) and bool(expected)


def bearer_token(header: str | None) -> str | None:
    """Return the token of an ``Authorization: Bearer ...`` header (RFC 6750, 2.1).

    Args:
        header: the value of the header; None when there is none.

    Returns:
        The token; None for another scheme, a malformed value, or one that is too long.
    """
    if header is None or len(header) > _MAX_TOKEN_LENGTH + len("Bearer "):
        return None
    match = _BEARER.fullmatch(header)
    return match[1] if match else None
