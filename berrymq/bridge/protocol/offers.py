"""Buffers that the other side of a link may fetch: by a claim on shared memory, or in pieces that it pulls.

A frame names buffers that are pulled by a number. The notification ``pull`` asks for a piece of them, and the
answer is one binary WebSocket message: number and offset, then the data; or the notification ``gone``. They
are held until the numbered frame ``release``. WIRE.md describes it under "Pull".
"""

from __future__ import annotations

from collections import OrderedDict
from struct import Struct as Layout
from typing import TYPE_CHECKING, Annotated, Final
from weakref import WeakKeyDictionary

from msgspec import Meta, Struct

from .fields import Count, Number
from .json_checks import encode_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .batches import Memory

__all__ = [
    "GONE",
    "MAX_PIECE_BYTES",
    "PIECE_HEAD",
    "PULL",
    "RELEASE",
    "GoneParams",
    "Offers",
    "PullParams",
    "ReleaseParams",
    "gone_frame",
    "pull_frame",
]

PULL: Final = "pull"
GONE: Final = "gone"
RELEASE: Final = b"release"

MAX_PIECE_BYTES: Final = 1024 * 1024
"""The limit of the data of one binary message."""

PIECE_HEAD: Final = Layout("!QQ")
"""What precedes the data: the number of the buffers, and the offset of the piece."""

MAX_HELD = 10_000
"""The limit of buffers that are held for one link; beyond that the oldest are released."""


class PullParams(Struct):
    """Params of ``pull``."""

    memory: Number
    """The number of the buffers."""
    offset: Count
    size: Annotated[int, Meta(ge=1, le=MAX_PIECE_BYTES)]


class GoneParams(Struct):
    """Params of ``gone``."""

    memory: Number
    reason: Annotated[str, Meta(max_length=1_000)] = ""


class ReleaseParams(Struct):
    """Params of ``release``."""

    n: Number
    ack: Count
    memory: Annotated[list[Number], Meta(max_length=MAX_HELD)]
    """The numbers of the buffers."""


def pull_frame(number: int, offset: int, size: int) -> bytes:
    """Return the frame that asks for a piece."""
    return b'{"jsonrpc":"2.0","method":"pull","params":{"memory":%d,"offset":%d,"size":%d}}' % (
        number,
        offset,
        size,
    )


def gone_frame(number: int, reason: str) -> bytes:
    """Return the frame that reports that buffers are gone."""
    return b'{"jsonrpc":"2.0","method":"gone","params":{"memory":%d,"reason":%b}}' % (
        number,
        encode_json(reason[:500]),
    )


class Offers:
    """How the other side of a link reads buffers, and those that it may pull.

    An offer is held with the frame that names it until that is acknowledged, and from then on here.
    """

    def __init__(self) -> None:
        self.shares_memory = False
        """Whether the other side can open this process's shared memory."""
        self.pulls = False
        """Whether the other side pulls."""
        self._last = 0
        self._in_frames: WeakKeyDictionary[Memory, list[int]] = WeakKeyDictionary()
        """The numbers under which frames that may still be dropped name buffers."""
        self._held: OrderedDict[int, Memory] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, memory: Memory) -> int:
        """Offer buffers, and return their number. The frame that names it holds them at first."""
        self._last += 1
        self._in_frames.setdefault(memory, []).append(self._last)
        return self._last

    def hold(self, memories: Sequence[Memory]) -> None:
        """Hold the buffers of a frame that was received by the other side."""
        for memory in memories:
            for number in self._in_frames.pop(memory, ()):
                self._held[number] = memory
                if len(self._held) > MAX_HELD:
                    self._held.popitem(last=False)

    def find(self, number: int) -> Memory | None:
        """Return buffers by their number; None if they are not offered any more."""
        found = self._held.get(number)
        if found is None:  # the pull is there before the acknowledgement
            found = next((memory for memory, known in self._in_frames.items() if number in known), None)
        return found

    def release(self, numbers: Sequence[int]) -> None:
        """Release buffers that the other side has pulled, or does not want."""
        for number in numbers:
            self._held.pop(number, None)

    def clear(self) -> None:
        """Release all that the other side has received."""
        self._held.clear()
