"""The types of a frame's fields, with their bounds, and the identifiers that may cross a link.

msgspec checks the bounds while it decodes, so no value beyond them gets any further.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from msgspec import Meta

from berrymq.errors import IdentifierError
from berrymq.identifiers import Identifier

from .json_checks import FrameError

__all__ = [
    "LATEST",
    "MAX_COUNT",
    "Count",
    "IdentifierText",
    "Moment",
    "Name",
    "NodeId",
    "NodeKey",
    "Number",
    "crossing_identifier",
    "decode_callback",
]


MAX_COUNT = 2**53
"""The largest integer that every JSON library reads exactly."""

LATEST = 253_402_300_799.0
"""The end of the year 9999 in seconds since 1970: the last time that every calendar can show."""

Name = Annotated[str, Meta(max_length=255)]
"""A readable name: of a node, a source or a room."""
NodeId = Annotated[str, Meta(min_length=1, max_length=64)]
"""The id of a node."""
NodeKey = Annotated[str, Meta(min_length=16, max_length=128, pattern=r"\A[ -~]*\Z")]
"""The secret key of a node: printable ASCII."""
IdentifierText = Annotated[str, Meta(min_length=1, max_length=800)]
"""An identifier as text; the bound is above the longest valid one (three parts of 255)."""
Number = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
"""A number from 1 on: of a message, a frame or a question."""
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
"""A number from 0 on."""
Moment = Annotated[float, Meta(ge=0, le=LATEST)]
"""A time in seconds since 1970."""


@lru_cache(maxsize=4096)
def crossing_identifier(text: str) -> Identifier:
    """Parse an identifier that came over the network.

    Args:
        text: the identifier; results are cached, errors are not.

    Raises:
        FrameError: it is invalid, or names messages that never leave their process.
    """
    try:
        identifier = Identifier.parse(text)
    except IdentifierError as error:
        raise FrameError(str(error)) from None
    if identifier.is_local or identifier.name == "berrymq":
        raise FrameError(f"{identifier.text!r} never leaves its process")
    return identifier


def decode_callback(_: type, text: Any) -> Identifier:
    """Convert the callback's identifier of a message; a ``dec_hook`` of msgspec.

    Raises:
        FrameError: it is no identifier that may cross a link.
    """
    if not isinstance(text, str):
        raise FrameError("a callback's identifier is text")
    return crossing_identifier(text)
