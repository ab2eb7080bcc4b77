"""The frames about what the nodes of a room store on NATS, between two nodes there.

============  ====================================================================================
method        params beside ``n`` and ``ack``
============  ====================================================================================
``record``    ``records``: each ``[purpose, identifier, is stored]``; ``query``: the asker's number
``recorded``  ``query``: its sender knows the records, and what it had published before is stored
============  ====================================================================================

So ``record`` without records asks whether everything is stored. A ``query`` of 0 is not answered.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from .fields import Count, IdentifierText, Number
from .frames import NUMBERED

__all__ = ["RECORD", "RECORDED", "RecordFrame", "RecordParams", "RecordedParams"]

RECORD: Final = b"record"
RECORDED: Final = b"recorded"

MAX_RECORDS = 10_000


class RecordFrame(Struct):
    """The common members of the params of these frames."""

    n: Number
    ack: Count
    query: Count


class RecordParams(RecordFrame):
    """Params of ``record``."""

    records: Annotated[
        list[tuple[Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,80}\Z")], IdentifierText, bool]],
        Meta(max_length=MAX_RECORDS),
    ] = []


class RecordedParams(RecordFrame):
    """Params of ``recorded``."""


NUMBERED["record"] = msgspec.json.Decoder(RecordParams)
NUMBERED["recorded"] = msgspec.json.Decoder(RecordedParams)
